//! The SQL of snapshots.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, ImageId, InstanceId, OperationId, SnapshotId};
use crate::service::instance::model::Snapshot;
use crate::service::operation::model::Leased;

struct Row {
    account: AccountId,
    id: SnapshotId,
    instance: InstanceId,
    operation: OperationId,
    display_name: String,
    wanted: String,
    snapshot_ref: Option<String>,
    unsure_until: Option<DateTime<Utc>>,
    image: ImageId,
    image_code: String,
    created_at: DateTime<Utc>,
}

impl From<Row> for Snapshot {
    fn from(r: Row) -> Self {
        Self {
            account: r.account,
            id: r.id,
            instance: r.instance,
            operation: r.operation,
            display_name: r.display_name,
            wanted: r.wanted == "PRESENT",
            snapshot_ref: r.snapshot_ref,
            unsure_until: r.unsure_until,
            image: r.image,
            image_code: r.image_code,
            created_at: r.created_at,
        }
    }
}

/// Snapshots by whatever follows the columns.
macro_rules! snapshots {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select account_id as "account: AccountId", id as "id: SnapshotId", instance_id as "instance: InstanceId", operation_id as "operation: OperationId",
                display_name, wanted, snapshot_ref, unsure_until, image_id as "image: ImageId", image_code, created_at
            from snapshots "# + $tail,
            $($argument),*
        )
    };
}

/// Writes a new snapshot that an operation is to take.
///
/// # Errors
/// Of the database.
pub async fn insert(
    connection: &mut PgConnection,
    new: &Snapshot,
    look_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into snapshots (account_id, id, instance_id, operation_id, display_name, wanted, image_id, image_code, look_at, created_at)
        values ($1, $2, $3, $4, $5, 'PRESENT', $6, $7, $8, $9)",
        new.account.0,
        new.id.0,
        new.instance.0,
        new.operation.0,
        new.display_name,
        new.image.0,
        new.image_code,
        look_at,
        new.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A snapshot.
///
/// # Errors
/// Of the database.
pub async fn get(
    connection: &mut PgConnection,
    account: AccountId,
    id: SnapshotId,
) -> Result<Option<Snapshot>, sqlx::Error> {
    let row = snapshots!("where account_id = $1 and id = $2", account.0, id.0);
    Ok(row.fetch_optional(connection).await?.map(Into::into))
}

/// A snapshot, locked. Its instance was locked before.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    id: SnapshotId,
) -> Result<Option<Snapshot>, sqlx::Error> {
    let row = snapshots!(
        "where account_id = $1 and id = $2 for no key update",
        account.0,
        id.0
    );
    Ok(row.fetch_optional(connection).await?.map(Into::into))
}

/// The snapshot that an operation works on.
///
/// # Errors
/// Of the database.
pub async fn get_of_operation(
    connection: &mut PgConnection,
    leased: &Leased,
) -> Result<Option<Snapshot>, sqlx::Error> {
    let row = snapshots!(
        "where account_id = $1 and instance_id = $2 and operation_id = $3",
        leased.account.0,
        leased.instance.0,
        leased.id.0
    );
    Ok(row.fetch_optional(connection).await?.map(Into::into))
}

/// How many snapshots an instance has, those included that are to be deleted. The instance is locked.
///
/// # Errors
/// Of the database.
pub async fn count(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "n!" from snapshots where account_id = $1 and instance_id = $2"#,
        account.0,
        instance.0
    )
    .fetch_one(connection)
    .await
}

/// Snapshots of an account, newest first, of one instance if it is named, and only before `before`.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    account: AccountId,
    instance: Option<InstanceId>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Snapshot>, sqlx::Error> {
    let before = before.unwrap_or(Uuid::max());
    let rows =
        match instance {
            Some(instance) => snapshots!(
                "where account_id = $1 and instance_id = $2 and id < $3 order by id desc limit $4",
                account.0,
                instance.0,
                before,
                limit
            )
            .fetch_all(pool)
            .await?,
            None => {
                snapshots!(
                    "where account_id = $1 and id < $2 order by id desc limit $3",
                    account.0,
                    before,
                    limit
                )
                .fetch_all(pool)
                .await?
            }
        };
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Gives a snapshot that is locked to another operation.
///
/// # Errors
/// Of the database.
pub async fn hand_to(
    connection: &mut PgConnection,
    snapshot: &Snapshot,
    operation: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update snapshots set operation_id = $3 where account_id = $1 and id = $2",
        snapshot.account.0,
        snapshot.id.0,
        operation.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Wants a snapshot no more. It is seen to at `look_at` at the latest.
///
/// # Errors
/// Of the database.
pub async fn unwant(
    connection: &mut PgConnection,
    snapshot: &Snapshot,
    look_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update snapshots set wanted = 'ABSENT', look_at = $4 where account_id = $1 and id = $2 and operation_id = $3",
        snapshot.account.0,
        snapshot.id.0,
        snapshot.operation.0,
        look_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Wants none of an instance's snapshots any more.
///
/// # Errors
/// Of the database.
pub async fn unwant_all(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update snapshots set wanted = 'ABSENT', look_at = $3 where account_id = $1 and instance_id = $2",
        account.0,
        instance.0,
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A snapshot is as it should be: nobody needs to look at it.
///
/// # Errors
/// Of the database.
pub async fn rest(connection: &mut PgConnection, snapshot: &Snapshot) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update snapshots set look_at = null
        where account_id = $1 and id = $2 and operation_id = $3 and wanted = 'PRESENT' and snapshot_ref is not null",
        snapshot.account.0,
        snapshot.id.0,
        snapshot.operation.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a snapshot that is gone.
///
/// # Errors
/// Of the database.
pub async fn remove(connection: &mut PgConnection, snapshot: &Snapshot) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from snapshots where account_id = $1 and id = $2 and operation_id = $3 and wanted = 'ABSENT'",
        snapshot.account.0,
        snapshot.id.0,
        snapshot.operation.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes the right to ask for a snapshot, of which none showed at `looked_at`: one may exist until `unsure_until`. False if one may exist already, or the lease was lost.
///
/// # Errors
/// Of the database.
pub async fn claim(
    pool: &PgPool,
    leased: &Leased,
    snapshot: &Snapshot,
    looked_at: DateTime<Utc>,
    unsure_until: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update snapshots set unsure_until = $4
        where account_id = $1 and id = $2 and wanted = 'PRESENT' and snapshot_ref is null and (unsure_until is null or unsure_until <= $3)
            and exists (select from operations where account_id = $1 and id = $5 and attempt = $6 and state = 'RUNNING')",
        snapshot.account.0,
        snapshot.id.0,
        looked_at,
        unsure_until,
        leased.id.0,
        leased.attempt,
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a claim whose call ended: `None` if it made no snapshot for sure, else until when one may still show up. Somebody else's claim is left alone.
///
/// # Errors
/// Of the database.
pub async fn unclaim(
    pool: &PgPool,
    snapshot: &Snapshot,
    claimed: DateTime<Utc>,
    unsure_until: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update snapshots set unsure_until = $4 where account_id = $1 and id = $2 and unsure_until = $3",
        snapshot.account.0,
        snapshot.id.0,
        claimed,
        unsure_until,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Remembers the provider's name of a snapshot that is whole.
///
/// # Errors
/// Of the database.
pub async fn adopt(
    pool: &PgPool,
    snapshot: &Snapshot,
    snapshot_ref: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update snapshots set snapshot_ref = $3, unsure_until = null where account_id = $1 and id = $2",
        snapshot.account.0,
        snapshot.id.0,
        snapshot_ref,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Snapshots whose turn it is to be looked at; nobody else gets them until `again_at`.
///
/// # Errors
/// Of the database.
pub async fn take_to_look_at(
    pool: &PgPool,
    now: DateTime<Utc>,
    again_at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(AccountId, SnapshotId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"update snapshots s set look_at = $2
        from (select account_id, id from snapshots where look_at <= $1 order by look_at limit $3 for no key update skip locked) due
        where s.account_id = due.account_id and s.id = due.id
        returning s.account_id as "account: AccountId", s.id as "id: SnapshotId""#,
        now,
        again_at,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|r| (r.account, r.id)).collect())
}

/// Has a snapshot that is not wanted looked at sooner.
///
/// # Errors
/// Of the database.
pub async fn look_sooner(
    connection: &mut PgConnection,
    snapshot: &Snapshot,
    look_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update snapshots set look_at = least(look_at, $3) where account_id = $1 and id = $2 and wanted = 'ABSENT'",
        snapshot.account.0,
        snapshot.id.0,
        look_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether the operation that a snapshot was given to goes on.
///
/// # Errors
/// Of the database.
pub async fn is_worked_on(
    connection: &mut PgConnection,
    snapshot: &Snapshot,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from operations where account_id = $1 and id = $2 and finished_at is null) as "open!""#,
        snapshot.account.0,
        snapshot.operation.0,
    )
    .fetch_one(connection)
    .await
}
