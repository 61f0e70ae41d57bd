//! Giving a machine another size, one look and at most one call at a time, for whoever changes its plan and settles the money (`lifecycle/job.rs`).
//!
//! What a machine's size is, its provider says, so a look tells whether it is done, whatever became of the answer to a call. A machine that has to be off for it is shut down
//! before and has its power back afterwards, also when its size could not be changed.

use chrono::{DateTime, TimeDelta, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::{AccountId, InstanceId, PlanId};
use crate::base::money::Rupiah;
use crate::provider::compute::{Capabilities, Compute, Machine, Power, ProviderError};
use crate::service::catalog::model::Plan;
use crate::service::hypervisor;
use crate::service::instance::calls::in_time;
use crate::service::instance::error::Error;
use crate::service::instance::model::{Event, Instance, Wanted};
use crate::service::instance::plan::pause;
use crate::service::instance::{self, cloud, job, store};
use crate::service::operation::model::Leased;
use crate::service::operation::{self, NewOperation};

/// How long a guest that is asked to shut down may take before its power is cut.
const SHUTDOWN_PATIENCE: TimeDelta = TimeDelta::seconds(90);
/// How long a provider that has taken the change on may show the machine idle and as it was, before it counts as not done.
const SETTLE: TimeDelta = TimeDelta::seconds(30);
/// After how long a change that no provider has taken on is given up.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);
/// How long a change that failed may take to have the power back.
const RESTORE_PATIENCE: TimeDelta = TimeDelta::hours(1);
/// After how long one is given up that the provider may have taken on, if it says nothing all the time. Copying a disk takes hours at worst.
const LONG_PATIENCE: TimeDelta = TimeDelta::hours(24);

/// Why a machine cannot be made into one of another plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsuitable {
    /// It is one.
    SamePlan,
    /// The plan is another provider's.
    OtherProvider,
    /// Its disk would become smaller.
    DiskSmaller,
    /// Its provider lacks this capability.
    NotSupported(&'static str),
}

/// Whether the machine of an instance can be made into one of `plan`.
///
/// # Errors
/// Why not.
pub fn suits(instance: &Instance, plan: &Plan, can: Capabilities) -> Result<(), Unsuitable> {
    let smaller = plan.vcpus < instance.vcpus || plan.memory_mib < instance.memory_mib;
    if plan.provider != instance.provider {
        Err(Unsuitable::OtherProvider)
    } else if !can.resize {
        Err(Unsuitable::NotSupported("resize"))
    } else if plan.id == instance.plan {
        Err(Unsuitable::SamePlan)
    } else if plan.disk_gib < instance.disk_gib {
        Err(Unsuitable::DiskSmaller)
    } else if plan.disk_gib > instance.disk_gib && !can.resize_disk {
        Err(Unsuitable::NotSupported("resize_disk"))
    } else if smaller && !can.resize_down {
        Err(Unsuitable::NotSupported("resize_down"))
    } else {
        Ok(())
    }
}

/// Records the operation that gives a machine another size. Nobody works on it but whoever leases it from its own queue.
///
/// # Errors
/// Why the instance does not take it.
pub async fn ask(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let mut instance = store::get_for_update(connection, account, id)
        .await?
        .ok_or(Error::InstanceNotFound)?;
    let open = operation::store::get_open(connection, account, id).await?;
    instance.admits(Kind::Resize, open)?;
    let operation = instance::operation_on(&instance, Kind::Resize, now);
    operation::insert_many(connection, &[operation]).await?;
    instance.touch(now);
    instance::save(connection, &[(instance.state, instance)]).await?;
    Ok(operation)
}

/// What a machine is to become.
#[derive(Clone, Debug)]
pub struct Target {
    /// The provider's name of the size.
    pub size: String,
    /// Whether the disk grows with it.
    pub disk_grows: bool,
    /// True once the change cannot be had; the machine is then left as it was.
    pub failed: bool,
}

/// What an attempt came to.
#[derive(Debug)]
pub enum Resized {
    /// The machine has the new size, and its power.
    Done(Event, Machine),
    /// The change cannot be had. The machine may have to be put back as it was.
    Refused(Failure),
    /// A change that could not be had is over, and this is seen of the machine.
    Over(Option<Event>, Option<Machine>),
    /// The machine is gone.
    Lost,
    /// Somebody looks again.
    Later {
        /// After this time.
        after: TimeDelta,
        /// When the provider took it on, if it has.
        asked_at: Option<DateTime<Utc>>,
        /// True if it was asked and did not answer.
        unsure: bool,
    },
}

/// Why a change cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Stable reason, one of the contract's.
    pub reason: &'static str,
    /// For people.
    pub message: &'static str,
}

const REFUSED: Failure = Failure {
    reason: "INTERNAL",
    message: "the provider refused the operation",
};
const NO_CAPACITY: Failure = Failure {
    reason: "OUT_OF_CAPACITY",
    message: "the provider has no room for the machine in this size",
};
const UNREACHABLE: Failure = Failure {
    reason: "PROVIDER_UNAVAILABLE",
    message: "the provider could not be reached in time",
};
const NOT_DONE: Failure = Failure {
    reason: "DEADLINE_EXCEEDED",
    message: "the provider did not change the machine in time",
};
/// What is said of a machine that is gone.
pub const GONE: Failure = Failure {
    reason: "INSTANCE_NOT_FOUND",
    message: "the provider no longer has the machine",
};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    PowerOn,
    PowerOff,
    Shutdown,
    Resize,
    Wait,
    /// It has the new size.
    Done(Event),
    /// It is as it was before.
    Restored(Event),
    /// The provider has taken it on and not done it.
    NotDone,
    Lost,
}

/// A change as far as it decides what comes next.
#[derive(Clone, Copy, Debug)]
struct Work<'t> {
    target: &'t Target,
    wanted: Wanted,
    asked_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    can: Capabilities,
}

impl Work<'_> {
    fn next(&self, machine: Option<&Machine>, now: DateTime<Utc>) -> Next {
        let Some(machine) = machine else {
            return Next::Lost;
        };
        if machine.busy {
            return Next::Wait;
        }
        if machine.size == self.target.size {
            return self.rest(machine, Next::Done);
        }
        if self.target.failed {
            return self.rest(machine, Next::Restored);
        }
        if let Some(asked_at) = self.asked_at {
            return if now - asked_at < SETTLE {
                Next::Wait
            } else {
                Next::NotDone
            };
        }
        match machine.power {
            Power::Booting | Power::Stopping => Next::Wait,
            Power::Running if self.can.resize_off => {
                let patient = now - self.created_at < SHUTDOWN_PATIENCE;
                if self.can.graceful_shutdown && patient {
                    Next::Shutdown
                } else {
                    Next::PowerOff
                }
            }
            Power::Running | Power::Stopped => Next::Resize,
        }
    }

    /// Gives the machine the power its owner wants it to have.
    fn rest(&self, machine: &Machine, over: fn(Event) -> Next) -> Next {
        let on = self.wanted == Wanted::Running;
        match machine.power {
            Power::Booting | Power::Stopping => Next::Wait,
            Power::Running if on => over(Event::Started),
            Power::Stopped if !on => over(Event::Stopped),
            Power::Running => Next::PowerOff,
            Power::Stopped => Next::PowerOn,
        }
    }
}

/// Takes a leased change one step further. Holds no transaction, and repeats safely.
///
/// # Errors
/// Of the database.
pub async fn attempt(app: &App, leased: &Leased, target: &Target) -> Result<Resized, sqlx::Error> {
    let Some(instance) = store::get(&app.db, leased.account, leased.instance).await? else {
        return Ok(Resized::Lost);
    };
    let provider = match cloud::of(app, &instance).await? {
        Ok(provider) => provider,
        Err(error) => return Ok(trouble(leased, target, &error, false, app.clock.now())),
    };
    let machine = match job::look(&provider, &instance).await {
        Ok(machine) => machine,
        Err(error) => return Ok(trouble(leased, target, &error, false, app.clock.now())),
    };
    let now = app.clock.now();
    let work = Work {
        target,
        wanted: instance.wanted,
        asked_at: leased.asked_at,
        created_at: leased.created_at,
        can: provider.capabilities(),
    };
    let next = work.next(machine.as_ref(), now);
    let Some(machine) = machine else {
        return Ok(Resized::Lost);
    };
    let begins = matches!(next, Next::Shutdown | Next::PowerOff | Next::Resize);
    if begins && !target.failed && leased.asked_at.is_none() && now - leased.created_at >= PATIENCE
    {
        // It is seen idle and as it was, so whatever was asked before had no effect.
        return Ok(Resized::Refused(NOT_DONE));
    }
    let name = machine.provider_ref.clone();
    let name = name.as_str();
    let answer = match next {
        Next::Lost => return Ok(Resized::Lost),
        Next::Done(event) => return Ok(Resized::Done(event, machine)),
        Next::Restored(event) => return Ok(Resized::Over(Some(event), Some(machine))),
        Next::NotDone => return Ok(Resized::Refused(NOT_DONE)),
        Next::Wait => return Ok(wait(leased, target, machine, now)),
        Next::PowerOn => in_time(provider.power_on(name)).await,
        Next::PowerOff => in_time(provider.power_off(name)).await,
        Next::Shutdown => in_time(provider.shutdown(name)).await,
        Next::Resize => {
            match cloud::make_room(app, &instance, &target.size, target.disk_grows).await? {
                Ok(()) => resize(provider.as_ref(), name, target).await,
                Err(error) => Err(error),
            }
        }
    };
    let now = app.clock.now();
    let resizing = next == Next::Resize;
    Ok(match answer {
        Ok(()) => Resized::Later {
            after: pause(TimeDelta::zero()),
            asked_at: leased.asked_at.or_else(|| resizing.then_some(now)),
            unsure: false,
        },
        Err(ProviderError::Unknown) => Resized::Later {
            after: pause(now - leased.created_at),
            asked_at: leased.asked_at,
            unsure: leased.unsure || resizing,
        },
        Err(ProviderError::Busy | ProviderError::NotFound) => wait(leased, target, machine, now),
        Err(error) => trouble(leased, target, &error, resizing, now),
    })
}

async fn resize(provider: &dyn Compute, name: &str, target: &Target) -> Result<(), ProviderError> {
    in_time(provider.resize(name, &target.size, target.disk_grows)).await
}

/// It takes its time.
fn wait(leased: &Leased, target: &Target, machine: Machine, now: DateTime<Utc>) -> Resized {
    if !is_overdue(leased, target, now) {
        return later(leased, TimeDelta::zero(), now);
    }
    if target.failed {
        Resized::Over(None, Some(machine))
    } else {
        Resized::Refused(NOT_DONE)
    }
}

/// The provider could not, or would not.
fn trouble(
    leased: &Leased,
    target: &Target,
    error: &ProviderError,
    resizing: bool,
    now: DateTime<Utc>,
) -> Resized {
    tracing::warn!(operation = %leased.id, %error, "the provider did not take a change of size on");
    match error {
        ProviderError::Refused(_) if resizing => Resized::Refused(REFUSED),
        ProviderError::NoCapacity if resizing => Resized::Refused(NO_CAPACITY),
        _ if is_overdue(leased, target, now) && target.failed => Resized::Over(None, None),
        _ if is_overdue(leased, target, now) => Resized::Refused(UNREACHABLE),
        ProviderError::RateLimited { after } => {
            let after = TimeDelta::from_std(*after).unwrap_or(PATIENCE);
            later(leased, after.min(PATIENCE), now)
        }
        _ => later(leased, TimeDelta::zero(), now),
    }
}

fn later(leased: &Leased, least: TimeDelta, now: DateTime<Utc>) -> Resized {
    Resized::Later {
        after: pause(now - leased.created_at).max(least),
        asked_at: leased.asked_at,
        unsure: leased.unsure,
    }
}

fn is_overdue(leased: &Leased, target: &Target, now: DateTime<Utc>) -> bool {
    let taken = leased.asked_at.is_some() || leased.unsure;
    let patience = if taken { LONG_PATIENCE } else { PATIENCE };
    let restoring = if target.failed {
        RESTORE_PATIENCE
    } else {
        TimeDelta::zero()
    };
    now - leased.created_at >= patience + restoring
}

/// What the machine of an instance has become.
#[derive(Clone, Debug)]
pub struct Became {
    /// The plan.
    pub plan: PlanId,
    /// The provider's name of the size.
    pub size: String,
    /// Virtual processors.
    pub vcpus: i32,
    /// Memory.
    pub memory_mib: i32,
    /// Disk.
    pub disk_gib: i32,
    /// Price of one period without tax.
    pub price: Rupiah,
}

/// Writes down what was seen of a machine at the end of its change, and what it has become, if it has.
///
/// # Errors
/// Of the database.
pub async fn ended(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    event: Option<Event>,
    machine: Option<&Machine>,
    became: Option<&Became>,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let Some(mut instance) = store::get_for_update(connection, account, id).await? else {
        return Ok(());
    };
    let was = instance.state;
    if let Some(machine) = machine {
        instance.see(machine);
    }
    match event.map(|event| instance.take(event, now)) {
        Some(Ok(())) => {}
        Some(Err(invalid)) => {
            tracing::error!(instance = %id, %invalid, "a change of size ended in a way its instance does not take");
            instance.touch(now);
        }
        None => instance.touch(now),
    }
    let had = [instance.vcpus, instance.memory_mib, instance.disk_gib];
    let has = became.map_or(had, |b| [b.vcpus, b.memory_mib, b.disk_gib]);
    hypervisor::settle(connection, account, id, has).await?;
    if let Some(became) = became {
        store::set_plan(connection, account, id, became).await?;
    }
    instance::save(connection, &[(was, instance)]).await
}

#[cfg(test)]
#[path = "resize_tests.rs"]
mod tests;
