//! Firewalls at their providers: made, changed and deleted by the reconciler, with a look before each change; and put back, or cleared away, where an operation that was cut off left
//! something else than was set.
//!
//! A firewall that was asked for and not heard of may stay for ever, and one that is half changed keeps out whom its owner wants in. So it is written down before it is asked for, looked for
//! under our own name before it is asked for again, changed by whoever holds it in our books and nobody else, and forgotten only when the provider shows none and none can show up any more.

use std::sync::Arc;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::{AccountId, InstanceId};
use crate::provider::compute::firewalls::Firewalls;
use crate::provider::compute::{Compute, Machine, ProviderError};
use crate::service::instance::calls::{self, CALL, in_time};
use crate::service::instance::firewall::ROUND;
use crate::service::instance::job::{Outcome, failed, look, lost, said, trouble, wait};
use crate::service::instance::model::firewall::{Firewall, Next, Wish};
use crate::service::instance::model::{Instance, State};
use crate::service::instance::{cloud, store};
use crate::service::operation::model::{End, Leased};

/// Firewalls looked at in one step.
const CHUNK: i64 = 50;
/// Firewalls looked at at once.
const CONCURRENT: usize = 8;
/// How soon one that is worked on is looked at again.
const SOON: TimeDelta = TimeDelta::seconds(2);

/// What a step came to.
enum Step {
    /// The provider was seen to have it so.
    Done,
    /// Not yet.
    Wait,
    /// The provider was asked for a change.
    Asked(Result<(), ProviderError>),
}

/// Who works on a firewall, and towards what.
struct Task<'t> {
    firewall: &'t Firewall,
    /// The attempt of its operation, or `None` when that has ended.
    attempt: Option<i32>,
    wish: &'t Wish,
    /// The provider's name of the machine, which may be gone.
    machine: &'t str,
}

impl Task<'_> {
    /// Looks, and asks for at most one thing.
    async fn step(
        &self,
        app: &App,
        provider: &Arc<dyn Compute>,
        shelf: &dyn Firewalls,
    ) -> Result<Result<Step, ProviderError>, sqlx::Error> {
        let (firewall, rules) = (self.firewall, &self.wish.rules);
        let (instance, machine) = (firewall.instance, self.machine);
        let looked_at = app.clock.now();
        let found = match in_time(shelf.find(machine, instance, rules)).await {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        let next = firewall.next(self.wish, &found, looked_at);
        match next {
            Next::Done => return Ok(Ok(Step::Done)),
            Next::Wait => return Ok(Ok(Step::Wait)),
            Next::Make | Next::Change(_) | Next::Delete(_) => {}
        }
        let end = app.clock.now() + CALL;
        let unsure_until = (next == Next::Make).then(|| end + provider.lookup_delay());
        let (attempt, held) = (self.attempt, end);
        if !store::firewalls::claim(&app.db, firewall, attempt, looked_at, held, unsure_until)
            .await?
        {
            return Ok(Ok(Step::Wait));
        }
        let call = async {
            match &next {
                Next::Make => shelf.create(machine, instance, rules).await,
                Next::Change(one) => shelf.change(machine, instance, one, rules).await,
                Next::Delete(these) => {
                    for one in these {
                        match shelf.delete(machine, one).await {
                            Ok(()) | Err(ProviderError::NotFound) => {}
                            refused => return refused,
                        }
                    }
                    Ok(())
                }
                Next::Done | Next::Wait => Ok(()),
            }
        };
        let answer = calls::by(end, call).await;
        let may_exist = matches!(answer, Ok(()) | Err(ProviderError::Unknown));
        let made = (next == Next::Make)
            .then(|| may_exist.then(|| app.clock.now() + provider.lookup_delay()));
        store::firewalls::unclaim(&app.db, firewall, held, made).await?;
        Ok(Ok(Step::Asked(answer)))
    }
}

/// Sets a firewall, one step further.
///
/// # Errors
/// Of the database.
pub(super) async fn attempt(
    app: &App,
    provider: &Arc<dyn Compute>,
    leased: &Leased,
    instance: &Instance,
) -> Result<Outcome, sqlx::Error> {
    let mut connection = app.db.acquire().await?;
    let found = store::firewalls::get(&mut connection, leased.account, leased.instance).await?;
    drop(connection);
    let found = found.filter(|firewall| firewall.operation == leased.id);
    let (Some(firewall), Some(shelf)) = (found, provider.firewalls()) else {
        let message = "the firewall cannot be worked on".to_owned();
        return Ok(failed("INTERNAL", message, None));
    };
    let machine = match look(provider, instance).await {
        Ok(Some(machine)) => machine,
        Ok(None) => return Ok(lost()),
        Err(error) => return Ok(trouble(leased, &error, app.clock.now())),
    };
    let task = Task {
        firewall: &firewall,
        attempt: Some(leased.attempt),
        wish: &firewall.asked,
        machine: &machine.provider_ref,
    };
    let step = task.step(app, provider, shelf).await?;
    let now = app.clock.now();
    Ok(match step {
        Err(error) => trouble(leased, &error, now),
        Ok(Step::Done) => Outcome::Ended {
            end: End::Succeeded,
            event: None,
            machine: Some(machine),
        },
        Ok(Step::Wait) => wait(leased, leased.asked_at, Some(machine), now),
        Ok(Step::Asked(answer)) => answered(answer, leased, machine, now),
    })
}

/// What the provider's answer means.
fn answered(
    answer: Result<(), ProviderError>,
    leased: &Leased,
    machine: Machine,
    now: DateTime<Utc>,
) -> Outcome {
    let refused = |words: &str| {
        let message = format!("the provider refuses the firewall: {words}");
        failed("FIREWALL_REFUSED", message, Some(machine.clone()))
    };
    match answer {
        Ok(()) => wait(
            leased,
            Some(leased.asked_at.unwrap_or(now)),
            Some(machine),
            now,
        ),
        Err(ProviderError::Refused(words)) => refused(said(&words)),
        Err(ProviderError::NoCapacity) => refused("there are as many as there may be"),
        Err(ProviderError::Busy | ProviderError::NotFound) => {
            wait(leased, leased.asked_at, Some(machine), now)
        }
        Err(ProviderError::Unknown) => match wait(leased, leased.asked_at, Some(machine), now) {
            Outcome::Later {
                after,
                asked_at,
                machine,
                ..
            } => Outcome::Later {
                after,
                asked_at,
                unsure: asked_at.is_none(),
                machine,
            },
            ended @ Outcome::Ended { .. } => ended,
        },
        Err(error) => trouble(leased, &error, now),
    }
}

/// Writes down what the end of an operation means for firewalls. The instance is locked.
///
/// # Errors
/// Of the database.
pub(super) async fn settle(
    connection: &mut PgConnection,
    leased: &Leased,
    succeeded: bool,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let (account, id, instance) = (leased.account, leased.id, leased.instance);
    match (leased.kind, succeeded) {
        // It ends with its machine.
        (Kind::Delete, true) => store::firewalls::unwant(connection, account, instance, now).await,
        (Kind::SetFirewall, true) => {
            store::firewalls::keep(connection, account, id, instance, now).await
        }
        (Kind::SetFirewall, false) => {
            store::firewalls::look_sooner(connection, account, id, instance, now).await
        }
        _ => Ok(()),
    }
}

/// Looks after the firewalls that no operation works on and that may not be as they should be, and returns how many there were. Repeats safely; any number of replicas may do so together.
///
/// # Errors
/// Of the database, when choosing. What goes wrong with single ones is logged; they are looked at again.
pub async fn tend_once(app: &App) -> anyhow::Result<usize> {
    let now = app.clock.now();
    let due = store::firewalls::take_to_look_at(&app.db, now, now + ROUND, CHUNK)
        .await
        .context("choose firewalls")?;
    let count = due.len();
    futures_util::stream::iter(due)
        .for_each_concurrent(CONCURRENT, |(account, instance)| async move {
            if let Err(error) = tend(app, account, instance).await {
                tracing::warn!(%instance, error = format!("{error:#}"), "a firewall could not be looked after");
            }
        })
        .await;
    Ok(count)
}

async fn tend(app: &App, account: AccountId, id: InstanceId) -> anyhow::Result<()> {
    let mut connection = app.db.acquire().await?;
    let found = store::firewalls::get(&mut connection, account, id).await?;
    let Some(firewall) = found else {
        return Ok(());
    };
    if store::firewalls::is_worked_on(&mut connection, &firewall).await? {
        return Ok(());
    }
    drop(connection);
    let found = store::get(&app.db, account, id).await?;
    let instance = found.with_context(|| format!("there is no instance {id}"))?;
    if firewall.wanted && instance.state == State::Lost {
        // It has no machine to be in front of, and goes when its owner lets it go.
        let mut connection = app.db.acquire().await?;
        return Ok(store::firewalls::rest(&mut connection, &firewall, false).await?);
    }
    let provider = cloud::of(app, &instance).await??;
    let shelf = provider.firewalls().context("a cloud without firewalls")?;
    let machine = look(&provider, &instance).await?.map(|m| m.provider_ref);
    let machine = machine.or(instance.provider_ref).unwrap_or_default();
    let none = Wish::default();
    let task = Task {
        firewall: &firewall,
        attempt: None,
        wish: if firewall.wanted {
            &firewall.set
        } else {
            &none
        },
        machine: &machine,
    };
    let step = task.step(app, &provider, shelf).await??;
    let mut connection = app.db.acquire().await?;
    match step {
        Step::Done if firewall.wanted => {
            store::firewalls::rest(&mut connection, &firewall, true).await?;
        }
        Step::Done => store::firewalls::remove(&mut connection, &firewall).await?,
        Step::Wait | Step::Asked(Ok(()) | Err(ProviderError::Unknown)) => {
            let soon = app.clock.now() + SOON;
            let operation = firewall.operation;
            store::firewalls::look_sooner(&mut connection, account, operation, id, soon).await?;
        }
        Step::Asked(Err(error)) => return Err(error.into()),
    }
    Ok(())
}
