//! The SQL of lifecycle.

pub mod changes;
pub mod clocks;

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, InstanceId, JournalId, OperationId, OrderId, RenewalId};
use crate::base::money::Rupiah;
use crate::service::lifecycle::model::{Charge, Present, State, Step, Subscription};

struct Row {
    account_id: AccountId,
    instance_id: InstanceId,
    order_id: OrderId,
    price_idr: Rupiah,
    period: i16,
    present_starts_at: DateTime<Utc>,
    present_period: i16,
    present_price: Rupiah,
    present_bought: Rupiah,
    present_paid: Rupiah,
    change_id: Option<OperationId>,
    anchor_at: DateTime<Utc>,
    anchor_number: i32,
    period_number: i32,
    paid_until: DateTime<Utc>,
    auto_renew: bool,
    policy: String,
    state: String,
    next_step: String,
    next_step_at: Option<DateTime<Utc>>,
    renewal_hold: Option<JournalId>,
    on_test_clock: bool,
    revision: i64,
}

impl From<Row> for Subscription {
    fn from(r: Row) -> Self {
        let period = |number| BillingPeriod::try_from(i32::from(number)).unwrap_or_default();
        Self {
            account: r.account_id,
            instance: r.instance_id,
            order: r.order_id,
            price: r.price_idr,
            period: period(r.period),
            present: Present {
                starts_at: r.present_starts_at,
                period: period(r.present_period),
                price: r.present_price,
                bought: r.present_bought,
                paid: r.present_paid,
            },
            change: r.change_id,
            anchor_at: r.anchor_at,
            anchor_number: r.anchor_number,
            period_number: r.period_number,
            paid_until: r.paid_until,
            auto_renew: r.auto_renew,
            policy: r.policy,
            state: State::parse(&r.state).expect("subscriptions_state_known allows no other"),
            next: Step::parse(&r.next_step).zip(r.next_step_at),
            renewal_hold: r.renewal_hold,
            on_test_clock: r.on_test_clock,
            revision: r.revision,
        }
    }
}

macro_rules! subscriptions {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select account_id as "account_id: AccountId", instance_id as "instance_id: InstanceId", order_id as "order_id: OrderId",
                price_idr as "price_idr: Rupiah", period, present_starts_at, present_period, present_price as "present_price: Rupiah",
                present_bought as "present_bought: Rupiah", present_paid as "present_paid: Rupiah", change_id as "change_id: OperationId", anchor_at, anchor_number, period_number, paid_until, auto_renew, policy, state, next_step,
                next_step_at, renewal_hold as "renewal_hold: JournalId", on_test_clock, revision
            from subscriptions "# + $tail,
            $($argument),*
        )
    };
}

/// Locks what is due by the platform's clock, soonest first, leaving out what other replicas hold and whose plan is being changed.
///
/// # Errors
/// Of the database.
pub async fn due_for_update(
    connection: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Subscription>, sqlx::Error> {
    let rows = subscriptions!(
        "where next_step_at is not null and not on_test_clock and next_step_at <= $1 and change_id is null
            and account_id <> all (array(select account_id from balances where frozen_at is not null)) order by next_step_at limit $2 for no key update skip locked",
        now,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Locks what is due in one account by its own clock, soonest first, but for those whose plan is being changed.
///
/// # Errors
/// Of the database.
pub async fn due_of_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Subscription>, sqlx::Error> {
    let rows = subscriptions!(
        "where account_id = $1 and next_step_at is not null and next_step_at <= $2 and change_id is null
            and not exists (select from balances b where b.account_id = $1 and b.frozen_at is not null) order by next_step_at limit $3 for no key update",
        account.0,
        now,
        limit
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Machines of an account that are gone while their subscription goes on.
///
/// # Errors
/// Of the database.
pub async fn outlived_machines(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<Vec<InstanceId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select s.instance_id as "instance: InstanceId" from subscriptions s
        join instances i on i.account_id = s.account_id and i.id = s.instance_id
        where s.account_id = $1 and s.state <> 'ENDED' and i.state in ('DELETING', 'DELETED', 'FAILED', 'LOST')"#,
        account.0,
    )
    .fetch_all(connection)
    .await
}

/// Locks one subscription.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    instance: InstanceId,
) -> Result<Option<Subscription>, sqlx::Error> {
    let row = subscriptions!(
        "where account_id = $1 and instance_id = $2 for no key update",
        account.0,
        instance.0
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(Into::into))
}

/// One subscription.
///
/// # Errors
/// Of the database.
pub async fn get(
    pool: &PgPool,
    account: AccountId,
    instance: InstanceId,
) -> Result<Option<Subscription>, sqlx::Error> {
    let row = subscriptions!(
        "where account_id = $1 and instance_id = $2",
        account.0,
        instance.0
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(Into::into))
}

/// Subscriptions of an account whose next step comes before `until`, soonest first.
///
/// # Errors
/// Of the database.
pub async fn list_due(
    pool: &PgPool,
    account: AccountId,
    until: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Subscription>, sqlx::Error> {
    let rows = subscriptions!("where account_id = $1 and next_step_at is not null and next_step_at < $2 order by next_step_at limit $3", account.0, until, limit)
        .fetch_all(pool)
        .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Writes a new subscription. False if there is one already.
///
/// # Errors
/// Of the database.
pub async fn insert(connection: &mut PgConnection, s: &Subscription) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "insert into subscriptions (account_id, instance_id, order_id, price_idr, period, anchor_at, anchor_number, period_number, paid_until, auto_renew,
            policy, state, next_step, next_step_at, on_test_clock, revision, present_starts_at, present_period, present_price, present_bought, present_paid)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) on conflict do nothing",
        s.account.0,
        s.instance.0,
        s.order.0,
        s.price.0,
        s.period as i16,
        s.anchor_at,
        s.anchor_number,
        s.period_number,
        s.paid_until,
        s.auto_renew,
        s.policy,
        s.state.as_str(),
        s.next.map_or("", |(step, _)| step.as_str()),
        s.next.map(|(_, at)| at),
        s.on_test_clock,
        s.revision,
        s.present.starts_at,
        s.present.period as i16,
        s.present.price.0,
        s.present.bought.0,
        s.present.paid.0,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes changed subscriptions, which the caller has locked.
///
/// # Errors
/// Of the database.
pub async fn save(
    connection: &mut PgConnection,
    changed: &[Subscription],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update subscriptions s set anchor_at = n.anchor_at, anchor_number = n.anchor_number, period_number = n.period_number, paid_until = n.paid_until,
            auto_renew = n.auto_renew, state = n.state, next_step = n.next_step, next_step_at = n.next_step_at, renewal_hold = n.renewal_hold,
            revision = n.revision, price_idr = n.price, period = n.period, present_starts_at = n.present_starts_at, present_period = n.present_period,
            present_price = n.present_price, present_bought = n.present_bought, present_paid = n.present_paid, change_id = n.change_id
        from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::integer[], $5::integer[], $6::timestamptz[], $7::boolean[], $8::text[], $9::text[],
            $10::timestamptz[], $11::uuid[], $12::bigint[], $13::bigint[], $14::smallint[], $15::timestamptz[], $16::smallint[], $17::bigint[], $18::bigint[],
            $19::bigint[], $20::uuid[])
            as n (account_id, instance_id, anchor_at, anchor_number, period_number, paid_until, auto_renew, state, next_step, next_step_at, renewal_hold, revision,
            price, period, present_starts_at, present_period, present_price, present_bought, present_paid, change_id)
        where s.account_id = n.account_id and s.instance_id = n.instance_id",
        &changed.iter().map(|s| s.account.0).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.instance.0).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.anchor_at).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.anchor_number).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.period_number).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.paid_until).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.auto_renew).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.state.as_str()).collect::<Vec<_>>() as &[&str],
        &changed.iter().map(|s| s.next.map_or("", |(step, _)| step.as_str())).collect::<Vec<_>>() as &[&str],
        &changed.iter().map(|s| s.next.map(|(_, at)| at)).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &changed.iter().map(|s| s.renewal_hold.map(|h| h.0)).collect::<Vec<_>>() as &[Option<Uuid>],
        &changed.iter().map(|s| s.revision).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.price.0).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.period as i16).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.present.starts_at).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.present.period as i16).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.present.price.0).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.present.bought.0).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.present.paid.0).collect::<Vec<_>>(),
        &changed.iter().map(|s| s.change.map(|c| c.0)).collect::<Vec<_>>() as &[Option<Uuid>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A renewal, or an attempt at one.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// The account.
    pub account: AccountId,
    /// Identifier.
    pub id: RenewalId,
    /// The machine.
    pub instance: InstanceId,
    /// What it paid for.
    pub charge: Charge,
    /// `HELD`, `PAID`, `UNPAID` or `RELEASED`.
    pub state: String,
    /// When it was recorded.
    pub created_at: DateTime<Utc>,
}

/// Records renewals.
///
/// # Errors
/// Of the database; `renewals_period_key` if a period was paid before.
pub async fn insert_renewals(
    connection: &mut PgConnection,
    renewals: &[Renewal],
) -> Result<(), sqlx::Error> {
    if renewals.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into renewals (account_id, id, instance_id, period_number, starts_at, ends_at, price, tax, state, created_at)
        select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::timestamptz[], $6::timestamptz[], $7::bigint[], $8::bigint[], $9::text[],
            $10::timestamptz[])",
        &renewals.iter().map(|r| r.account.0).collect::<Vec<_>>(),
        &renewals.iter().map(|r| r.id.0).collect::<Vec<_>>(),
        &renewals.iter().map(|r| r.instance.0).collect::<Vec<_>>(),
        &renewals.iter().map(|r| r.charge.number).collect::<Vec<_>>(),
        &renewals.iter().map(|r| r.charge.starts_at).collect::<Vec<_>>(),
        &renewals.iter().map(|r| r.charge.ends_at).collect::<Vec<_>>(),
        &renewals.iter().map(|r| r.charge.price.0).collect::<Vec<_>>(),
        &renewals.iter().map(|r| r.charge.tax.0).collect::<Vec<_>>(),
        &renewals.iter().map(|r| r.state.as_str()).collect::<Vec<_>>() as &[&str],
        &renewals.iter().map(|r| r.created_at).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Turns renewals paid ahead into PAID or RELEASED ones.
///
/// # Errors
/// Of the database.
pub async fn close_held(
    connection: &mut PgConnection,
    instances: &[(AccountId, InstanceId)],
    state: &str,
) -> Result<(), sqlx::Error> {
    if instances.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "update renewals r set state = $3 from unnest($1::uuid[], $2::uuid[]) as n (account_id, instance_id)
        where r.account_id = n.account_id and r.instance_id = n.instance_id and r.state = 'HELD'",
        &instances.iter().map(|(account, _)| account.0).collect::<Vec<_>>(),
        &instances.iter().map(|(_, instance)| instance.0).collect::<Vec<_>>(),
        state,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down that the last period paid ends when the subscription says so, and the one paid ahead, if there is one, is `next`.
///
/// # Errors
/// Of the database.
pub async fn move_end(
    connection: &mut PgConnection,
    subscription: &Subscription,
    next: &Charge,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update renewals set starts_at = case state when 'HELD' then $5 else starts_at end, ends_at = case state when 'HELD' then $6 else $5 end
        where account_id = $1 and instance_id = $2 and ((state = 'PAID' and period_number = $3) or (state = 'HELD' and period_number = $4))",
        subscription.account.0,
        subscription.instance.0,
        subscription.period_number,
        next.number,
        subscription.paid_until,
        next.ends_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Renewals of an account before `before`, newest first; of one machine if given.
///
/// # Errors
/// Of the database.
pub async fn list_renewals(
    pool: &PgPool,
    account: AccountId,
    before: Option<Uuid>,
    instance: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Renewal>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id as "id: RenewalId", instance_id as "instance: InstanceId", period_number, starts_at, ends_at, price as "price: Rupiah", tax as "tax: Rupiah",
            state, created_at
        from renewals
        where account_id = $1 and id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) and ($3::uuid is null or instance_id = $3)
        order by id desc limit $4"#,
        account.0,
        before,
        instance,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let total = Rupiah(r.price.0.saturating_add(r.tax.0));
            let charge = Charge {
                number: r.period_number,
                starts_at: r.starts_at,
                ends_at: r.ends_at,
                price: r.price,
                tax: r.tax,
                total,
            };
            Renewal {
                account,
                id: r.id,
                instance: r.instance,
                charge,
                state: r.state,
                created_at: r.created_at,
            }
        })
        .collect())
}

/// Lets subscriptions of these accounts that wait for money try again now, because money came.
///
/// # Errors
/// Of the database.
pub async fn try_unpaid_again(
    connection: &mut PgConnection,
    accounts: &[Uuid],
    now: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "update subscriptions s set next_step = 'renew', next_step_at = coalesce(c.now_at, $2)
        from unnest($1::uuid[]) as a (account_id) left join test_clocks c on c.account_id = a.account_id
        where s.account_id = a.account_id and s.next_step_at is not null and s.state in ('GRACE', 'SUSPENDED') and s.auto_renew",
        accounts,
        now,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// The policy of an account; `None` for the default.
///
/// # Errors
/// Of the database.
pub async fn get_policy(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select policy from account_policies where account_id = $1",
        account.0
    )
    .fetch_optional(connection)
    .await
}

/// Puts an account under a policy. False if there is no such account.
///
/// # Errors
/// Of the database.
pub async fn set_policy(
    connection: &mut PgConnection,
    account: AccountId,
    policy: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "insert into account_policies (account_id, policy) select id, $2 from accounts where id = $1
        on conflict (account_id) do update set policy = excluded.policy",
        account.0,
        policy,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
