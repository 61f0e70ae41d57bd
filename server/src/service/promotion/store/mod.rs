//! The SQL of promotions.

pub mod coupons;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, DepositId, PromotionId};
use crate::base::money::{Rupiah, Value};
use crate::service::promotion::model::{Counts, Given, Kind, Posted, Promotion};

struct Row {
    id: PromotionId,
    kind: i16,
    display_name: String,
    sandbox: bool,
    enabled: bool,
    fixed: Rupiah,
    basis_points: i32,
    cap: Rupiah,
    minimum: Rupiah,
    total_limit: i32,
    account_limit: i32,
    new_accounts_only: bool,
    starts_at: DateTime<Utc>,
    ends_at: Option<DateTime<Utc>>,
    uses: i32,
    given: Rupiah,
    created_at: DateTime<Utc>,
}

impl From<Row> for Promotion {
    fn from(r: Row) -> Self {
        let kind = Kind::from_number(i32::from(r.kind));
        Self {
            id: r.id,
            kind: kind.expect("promotions_kind_known allows no other"),
            display_name: r.display_name,
            sandbox: r.sandbox,
            enabled: r.enabled,
            value: Value::from_columns(r.fixed, r.basis_points, r.cap),
            minimum: r.minimum,
            total_limit: r.total_limit,
            account_limit: r.account_limit,
            new_accounts_only: r.new_accounts_only,
            starts_at: r.starts_at,
            ends_at: r.ends_at,
            uses: r.uses,
            given: r.given,
            created_at: r.created_at,
        }
    }
}

macro_rules! promotions {
    ($tail:literal, $($argument:expr),*) => {
        sqlx::query_as!(
            Row,
            r#"select p.id as "id: PromotionId", p.kind, display_name, p.sandbox, enabled, fixed as "fixed: Rupiah", basis_points, cap as "cap: Rupiah",
                minimum as "minimum: Rupiah", total_limit, account_limit, new_accounts_only, starts_at, ends_at, uses, given as "given: Rupiah", p.created_at
            from promotions p "# + $tail,
            $($argument),*
        )
    };
}

/// The promotions that a deposit of an account, opened at `at`, may be given.
///
/// # Errors
/// Of the database.
pub async fn open(
    connection: &mut PgConnection,
    account: AccountId,
    at: DateTime<Utc>,
) -> Result<Vec<Promotion>, sqlx::Error> {
    let rows = promotions!(
        "join accounts a on a.id = $1 and a.sandbox = p.sandbox where enabled and starts_at <= $2 and (ends_at is null or ends_at > $2)
            and (total_limit = 0 or uses < total_limit) order by p.id",
        account.0,
        at
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The same, locked in the order of their ids, which is the order in which everybody locks them.
///
/// # Errors
/// Of the database.
pub async fn open_for_update(
    connection: &mut PgConnection,
    account: AccountId,
    at: DateTime<Utc>,
) -> Result<Vec<Promotion>, sqlx::Error> {
    let rows = promotions!(
        "join accounts a on a.id = $1 and a.sandbox = p.sandbox where enabled and starts_at <= $2 and (ends_at is null or ends_at > $2)
            and (total_limit = 0 or uses < total_limit) order by p.id for no key update of p",
        account.0,
        at
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Who brought an account here.
///
/// # Errors
/// Of the database.
pub async fn referrer(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<Option<AccountId>, sqlx::Error> {
    let found = sqlx::query_scalar!("select referred_by from accounts where id = $1", account.0)
        .fetch_optional(connection)
        .await?;
    Ok(found.flatten().map(AccountId))
}

/// How often these promotions were given to these accounts.
///
/// # Errors
/// Of the database.
pub async fn count(
    connection: &mut PgConnection,
    promotions: &[Promotion],
    accounts: &[AccountId],
) -> Result<Counts, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select promotion_id as "promotion: PromotionId", account_id as "account: AccountId", count(*) as "count!" from promotion_uses
        where promotion_id = any($1) and account_id = any($2) group by promotion_id, account_id"#,
        &promotions.iter().map(|p| p.id.0).collect::<Vec<_>>(),
        &accounts.iter().map(|a| a.0).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    let counts = rows.into_iter();
    Ok(counts
        .map(|r| ((r.promotion, r.account), r.count))
        .collect())
}

/// Writes down what was given, and counts it.
///
/// # Errors
/// Of the database.
pub async fn insert_uses(
    connection: &mut PgConnection,
    posted: &[Posted],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if posted.is_empty() {
        return Ok(());
    }
    let of = |id: fn(&Posted) -> Uuid| -> Vec<Uuid> { posted.iter().map(id).collect() };
    // Each promotion is there once, because a deposit is given one of each kind.
    sqlx::query!(
        "with given as (
            select * from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::bigint[])
                as g (account_id, id, promotion_id, payer_id, deposit_id, journal_id, amount)
        ), counted as (
            update promotions p set uses = p.uses + 1, given = p.given + g.amount from given g where p.id = g.promotion_id
        )
        insert into promotion_uses (account_id, id, promotion_id, payer_id, deposit_id, journal_id, amount, given_at) select g.*, $8 from given g",
        &of(|p| p.gift.account.0),
        &of(|_| Uuid::now_v7()),
        &of(|p| p.gift.promotion.0),
        &of(|p| p.payer.0),
        &of(|p| p.deposit.0),
        &of(|p| p.journal.0),
        &posted.iter().map(|p| p.gift.amount.0).collect::<Vec<_>>(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What was given for a deposit, to its payer and to others.
///
/// # Errors
/// Of the database.
pub async fn given_for(
    connection: &mut PgConnection,
    deposit: DepositId,
) -> Result<Vec<Given>, sqlx::Error> {
    sqlx::query_as!(
        Given,
        r#"select u.account_id as "account: AccountId", u.id, promotion_id as "promotion: PromotionId", p.kind, p.display_name, amount as "amount: Rupiah",
            taken as "taken: Rupiah", revoked_at
        from promotion_uses u join promotions p on p.id = u.promotion_id where deposit_id = $1 order by u.id"#,
        deposit.0
    )
    .fetch_all(connection)
    .await
}

/// Writes down what was taken back.
///
/// # Errors
/// Of the database.
pub async fn revoke(
    connection: &mut PgConnection,
    given: &Given,
    taken: Rupiah,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update promotion_uses set taken = $3, revoked_at = $4 where account_id = $1 and id = $2 and revoked_at is null",
        given.account.0,
        given.id,
        taken.0,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes a new promotion.
///
/// # Errors
/// Of the database.
pub async fn insert(
    connection: &mut PgConnection,
    promotion: &Promotion,
) -> Result<(), sqlx::Error> {
    let (fixed, basis_points, cap) = promotion.value.columns();
    sqlx::query!(
        "insert into promotions (id, kind, display_name, sandbox, enabled, fixed, basis_points, cap, minimum, total_limit, account_limit, new_accounts_only,
            starts_at, ends_at, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        promotion.id.0,
        promotion.kind as i16,
        promotion.display_name,
        promotion.sandbox,
        promotion.enabled,
        fixed,
        basis_points,
        cap,
        promotion.minimum.0,
        promotion.total_limit,
        promotion.account_limit,
        promotion.new_accounts_only,
        promotion.starts_at,
        promotion.ends_at,
        promotion.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A promotion that nobody else gives or changes until the transaction ends.
///
/// # Errors
/// Of the database.
pub async fn get_for_update(
    connection: &mut PgConnection,
    id: PromotionId,
) -> Result<Option<Promotion>, sqlx::Error> {
    let row = promotions!("where p.id = $1 for no key update", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(row.map(Into::into))
}

/// A promotion.
///
/// # Errors
/// Of the database.
pub async fn get(pool: &PgPool, id: PromotionId) -> Result<Option<Promotion>, sqlx::Error> {
    let row = promotions!("where p.id = $1", id.0)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(Into::into))
}

/// Promotions before `before`, newest first.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Promotion>, sqlx::Error> {
    let rows = promotions!(
        "where p.id < coalesce($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) order by p.id desc limit $2",
        before,
        limit
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Writes a promotion back that is locked.
///
/// # Errors
/// Of the database.
pub async fn update(
    connection: &mut PgConnection,
    promotion: &Promotion,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update promotions set display_name = $2, enabled = $3, ends_at = $4, total_limit = $5, account_limit = $6 where id = $1",
        promotion.id.0,
        promotion.display_name,
        promotion.enabled,
        promotion.ends_at,
        promotion.total_limit,
        promotion.account_limit,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What became of a promotion.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// To how many accounts it was given.
    pub accounts: i64,
    /// What was taken back.
    pub taken: i64,
}

/// What became of promotions, in their order.
///
/// # Errors
/// Of the database.
pub async fn statistics(
    pool: &PgPool,
    promotions: &[Promotion],
) -> Result<Vec<Statistics>, sqlx::Error> {
    sqlx::query_as!(
        Statistics,
        r#"select count(distinct u.account_id) as "accounts!", coalesce(sum(u.taken), 0)::bigint as "taken!"
        from unnest($1::uuid[]) with ordinality as n (id, number) left join promotion_uses u on u.promotion_id = n.id
        group by n.number order by n.number"#,
        &promotions.iter().map(|p| p.id.0).collect::<Vec<_>>(),
    )
    .fetch_all(pool)
    .await
}

/// A referral code and what it brought.
pub struct Referral {
    /// The code.
    pub code: String,
    /// Accounts that named it.
    pub accounts: i64,
    /// Rewards less what was taken back.
    pub earned: Rupiah,
}

/// The referral code of an account.
///
/// # Errors
/// Of the database.
pub async fn referral(pool: &PgPool, account: AccountId) -> Result<Option<Referral>, sqlx::Error> {
    sqlx::query_as!(
        Referral,
        r#"select referral_code as code, (select count(*) from accounts b where b.referred_by = a.id) as "accounts!",
            (select coalesce(sum(u.amount - u.taken), 0)::bigint from promotion_uses u join promotions p on p.id = u.promotion_id
                where u.account_id = a.id and p.kind = 4) as "earned!: Rupiah"
        from accounts a where a.id = $1"#,
        account.0,
    )
    .fetch_optional(pool)
    .await
}
