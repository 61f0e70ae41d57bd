//! Subscriptions against renewals, machines and the ledger: each period is paid once and none is skipped, nobody is unpaid before the time, and what was paid is
//! in the journals. [I6]

use sqlx::PgConnection;

use crate::prove::{Broken, Finding, MAX_FINDINGS, Scope, findings};
use crate::service::lifecycle::model::POLICIES;

/// The least hours between the due time and a suspension, over all policies, by period: an account may have changed its policy since.
fn least_grace() -> (Vec<i16>, Vec<i32>) {
    let rules = POLICIES.iter().flat_map(|policy| &policy.rules);
    rules
        .map(|rule| {
            let period = i16::try_from(rule.period as i32).unwrap_or_default();
            (period, rule.suspend_after_hours)
        })
        .unzip()
}

pub(super) async fn look(
    connection: &mut PgConnection,
    scope: Scope,
) -> Result<impl Iterator<Item = Finding>, sqlx::Error> {
    let (periods, hours) = least_grace();
    // Clocks of servers and of the database may be ten minutes apart; time is compared with that in mind.
    let broken = sqlx::query_as!(
        Broken,
        r#"with grace as (
            select period, min(hours) * interval '1 hour' as least from unnest($3::smallint[], $4::integer[]) as g (period, hours) group by period
        ), paid as (
            select account_id, instance_id, count(*) filter (where state = 'PAID') as number, max(period_number) filter (where state = 'PAID') as last,
                max(ends_at) filter (where state = 'PAID') as until, coalesce(sum(price + tax) filter (where state = 'PAID' and period_number > 1), 0) as amount,
                count(*) filter (where state = 'HELD') as ahead
            from renewals where account_id between $1 and $2 group by account_id, instance_id
        ), changed as (
            select account_id, instance_id, sum(net + tax) as amount
            from plan_changes where account_id between $1 and $2 and state = 'DONE' and net > 0 group by account_id, instance_id
        ), charged as (
            select account_id, subject_id, sum(revenue + ppn_payable) as amount
            from journals where account_id between $1 and $2 and kind in (3, 5) group by account_id, subject_id
        )
        select account_id as "account!", instance_id as "id!", rule as "rule!",
            format('%s until %s, next %s; period %s of which %s are paid until %s; machine %s; paid %s for further periods, charged %s; hold %s',
                state, paid_until, next_step, period_number, number, until, machine, amount, charged, renewal_hold) as "detail!"
        from (
            select s.account_id, s.instance_id, s.state, s.paid_until, s.next_step, s.period_number, s.renewal_hold, p.number, p.until, p.amount,
                coalesce(c.amount, 0) as charged, i.state as machine,
                case
                    when p.number is distinct from s.period_number::bigint or p.last is distinct from s.period_number then 'every_period_is_paid_once'
                    when p.until is distinct from s.paid_until then 'paid_until_is_end_of_period'
                    when p.amount + coalesce(e.amount, 0) > coalesce(c.amount, 0) then 'paid_periods_are_charged'
                    when s.state <> 'ENDED' and (s.renewal_hold is not null) <> (p.ahead > 0) then 'period_ahead_is_held'
                    when s.renewal_hold is not null and (h.kind is distinct from 2 or h.subject_id <> s.instance_id or x.id is not null) then 'period_ahead_is_held'
                    when s.state in ('GRACE', 'SUSPENDED') and s.paid_until > coalesce(t.now_at, now() + interval '10 minutes') then 'unpaid_only_when_due'
                    when s.state = 'SUSPENDED' and s.paid_until + g.least > coalesce(t.now_at, now() + interval '10 minutes') then 'suspended_only_after_grace'
                    when (s.state, s.next_step) in (('ACTIVE', 'terminate'), ('GRACE', 'terminate'), ('SUSPENDED', 'suspend')) then 'next_step_fits_state'
                    when s.state = 'ENDED' and i.wanted <> 'DELETED' and i.state not in ('DELETING', 'DELETED', 'FAILED', 'LOST') then 'machine_has_a_subscription'
                    when i.id is null then 'subscription_has_a_machine'
                    when s.price_idr <> i.price or s.period <> i.period then 'instance_shows_its_price'
                    when s.change_id is not null and w.operation_id is null then 'subscription_waits_for_its_plan_change'
                end as rule
            from subscriptions s
            left join paid p on p.account_id = s.account_id and p.instance_id = s.instance_id
            left join changed e on e.account_id = s.account_id and e.instance_id = s.instance_id
            left join charged c on c.account_id = s.account_id and c.subject_id = s.instance_id
            left join journals h on h.account_id = s.account_id and h.id = s.renewal_hold
            left join journals x on x.account_id = s.account_id and x.closes = s.renewal_hold
            left join instances i on i.account_id = s.account_id and i.id = s.instance_id
            left join plan_changes w on w.account_id = s.account_id and w.operation_id = s.change_id and w.state = 'OPEN'
            left join test_clocks t on t.account_id = s.account_id
            left join grace g on g.period = s.period
            where s.account_id between $1 and $2
        ) s
        where rule is not null
        limit $5"#,
        scope.first,
        scope.last,
        &periods,
        &hours,
        MAX_FINDINGS,
    )
    .fetch_all(connection)
    .await?;
    Ok(findings("subscriptions", broken))
}
