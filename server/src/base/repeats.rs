//! Repeats of writes that are cheap to tell. Those who place orders share a transaction, and learn only there that a key was used; then the transaction is rolled
//! back for all of them. So the keys used lately are remembered here, with what came of them: an outcome that was committed never changes, and is told again without
//! asking the database. Of a key whose outcome is not known here, being remembered is only a reason to look first. Forgetting costs time and changes no answer.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tonic::Status;
use uuid::Uuid;

use crate::base::call::Call;
use crate::base::db::PgPool;
use crate::base::reads::Reads;
use crate::base::writes::{self, Stored};

/// Keys remembered at most. A newer one takes the place of the older that it collides with.
const REMEMBERED: usize = 1 << 12;
/// Outcomes of more bytes are not kept, so all of them together take at most 16 MiB.
const KEPT: usize = 4 << 10;
/// How long an outcome is told without looking. Far less than its row is kept, and long enough for those who repeat a call that they heard nothing of.
const TOLD: Duration = Duration::from_mins(10);

/// What an accepted write is found by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// Whose audit trail it is in.
    pub account: Uuid,
    /// Who called.
    pub principal: Uuid,
    /// `package.Service/Method`.
    pub method: &'static str,
    /// The idempotency key.
    pub key: String,
}

impl Name {
    fn of(call: &Call) -> Self {
        Self {
            account: call.account_of_record().0,
            principal: call.caller.principal,
            method: &call.method.name,
            key: call.key.clone(),
        }
    }
}

/// The outcomes of keys used lately.
#[derive(Clone)]
pub struct Repeats {
    used: Arc<Used>,
    outcomes: Reads<Name, Stored>,
}

impl Repeats {
    /// Reads from `db`, for all who ask at the same time together.
    pub fn start(db: &PgPool) -> Self {
        Self {
            used: Arc::new(Used::new(REMEMBERED)),
            outcomes: Reads::start(db, |db, names| async move {
                let found = writes::find_many(&db, &names).await?;
                Ok(found.into_iter().collect::<HashMap<_, _>>())
            }),
        }
    }

    /// The outcome of an earlier call with the same key. None says nothing: the write itself finds out.
    ///
    /// # Errors
    /// What the database says.
    pub async fn find(&self, call: &Call) -> Result<Option<Stored>, Status> {
        if !call.keyed {
            return Ok(None);
        }
        let name = Name::of(call);
        match self.used.find(&name) {
            None => Ok(None),
            Some(Some(outcome)) => Ok(Some(outcome)),
            Some(None) => self.outcomes.get(name).await,
        }
    }

    /// Notes that a call was dealt with, and what came of it if that was committed.
    pub fn remember(&self, call: &Call, outcome: Option<Stored>) {
        if call.keyed {
            self.used.insert(Name::of(call), outcome);
        }
    }
}

/// A map that forgets: each name has one place, by its hash.
struct Used {
    hasher: RandomState,
    places: Box<[Mutex<Option<Kept>>]>,
}

struct Kept {
    name: Name,
    outcome: Option<Stored>,
    since: Instant,
}

impl Used {
    fn new(places: usize) -> Self {
        Self {
            hasher: RandomState::new(),
            places: (0..places).map(|_| Mutex::default()).collect(),
        }
    }

    fn place(&self, name: &Name) -> std::sync::MutexGuard<'_, Option<Kept>> {
        let count = self.places.len() as u64;
        let index = usize::try_from(self.hasher.hash_one(name) % count).unwrap_or_default();
        let place = self.places[index].lock();
        place.unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, name: Name, outcome: Option<Stored>) {
        let outcome = outcome.filter(|outcome| outcome.size() <= KEPT);
        let since = Instant::now();
        let mut place = self.place(&name);
        *place = Some(Kept {
            name,
            outcome,
            since,
        });
    }

    /// None if the name is not remembered; its outcome, if that is known.
    fn find(&self, name: &Name) -> Option<Option<Stored>> {
        let place = self.place(name);
        let kept = place.as_ref().filter(|kept| kept.name == *name)?;
        let fresh = kept.since.elapsed() < TOLD;
        Some(kept.outcome.clone().filter(|_| fresh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(key: &str) -> Name {
        Name {
            account: Uuid::nil(),
            principal: Uuid::nil(),
            method: "sewa.order.v1.OrderService/PlaceOrder",
            key: key.to_owned(),
        }
    }

    fn outcome(bytes: usize) -> Stored {
        Stored::new([7; 16], 0, vec![1; bytes])
    }

    #[test]
    fn a_newer_key_takes_the_place_of_an_older_one() {
        let used = Used::new(1);
        assert!(used.find(&name("a")).is_none());
        used.insert(name("a"), Some(outcome(3)));
        assert!(used.find(&name("a")).flatten().is_some());
        used.insert(name("b"), None);
        assert!(used.find(&name("b")).is_some_and(|found| found.is_none()));
        assert!(used.find(&name("a")).is_none());
    }

    #[test]
    fn large_outcomes_are_looked_for() {
        let used = Used::new(1);
        used.insert(name("a"), Some(outcome(KEPT + 1)));
        assert!(used.find(&name("a")).is_some_and(|found| found.is_none()));
    }
}
