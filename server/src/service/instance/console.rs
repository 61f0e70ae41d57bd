//! Consoles: a way to one is given to its owner, is good for one connection within a minute, and may be used at any replica. What a provider shows by a page of its own is handed on, and
//! not known afterwards; what it lets us look at is relayed (`relay.rs`).
//!
//! The provider is asked twice: whether it shows a console, before anybody is given a way to it, and for the console itself, when somebody comes. Its own tickets last for seconds.

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::call::{Caller, CallerKind};
use crate::base::crypto;
use crate::base::id::{ApiKeyId, ConsoleId};
use crate::provider::compute::consoles::{Screen, Way};
use crate::provider::compute::{Compute, ProviderError};
use crate::service::instance::ask::{self, Target};
use crate::service::instance::calls::in_time;
use crate::service::instance::cloud;
use crate::service::instance::error::Error;
use crate::service::instance::model::Instance;
use crate::service::instance::model::console::{self as rules, Console, LEASE, LIMIT, TICKET};
use crate::service::instance::store;

/// Ways and consoles that are forgotten at once.
const CHUNK: i64 = 500;

/// How the console of an instance is reached. Looks at the provider, so no transaction may be open.
///
/// # Errors
/// Why its console cannot be shown.
pub async fn way(app: &App, target: Target<'_>) -> Result<Way, Error> {
    let found = store::get(&app.db, target.account, target.id).await?;
    let instance = found.ok_or(Error::InstanceNotFound)?;
    rules::admits(&instance)?;
    let can = app.providers.capabilities_of(&instance.provider);
    if !can.is_some_and(|can| can.console) {
        return Err(Error::NotSupported("console"));
    }
    let looked = at_the_cloud(app, &instance, |cloud, machine| async move {
        let consoles = cloud.consoles().ok_or_else(none)?;
        consoles.way(&machine).await
    });
    looked.await?.map_err(Error::ConsoleUnavailable)
}

/// A way to a console as its owner is given it: the ticket, and when it ends.
///
/// # Errors
/// Why the instance does not take it, or that it has enough.
pub async fn issue(
    connection: &mut PgConnection,
    caller: &Caller,
    target: Target<'_>,
    now: DateTime<Utc>,
) -> Result<(String, DateTime<Utc>), Error> {
    let instance = ask::locked(connection, target).await?;
    rules::admits(&instance)?;
    if store::consoles::count(connection, target.account, target.id, now).await? >= LIMIT {
        return Err(Error::ConsoleLimit);
    }
    let new = Console {
        account: target.account,
        id: ConsoleId::new(),
        instance: target.id,
        principal: caller.principal,
        key: (caller.kind == CallerKind::ApiKey).then_some(ApiKeyId(caller.principal)),
    };
    let (ticket, until) = (crypto::token(rules::PREFIX), now + TICKET);
    let digest = crypto::digest(ticket.as_bytes());
    store::consoles::insert(connection, &new, &digest, until, now).await?;
    Ok((ticket, until))
}

/// Checks once more, in the transaction that writes down who was given the address of a page.
///
/// # Errors
/// Why the instance does not take it.
pub async fn hand_on(
    connection: &mut PgConnection,
    target: Target<'_>,
    address: SecretString,
) -> Result<SecretString, Error> {
    let instance = ask::locked(connection, target).await?;
    rules::admits(&instance)?;
    Ok(address)
}

/// Uses a ticket. `None` if there is no such ticket any more.
///
/// # Errors
/// Of the database.
pub async fn redeem(app: &App, ticket: &str) -> Result<Option<Console>, sqlx::Error> {
    let (now, digest) = (app.clock.now(), crypto::digest(ticket.as_bytes()));
    store::consoles::redeem(&app.db, &digest, now, now + LEASE).await
}

/// Connects to the screen of a console's machine.
///
/// # Errors
/// If whoever asked would not be let in any more, why its console cannot be shown, or the provider's own.
pub async fn connect(app: &App, console: &Console) -> Result<Screen, Error> {
    if !is_trusted(app, console).await {
        return Err(Error::InstanceNotFound);
    }
    let found = store::get(&app.db, console.account, console.instance).await?;
    let instance = found.ok_or(Error::InstanceNotFound)?;
    rules::admits(&instance)?;
    let connecting = at_the_cloud(app, &instance, |cloud, machine| async move {
        let consoles = cloud.consoles().ok_or_else(none)?;
        consoles.connect(&machine).await
    });
    connecting.await?.map_err(Error::ConsoleUnavailable)
}

/// Whether the API key that asked for a console still works. What a signed-in user asked for goes on after the access token has ended: a page renews it, and consoles are not told.
pub async fn is_trusted(app: &App, console: &Console) -> bool {
    match console.key {
        // That nobody could say is no answer.
        Some(key) => !matches!(app.reads.keys.get((console.account, key)).await, Ok(None)),
        None => true,
    }
}

/// Forgets ways that were not used and consoles whose replica is gone; returns how many.
///
/// # Errors
/// Of the database.
pub async fn forget(app: &App) -> Result<usize, sqlx::Error> {
    store::consoles::forget(&app.db, app.clock.now(), CHUNK).await
}

async fn at_the_cloud<T, F>(
    app: &App,
    instance: &Instance,
    call: impl FnOnce(std::sync::Arc<dyn Compute>, String) -> F,
) -> Result<Result<T, ProviderError>, sqlx::Error>
where
    F: Future<Output = Result<T, ProviderError>>,
{
    let Some(machine) = instance.provider_ref.clone() else {
        return Ok(Err(ProviderError::NotFound));
    };
    let outcome = match cloud::of(app, instance).await? {
        Ok(cloud) => in_time(call(cloud, machine)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &outcome {
        tracing::warn!(instance = %instance.id, %error, "a provider shows no console");
    }
    Ok(outcome)
}

fn none() -> ProviderError {
    ProviderError::Refused("it has no consoles".to_owned())
}
