//! The ledger itself: journals sum to zero and continue one another, holds are closed whole, and balances are what journals add up to. [I1 I2]

use sqlx::PgConnection;

use crate::prove::{Broken, Finding, MAX_FINDINGS, Proof, Scope, findings};

/// From here to the end of the transaction everything is read as it is now.
pub(super) async fn use_one_snapshot(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("set transaction isolation level repeatable read read only")
        .execute(connection)
        .await?;
    Ok(())
}

/// What all journals add up to.
pub(super) async fn totals(
    connection: &mut PgConnection,
    scope: Scope,
) -> Result<Proof, sqlx::Error> {
    let sums = sqlx::query!(
        r#"select now() as "now!", count(*) as "journals!", count(distinct account_id) as "accounts!",
            coalesce(sum(available), 0)::bigint as "available!", coalesce(sum(held), 0)::bigint as "held!", coalesce(sum(promo), 0)::bigint as "promo!",
            coalesce(sum(withdrawable), 0)::bigint as "withdrawable!", coalesce(sum(cash_in), 0)::bigint as "cash_in!",
            coalesce(sum(revenue), 0)::bigint as "revenue!", coalesce(sum(promo_expense), 0)::bigint as "promo_expense!",
            coalesce(sum(refund), 0)::bigint as "refund!", coalesce(sum(adjustment), 0)::bigint as "adjustment!",
            coalesce(sum(gateway_fee), 0)::bigint as "gateway_fee!", coalesce(sum(ppn_payable), 0)::bigint as "ppn_payable!",
            coalesce(sum(clearing), 0)::bigint as "clearing!"
        from journals where account_id between $1 and $2"#,
        scope.first,
        scope.last,
    )
    .fetch_one(connection)
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
    ];
    Ok(Proof {
        accounts: sums.accounts,
        journals: sums.journals,
        trial_balance: trial_balance
            .map(|(name, sum)| (name.to_owned(), sum))
            .into(),
        findings: Vec::new(),
        snapshot_at: sums.now,
    })
}

/// Each journal sums to zero, and shows the balances of the one before it, moved by its own postings. A posting that was changed is named itself, not what came
/// after it.
pub(super) async fn journals(
    connection: &mut PgConnection,
    scope: Scope,
) -> Result<impl Iterator<Item = Finding>, sqlx::Error> {
    let broken = sqlx::query_as!(
        Broken,
        r#"select account_id as "account!", id as "id!", case when total <> 0 then 'journal_sums_to_zero' else 'balance_after_is_running_sum' end as "rule!",
            case when total <> 0 then format('the postings add up to %s', total)
            else format('shows %s available and %s held; the journal before shows %s and %s, and this one posts %s and %s',
                available_after, held_after, available_before, held_before, available, held) end as "detail!"
        from (
            select account_id, id, available, held, available_after, held_after,
                available + held + promo + withdrawable + cash_in + revenue + promo_expense + refund + adjustment + gateway_fee + ppn_payable + clearing as total,
                lag(available_after, 1, 0::bigint) over books as available_before, lag(held_after, 1, 0::bigint) over books as held_before
            from journals where account_id between $1 and $2
            window books as (partition by account_id order by id)
        ) j
        where total <> 0 or available_after <> available_before + available or held_after <> held_before + held
        limit $3"#,
        scope.first,
        scope.last,
        MAX_FINDINGS,
    )
    .fetch_all(connection)
    .await?;
    Ok(findings("journals", broken))
}

/// A capture or release closes a hold of the same books, with the hold's whole amount; a release gives back as promo credit what was promo credit.
pub(super) async fn holds(
    connection: &mut PgConnection,
    scope: Scope,
) -> Result<impl Iterator<Item = Finding>, sqlx::Error> {
    let broken = sqlx::query_as!(
        Broken,
        r#"select c.account_id as "account!", c.id as "id!", 'hold_is_closed_whole' as "rule!",
            format('closes %s of a hold of %s, with %s of %s promo credit', -c.held, coalesce(h.held::text, 'nothing'), c.promo, coalesce(-h.promo, 0)) as "detail!"
        from journals c left join journals h on h.account_id = c.account_id and h.id = c.closes and h.kind = 2
        where c.closes is not null and c.account_id between $1 and $2 and (h.id is null or c.held <> -h.held or (c.kind = 4 and c.promo <> -h.promo))
        limit $3"#,
        scope.first,
        scope.last,
        MAX_FINDINGS,
    )
    .fetch_all(connection)
    .await?;
    Ok(findings("journals", broken))
}

/// Each balance is the sum of its postings, not negative, and names the journal that made it so.
pub(super) async fn balances(
    connection: &mut PgConnection,
    scope: Scope,
) -> Result<impl Iterator<Item = Finding>, sqlx::Error> {
    let broken = sqlx::query_as!(
        Broken,
        r#"with sums as (
            select account_id, sum(available)::bigint as available, sum(held)::bigint as held, sum(promo)::bigint as promo,
                sum(withdrawable)::bigint as withdrawable, max(id::text) as last
            from journals where account_id between $1 and $2 group by account_id
        ), heads as (select * from balances where account_id between $1 and $2)
        select coalesce(s.account_id, b.account_id) as "account!", coalesce(s.account_id, b.account_id) as "id!", 'balance_is_sum_of_postings' as "rule!",
            format('available is %s and its postings add up to %s; held %s and %s; promo %s and %s; withdrawable %s and %s; the last journal is %s and should be %s',
                b.available, s.available, b.held, s.held, b.promo, s.promo, b.withdrawable, s.withdrawable, b.last_journal_id, s.last) as "detail!"
        from sums s full join heads b on b.account_id = s.account_id
        where (coalesce(b.available, 0), coalesce(b.held, 0), coalesce(b.promo, 0), coalesce(b.withdrawable, 0))
            is distinct from (coalesce(s.available, 0), coalesce(s.held, 0), coalesce(s.promo, 0), coalesce(s.withdrawable, 0))
            or least(b.available, b.held, b.promo, b.withdrawable) < 0
            or coalesce(b.last_journal_id::text, '') <> coalesce(s.last, '00000000-0000-0000-0000-000000000000')
        limit $3"#,
        scope.first,
        scope.last,
        MAX_FINDINGS,
    )
    .fetch_all(connection)
    .await?;
    Ok(findings("balances", broken))
}
