//! What owners ask about snapshots: each wish is checked and recorded as an operation on the instance, as all others are, so that one thing happens at a time.

use chrono::{DateTime, TimeDelta, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;

use crate::base::id::{AccountId, SnapshotId};
use crate::provider::compute::Providers;
use crate::service::instance::ask::{self, Target};
use crate::service::instance::error::Error;
use crate::service::instance::model::snapshot::{LIMIT, Snapshot, State};
use crate::service::instance::store;
use crate::service::operation::NewOperation;

/// How often somebody looks whether an operation left a snapshot behind that is not as it should be.
pub(super) const ROUND: TimeDelta = TimeDelta::seconds(60);

/// Asks for a snapshot.
///
/// # Errors
/// Why the instance does not take it, or the provider cannot, or that there are enough.
pub async fn create(
    providers: &Providers,
    connection: &mut PgConnection,
    target: Target<'_>,
    display_name: String,
    now: DateTime<Utc>,
) -> Result<(Snapshot, NewOperation), Error> {
    let instance = ask::admitted(connection, target, Kind::CreateSnapshot).await?;
    if !providers.has_snapshots(&instance.provider) {
        return Err(Error::NotSupported("snapshots"));
    }
    if store::snapshots::count(connection, target.account, target.id).await? >= LIMIT {
        return Err(Error::SnapshotLimit);
    }
    let (image, image_code) = (instance.image, instance.image_code.clone());
    let operation = ask::record(connection, instance, Kind::CreateSnapshot, now).await?;
    let snapshot = Snapshot {
        account: target.account,
        id: SnapshotId::new(),
        instance: target.id,
        operation: operation.id,
        display_name,
        wanted: true,
        snapshot_ref: None,
        unsure_until: None,
        image,
        image_code,
        created_at: now,
    };
    store::snapshots::insert(connection, &snapshot, now + ROUND).await?;
    Ok((snapshot, operation))
}

/// Asks for a machine's disk to be put back.
///
/// # Errors
/// If there is no such snapshot or it is not there, or why the instance does not take it.
pub async fn restore(
    connection: &mut PgConnection,
    account: AccountId,
    id: SnapshotId,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let (snapshot, operation) = asked(connection, account, id, Kind::RestoreSnapshot, now).await?;
    store::snapshots::hand_to(connection, &snapshot, operation.id).await?;
    Ok(operation)
}

/// Asks for a snapshot to be deleted. From the moment somebody works on that it is not wanted any more, whatever becomes of the operation.
///
/// # Errors
/// If there is no such snapshot or it is not there, or why the instance does not take it.
pub async fn delete(
    connection: &mut PgConnection,
    account: AccountId,
    id: SnapshotId,
    now: DateTime<Utc>,
) -> Result<NewOperation, Error> {
    let (snapshot, operation) = asked(connection, account, id, Kind::DeleteSnapshot, now).await?;
    store::snapshots::hand_to(connection, &snapshot, operation.id).await?;
    Ok(operation)
}

/// Records an operation about a snapshot that is there.
async fn asked(
    connection: &mut PgConnection,
    account: AccountId,
    id: SnapshotId,
    kind: Kind,
    now: DateTime<Utc>,
) -> Result<(Snapshot, NewOperation), Error> {
    let available = |found: Option<Snapshot>| {
        let snapshot = found.ok_or(Error::SnapshotNotFound)?;
        match snapshot.state() {
            State::Available => Ok(snapshot),
            state @ (State::Creating | State::Deleting) => Err(Error::SnapshotNotAvailable(state)),
        }
    };
    let seen = available(store::snapshots::get(connection, account, id).await?)?;
    let target = Target {
        account,
        id: seen.instance,
        etag: "",
    };
    let instance = ask::admitted(connection, target, kind).await?;
    // It may have gone while its instance was waited for.
    let snapshot = available(store::snapshots::get_for_update(connection, account, id).await?)?;
    let operation = ask::record(connection, instance, kind, now).await?;
    Ok((snapshot, operation))
}
