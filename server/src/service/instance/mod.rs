//! Machines that were sold.
//!
//! Owns: `instances`, `snapshots`, `backups`, `backup_watches`, `ssh_keys`, `first_boots`, `consoles`, `reverse_dns`, `firewalls`, `meters`, `metrics_1m`, `metrics_5m`, `metrics_60m`, `traffic_months`. Calls: operation, provider, and catalog for images and plans. Reads `operations` of operation and `subscriptions` of lifecycle for what an instance shows.
//! Emits: INSTANCE_CHANGED.
//!
//! What should be and what is seen are kept apart. Whoever wants a change records an operation here, in a transaction; the reconciler (`job.rs`) makes it so, outside
//! any transaction, and writes down what it saw. Orders make machines by `provision`, and changes of plan go through `resize`. Snapshots are asked for in `snapshot` and seen to in `snapshot_work`. Backups are seen to in `backup`. Consoles are opened in `console` and relayed in `relay`. Addresses are named in `reverse_dns`. Firewalls are asked for in `firewall` and seen to in `firewall_work`. What machines use is read by `metrics_work`. The patrol (`patrol.rs`) notices what changed without anybody's asking.

pub mod ask;
#[cfg(test)]
mod ask_tests;
pub mod backup;
pub mod boot;
#[cfg(test)]
mod boot_tests;
mod calls;
pub mod cloud;
pub mod console;
pub mod convert;
pub mod error;
pub mod firewall;
pub mod firewall_work;
pub mod job;
#[cfg(test)]
mod job_tests;
#[cfg(test)]
mod meter_tests;
pub mod metrics_work;
pub mod model;
pub mod password;
pub mod patrol;
pub mod plan;
pub mod provision;
#[cfg(test)]
mod provision_tests;
pub mod relay;
pub mod resize;
pub mod reverse_dns;
pub mod rpc;
pub mod snapshot;
#[cfg(test)]
mod snapshot_tests;
pub mod snapshot_work;
pub mod store;
#[cfg(test)]
mod tests;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;
use sewa_sdk::sewa::event::v1::event::Payload;
use sewa_sdk::sewa::event::v1::{EventType, InstancePayload};
use sqlx::PgConnection;

pub use self::job::reconcile_once;
pub use self::model::NewInstance;
use self::model::{Event, Instance, State, Wanted};
pub use self::patrol::patrol_once;
pub use self::provision::{ProvisionFailure, Provisioned, provision};
use crate::base::id::{AccountId, InstanceId, OperationId, ProviderAccountId};
use crate::base::outbox::{self, NewEvent};
use crate::provider::compute::{Machine, Power};
use crate::service::hypervisor;
use crate::service::operation::{self, NewOperation};

/// Records instances that are to be made. Those recorded already stay as they are.
///
/// # Errors
/// Of the database.
pub async fn insert_many(
    connection: &mut PgConnection,
    new: &[NewInstance],
) -> Result<(), sqlx::Error> {
    if new.is_empty() {
        return Ok(());
    }
    let inserted = store::insert(connection, new).await?;
    let events: Vec<NewEvent> = new
        .iter()
        .filter(|n| inserted.contains(&n.id))
        .map(|n| changed(n.account, n.id, 1, n.created_at, State::Provisioning, ""))
        .collect();
    outbox::insert(connection, &events).await
}

/// Records that the machine of an order runs. Nothing happens unless the instance is being made.
///
/// # Errors
/// Of the database.
pub async fn mark_running(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let Some(mut instance) = being_made(connection, account, id).await? else {
        return Ok(());
    };
    let was = instance.state;
    // `being_made` returns instances in the one state that takes both events.
    if instance.take(Event::Started, now).is_ok() {
        save(connection, &[(was, instance)]).await?;
    }
    Ok(())
}

/// Records that the machine of an order cannot be had. Whatever there is of it at the provider is cleaned up like any other machine that was deleted.
/// Nothing happens unless the instance is being made.
///
/// # Errors
/// Of the database.
pub async fn mark_failed(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let Some(mut instance) = being_made(connection, account, id).await? else {
        return Ok(());
    };
    let was = instance.state;
    if instance.take(Event::Fail, now).is_ok() {
        // Both are empty only if nobody ever asked for a machine, or it was refused for sure.
        if instance.provider_ref.is_some() || instance.unsure_until.is_some() {
            operation::insert_many(connection, &[operation_on(&instance, Kind::Delete, now)])
                .await?;
        } else {
            hypervisor::give_up(connection, account, id, now).await?;
        }
        save(connection, &[(was, instance)]).await?;
    }
    Ok(())
}

/// Records a machine that was made elsewhere, and is there already, as an instance. The provider's account is locked by the caller, so that no other has it.
///
/// # Errors
/// Of the database.
pub async fn take_in(
    connection: &mut PgConnection,
    new: NewInstance,
    provider_account: ProviderAccountId,
    machine: &Machine,
) -> Result<(), sqlx::Error> {
    store::insert(connection, std::slice::from_ref(&new)).await?;
    store::take_in(
        connection,
        new.account,
        new.id,
        provider_account,
        &machine.provider_ref,
    )
    .await?;
    let mut instance = being_made(connection, new.account, new.id)
        .await?
        .ok_or(sqlx::Error::RowNotFound)?;
    instance.see(machine);
    let events: &[Event] = match machine.power {
        Power::Running | Power::Booting => &[Event::Started],
        Power::Stopped | Power::Stopping => &[Event::Started, Event::Stopped],
    };
    for event in events {
        // An instance that is being made takes the first, and one that runs the second.
        instance
            .take(*event, new.created_at)
            .map_err(|cause| sqlx::Error::Encode(cause.into()))?;
    }
    if instance.state == State::Stopped {
        instance.wanted = Wanted::Stopped;
    }
    save(connection, &[(State::Provisioning, instance)]).await
}

async fn being_made(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
) -> Result<Option<Instance>, sqlx::Error> {
    Ok(store::get_for_update(connection, account, id)
        .await?
        .filter(|i| i.state == State::Provisioning))
}

/// Powers machines off because they are unpaid, and keeps them off. What else was under way on them is cancelled. Those that are suspended or gone stay as they are.
///
/// # Errors
/// Of the database.
pub async fn suspend_many(
    connection: &mut PgConnection,
    named: &[(AccountId, InstanceId)],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    impose(connection, named, Kind::Suspend, now, |i| {
        let due = !i.suspended && i.state.on(Event::Suspended).is_ok();
        if due {
            i.suspended = true;
            i.touch(now);
        }
        due
    })
    .await
}

/// Ends the suspension of machines that were paid. Those their owners had stopped stay off.
///
/// # Errors
/// Of the database.
pub async fn resume_many(
    connection: &mut PgConnection,
    named: &[(AccountId, InstanceId)],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    impose(connection, named, Kind::Resume, now, |i| {
        let due = i.suspended && i.state.on(Event::Started).is_ok();
        if due {
            i.suspended = false;
            i.touch(now);
        }
        due
    })
    .await
}

/// Destroys machines. Those that are gone or going stay as they are.
///
/// # Errors
/// Of the database.
pub async fn terminate_many(
    connection: &mut PgConnection,
    named: &[(AccountId, InstanceId)],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    impose(connection, named, Kind::Delete, now, |i| {
        i.take(Event::Delete, now).is_ok()
    })
    .await
}

/// Records an operation on each instance that `decide` changes, in place of whatever is under way there. An instance named twice is changed once.
async fn impose(
    connection: &mut PgConnection,
    named: &[(AccountId, InstanceId)],
    kind: Kind,
    now: DateTime<Utc>,
    decide: impl Fn(&mut Instance) -> bool,
) -> Result<(), sqlx::Error> {
    if named.is_empty() {
        return Ok(());
    }
    let mut due: Vec<(State, Instance)> = Vec::with_capacity(named.len());
    for mut instance in store::list_for_update(connection, named).await? {
        let was = instance.state;
        if due.last().is_none_or(|(_, last)| last.id != instance.id) && decide(&mut instance) {
            due.push((was, instance));
        }
    }
    let keys: Vec<(AccountId, InstanceId)> = due.iter().map(|(_, i)| (i.account, i.id)).collect();
    for replaced in operation::supersede(connection, &keys, now).await? {
        // What its owner had asked for is what its owner wants, though it was not done.
        let wish = Wanted::of(replaced.kind).filter(|_| kind != Kind::Delete);
        if let (Some(wish), Some((_, instance))) = (
            wish,
            due.iter_mut().find(|(_, i)| i.id == replaced.instance),
        ) {
            instance.wanted = wish;
        }
    }
    let operations: Vec<NewOperation> = due
        .iter()
        .map(|(_, i)| operation_on(i, kind, now))
        .collect();
    operation::insert_many(connection, &operations).await?;
    save(connection, &due).await
}

fn operation_on(instance: &Instance, kind: Kind, now: DateTime<Utc>) -> NewOperation {
    NewOperation {
        account: instance.account,
        id: OperationId::new(),
        instance: instance.id,
        order: None,
        kind,
        created_at: now,
    }
}

/// Writes changed instances, each with the state it was in, and announces new states.
async fn save(
    connection: &mut PgConnection,
    instances: &[(State, Instance)],
) -> Result<(), sqlx::Error> {
    if instances.is_empty() {
        return Ok(());
    }
    store::save(
        connection,
        &instances.iter().map(|(_, i)| i).collect::<Vec<_>>(),
    )
    .await?;
    let events: Vec<NewEvent> = instances
        .iter()
        .filter(|(was, i)| *was != i.state)
        .map(|(was, i)| {
            changed(
                i.account,
                i.id,
                i.revision,
                i.updated_at,
                i.state,
                was.as_str(),
            )
        })
        .collect();
    outbox::insert(connection, &events).await
}

fn changed(
    account: AccountId,
    id: InstanceId,
    revision: i64,
    at: DateTime<Utc>,
    state: State,
    was: &str,
) -> NewEvent {
    let payload = Payload::Instance(InstancePayload {
        state: state.as_str().to_owned(),
        previous_state: was.to_owned(),
    });
    NewEvent::new(
        account,
        EventType::InstanceChanged,
        id.0,
        revision,
        at,
        payload,
    )
}
