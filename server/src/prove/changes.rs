//! Changes of plan against the ledger, their subscriptions and their machines: what a change says about its money is what the journals say, and nothing is sold that is not
//! what the machine was made into. [I9]

use sqlx::PgConnection;

use crate::prove::{Broken, Finding, MAX_FINDINGS, Scope, findings};

pub(super) async fn look(
    connection: &mut PgConnection,
    scope: Scope,
) -> Result<impl Iterator<Item = Finding>, sqlx::Error> {
    let broken = sqlx::query_as!(
        Broken,
        r#"select account_id as "account!", id as "id!", rule as "rule!",
            format('the change is %s over %s with %s of tax; its hold is %s of %s, closed by a journal of kind %s with %s of tax; its refund is %s with %s of tax',
                state, net, tax, hold_id, held, closing_kind, closing_tax, given_back, refund_tax) as "detail!"
        from (
            select p.account_id, p.operation_id as id, p.state, p.net, p.tax, p.hold_id, h.held, c.kind as closing_kind, c.ppn_payable as closing_tax,
                r.available as given_back, r.ppn_payable as refund_tax,
                case
                    when p.net > 0 and (h.id is null or h.held <> p.net + p.tax or h.subject_id <> p.instance_id) then 'plan_change_holds_its_total'
                    when p.state = 'OPEN' and c.id is not null then 'open_plan_change_is_held'
                    when p.state = 'DONE' and p.net > 0 and (c.kind is distinct from 3 or c.ppn_payable <> p.tax) then 'plan_change_is_captured'
                    when p.state = 'FAILED' and p.net > 0 and c.kind is distinct from 4 then 'failed_plan_change_is_released'
                    when p.state = 'DONE' and p.net < 0 and (r.kind is distinct from 6 or r.available <> -(p.net + p.tax) or r.ppn_payable <> p.tax
                        or r.subject_id <> p.instance_id) then 'plan_change_is_given_back'
                    when (p.state = 'OPEN') <> (s.change_id is not distinct from p.operation_id) then 'subscription_waits_for_its_plan_change'
                    when p.state = 'OPEN' and o.finished_at is not null then 'open_plan_change_is_worked_on'
                end as rule
            from plan_changes p
            left join journals h on h.account_id = p.account_id and h.id = p.hold_id and h.kind = 2
            left join journals c on c.account_id = p.account_id and c.closes = p.hold_id
            left join journals r on r.account_id = p.account_id and r.id = p.refund_id
            left join subscriptions s on s.account_id = p.account_id and s.instance_id = p.instance_id
            left join operations o on o.account_id = p.account_id and o.id = p.operation_id
            where p.account_id between $1 and $2
        ) p
        where rule is not null
        limit $3"#,
        scope.first,
        scope.last,
        MAX_FINDINGS,
    )
    .fetch_all(connection)
    .await?;
    Ok(findings("plan_changes", broken))
}
