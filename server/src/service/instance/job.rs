//! The reconciler. It takes operations that are due, looks at their machines, does the next thing at the provider, and writes down what it saw.
//!
//! It takes no hints and repeats safely. An operation is leased, so that one replica works on it; the provider is called while no transaction is open; and a short
//! transaction applies the outcome, if the lease still holds. Whoever dies in between leaves an operation that is due again when its lease ends, and the next one
//! begins by looking.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::fault::{self, Step};
use crate::base::lease;
use crate::provider::compute::{Boot, Compute, Machine, ProviderError};
use crate::service::instance::calls::in_time;
use crate::service::instance::model::{Event, Instance, Wanted};
use crate::service::instance::plan::{Act, Next, Work, pause};
use crate::service::instance::{
    self, backup, boot, cloud, firewall_work, reverse_dns, snapshot_work, store,
};
use crate::service::operation;
use crate::service::operation::model::{End, Leased, is_cancellable};
use crate::service::operation::store::{Put, Queue};

/// Operations leased at once.
const CHUNK: i64 = 50;
/// Operations worked on at once.
const CONCURRENT: usize = 16;
/// How long an operation stays leased to a replica that may have died.
const LEASE: TimeDelta = TimeDelta::seconds(30);
/// The longest one attempt takes. Nobody begins with less of the lease left.
const ATTEMPT: TimeDelta = TimeDelta::seconds(20);
/// After how long an operation its owner asked for is given up. What the platform decided is never given up: a machine that is unpaid or unwanted must go.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);
/// The same where the provider has taken on to copy a disk.
const COPY_PATIENCE: TimeDelta = TimeDelta::hours(6);

/// Works on the operations that are due, and returns how many there were. Faults of single operations are logged; those stay due.
///
/// # Errors
/// Of the database, when leasing.
pub async fn reconcile_once(app: &App) -> anyhow::Result<usize> {
    let now = app.clock.now();
    let leased = operation::store::lease(&app.db, Queue::Instances, now, now + LEASE, CHUNK)
        .await
        .context("lease operations")?;
    let count = leased.len();
    futures_util::stream::iter(leased)
        .for_each_concurrent(CONCURRENT, |leased| async move {
            if app.clock.now() > now + LEASE - ATTEMPT {
                return;
            }
            let end = now + LEASE;
            let operation = ("operation", leased.id);
            lease::work(&app.clock, end, operation, work(app, &leased)).await;
            app.tail.wake();
        })
        .await;
    Ok(count)
}

async fn work(app: &App, leased: &Leased) -> anyhow::Result<()> {
    let found = store::get(&app.db, leased.account, leased.instance).await?;
    let instance = found.with_context(|| format!("there is no instance {}", leased.instance))?;
    let outcome = match cloud::of(app, &instance).await? {
        // No account was ever chosen for it, so no machine was ever asked for.
        Err(_) if leased.kind == Kind::Delete && cloud::was_never_asked(app, &instance) => {
            Outcome::Ended {
                end: End::Succeeded,
                event: Some(Event::Destroyed),
                machine: None,
            }
        }
        Err(error) => trouble(leased, &error, app.clock.now()),
        Ok(provider) if leased.kind == Kind::Delete => {
            destroy(app, &provider, leased, &instance).await
        }
        Ok(provider) if matches!(leased.kind, Kind::CreateSnapshot | Kind::DeleteSnapshot) => {
            snapshot_work::attempt(app, &provider, leased, &instance).await?
        }
        Ok(provider) if leased.kind == Kind::SetReverseDns => {
            reverse_dns::attempt(app, &provider, leased, &instance).await?
        }
        Ok(provider) if leased.kind == Kind::SetFirewall => {
            firewall_work::attempt(app, &provider, leased, &instance).await?
        }
        Ok(provider) => attempt(app, &provider, leased, &instance).await,
    };
    apply(app, leased, outcome).await
}

/// What an attempt came to.
pub(super) enum Outcome {
    /// The operation is over.
    Ended {
        end: End,
        event: Option<Event>,
        machine: Option<Machine>,
    },
    /// Somebody looks again.
    Later {
        after: TimeDelta,
        asked_at: Option<DateTime<Utc>>,
        unsure: bool,
        machine: Option<Machine>,
    },
}

/// The machine of an instance. One that does not show under its own name is looked for under ours before it counts as gone.
pub(super) async fn look(
    provider: &Arc<dyn Compute>,
    instance: &Instance,
) -> Result<Option<Machine>, ProviderError> {
    if let Some(known) = &instance.provider_ref
        && let Some(machine) = in_time(provider.get(known)).await?
    {
        return Ok(Some(machine));
    }
    Ok(in_time(provider.find(instance.reference()))
        .await?
        .into_iter()
        .next())
}

async fn attempt(
    app: &App,
    provider: &Arc<dyn Compute>,
    leased: &Leased,
    instance: &Instance,
) -> Outcome {
    let machine = match look(provider, instance).await {
        Ok(machine) => machine,
        Err(error) => return trouble(leased, &error, app.clock.now()),
    };
    let now = app.clock.now();
    let mut work = Work {
        kind: leased.kind,
        wanted: instance.wanted,
        asked_at: leased.asked_at,
        unsure: leased.unsure,
        graceful: provider.capabilities().graceful_shutdown,
        password_off: provider.capabilities().reset_password_off,
    };
    work.asked_at = work.taken_at(machine.as_ref(), now);
    let act = match work.next(machine.as_ref(), now) {
        Next::Done(event) => {
            return Outcome::Ended {
                end: End::Succeeded,
                event,
                machine,
            };
        }
        Next::Lost => return lost(),
        Next::Wait => return wait(leased, work.asked_at, machine, now),
        Next::Act(act) => act,
    };
    if let (Act::RestoreBackup, Some(machine)) = (act, &machine)
        && let Some(outcome) = backup::hindrance(app, provider, leased, machine).await
    {
        return outcome;
    }
    let Some(name) = machine.as_ref().map(|m| m.provider_ref.as_str()) else {
        return wait(leased, work.asked_at, machine, now);
    };
    let boot = match boot::of_operation(app, leased, instance) {
        Ok(boot) => boot,
        Err(cause) => {
            tracing::error!(operation = %leased.id, cause = format!("{cause:#}"), "what a machine is given does not open");
            let message = "what the machine is to be given could not be read; ask again";
            return failed("INTERNAL", message.to_owned(), machine);
        }
    };
    let answer = in_time(call(app, provider, (leased, instance), act, name, &boot)).await;
    let now = app.clock.now();
    match answer {
        Ok(()) => Outcome::Later {
            after: pause(TimeDelta::zero()),
            asked_at: work
                .asked_at
                .or_else(|| work.is_asked_by(act).then_some(now)),
            unsure: false,
            machine,
        },
        Err(ProviderError::Unknown) => Outcome::Later {
            after: pause(now - leased.created_at),
            asked_at: work.asked_at,
            unsure: work.is_asked_by(act),
            machine,
        },
        Err(ProviderError::Busy | ProviderError::NotFound) => {
            wait(leased, work.asked_at, machine, now)
        }
        Err(error) => trouble(leased, &error, now),
    }
}

/// Does `act` to the machine called `name`.
async fn call(
    app: &App,
    provider: &Arc<dyn Compute>,
    (leased, instance): (&Leased, &Instance),
    act: Act,
    name: &str,
    boot: &Boot,
) -> Result<(), ProviderError> {
    match act {
        Act::PowerOn => provider.power_on(name).await,
        Act::PowerOff => provider.power_off(name).await,
        Act::Shutdown => provider.shutdown(name).await,
        Act::Reboot => provider.reboot(name).await,
        Act::Delete => provider.delete(name).await,
        Act::Rebuild => {
            let image = leased
                .image
                .as_ref()
                .map_or(instance.image_code.as_str(), |(_, code)| code);
            provider.rebuild(name, image, boot).await
        }
        Act::ResetPassword => provider.reset_password(name, &boot.password).await,
        Act::RestoreSnapshot => snapshot_work::restore(app, provider, leased, name).await,
        Act::RestoreBackup => backup::put_back(app, provider, leased, name).await,
    }
}

/// Destroys every machine that carries our reference, so that nothing is left of a creation that was answered twice or never.
async fn destroy(
    app: &App,
    provider: &Arc<dyn Compute>,
    leased: &Leased,
    instance: &Instance,
) -> Outcome {
    let mut machines = BTreeMap::new();
    let found = async {
        if let Some(known) = &instance.provider_ref
            && let Some(machine) = in_time(provider.get(known)).await?
        {
            machines.insert(machine.provider_ref.clone(), machine);
        }
        for machine in in_time(provider.find(instance.reference())).await? {
            machines.insert(machine.provider_ref.clone(), machine);
        }
        Ok(())
    };
    if let Err(error) = found.await {
        return trouble(leased, &error, app.clock.now());
    }
    let now = app.clock.now();
    if machines.is_empty() {
        // A machine that was asked for and not heard of may still show up; until it cannot, nothing is over.
        return if instance.unsure_until.is_some_and(|until| now < until) {
            wait(leased, None, None, now)
        } else {
            Outcome::Ended {
                end: End::Succeeded,
                event: Some(Event::Destroyed),
                machine: None,
            }
        };
    }
    for machine in machines.values().filter(|m| !m.busy) {
        match in_time(provider.delete(&machine.provider_ref)).await {
            Ok(())
            | Err(ProviderError::NotFound | ProviderError::Busy | ProviderError::Unknown) => {}
            Err(error) => return trouble(leased, &error, app.clock.now()),
        }
    }
    wait(leased, Some(leased.asked_at.unwrap_or(now)), None, now)
}

/// The machine is gone.
pub(super) fn lost() -> Outcome {
    let end = End::Failed {
        reason: "INSTANCE_NOT_FOUND".into(),
        message: "the provider no longer has the machine".to_owned(),
    };
    Outcome::Ended {
        end,
        event: Some(Event::Lose),
        machine: None,
    }
}

/// It failed, for one of the contract's reasons, and the machine is as it was.
pub(super) fn failed(reason: &'static str, message: String, machine: Option<Machine>) -> Outcome {
    let end = End::Failed {
        reason: reason.into(),
        message,
    };
    Outcome::Ended {
        end,
        event: None,
        machine,
    }
}

/// A provider's words without the number of its status.
pub(super) fn said(words: &str) -> &str {
    match words.split_once(": ") {
        Some((status, said)) if status.bytes().all(|b| b.is_ascii_digit()) => said,
        _ => words,
    }
}

/// Nothing is wrong; it takes its time.
pub(super) fn wait(
    leased: &Leased,
    asked_at: Option<DateTime<Utc>>,
    machine: Option<Machine>,
    now: DateTime<Utc>,
) -> Outcome {
    if gives_up(leased, now) {
        let message = "the provider did not finish in time".to_owned();
        return failed("DEADLINE_EXCEEDED", message, machine);
    }
    Outcome::Later {
        after: pause(now - leased.created_at),
        asked_at,
        unsure: leased.unsure && asked_at.is_none(),
        machine,
    }
}

/// The provider could not, or would not.
pub(super) fn trouble(leased: &Leased, error: &ProviderError, now: DateTime<Utc>) -> Outcome {
    tracing::warn!(operation = %leased.id, kind = leased.kind.as_str_name(), %error, "the provider did not take an operation on");
    let hopeless = match error {
        ProviderError::Refused(_) => Some(("INTERNAL", "the provider refused the operation")),
        ProviderError::NoCapacity => Some((
            "OUT_OF_CAPACITY",
            "the provider has no room for the machine",
        )),
        _ if gives_up(leased, now) => Some((
            "PROVIDER_UNAVAILABLE",
            "the provider could not be reached in time",
        )),
        _ => None,
    };
    if let Some((reason, message)) = hopeless.filter(|_| is_cancellable(leased.kind)) {
        return failed(reason, message.to_owned(), None);
    }
    let asked_for = match error {
        ProviderError::RateLimited { after } => TimeDelta::from_std(*after)
            .unwrap_or(PATIENCE)
            .min(PATIENCE),
        _ => TimeDelta::zero(),
    };
    Outcome::Later {
        after: pause(now - leased.created_at).max(asked_for),
        asked_at: leased.asked_at,
        unsure: leased.unsure,
        machine: None,
    }
}

fn gives_up(leased: &Leased, now: DateTime<Utc>) -> bool {
    let copies = matches!(
        leased.kind,
        Kind::CreateSnapshot | Kind::RestoreSnapshot | Kind::RestoreBackup
    );
    let taken_on = leased.asked_at.is_some() || leased.unsure;
    let patience = if copies && taken_on {
        COPY_PATIENCE
    } else {
        PATIENCE
    };
    is_cancellable(leased.kind) && now - leased.created_at >= patience
}

/// Writes down what an attempt came to, unless the lease was lost: whoever holds it now knows better.
async fn apply(app: &App, leased: &Leased, outcome: Outcome) -> anyhow::Result<()> {
    let mut tx = app.db.begin().await?;
    let Some(mut instance) =
        store::get_for_update(&mut tx, leased.account, leased.instance).await?
    else {
        return Ok(());
    };
    let now = app.clock.now();
    let (was, revision) = (instance.state, instance.revision);
    let succeeded = match &outcome {
        Outcome::Ended { end, .. } => Some(*end == End::Succeeded),
        Outcome::Later { .. } => None,
    };
    let (machine, held) = match outcome {
        Outcome::Ended {
            end,
            event,
            machine,
        } => {
            if end == End::Succeeded {
                wish(&mut instance, leased);
                if let Some((id, code)) = &leased.image {
                    (instance.image, instance.image_code) = (*id, code.clone());
                }
                instance.touch(now);
            }
            if event == Some(Event::Destroyed) {
                cloud::leave(&mut tx, &instance, now).await?;
            }
            if let Some(event) = event
                && let Err(invalid) = instance.take(event, now)
            {
                tracing::error!(instance = %instance.id, %invalid, "an operation ended in a way its instance does not take");
            }
            (
                machine,
                operation::settle(&mut tx, leased, &end, now).await?,
            )
        }
        Outcome::Later {
            after,
            asked_at,
            unsure,
            machine,
        } => {
            if asked_at.is_some() && wish(&mut instance, leased) {
                instance.touch(now);
            }
            if asked_at.is_some() && leased.asked_at.is_none() {
                begun(app, &mut tx, &instance, leased, now).await?;
            }
            let (step, progress) = if asked_at.is_some() {
                ("working", 50)
            } else {
                ("asking", 10)
            };
            let put = Put {
                next_attempt_at: now + after,
                step,
                progress,
                asked_at,
                unsure,
            };
            (
                machine,
                operation::store::put_back(&mut tx, leased, &put).await?,
            )
        }
    };
    if !held {
        return Ok(tx.rollback().await?);
    }
    if let Some(succeeded) = succeeded {
        snapshot_work::settle(&mut tx, &mut instance, leased, succeeded, now).await?;
        backup::settle(&mut tx, &mut instance, leased, succeeded).await?;
        reverse_dns::settle(&mut tx, leased, succeeded, now).await?;
        firewall_work::settle(&mut tx, leased, succeeded, now).await?;
    }
    if machine.is_some_and(|m| instance.see(&m)) {
        instance.touch(now);
    }
    if instance.revision != revision {
        instance::save(&mut tx, &[(was, instance)]).await?;
    }
    Ok(fault::around(Step::OperationApply, tx.commit()).await?)
}

/// The provider has taken an operation on. From now on a machine that is rebuilt has the new password, one whose password is set no longer the first one, and an
/// address its new name, however the operation ends.
async fn begun(
    app: &App,
    connection: &mut PgConnection,
    instance: &Instance,
    leased: &Leased,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    match (leased.kind, leased.secret.as_deref()) {
        (Kind::Rebuild, Some(sealed)) => {
            boot::keep_fresh(app, connection, instance, leased.id, sealed, now).await
        }
        (Kind::ResetPassword, _) => {
            store::boot::take_password(connection, instance.account, instance.id, now).await?;
            Ok(())
        }
        (Kind::RestoreSnapshot, _) => {
            Ok(snapshot_work::begun(connection, instance, leased, now).await?)
        }
        (Kind::RestoreBackup, _) => Ok(backup::begun(connection, instance, leased, now).await?),
        (Kind::SetReverseDns, _) => Ok(store::reverse_dns::keep(connection, leased, now).await?),
        _ => Ok(()),
    }
}

/// What was asked for is now what is wanted. True if that is news.
fn wish(instance: &mut Instance, leased: &Leased) -> bool {
    let Some(wanted) = Wanted::of(leased.kind)
        .filter(|w| *w != instance.wanted && instance.wanted != Wanted::Deleted)
    else {
        return false;
    };
    instance.wanted = wanted;
    true
}
