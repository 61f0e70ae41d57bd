//! The SQL of the wallet.

pub mod deposits;
pub mod payments;
pub mod queue;

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::db::PgPool;
use crate::base::id::{AccountId, JournalId};
use crate::base::money::Rupiah;
use crate::service::wallet::model::{Action, Balance, Books, Command, Hold, Journal};

/// Locks the balances that commands touch, in the order of their ids, and reads the holds they close. Accounts without a balance get an empty one.
///
/// # Errors
/// Of the database.
pub async fn lock_books(
    connection: &mut PgConnection,
    commands: &[Command],
    now: DateTime<Utc>,
) -> Result<Books, sqlx::Error> {
    let mut accounts: Vec<Uuid> = commands.iter().map(|c| c.account.0).collect();
    accounts.sort_unstable();
    accounts.dedup();
    let mut books = Books::default();
    lock_balances(connection, &accounts, &mut books).await?;
    if books.balances.len() < accounts.len() {
        sqlx::query!("insert into balances (account_id, updated_at) select unnest($1::uuid[]), $2 on conflict do nothing", &accounts, now)
            .execute(&mut *connection)
            .await?;
        lock_balances(connection, &accounts, &mut books).await?;
    }
    let named: Vec<(AccountId, JournalId)> = commands
        .iter()
        .filter_map(|c| match c.action {
            Action::Capture { hold, .. }
            | Action::Release { hold }
            | Action::Reverse {
                hold: Some(hold), ..
            } => Some((c.account, hold)),
            _ => None,
        })
        .collect();
    if !named.is_empty() {
        read_holds(connection, &named, &mut books).await?;
    }
    Ok(books)
}

async fn lock_balances(
    connection: &mut PgConnection,
    accounts: &[Uuid],
    books: &mut Books,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        r#"select account_id as "account: AccountId", available as "available: Rupiah", held as "held: Rupiah", promo as "promo: Rupiah",
            withdrawable as "withdrawable: Rupiah", last_journal_id as "last: JournalId", frozen_at
        from balances where account_id = any($1) order by account_id for no key update"#,
        accounts,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        let balance = Balance {
            available: row.available,
            held: row.held,
            promo: row.promo,
            withdrawable: row.withdrawable,
            last: row.last,
            frozen_at: row.frozen_at,
        };
        books.balances.insert(row.account, balance);
    }
    Ok(())
}

async fn read_holds(
    connection: &mut PgConnection,
    named: &[(AccountId, JournalId)],
    books: &mut Books,
) -> Result<(), sqlx::Error> {
    let accounts: Vec<Uuid> = named.iter().map(|(account, _)| account.0).collect();
    let holds: Vec<Uuid> = named.iter().map(|(_, hold)| hold.0).collect();
    let rows = sqlx::query!(
        r#"select h.account_id as "account: AccountId", h.id as "id: JournalId", h.held as "amount: Rupiah", -h.promo as "promo!: Rupiah",
            exists (select from journals c where c.account_id = h.account_id and c.closes = h.id) as "closed!"
        from unnest($1::uuid[], $2::uuid[]) as named (account_id, id)
        join journals h on h.account_id = named.account_id and h.id = named.id
        where h.kind = 2"#,
        &accounts,
        &holds,
    )
    .fetch_all(connection)
    .await?;
    for row in rows {
        books.holds.insert(
            (row.account, row.id),
            Hold {
                amount: row.amount,
                promo: row.promo,
                closed: row.closed,
            },
        );
    }
    Ok(())
}

/// Appends journals and moves the balances they changed, which the caller has locked.
///
/// # Errors
/// Of the database; a broken check or unique index here means a fault in the rules, and nothing commits.
pub async fn append(
    connection: &mut PgConnection,
    journals: &[Journal],
    books: &Books,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    if journals.is_empty() {
        return Ok(());
    }
    let column =
        |of: fn(&Journal) -> Rupiah| -> Vec<i64> { journals.iter().map(|j| of(j).0).collect() };
    let accounts: Vec<Uuid> = journals.iter().map(|j| j.account.0).collect();
    let ids: Vec<Uuid> = journals.iter().map(|j| j.id.0).collect();
    let kinds: Vec<i16> = journals.iter().map(|j| j.kind as i16).collect();
    let subjects: Vec<Uuid> = journals.iter().map(|j| j.subject).collect();
    let closes: Vec<Option<Uuid>> = journals.iter().map(|j| j.closes.map(|c| c.0)).collect();
    let descriptions: Vec<&str> = journals.iter().map(|j| j.description.as_str()).collect();
    let mut changed: Vec<AccountId> = journals.iter().map(|j| j.account).collect();
    changed.sort_unstable();
    changed.dedup();
    let balances: Vec<Balance> = changed
        .iter()
        .filter_map(|a| books.balances.get(a).copied())
        .collect();
    // One statement, because this is on the path of every order and a round trip costs as much as the rows.
    sqlx::query!(
        "with moved as (
            update balances b set available = n.available, held = n.held, promo = n.promo, withdrawable = n.withdrawable, last_journal_id = n.last,
                updated_at = $16
            from unnest($17::uuid[], $18::bigint[], $19::bigint[], $20::uuid[], $24::bigint[], $25::bigint[])
                as n (account_id, available, held, last, promo, withdrawable)
            where b.account_id = n.account_id
        )
        insert into journals (account_id, id, kind, subject_id, closes, description, available, held, cash_in, revenue, refund, adjustment, ppn_payable,
            available_after, held_after, promo, withdrawable, promo_expense, gateway_fee, recorded_at)
        select a, i, k, s, c, d, av, he, ca, re, rf, ad, pp, aa, ha, pr, wi, px, gf, $16
        from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::uuid[], $5::uuid[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
            $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $21::bigint[], $22::bigint[], $23::bigint[],
            $26::bigint[])
            as j (a, i, k, s, c, d, av, he, ca, re, rf, ad, pp, aa, ha, pr, wi, px, gf)",
        &accounts,
        &ids,
        &kinds,
        &subjects,
        &closes as &[Option<Uuid>],
        &descriptions as &[&str],
        &column(|j| j.available),
        &column(|j| j.held),
        &column(|j| j.cash_in),
        &column(|j| j.revenue),
        &column(|j| j.refund),
        &column(|j| j.adjustment),
        &column(|j| j.ppn_payable),
        &column(|j| j.available_after),
        &column(|j| j.held_after),
        now,
        &changed.iter().map(|a| a.0).collect::<Vec<_>>(),
        &balances.iter().map(|b| b.available.0).collect::<Vec<_>>(),
        &balances.iter().map(|b| b.held.0).collect::<Vec<_>>(),
        &balances.iter().map(|b| b.last.0).collect::<Vec<_>>(),
        &column(|j| j.promo),
        &column(|j| j.withdrawable),
        &column(|j| j.promo_expense),
        &balances.iter().map(|b| b.promo.0).collect::<Vec<_>>(),
        &balances.iter().map(|b| b.withdrawable.0).collect::<Vec<_>>(),
        &column(|j| j.gateway_fee),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The balances of accounts, and when each last changed. Those that never did are not among them.
///
/// # Errors
/// Of the database.
pub async fn balances(
    pool: &PgPool,
    accounts: &[AccountId],
) -> Result<HashMap<AccountId, (Balance, DateTime<Utc>)>, sqlx::Error> {
    let accounts: Vec<Uuid> = accounts.iter().map(|account| account.0).collect();
    let rows = sqlx::query!(
        r#"select account_id as "account: AccountId", available as "available: Rupiah", held as "held: Rupiah", promo as "promo: Rupiah",
            withdrawable as "withdrawable: Rupiah", last_journal_id as "last: JournalId", frozen_at, updated_at
        from balances where account_id = any($1)"#,
        &accounts,
    )
    .fetch_all(pool)
    .await?;
    let rows = rows.into_iter().map(|r| {
        let balance = Balance {
            available: r.available,
            held: r.held,
            promo: r.promo,
            withdrawable: r.withdrawable,
            last: r.last,
            frozen_at: r.frozen_at,
        };
        (r.account, (balance, r.updated_at))
    });
    Ok(rows.collect())
}

/// Whether a hold was closed because its money was taken back.
///
/// # Errors
/// Of the database.
pub async fn is_taken_back(
    connection: &mut PgConnection,
    account: AccountId,
    hold: JournalId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from journals where account_id = $1 and closes = $2 and kind = 8) as "taken!""#,
        account.0,
        hold.0
    )
    .fetch_one(connection)
    .await
}

/// Freezes a wallet, also one that has no balance yet. False if it was frozen before.
///
/// # Errors
/// Of the database.
pub async fn freeze(
    connection: &mut PgConnection,
    account: AccountId,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "insert into balances (account_id, updated_at, frozen_at, frozen_for) values ($1, $2, $2, $3)
        on conflict (account_id) do update set frozen_at = $2, frozen_for = $3 where balances.frozen_at is null",
        account.0,
        now,
        reason,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Which of these accounts have a frozen wallet.
///
/// # Errors
/// Of the database.
pub async fn frozen_among(
    connection: &mut PgConnection,
    accounts: &[Uuid],
) -> Result<Vec<AccountId>, sqlx::Error> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    sqlx::query_scalar!(
        r#"select account_id as "account: AccountId" from balances where account_id = any($1) and frozen_at is not null"#,
        accounts
    )
    .fetch_all(connection)
    .await
}

/// Ends a freeze. False if there is none.
///
/// # Errors
/// Of the database.
pub async fn unfreeze(
    connection: &mut PgConnection,
    account: AccountId,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update balances set frozen_at = null, frozen_for = null where account_id = $1 and frozen_at is not null",
        account.0,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Whether an account exists.
///
/// # Errors
/// Of the database.
pub async fn account_exists(pool: &PgPool, account: AccountId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from accounts where id = $1) as "exists!""#,
        account.0
    )
    .fetch_one(pool)
    .await
}

/// Ids of the next accounts after `after`, in their order.
///
/// # Errors
/// Of the database.
pub async fn accounts_after(
    connection: &mut PgConnection,
    after: Uuid,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from accounts where id > $1 order by id limit $2",
        after,
        limit
    )
    .fetch_all(connection)
    .await
}

/// A journal as lists show it.
pub struct Listed {
    /// Identifier.
    pub id: JournalId,
    /// Number of its kind.
    pub kind: i16,
    /// What it belongs to.
    pub subject: Uuid,
    /// Why.
    pub description: String,
    /// Posting to the available balance.
    pub available: Rupiah,
    /// Posting to the held balance.
    pub held: Rupiah,
    /// Posting to promo credit.
    pub promo: Rupiah,
    /// Posting to what can be paid out.
    pub withdrawable: Rupiah,
    /// Posting to tax owed.
    pub ppn_payable: Rupiah,
    /// Available balance after it.
    pub available_after: Rupiah,
    /// Held balance after it.
    pub held_after: Rupiah,
    /// When.
    pub recorded_at: DateTime<Utc>,
}

/// Journals of an account before `before`, newest first; of one kind unless `kind` is 0.
///
/// # Errors
/// Of the database.
pub async fn list_journals(
    pool: &PgPool,
    account: AccountId,
    before: Option<Uuid>,
    kind: i16,
    limit: i64,
) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as!(
        Listed,
        r#"select id as "id: JournalId", kind, subject_id as subject, description, available as "available: Rupiah", held as "held: Rupiah",
            promo as "promo: Rupiah", withdrawable as "withdrawable: Rupiah", ppn_payable as "ppn_payable: Rupiah", available_after as "available_after: Rupiah", held_after as "held_after: Rupiah", recorded_at
        from journals
        where account_id = $1 and id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid) and ($3::smallint = 0 or kind = $3)
        order by id desc limit $4"#,
        account.0,
        before,
        kind,
        limit,
    )
    .fetch_all(pool)
    .await
}
