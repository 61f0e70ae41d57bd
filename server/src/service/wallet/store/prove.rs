//! The proof: recomputes the books from the journals, within one snapshot, and names every difference.

use sewa_sdk::sewa::wallet::v1::{LedgerFinding, LedgerProof};
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use crate::base::id::AccountId;
use crate::base::time;

/// Findings reported at most.
const MAX_FINDINGS: i64 = 1000;

/// Proves the books of one account, or of all.
///
/// # Errors
/// Of the database.
pub async fn prove(pool: &PgPool, account: Option<AccountId>) -> Result<LedgerProof, sqlx::Error> {
    let account = account.map(|a| a.0);
    let mut tx = pool.begin().await?;
    sqlx::query!("set transaction isolation level repeatable read read only")
        .execute(&mut *tx)
        .await?;
    let snapshot = sqlx::query_scalar!(r#"select now() as "now!""#)
        .fetch_one(&mut *tx)
        .await?;
    let sums = sqlx::query!(
        r#"select count(*) as "journals!", count(distinct account_id) as "accounts!",
            coalesce(sum(available), 0)::bigint as "available!", coalesce(sum(held), 0)::bigint as "held!", coalesce(sum(promo), 0)::bigint as "promo!",
            coalesce(sum(withdrawable), 0)::bigint as "withdrawable!", coalesce(sum(cash_in), 0)::bigint as "cash_in!",
            coalesce(sum(revenue), 0)::bigint as "revenue!", coalesce(sum(promo_expense), 0)::bigint as "promo_expense!",
            coalesce(sum(refund), 0)::bigint as "refund!", coalesce(sum(adjustment), 0)::bigint as "adjustment!",
            coalesce(sum(gateway_fee), 0)::bigint as "gateway_fee!", coalesce(sum(ppn_payable), 0)::bigint as "ppn_payable!",
            coalesce(sum(clearing), 0)::bigint as "clearing!"
        from journals where $1::uuid is null or account_id = $1"#,
        account,
    )
    .fetch_one(&mut *tx)
    .await?;
    let trial_balance = [
        ("available", sums.available),
        ("held", sums.held),
        ("promo", sums.promo),
        ("withdrawable", sums.withdrawable),
        ("cash_in", sums.cash_in),
        ("revenue", sums.revenue),
        ("promo_expense", sums.promo_expense),
        ("refund", sums.refund),
        ("adjustment", sums.adjustment),
        ("gateway_fee", sums.gateway_fee),
        ("ppn_payable", sums.ppn_payable),
        ("clearing", sums.clearing),
    ]
    .map(|(name, sum)| (name.to_owned(), sum));
    let mut findings = balances(&mut tx, account).await?;
    findings.extend(unbalanced(&mut tx, account).await?);
    findings.extend(running(&mut tx, account).await?);
    findings.extend(holds(&mut tx, account).await?);
    let total: i64 = trial_balance.iter().map(|(_, sum)| sum).sum();
    if total != 0 {
        findings.push(finding(
            None,
            None,
            "trial_balance_is_zero",
            format!("the ledger accounts add up to {total}"),
        ));
    }
    tx.rollback().await?;
    findings.truncate(usize::try_from(MAX_FINDINGS).unwrap_or(usize::MAX));
    Ok(LedgerProof {
        proved: findings.is_empty(),
        accounts: sums.accounts,
        journals: sums.journals,
        trial_balance: trial_balance.into_iter().collect(),
        findings,
        snapshot_time: Some(time::to_proto(snapshot)),
    })
}

fn finding(
    account: Option<Uuid>,
    journal: Option<Uuid>,
    rule: &str,
    detail: String,
) -> LedgerFinding {
    let text = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    LedgerFinding {
        account_id: text(account),
        journal_id: text(journal),
        rule: rule.to_owned(),
        detail,
    }
}

/// Each balance is the sum of its postings, and not negative.
async fn balances(
    tx: &mut Transaction<'_, Postgres>,
    account: Option<Uuid>,
) -> Result<Vec<LedgerFinding>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"with sums as (
            select account_id, sum(available)::bigint as available, sum(held)::bigint as held, sum(promo)::bigint as promo,
                sum(withdrawable)::bigint as withdrawable
            from journals where $1::uuid is null or account_id = $1 group by account_id
        ), heads as (select * from balances where $1::uuid is null or account_id = $1)
        select coalesce(s.account_id, b.account_id) as "account!", coalesce(b.available, 0) as "available!", coalesce(s.available, 0) as "available_sum!",
            coalesce(b.held, 0) as "held!", coalesce(s.held, 0) as "held_sum!", coalesce(b.promo, 0) as "promo!", coalesce(s.promo, 0) as "promo_sum!",
            coalesce(b.withdrawable, 0) as "withdrawable!", coalesce(s.withdrawable, 0) as "withdrawable_sum!"
        from sums s full join heads b on b.account_id = s.account_id
        where (coalesce(b.available, 0), coalesce(b.held, 0), coalesce(b.promo, 0), coalesce(b.withdrawable, 0))
            is distinct from (coalesce(s.available, 0), coalesce(s.held, 0), coalesce(s.promo, 0), coalesce(s.withdrawable, 0))
            or least(b.available, b.held, b.promo, b.withdrawable) < 0
        limit $2"#,
        account,
        MAX_FINDINGS,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let detail = format!(
                "available is {} and its postings add up to {}; held {} and {}; promo {} and {}; withdrawable {} and {}",
                r.available, r.available_sum, r.held, r.held_sum, r.promo, r.promo_sum, r.withdrawable, r.withdrawable_sum
            );
            finding(Some(r.account), None, "balance_is_sum_of_postings", detail)
        })
        .collect())
}

/// Each journal sums to zero. The table's check says so already; the proof does not take its word.
async fn unbalanced(
    tx: &mut Transaction<'_, Postgres>,
    account: Option<Uuid>,
) -> Result<Vec<LedgerFinding>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select account_id, journal_id, sum(amount)::bigint as "sum!" from postings where $1::uuid is null or account_id = $1
        group by account_id, journal_id having sum(amount) <> 0 limit $2"#,
        account,
        MAX_FINDINGS,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            finding(
                r.account_id,
                r.journal_id,
                "journal_sums_to_zero",
                format!("the postings add up to {}", r.sum),
            )
        })
        .collect())
}

/// The balance each journal shows as reached is the sum of the postings up to it.
async fn running(
    tx: &mut Transaction<'_, Postgres>,
    account: Option<Uuid>,
) -> Result<Vec<LedgerFinding>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select account_id, id, available_after, available_sum as "available_sum!", held_after, held_sum as "held_sum!" from (
            select account_id, id, available_after, held_after,
                sum(available) over books::bigint as available_sum, sum(held) over books::bigint as held_sum
            from journals where $1::uuid is null or account_id = $1
            window books as (partition by account_id order by id)
        ) j where available_after <> available_sum or held_after <> held_sum limit $2"#,
        account,
        MAX_FINDINGS,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let detail = format!(
                "shows {} available and {} held; the postings so far add up to {} and {}",
                r.available_after, r.held_after, r.available_sum, r.held_sum
            );
            finding(
                Some(r.account_id),
                Some(r.id),
                "balance_after_is_running_sum",
                detail,
            )
        })
        .collect())
}

/// A capture or release closes a hold of the same books, with the hold's whole amount.
async fn holds(
    tx: &mut Transaction<'_, Postgres>,
    account: Option<Uuid>,
) -> Result<Vec<LedgerFinding>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select c.account_id, c.id, c.held as closed, h.held as "amount?"
        from journals c left join journals h on h.account_id = c.account_id and h.id = c.closes and h.kind = 2
        where c.closes is not null and ($1::uuid is null or c.account_id = $1) and (h.id is null or c.held <> -h.held) limit $2"#,
        account,
        MAX_FINDINGS,
    )
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| {
            let detail = format!(
                "closes {} of a hold of {}",
                -r.closed,
                r.amount
                    .map_or_else(|| "nothing".to_owned(), |a| a.to_string())
            );
            finding(
                Some(r.account_id),
                Some(r.id),
                "hold_is_closed_whole",
                detail,
            )
        })
        .collect())
}
