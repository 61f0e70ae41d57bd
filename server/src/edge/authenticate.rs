//! Who calls. A verified bearer is remembered by its digest for a few seconds, because verifying a signature costs more than the rest of the edge together;
//! a revocation therefore reaches every replica within that time. What ends by itself ends when it says.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tonic::Status;

use crate::app::App;
use crate::base::call::Caller;
use crate::base::{crypto, status};
use crate::service::identity;

/// How long a verified bearer is trusted without another look.
const TRUSTED: Duration = Duration::from_secs(5);
/// Bearers remembered at most.
const CAPACITY: usize = 50_000;

/// Who a bearer stood for, and until when that is trusted, by the bearer's digest.
type Seen = HashMap<[u8; 32], (Caller, Instant)>;

/// Bearers verified a moment ago.
#[derive(Default)]
pub struct Bearers {
    seen: Mutex<Seen>,
}

impl Bearers {
    /// The caller a bearer stands for.
    ///
    /// # Errors
    /// UNAUTHENTICATED, TOKEN_EXPIRED or ACCOUNT_SUSPENDED.
    pub async fn caller(
        &self,
        app: &App,
        bearer: &str,
        now: DateTime<Utc>,
    ) -> Result<Caller, Status> {
        let digest = crypto::digest(bearer.as_bytes());
        if let Some((caller, until)) = self.lock()?.get(&digest)
            && *until > Instant::now()
            && caller.until.is_none_or(|ends| ends > now)
        {
            return Ok(caller.clone());
        }
        // Boxed, as it is rare and large: the room for it would be part of every call.
        let caller = Box::pin(identity::authenticate(app, bearer, now)).await?;
        let mut seen = self.lock()?;
        if seen.len() >= CAPACITY {
            let now = Instant::now();
            seen.retain(|_, (_, until)| *until > now);
            if seen.len() >= CAPACITY {
                seen.clear();
            }
        }
        seen.insert(digest, (caller.clone(), Instant::now() + TRUSTED));
        Ok(caller)
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Seen>, Status> {
        self.seen
            .lock()
            .map_err(|_| status::internal("the memory of bearers is poisoned"))
    }
}
