//! Orders against the ledger: what an order says about its money is what the journals say, and its history is a way its machine allows. A gateway that takes back the
//! payment of an order under way ends its hold (a journal of kind 8); the order learns of it a moment later. [I4]

use sqlx::PgConnection;

use crate::prove::{Broken, Finding, MAX_FINDINGS, Scope, findings};
use crate::service::order::model::{EVENTS, State};

/// Every move that some event causes, as `FROM>TO`.
fn moves() -> Vec<String> {
    let mut moves: Vec<String> = State::ALL
        .into_iter()
        .flat_map(|from| {
            EVENTS
                .into_iter()
                .filter_map(move |event| Some((from, from.on(event).ok()?)))
        })
        .map(|(from, to)| format!("{}>{}", from.as_str(), to.as_str()))
        .collect();
    moves.sort_unstable();
    moves.dedup();
    moves
}

pub(super) async fn look(
    connection: &mut PgConnection,
    scope: Scope,
) -> Result<impl Iterator<Item = Finding>, sqlx::Error> {
    let broken = sqlx::query_as!(
        Broken,
        r#"select account_id as "account!", id as "id!", rule as "rule!",
            format('the order is %s over %s with %s of tax; its history ends with %s; its hold %s is %s, closed by a journal of kind %s with %s of tax',
                state, total, tax, last_state, hold_id, held, closing_kind, closing_tax) as "detail!"
        from (
            select o.account_id, o.id, o.state, o.total, o.tax, o.hold_id, h.held, c.kind as closing_kind, c.ppn_payable as closing_tax,
                o.history -> -1 ->> 'to' as last_state,
                case
                    when o.history -> -1 ->> 'to' is distinct from o.state then 'order_state_is_end_of_history'
                    when exists (
                        select from (
                            select m ->> 'from' as came_from, m ->> 'to' as went_to, lag(m ->> 'to') over (order by number) as before, number
                            from jsonb_array_elements(o.history) with ordinality as moves (m, number)
                        ) moves
                        where came_from is distinct from before or (number > 1 and not came_from || '>' || went_to = any($3))
                    ) then 'order_moves_are_legal'
                    when o.hold_id is not null and (h.id is null or h.held <> o.total or h.subject_id not in (o.id, coalesce(o.deposit_id, o.id))) then 'order_holds_its_total'
                    when o.state in ('PAID', 'PROVISIONING') and (o.hold_id is null or c.kind <> 8) then 'open_order_is_held'
                    when o.state = 'ACTIVE' and (c.kind is distinct from 3 or c.ppn_payable <> o.tax) then 'active_order_is_captured'
                    when o.state in ('REFUNDED', 'CANCELLED', 'EXPIRED') and o.hold_id is not null and (c.kind is null or c.kind not in (4, 8)) then 'ended_order_is_released'
                    when o.state = 'FAILED' then 'failed_order_is_refunded'
                end as rule
            from orders o
            left join journals h on h.account_id = o.account_id and h.id = o.hold_id and h.kind = 2
            left join journals c on c.account_id = o.account_id and c.closes = o.hold_id
            where o.account_id between $1 and $2
        ) o
        where rule is not null
        limit $4"#,
        scope.first,
        scope.last,
        &moves(),
        MAX_FINDINGS,
    )
    .fetch_all(connection)
    .await?;
    Ok(findings("orders", broken))
}
