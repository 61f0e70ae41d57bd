//! What owners ask about firewalls: each wish is checked and recorded as an operation on the instance, as all others are, so that one thing happens at a time.

use chrono::{DateTime, TimeDelta, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;

use crate::provider::compute::Providers;
use crate::service::instance::ask::{self, Target};
use crate::service::instance::error::Error;
use crate::service::instance::model::Instance;
use crate::service::instance::model::firewall::{Firewall, Wish};
use crate::service::instance::store;
use crate::service::operation::NewOperation;

/// How often somebody looks whether an operation left a firewall that is not as it should be.
pub(super) const ROUND: TimeDelta = TimeDelta::seconds(60);

/// The firewall of an instance; `None` if it never had one.
///
/// # Errors
/// If its provider has none, or of the database.
pub async fn get(
    providers: &Providers,
    connection: &mut PgConnection,
    instance: &Instance,
) -> Result<Option<Firewall>, Error> {
    supported(providers, instance)?;
    Ok(store::firewalls::get(connection, instance.account, instance.id).await?)
}

/// Asks for a firewall. Its rules have been checked.
///
/// # Errors
/// Why the instance does not take it, or that its provider has none.
pub async fn set(
    providers: &Providers,
    connection: &mut PgConnection,
    target: Target<'_>,
    wish: &Wish,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let instance = ask::admitted(connection, target, Kind::SetFirewall).await?;
    supported(providers, &instance)?;
    let operation = ask::record(connection, instance, Kind::SetFirewall, now).await?;
    let (account, id) = (target.account, target.id);
    store::firewalls::ask(connection, account, id, wish, operation.id, now + ROUND).await?;
    Ok(operation)
}

fn supported(providers: &Providers, instance: &Instance) -> Result<(), Error> {
    if providers.has_firewalls(&instance.provider) {
        Ok(())
    } else {
        Err(Error::NotSupported("firewall"))
    }
}
