//! Deposits against payments and the ledger: what payments credited is what journals moved, what gateways kept of them is posted as their fee, and a deposit is paid
//! exactly if a payment came. Whether gateways say the same is asked of them, not here (`service/report`). [I7]

use sqlx::PgConnection;

use crate::prove::{Broken, Finding, MAX_FINDINGS, Scope, findings};

pub(super) async fn look(
    connection: &mut PgConnection,
    scope: Scope,
) -> Result<impl Iterator<Item = Finding>, sqlx::Error> {
    let broken = sqlx::query_as!(
        Broken,
        r#"with came as (
            select account_id, deposit_id, count(*) filter (where kind <> 6) as payments, sum(credited)::bigint as credited,
                coalesce(sum(gateway_fee), 0)::bigint as fees
            from payments where account_id between $1 and $2 group by account_id, deposit_id
        ), moved as (
            select account_id, subject_id, sum(available + held)::bigint as amount, (-sum(gateway_fee))::bigint as fees, bool_or(kind <> 2) as named
            from journals where account_id between $1 and $2 and (kind in (1, 8) or (kind = 2 and (cash_in <> 0 or gateway_fee <> 0))) group by account_id, subject_id
        ), told as (
            select coalesce(c.account_id, m.account_id) as account_id, coalesce(c.deposit_id, m.subject_id) as deposit_id,
                coalesce(c.payments, 0) as payments, coalesce(c.credited, 0) as credited, coalesce(m.amount, 0) as moved, coalesce(c.fees, 0) as fees,
                coalesce(m.fees, 0) as posted, m.named
            from came c full join moved m on m.account_id = c.account_id and m.subject_id = c.deposit_id
        )
        select account_id as "account!", id as "id!", rule as "rule!",
            format('the deposit is %s with %s payments, which credited %s with fees of %s; the journals moved %s with fees of %s',
                coalesce(state, 'unknown'), payments, credited, fees, moved, posted) as "detail!"
        from (
            select coalesce(d.account_id, t.account_id) as account_id, coalesce(d.id, t.deposit_id) as id, d.state,
                coalesce(t.payments, 0) as payments, coalesce(t.credited, 0) as credited, coalesce(t.moved, 0) as moved,
                coalesce(t.fees, 0) as fees, coalesce(t.posted, 0) as posted,
                case
                    -- What staff received for an order has no deposit.
                    when d.id is null and t.named is not false then 'money_in_has_a_deposit'
                    when d.id is null then null
                    when coalesce(t.credited, 0) <> coalesce(t.moved, 0) then 'payments_are_credited_once'
                    when coalesce(t.fees, 0) <> coalesce(t.posted, 0) then 'gateway_fees_are_posted'
                    when d.state = 'PAID' and coalesce(t.payments, 0) = 0 then 'paid_deposit_has_a_payment'
                    when d.state not in ('PAID', 'REVERSED') and coalesce(t.payments, 0) > 0 then 'deposit_with_a_payment_is_paid'
                end as rule
            from (select * from deposits where account_id between $1 and $2) d
            full join told t on t.account_id = d.account_id and t.deposit_id = d.id
        ) d
        where rule is not null
        limit $3"#,
        scope.first,
        scope.last,
        MAX_FINDINGS,
    )
    .fetch_all(connection)
    .await?;
    Ok(findings("deposits", broken))
}
