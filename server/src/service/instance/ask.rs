//! What owners ask of their machines: each wish is checked against what the machine is, and recorded as an operation.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::id::{AccountId, ImageId, InstanceId};
use crate::provider::compute::Providers;
use crate::service::catalog::model::Snapshot;
use crate::service::instance::error::Error;
use crate::service::instance::model::{Event, Instance};
use crate::service::instance::{self, password, store};
use crate::service::operation::{self, NewOperation};

/// Which instance, as the caller last saw it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'t> {
    /// The account.
    pub account: AccountId,
    /// The instance.
    pub id: InstanceId,
    /// The etag last read; empty to act whatever it is.
    pub etag: &'t str,
}

/// Asks for power on, power off, shutdown or reboot.
///
/// # Errors
/// Why the instance does not take it, or the provider cannot. A shutdown is never silently a power cut.
pub async fn power(
    providers: &Providers,
    connection: &mut PgConnection,
    target: Target<'_>,
    kind: Kind,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let instance = admitted(connection, target, kind).await?;
    let can = providers.capabilities_of(&instance.provider);
    if kind == Kind::Shutdown && can.is_some_and(|can| !can.graceful_shutdown) {
        return Err(Error::NotSupported("graceful_shutdown"));
    }
    record(connection, instance, kind, now).await
}

/// Asks for the disk to be made anew, from `image` or from the present one.
///
/// # Errors
/// Why the instance does not take it, or the image does not fit.
pub async fn rebuild(
    connection: &mut PgConnection,
    catalogue: &Snapshot,
    target: Target<'_>,
    image: Option<ImageId>,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let instance = admitted(connection, target, Kind::Rebuild).await?;
    let (id, code) = match image {
        None => (instance.image, instance.image_code.clone()),
        Some(id) => {
            let fits = catalogue
                .image(id)
                .filter(|i| i.provider == instance.provider && i.min_disk_gib <= instance.disk_gib);
            (
                id,
                fits.ok_or(Error::ImageUnavailable(id))?
                    .provider_image
                    .clone(),
            )
        }
    };
    let operation = record(connection, instance, Kind::Rebuild, now).await?;
    operation::attach(connection, &operation, Some((id, &code)), None).await?;
    Ok(operation)
}

/// Asks for a new password, and returns it. It is stored sealed, and only until the provider has it.
///
/// # Errors
/// Why the instance does not take it, or the provider cannot.
pub async fn reset_password(
    app: &App,
    connection: &mut PgConnection,
    target: Target<'_>,
    now: DateTime<Utc>,
) -> Result<(NewOperation, String), Error> {
    let instance = admitted(connection, target, Kind::ResetPassword).await?;
    if !app
        .providers
        .capabilities_of(&instance.provider)
        .is_some_and(|can| can.reset_password)
    {
        return Err(Error::NotSupported("reset_password"));
    }
    let operation = record(connection, instance, Kind::ResetPassword, now).await?;
    let password = password::make();
    let sealed = app
        .master
        .seal(
            password.as_bytes(),
            &operation::secret_context(operation.id),
        )
        .map_err(Error::Secret)?;
    operation::attach(connection, &operation, None, Some(&sealed)).await?;
    Ok((operation, password))
}

/// Ends an instance for good. Its owner must have typed its host name.
///
/// # Errors
/// Why the instance does not take it.
pub async fn delete(
    connection: &mut PgConnection,
    target: Target<'_>,
    hostname: &str,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let mut instance = admitted(connection, target, Kind::Delete).await?;
    if instance.hostname != hostname {
        return Err(Error::ConfirmationMismatch);
    }
    let was = instance.state;
    instance.take(Event::Delete, now)?;
    let operation = instance::operation_on(&instance, Kind::Delete, now);
    operation::insert_many(connection, &[operation]).await?;
    instance::save(connection, &[(was, instance)]).await?;
    Ok(operation)
}

/// New values of what an owner may write.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Name for people; the host name again if empty.
    pub display_name: Option<String>,
    /// Labels.
    pub labels: Option<BTreeMap<String, String>>,
}

/// Changes what an owner may write.
///
/// # Errors
/// If there is no such instance, or somebody else changed it.
pub async fn update(
    connection: &mut PgConnection,
    target: Target<'_>,
    update: Update,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut instance = locked(connection, target).await?;
    if let Some(name) = update.display_name {
        instance.display_name = if name.is_empty() {
            instance.hostname.clone()
        } else {
            name
        };
    }
    if let Some(labels) = update.labels {
        instance.labels = labels;
    }
    instance.touch(now);
    Ok(instance::save(connection, &[(instance.state, instance)]).await?)
}

async fn locked(connection: &mut PgConnection, target: Target<'_>) -> Result<Instance, Error> {
    let instance = store::get_for_update(connection, target.account, target.id)
        .await?
        .ok_or(Error::InstanceNotFound)?;
    instance.matches(target.etag)?;
    Ok(instance)
}

async fn admitted(
    connection: &mut PgConnection,
    target: Target<'_>,
    kind: Kind,
) -> Result<Instance, Error> {
    let instance = locked(connection, target).await?;
    let open = operation::store::get_open(connection, target.account, target.id).await?;
    instance.admits(kind, open)?;
    Ok(instance)
}

/// Records the operation. The instance changes with it, because its etag must: whoever saw it idle saw another one.
async fn record(
    connection: &mut PgConnection,
    mut instance: Instance,
    kind: Kind,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let operation = instance::operation_on(&instance, kind, now);
    operation::insert_many(connection, &[operation]).await?;
    instance.touch(now);
    instance::save(connection, &[(instance.state, instance)]).await?;
    Ok(operation)
}
