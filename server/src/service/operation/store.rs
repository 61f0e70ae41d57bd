//! The SQL of operations.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, ImageId, InstanceId, OperationId, OrderId};
use crate::service::operation::model::{Event, Leased, NewOperation, Operation, State, WAITING};

struct Row {
    account: AccountId,
    id: OperationId,
    instance: InstanceId,
    order: Option<OrderId>,
    kind: i16,
    state: String,
    step: String,
    progress: i16,
    error_reason: Option<String>,
    error_message: Option<String>,
    revision: i64,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl From<Row> for Operation {
    fn from(r: Row) -> Self {
        Self {
            account: r.account,
            id: r.id,
            instance: r.instance,
            order: r.order,
            kind: kind(r.kind),
            state: State::parse(&r.state).expect("operations_state_known allows no other"),
            step: r.step,
            progress: r.progress,
            error: r.error_reason.zip(r.error_message),
            revision: r.revision,
            created_at: r.created_at,
            finished_at: r.finished_at,
        }
    }
}

fn kind(number: i16) -> Kind {
    Kind::try_from(i32::from(number)).unwrap_or_default()
}

macro_rules! operations {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select account_id as "account: AccountId", id as "id: OperationId", instance_id as "instance: InstanceId", order_id as "order: OrderId", kind,
                state, step, progress, error_reason, error_message, revision, created_at, finished_at
            from operations "# + $tail,
            $($argument),*
        )
    };
}

/// Writes new operations.
///
/// # Errors
/// Of the database; `operations_one_open` if an instance has one under way.
pub async fn insert(
    connection: &mut PgConnection,
    operations: &[NewOperation],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into operations (account_id, id, instance_id, order_id, kind, state, step, progress, next_attempt_at, created_at)
        select a, i, n, o, k, 'PENDING', $7, 0, c, c
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::smallint[], $6::timestamptz[]) as n (a, i, n, o, k, c)",
        &operations.iter().map(|o| o.account.0).collect::<Vec<_>>(),
        &operations.iter().map(|o| o.id.0).collect::<Vec<_>>(),
        &operations.iter().map(|o| o.instance.0).collect::<Vec<_>>(),
        &operations.iter().map(|o| o.order.map(|order| order.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        &operations.iter().map(|o| o.kind as i16).collect::<Vec<_>>(),
        &operations.iter().map(|o| o.created_at).collect::<Vec<_>>(),
        WAITING,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds to a new operation what it works with.
///
/// # Errors
/// Of the database.
pub async fn attach(
    connection: &mut PgConnection,
    account: AccountId,
    id: OperationId,
    image: Option<(ImageId, &str)>,
    secret: Option<&[u8]>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update operations set image_id = $3, image_code = $4, secret = $5 where account_id = $1 and id = $2 and finished_at is null",
        account.0,
        id.0,
        image.map(|(id, _)| id.0),
        image.map(|(_, code)| code),
        secret,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Operations, by whose they are.
///
/// # Errors
/// Of the database.
pub async fn get(
    pool: &PgPool,
    asked: &[(AccountId, OperationId)],
) -> Result<HashMap<(AccountId, OperationId), Operation>, sqlx::Error> {
    let (accounts, ids): (Vec<Uuid>, Vec<Uuid>) = asked.iter().map(|(a, id)| (a.0, id.0)).unzip();
    let rows = operations!(
        "where (account_id, id) in (select * from unnest($1::uuid[], $2::uuid[]))",
        &accounts,
        &ids
    )
    .fetch_all(pool)
    .await?;
    let operations = rows.into_iter().map(Operation::from);
    Ok(operations.map(|o| ((o.account, o.id), o)).collect())
}

/// The account an operation belongs to.
///
/// # Errors
/// Of the database.
pub async fn account_of(pool: &PgPool, id: OperationId) -> Result<Option<AccountId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select account_id as "account_id: AccountId" from operations where id = $1"#,
        id.0
    )
    .fetch_optional(pool)
    .await
}

/// An operation, locked.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    id: OperationId,
) -> Result<Option<Operation>, sqlx::Error> {
    Ok(operations!(
        "where account_id = $1 and id = $2 for no key update",
        account.0,
        id.0
    )
    .fetch_optional(connection)
    .await?
    .map(Into::into))
}

/// The operation under way on an instance, but for the one that fulfils its order.
///
/// # Errors
/// Of the database.
pub async fn get_open(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<Option<OperationId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select id as "id: OperationId" from operations where account_id = $1 and instance_id = $2 and state in ('PENDING', 'RUNNING') and kind <> 1"#,
        account.0,
        instance.0,
    )
    .fetch_optional(connection)
    .await
}

/// Operations of an account, newest first, of one instance if named, and only before `before`.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    account: AccountId,
    instance: Option<InstanceId>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Operation>, sqlx::Error> {
    let before = before.unwrap_or(Uuid::max());
    let rows =
        match instance {
            Some(instance) => operations!(
                "where account_id = $1 and instance_id = $2 and id < $3 order by id desc limit $4",
                account.0,
                instance.0,
                before,
                limit
            )
            .fetch_all(pool)
            .await?,
            None => {
                operations!(
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

/// Records how far an operation is, unless it is over. Progress never falls.
///
/// # Errors
/// Of the database.
pub async fn progress(
    connection: &mut PgConnection,
    account: AccountId,
    id: OperationId,
    step: &str,
    progress: i16,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update operations set state = 'RUNNING', step = $3, progress = greatest(progress, $4), revision = revision + 1
        where account_id = $1 and id = $2 and state = any($5) and (state, step, progress) is distinct from ('RUNNING', $3, greatest(progress, $4))",
        account.0,
        id.0,
        step,
        progress,
        &State::takes(Event::Work) as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whose operations are leased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Those that the reconciler of instances works on.
    Instances,
    /// Those that make a change of plan.
    PlanChanges,
}

/// Leases operations that are due: nobody else gets them until `until`, and only this attempt may settle them.
///
/// # Errors
/// Of the database.
pub async fn lease(
    pool: &PgPool,
    queue: Queue,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Leased>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"update operations o set state = 'RUNNING', step = case when o.state = 'PENDING' then 'asking' else o.step end, attempt = o.attempt + 1,
            next_attempt_at = $2
        from (
            select account_id, id from operations where state in ('PENDING', 'RUNNING') and kind <> 1 and (kind = 11) = $4 and next_attempt_at <= $1
            order by next_attempt_at limit $3 for no key update skip locked
        ) due
        where o.account_id = due.account_id and o.id = due.id
        returning o.account_id as "account: AccountId", o.id as "id: OperationId", o.instance_id as "instance: InstanceId", o.kind, o.asked_at, o.unsure,
            o.attempt, o.image_id as "image_id: ImageId", o.image_code, o.secret, o.created_at"#,
        now,
        until,
        limit,
        queue == Queue::PlanChanges,
    )
    .fetch_all(pool)
    .await?;
    let leased = rows.into_iter().map(|r| Leased {
        account: r.account,
        id: r.id,
        instance: r.instance,
        kind: kind(r.kind),
        asked_at: r.asked_at,
        unsure: r.unsure,
        attempt: r.attempt,
        image: r.image_id.zip(r.image_code),
        secret: r.secret,
        created_at: r.created_at,
    });
    Ok(leased.collect())
}

/// What an attempt that did not end the operation leaves behind.
pub struct Put<'p> {
    /// When somebody looks again.
    pub next_attempt_at: DateTime<Utc>,
    /// The present step.
    pub step: &'p str,
    /// How far it is; it never falls.
    pub progress: i16,
    /// When the provider accepted it, if it has.
    pub asked_at: Option<DateTime<Utc>>,
    /// True if the provider was asked and did not answer.
    pub unsure: bool,
}

/// Puts a leased operation back. False if the lease was lost.
///
/// # Errors
/// Of the database.
pub async fn put_back(
    connection: &mut PgConnection,
    leased: &Leased,
    put: &Put<'_>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update operations set next_attempt_at = $4, step = $5, progress = greatest(progress, $6), asked_at = $7, unsure = $8, revision = revision + 1
        where account_id = $1 and id = $2 and attempt = $3 and state = 'RUNNING'",
        leased.account.0,
        leased.id.0,
        leased.attempt,
        put.next_attempt_at,
        put.step,
        put.progress,
        put.asked_at,
        put.unsure,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// An operation that has just ended.
pub struct Ended {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: OperationId,
    /// The instance it worked on.
    pub instance: InstanceId,
    /// What it did.
    pub kind: Kind,
    /// Its revision.
    pub revision: i64,
}

/// A move to a final state.
pub struct Closing<'c> {
    /// What happens.
    pub event: Event,
    /// The final state.
    pub to: State,
    /// The last step.
    pub step: &'c str,
    /// Reason and message, where it failed.
    pub error: Option<(&'c str, &'c str)>,
    /// When.
    pub at: DateTime<Utc>,
    /// Only this attempt may do it; anybody if `None`.
    pub attempt: Option<i32>,
}

/// Ends an operation, if its state takes the event and the attempt holds the lease. `None` otherwise.
///
/// # Errors
/// Of the database.
pub async fn advance(
    connection: &mut PgConnection,
    account: AccountId,
    id: OperationId,
    closing: &Closing<'_>,
) -> Result<Option<Ended>, sqlx::Error> {
    let row = sqlx::query!(
        r#"update operations set state = $3, step = $4, progress = case when $3 = 'SUCCEEDED' then 100 else progress end, error_reason = $5, error_message = $6,
            finished_at = $7, secret = null, revision = revision + 1
        where account_id = $1 and id = $2 and state = any($8) and ($9::integer is null or attempt = $9)
        returning instance_id as "instance: InstanceId", kind, revision"#,
        account.0,
        id.0,
        closing.to.as_str(),
        closing.step,
        closing.error.map(|(reason, _)| reason),
        closing.error.map(|(_, message)| message),
        closing.at,
        &State::takes(closing.event) as &[&str],
        closing.attempt,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|r| Ended {
        account,
        id,
        instance: r.instance,
        kind: kind(r.kind),
        revision: r.revision,
    }))
}

/// Cancels whatever is under way on instances, but for what fulfils their orders.
///
/// # Errors
/// Of the database.
pub async fn supersede(
    connection: &mut PgConnection,
    instances: &[(AccountId, InstanceId)],
    at: DateTime<Utc>,
) -> Result<Vec<Ended>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"update operations o set state = 'CANCELLED', step = 'superseded', finished_at = $3, secret = null, revision = o.revision + 1
        from unnest($1::uuid[], $2::uuid[]) as n (account_id, instance_id)
        where o.account_id = n.account_id and o.instance_id = n.instance_id and o.state = any($4) and o.state in ('PENDING', 'RUNNING') and o.kind <> 1
        returning o.account_id as "account: AccountId", o.id as "id: OperationId", o.instance_id as "instance: InstanceId", o.kind, o.revision"#,
        &instances.iter().map(|(account, _)| account.0).collect::<Vec<_>>(),
        &instances.iter().map(|(_, instance)| instance.0).collect::<Vec<_>>(),
        at,
        &State::takes(Event::Supersede) as &[&str],
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| Ended {
            account: r.account,
            id: r.id,
            instance: r.instance,
            kind: kind(r.kind),
            revision: r.revision,
        })
        .collect())
}

/// Accounts that have operations, after one of them, in the order of their ids.
///
/// # Errors
/// Of the database.
pub async fn accounts_after(
    connection: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"with recursive accounts as (
            (select account_id from operations where account_id > $1 order by account_id limit 1)
            union all
            select (select o.account_id from operations o where o.account_id > a.account_id order by o.account_id limit 1)
            from accounts a where a.account_id is not null
        )
        select account_id as "account_id!" from accounts where account_id is not null limit $2"#,
        after,
        limit
    )
    .fetch_all(connection)
    .await
}

/// Deletes finished operations of accounts with ids below `bound`, at most `each` of one account, and returns how many.
///
/// # Errors
/// Of the database.
pub async fn forget_finished(
    connection: &mut PgConnection,
    accounts: &[Uuid],
    bound: Uuid,
    each: i64,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "delete from operations o using (
            select f.account_id, f.id from unnest($1::uuid[]) as a (id)
            cross join lateral (
                select account_id, id from operations
                where account_id = a.id and id < $2 and finished_at is not null order by id limit $3
            ) f
        ) old
        where o.account_id = old.account_id and o.id = old.id",
        accounts,
        bound,
        each
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
