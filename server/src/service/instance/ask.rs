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
use crate::service::instance::model::{Event, Instance, Refused, State};
use crate::service::instance::{self, boot, password, store};
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

/// What a machine is to be rebuilt with.
#[derive(Clone, Debug, Default)]
pub struct Rebuild {
    /// The image; the present one if `None`.
    pub image: Option<ImageId>,
    /// What it is given.
    pub given: boot::Asked,
}

/// Asks for the disk to be made anew. Where the provider takes a new password, one is made, and shown once the machine has it.
///
/// # Errors
/// Why the instance does not take it, what of it does not fit or exist, or what the provider cannot.
pub async fn rebuild(
    app: &App,
    connection: &mut PgConnection,
    catalogue: &Snapshot,
    target: Target<'_>,
    rebuild: Rebuild,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let instance = admitted(connection, target, Kind::Rebuild).await?;
    let can = app.providers.capabilities_of(&instance.provider);
    if can.is_some_and(|can| !can.rebuild) {
        return Err(Error::NotSupported("rebuild"));
    }
    let renews = can.is_some_and(|can| can.rebuild_credentials);
    if !renews && !rebuild.given.is_nothing() {
        return Err(Error::NotSupported("rebuild_credentials"));
    }
    if !rebuild.given.user_data.is_empty() && can.is_some_and(|can| !can.user_data) {
        return Err(Error::NotSupported("user_data"));
    }
    let (id, code) = match rebuild.image {
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
    let wish = boot::choose(connection, target.account, &rebuild.given)
        .await?
        .map_err(Error::SshKeyNotFound)?;
    let operation = record(connection, instance, Kind::Rebuild, now).await?;
    let secret = if renews {
        Some(boot::seal_fresh(app, operation.id, wish).map_err(Error::Secret)?)
    } else {
        None
    };
    operation::attach(connection, &operation, Some((id, &code)), secret.as_deref()).await?;
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

/// Takes the first password out of its seal, for its owner to see this once.
///
/// # Errors
/// While the machine is being made, and when there is none any more.
pub async fn show_first_password(
    app: &App,
    connection: &mut PgConnection,
    target: Target<'_>,
    now: DateTime<Utc>,
) -> Result<String, Error> {
    let instance = locked(connection, target).await?;
    if instance.state == State::Provisioning {
        return Err(Refused::IllegalState(instance.state).into());
    }
    let sealed = store::boot::take_password(connection, target.account, target.id, now)
        .await?
        .ok_or(Error::FirstPasswordGone)?;
    boot::open_password(app.lines.vault(), target.id, &sealed).map_err(Error::Secret)
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

pub(super) async fn locked(
    connection: &mut PgConnection,
    target: Target<'_>,
) -> Result<Instance, Error> {
    let instance = store::get_for_update(connection, target.account, target.id)
        .await?
        .ok_or(Error::InstanceNotFound)?;
    instance.matches(target.etag)?;
    Ok(instance)
}

pub(super) async fn admitted(
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
pub(super) async fn record(
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
