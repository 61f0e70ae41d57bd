//! The SQL of bank transfers that wait for staff.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, DepositId};
use crate::base::money::Rupiah;
use crate::service::wallet::deposit::Deposit;
use crate::service::wallet::store::deposits;

/// A transfer that one person has confirmed and that is not credited yet.
pub struct Waiting {
    /// The deposit.
    pub deposit: DepositId,
    /// The bank's reference.
    pub bank_reference: String,
    /// How much.
    pub received: Rupiah,
    /// Who has seen it.
    pub principal: Uuid,
    /// When.
    pub confirmed_at: DateTime<Utc>,
}

/// Writes down whether one person has seen a transfer for a deposit that is not credited yet.
///
/// # Errors
/// Of the database.
pub async fn mark(connection: &mut PgConnection, deposit: &Deposit) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update deposits set half_confirmed = exists (
            select from bank_confirmations c where c.account_id = $1 and c.deposit_id = $2 and not exists (
                select from payments p where p.account_id = $1 and p.deposit_id = $2 and p.gateway_ref = c.bank_reference))
        where account_id = $1 and id = $2",
        deposit.account.0,
        deposit.id.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A deposit that waits for staff.
pub struct Listed {
    /// The deposit.
    pub deposit: Deposit,
    /// Name of its account.
    pub account_name: String,
}

/// Deposits that wait for staff and are younger than `after`, the oldest first; of those only that need a second person if `second_person_only`.
///
/// # Errors
/// Of the database.
pub async fn list(
    pool: &PgPool,
    after: Option<Uuid>,
    second_person_only: bool,
    limit: i64,
) -> Result<Vec<Listed>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select d.account_id as "account: AccountId", d.id as "id: DepositId", a.name from deposits d join accounts a on a.id = d.account_id
        where d.method = 5 and (d.state = 'PENDING' or d.half_confirmed) and (not $2 or d.half_confirmed)
            and d.id > coalesce($1, '00000000-0000-0000-0000-000000000000'::uuid)
        order by d.id limit $3"#,
        after,
        second_person_only,
        limit,
    )
    .fetch_all(pool)
    .await?;
    let mut connection = pool.acquire().await?;
    let named: Vec<(AccountId, DepositId)> = rows.iter().map(|r| (r.account, r.id)).collect();
    let mut whole = deposits::get_many(&mut connection, &named).await?;
    whole.sort_by_key(|deposit| deposit.id);
    let mut names = rows.into_iter().map(|r| (r.id, r.name)).peekable();
    // Both are in the order of ids; a deposit is never deleted.
    let listed = whole.into_iter().filter_map(|deposit| {
        let (_, account_name) = names.next_if(|(id, _)| *id == deposit.id)?;
        Some(Listed {
            deposit,
            account_name,
        })
    });
    Ok(listed.collect())
}

/// Transfers for these deposits that are confirmed and not credited yet, the oldest first.
///
/// # Errors
/// Of the database.
pub async fn waiting(pool: &PgPool, listed: &[Listed]) -> Result<Vec<Waiting>, sqlx::Error> {
    sqlx::query_as!(
        Waiting,
        r#"select c.deposit_id as "deposit: DepositId", c.bank_reference, c.received as "received: Rupiah", c.principal_id as principal, c.confirmed_at
        from unnest($1::uuid[], $2::uuid[]) as n (account_id, id)
        join bank_confirmations c on c.account_id = n.account_id and c.deposit_id = n.id
        where not exists (select from payments p where p.account_id = c.account_id and p.deposit_id = c.deposit_id and p.gateway_ref = c.bank_reference)
        order by c.confirmed_at, c.bank_reference"#,
        &listed.iter().map(|l| l.deposit.account.0).collect::<Vec<_>>(),
        &listed.iter().map(|l| l.deposit.id.0).collect::<Vec<_>>(),
    )
    .fetch_all(pool)
    .await
}
