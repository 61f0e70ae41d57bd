//! Names of addresses: owners' wishes, checked and recorded as operations on the instance, and what the reconciler does about them, one look and at most one call that changes something
//! at a time.
//!
//! Naming an address twice is like naming it once, so a call whose answer was lost is repeated, unless a look shows that it had its effect. What matters more is whose address it is:
//! the machine is looked at before each call, and an address that it has not any more is left alone.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;

use crate::app::App;
use crate::provider::compute::reverse_dns::ReverseDns;
use crate::provider::compute::{Compute, Machine, ProviderError, Providers};
use crate::service::instance::ask::{self, Target};
use crate::service::instance::calls::in_time;
use crate::service::instance::error::Error;
use crate::service::instance::job::{Outcome, failed, look, lost, said, trouble, wait};
use crate::service::instance::model::Instance;
use crate::service::instance::model::reverse_dns::{Naming, Record, Wish};
use crate::service::instance::plan::pause;
use crate::service::instance::store;
use crate::service::operation::NewOperation;
use crate::service::operation::model::{End, Leased};

/// The names of an instance's addresses, IPv4 first.
///
/// # Errors
/// If its provider names none, or of the database.
pub async fn get(
    providers: &Providers,
    connection: &mut PgConnection,
    instance: &Instance,
) -> Result<Vec<Record>, Error> {
    supported(providers, instance)?;
    let set = store::reverse_dns::list(connection, instance.account, instance.id).await?;
    let of = |address: IpAddr| {
        let found = set.iter().find(|record| record.address == address);
        found.cloned().unwrap_or(Record {
            address,
            hostname: String::new(),
            set_at: None,
        })
    };
    Ok(instance.addresses().map(of).collect())
}

/// Asks for an address to be named, or for its provider's default if `hostname` is empty.
///
/// # Errors
/// Why the instance does not take it, or the provider cannot, or that the address is not the instance's.
pub async fn set(
    providers: &Providers,
    connection: &mut PgConnection,
    target: Target<'_>,
    address: &str,
    hostname: &str,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let instance = ask::admitted(connection, target, Kind::SetReverseDns).await?;
    supported(providers, &instance)?;
    let own = address.parse::<IpAddr>().ok().and_then(|named| {
        instance
            .addresses()
            .find(|own| *own == named.to_canonical())
    });
    let wish = Wish {
        address: own.ok_or_else(|| Error::AddressNotOfInstance(address.to_owned()))?,
        hostname: hostname.to_ascii_lowercase(),
    };
    let operation = ask::record(connection, instance, Kind::SetReverseDns, now).await?;
    store::reverse_dns::ask(connection, target.account, target.id, &wish, operation.id).await?;
    Ok(operation)
}

fn supported(providers: &Providers, instance: &Instance) -> Result<(), Error> {
    if providers.has_reverse_dns(&instance.provider) {
        Ok(())
    } else {
        Err(Error::NotSupported("reverse_dns"))
    }
}

/// Names an address, one step further.
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
    let found = store::reverse_dns::get_of_operation(&mut connection, leased).await?;
    drop(connection);
    let (Some(wish), Some(names)) = (found, provider.reverse_dns()) else {
        let message = "the address cannot be named".to_owned();
        return Ok(failed("INTERNAL", message, None));
    };
    Ok(match look(provider, instance).await {
        Ok(None) => lost(),
        Ok(Some(machine)) => name(app, names, leased, &wish, machine).await,
        Err(error) => trouble(leased, &error, app.clock.now()),
    })
}

async fn name(
    app: &App,
    names: &dyn ReverseDns,
    leased: &Leased,
    wish: &Wish,
    machine: Machine,
) -> Outcome {
    if !wish.is_of(&machine) {
        let message = format!("the machine has not the address {} any more", wish.address);
        return failed("REVERSE_DNS_REFUSED", message, Some(machine));
    }
    let (id, accepted) = (machine.provider_ref.clone(), leased.asked_at.is_some());
    let mut shown = None;
    if accepted || leased.unsure {
        match in_time(names.get(&id, wish.address)).await {
            Ok(found) => shown = found,
            Err(error) => return trouble(leased, &error, app.clock.now()),
        }
    }
    match wish.next(accepted, shown.as_deref()) {
        Naming::Done => Outcome::Ended {
            end: End::Succeeded,
            event: None,
            machine: Some(machine),
        },
        Naming::Wait => wait(leased, leased.asked_at, Some(machine), app.clock.now()),
        Naming::Ask => {
            let answer = in_time(names.set(&id, wish.address, wish.name())).await;
            answered(answer, leased, machine, app.clock.now())
        }
    }
}

/// What the provider's answer means.
fn answered(
    answer: Result<(), ProviderError>,
    leased: &Leased,
    machine: Machine,
    now: DateTime<Utc>,
) -> Outcome {
    match answer {
        Ok(()) => Outcome::Later {
            after: pause(TimeDelta::zero()),
            asked_at: Some(now),
            unsure: false,
            machine: Some(machine),
        },
        Err(ProviderError::Refused(words)) => {
            let message = format!("the provider refuses the name: {}", said(&words));
            failed("REVERSE_DNS_REFUSED", message, Some(machine))
        }
        Err(ProviderError::Busy | ProviderError::NotFound) => {
            wait(leased, None, Some(machine), now)
        }
        Err(error) => match trouble(leased, &error, now) {
            Outcome::Later { after, .. } => Outcome::Later {
                after,
                asked_at: None,
                unsure: leased.unsure || error == ProviderError::Unknown,
                machine: Some(machine),
            },
            ended @ Outcome::Ended { .. } => ended,
        },
    }
}

/// Writes down what the end of an operation means for names. The instance is locked.
///
/// # Errors
/// Of the database.
pub(super) async fn settle(
    connection: &mut PgConnection,
    leased: &Leased,
    succeeded: bool,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    match leased.kind {
        Kind::SetReverseDns if succeeded => store::reverse_dns::keep(connection, leased, now).await,
        Kind::Delete if succeeded => {
            store::reverse_dns::remove(connection, leased.account, leased.instance).await
        }
        _ => Ok(()),
    }
}
