//! The SQL of instances.

pub mod backups;
pub mod boot;
pub mod consoles;
pub mod firewalls;
mod making;
pub mod meters;
pub mod metrics;
pub mod reverse_dns;
pub mod snapshots;
pub mod ssh_keys;
mod terms;
pub mod traffic;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

pub use self::making::{
    adopt, assign, claim, forget, is_unasked_for_update, release, set_addresses, take_in, unclaim,
};
pub use self::terms::{set_period, set_plan};
use crate::base::db::PgPool;
use crate::base::id::{
    AccountId, ImageId, InstanceId, OperationId, OrderId, PlanId, ProviderAccountId, RegionId,
};
use crate::base::money::Rupiah;
use crate::service::instance::model::{Bill, Instance, Labels, NewInstance, State, View, Wanted};

/// A row of `instances`, with what a view joins to it.
struct Row {
    account_id: AccountId,
    id: InstanceId,
    order_id: OrderId,
    state: String,
    wanted: String,
    suspended: bool,
    provider: String,
    provider_size: String,
    provider_account_id: Option<ProviderAccountId>,
    provider_ref: Option<String>,
    unsure_until: Option<DateTime<Utc>>,
    plan_id: PlanId,
    region_id: RegionId,
    region_code: String,
    image_id: ImageId,
    image_code: String,
    vcpus: i32,
    memory_mib: i32,
    disk_gib: i32,
    hostname: String,
    display_name: String,
    labels: Json<BTreeMap<String, String>>,
    ipv4: Option<String>,
    ipv6: Option<String>,
    price: Rupiah,
    period: i16,
    look_at: Option<DateTime<Utc>>,
    first_password_until: Option<DateTime<Utc>>,
    revision: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    operation_id: Option<OperationId>,
    bill_price: Option<Rupiah>,
    paid_until: Option<DateTime<Utc>>,
    auto_renew: Option<bool>,
    prepaid: Option<bool>,
    bill_state: Option<String>,
    next_step: Option<String>,
    next_step_at: Option<DateTime<Utc>>,
}

impl From<Row> for Instance {
    fn from(r: Row) -> Self {
        Self {
            account: r.account_id,
            id: r.id,
            order: r.order_id,
            state: State::parse(&r.state).expect("instances_state_known allows no other"),
            wanted: Wanted::parse(&r.wanted).expect("instances_wanted_known allows no other"),
            suspended: r.suspended,
            provider: r.provider,
            provider_size: r.provider_size,
            provider_account: r.provider_account_id,
            provider_ref: r.provider_ref,
            unsure_until: r.unsure_until,
            plan: r.plan_id,
            region: r.region_id,
            region_code: r.region_code,
            image: r.image_id,
            image_code: r.image_code,
            vcpus: r.vcpus,
            memory_mib: r.memory_mib,
            disk_gib: r.disk_gib,
            hostname: r.hostname,
            display_name: r.display_name,
            labels: r.labels.0,
            ipv4: r.ipv4,
            ipv6: r.ipv6,
            price: r.price,
            period: BillingPeriod::try_from(i32::from(r.period)).unwrap_or_default(),
            look_at: r.look_at,
            first_password_until: r.first_password_until,
            revision: r.revision,
            created_at: r.created_at,
            updated_at: r.updated_at,
        }
    }
}

impl From<Row> for View {
    fn from(mut r: Row) -> Self {
        let operation = r.operation_id.take();
        let bill = r
            .paid_until
            .zip(r.bill_price)
            .map(|(paid_until, price)| Bill {
                price,
                paid_until,
                auto_renew: r.auto_renew.unwrap_or_default(),
                prepaid: r.prepaid.unwrap_or_default(),
                suspended: r.bill_state.as_deref() == Some("SUSPENDED"),
                next_step: r.next_step.take().unwrap_or_default(),
                next_step_at: r.next_step_at,
            });
        Self {
            instance: r.into(),
            operation,
            bill,
        }
    }
}

/// Instances by whatever follows the columns.
macro_rules! rows {
    ($joined:literal, $tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select i.account_id as "account_id: AccountId", i.id as "id: InstanceId", i.order_id as "order_id: OrderId", i.state, i.wanted, i.suspended,
                i.provider, i.provider_size, i.provider_account_id as "provider_account_id: ProviderAccountId", i.provider_ref, i.unsure_until, i.plan_id as "plan_id: PlanId", i.region_id as "region_id: RegionId",
                i.region_code, i.image_id as "image_id: ImageId", i.image_code, i.vcpus, i.memory_mib, i.disk_gib, i.hostname, i.display_name,
                i.labels as "labels: Json<BTreeMap<String, String>>", i.ipv4, i.ipv6, i.price as "price: Rupiah", i.period, i.look_at, i.first_password_until, i.revision,
                i.created_at, i.updated_at, "# + $joined + " from instances i " + $tail,
            $($argument),*
        )
    };
}

/// Instances alone.
macro_rules! instances {
    ($tail:literal, $($argument:expr),*) => {
        rows!(
            r#"null::uuid as "operation_id?: OperationId", null::bigint as "bill_price?: Rupiah", null::timestamptz as "paid_until?",
                null::boolean as "auto_renew?", null::boolean as "prepaid?", null::text as "bill_state?", null::text as "next_step?",
                null::timestamptz as "next_step_at?""#,
            $tail,
            $($argument),*
        )
    };
}

/// Instances with the operation under way and the paying side.
macro_rules! views {
    ($tail:literal, $($argument:expr),*) => {
        rows!(
            r#"(
                    select o.id from operations o
                    where o.account_id = i.account_id and o.instance_id = i.id and o.state in ('PENDING', 'RUNNING') order by o.id desc limit 1
                ) as "operation_id?: OperationId",
                s.price_idr as "bill_price?: Rupiah", s.paid_until as "paid_until?", s.auto_renew as "auto_renew?",
                s.renewal_hold is not null as "prepaid?", s.state as "bill_state?", s.next_step as "next_step?", s.next_step_at as "next_step_at?""#,
            $tail,
            $($argument),*
        )
    };
}

/// Writes new instances. Those that are there already stay as they are; the ids of the others are returned.
///
/// # Errors
/// Of the database.
pub async fn insert(
    connection: &mut PgConnection,
    new: &[NewInstance],
) -> Result<Vec<InstanceId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"insert into instances (account_id, id, order_id, state, wanted, provider, provider_size, plan_id, region_id, region_code, image_id, image_code, vcpus,
            memory_mib, disk_gib, hostname, display_name, labels, price, period, created_at, updated_at)
        select a, i, o, 'PROVISIONING', 'RUNNING', pr, ps, pl, re, rc, im, ic, vc, me, di, ho, ho, la, pc, pe, cr, cr
        from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::text[], $9::uuid[], $10::text[], $11::integer[],
            $12::integer[], $13::integer[], $14::text[], $15::jsonb[], $16::bigint[], $17::smallint[], $18::timestamptz[])
            as n (a, i, o, pr, ps, pl, re, rc, im, ic, vc, me, di, ho, la, pc, pe, cr)
        on conflict on constraint instances_pkey do nothing
        returning id as "id: InstanceId""#,
        &new.iter().map(|n| n.account.0).collect::<Vec<_>>(),
        &new.iter().map(|n| n.id.0).collect::<Vec<_>>(),
        &new.iter().map(|n| n.order.0).collect::<Vec<_>>(),
        &new.iter().map(|n| n.provider.as_str()).collect::<Vec<_>>() as &[&str],
        &new.iter().map(|n| n.provider_size.as_str()).collect::<Vec<_>>() as &[&str],
        &new.iter().map(|n| n.plan.0).collect::<Vec<_>>(),
        &new.iter().map(|n| n.region.0).collect::<Vec<_>>(),
        &new.iter().map(|n| n.region_code.as_str()).collect::<Vec<_>>() as &[&str],
        &new.iter().map(|n| n.image.0).collect::<Vec<_>>(),
        &new.iter().map(|n| n.image_code.as_str()).collect::<Vec<_>>() as &[&str],
        &new.iter().map(|n| n.vcpus).collect::<Vec<_>>(),
        &new.iter().map(|n| n.memory_mib).collect::<Vec<_>>(),
        &new.iter().map(|n| n.disk_gib).collect::<Vec<_>>(),
        &new.iter().map(|n| n.hostname.as_str()).collect::<Vec<_>>() as &[&str],
        &new.iter().map(|n| Json(&n.labels)).collect::<Vec<_>>() as &[Json<&BTreeMap<String, String>>],
        &new.iter().map(|n| n.price.0).collect::<Vec<_>>(),
        &new.iter().map(|n| n.period as i16).collect::<Vec<_>>(),
        &new.iter().map(|n| n.created_at).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
}

/// An instance.
///
/// # Errors
/// Of the database.
pub async fn get(
    pool: &PgPool,
    account: AccountId,
    id: InstanceId,
) -> Result<Option<Instance>, sqlx::Error> {
    Ok(
        instances!("where i.account_id = $1 and i.id = $2", account.0, id.0)
            .fetch_optional(pool)
            .await?
            .map(Into::into),
    )
}

/// An instance, locked.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
) -> Result<Option<Instance>, sqlx::Error> {
    Ok(instances!(
        "where i.account_id = $1 and i.id = $2 for no key update",
        account.0,
        id.0
    )
    .fetch_optional(connection)
    .await?
    .map(Into::into))
}

/// Instances of any accounts, locked in the order of their ids.
///
/// # Errors
/// Of the database.
pub async fn list_for_update(
    connection: &mut PgConnection,
    named: &[(AccountId, InstanceId)],
) -> Result<Vec<Instance>, sqlx::Error> {
    let rows = instances!(
        "join unnest($1::uuid[], $2::uuid[]) as n (account_id, id) on n.account_id = i.account_id and n.id = i.id
        order by i.account_id, i.id for no key update of i",
        &named.iter().map(|(account, _)| account.0).collect::<Vec<_>>(),
        &named.iter().map(|(_, id)| id.0).collect::<Vec<_>>()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// An instance as its owner sees it.
///
/// # Errors
/// Of the database.
pub async fn get_view(
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
) -> Result<Option<View>, sqlx::Error> {
    let row = views!(
        "left join subscriptions s on s.account_id = i.account_id and s.instance_id = i.id where i.account_id = $1 and i.id = $2",
        account.0,
        id.0
    );
    Ok(row.fetch_optional(connection).await?.map(Into::into))
}

/// An instance of any account, for staff.
///
/// # Errors
/// Of the database.
pub async fn get_any_view(
    connection: &mut PgConnection,
    id: InstanceId,
) -> Result<Option<View>, sqlx::Error> {
    let row = views!(
        "left join subscriptions s on s.account_id = i.account_id and s.instance_id = i.id where i.id = $1",
        id.0
    );
    Ok(row.fetch_optional(connection).await?.map(Into::into))
}

/// The account an instance belongs to.
///
/// # Errors
/// Of the database.
pub async fn account_of(pool: &PgPool, id: InstanceId) -> Result<Option<AccountId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select account_id as "account_id: AccountId" from instances where id = $1"#,
        id.0
    )
    .fetch_optional(pool)
    .await
}

/// Instances of an account, newest first: of these states, with these labels, and only before `before`. It reads the account's own instances and no others.
///
/// # Errors
/// Of the database.
pub async fn list_views(
    pool: &PgPool,
    account: AccountId,
    states: &[&str],
    labels: &Labels,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<View>, sqlx::Error> {
    let (keys, values): (Vec<String>, Vec<String>) = labels.pairs.iter().cloned().unzip();
    let rows = views!(
        "left join subscriptions s on s.account_id = i.account_id and s.instance_id = i.id
        where i.account_id = $1 and i.state = any($2) and i.id < $3 and jsonb_exists_all(i.labels, $5)
            and not exists (select from unnest($6::text[], $7::text[]) as n (k, v) where i.labels ->> n.k is distinct from n.v)
        order by i.id desc limit $4",
        account.0,
        states as &[&str],
        before.unwrap_or(Uuid::max()),
        limit,
        &labels.present,
        &keys,
        &values
    );
    Ok(rows
        .fetch_all(pool)
        .await?
        .into_iter()
        .map(Into::into)
        .collect())
}

/// Instances whose turn it is to be looked at; nobody else gets them until `again_at`.
///
/// # Errors
/// Of the database.
pub async fn take_to_look_at(
    pool: &PgPool,
    now: DateTime<Utc>,
    again_at: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<(AccountId, InstanceId)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"update instances i set look_at = $2
        from (select account_id, id from instances where look_at <= $1 order by look_at limit $3 for no key update skip locked) due
        where i.account_id = due.account_id and i.id = due.id
        returning i.account_id as "account: AccountId", i.id as "id: InstanceId""#,
        now,
        again_at,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|r| (r.account, r.id)).collect())
}

/// Writes what changed of instances that are locked. The revision must have been raised. With a machine that is made, or never will be, what it was to be given is forgotten;
/// with one that is gone, its first password.
///
/// # Errors
/// Of the database.
pub async fn save(connection: &mut PgConnection, changed: &[&Instance]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with booted as (
            delete from first_boots b using unnest($1::uuid[], $2::uuid[], $3::text[]) as n (a, i, st)
            where b.account_id = n.a and b.instance_id = n.i and n.st <> 'PROVISIONING'
        )
        update instances i set state = n.st, wanted = n.wa, suspended = n.su, provider_ref = n.pr, unsure_until = n.un, image_id = n.im, image_code = n.ic,
            display_name = n.na, labels = n.la, ipv4 = n.v4, ipv6 = n.v6, revision = n.re, updated_at = n.up, look_at = n.lo,
            first_password = case when n.st = any($17) then null else i.first_password end,
            first_password_key = case when n.st = any($17) then null else i.first_password_key end,
            first_password_until = case when n.st = any($17) then null else i.first_password_until end
        from unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::timestamptz[], $8::uuid[], $9::text[], $10::text[],
            $11::jsonb[], $12::text[], $13::text[], $14::bigint[], $15::timestamptz[], $16::timestamptz[])
            as n (a, i, st, wa, su, pr, un, im, ic, na, la, v4, v6, re, up, lo)
        where i.account_id = n.a and i.id = n.i",
        &changed.iter().map(|c| c.account.0).collect::<Vec<_>>(),
        &changed.iter().map(|c| c.id.0).collect::<Vec<_>>(),
        &changed.iter().map(|c| c.state.as_str()).collect::<Vec<_>>() as &[&str],
        &changed.iter().map(|c| c.wanted.as_str()).collect::<Vec<_>>() as &[&str],
        &changed.iter().map(|c| c.suspended).collect::<Vec<_>>(),
        &changed.iter().map(|c| c.provider_ref.as_deref()).collect::<Vec<_>>() as &[Option<&str>],
        &changed.iter().map(|c| c.unsure_until).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &changed.iter().map(|c| c.image.0).collect::<Vec<_>>(),
        &changed.iter().map(|c| c.image_code.as_str()).collect::<Vec<_>>() as &[&str],
        &changed.iter().map(|c| c.display_name.as_str()).collect::<Vec<_>>() as &[&str],
        &changed.iter().map(|c| Json(&c.labels)).collect::<Vec<_>>() as &[Json<&BTreeMap<String, String>>],
        &changed.iter().map(|c| c.ipv4.as_deref()).collect::<Vec<_>>() as &[Option<&str>],
        &changed.iter().map(|c| c.ipv6.as_deref()).collect::<Vec<_>>() as &[Option<&str>],
        &changed.iter().map(|c| c.revision).collect::<Vec<_>>(),
        &changed.iter().map(|c| c.updated_at).collect::<Vec<_>>(),
        &changed.iter().map(|c| c.look_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &[State::Deleting, State::Deleted, State::Failed, State::Lost].map(State::as_str) as &[&str],
    )
    .execute(connection)
    .await?;
    Ok(())
}
