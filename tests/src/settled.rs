//! What is true of a platform that has come to rest, as seen by those who know: the cloud, the gateways and the log. With `sewa prove`, which compares the books
//! with everything the platform itself has written, these are the invariants I1 to I8.

use sqlx::PgConnection;

use crate::World;
use crate::patience::eventually;

/// Work that is not done yet, each with its number.
const OPEN: &str = "
    select 'orders under way' as what, count(*) from orders where state in ('PAID', 'PROVISIONING')
    union all select 'operations open', count(*) from operations where finished_at is null
    union all select 'deposits a gateway prepares', count(*) from deposits where state = 'PREPARING'
    union all select 'clocks on their way', count(*) from test_clocks where target_at > now_at
    union all select 'subscriptions due', count(*) from subscriptions s left join test_clocks c using (account_id)
        where s.next_step_at <= coalesce(c.now_at, now())
    union all select 'subscriptions of machines that are gone', count(*) from subscriptions s
        join instances i on i.account_id = s.account_id and i.id = s.instance_id
        where s.state <> 'ENDED' and i.state in ('DELETING', 'DELETED', 'FAILED', 'LOST')
    union all select 'machines on their way', count(*) from instances where state in ('PROVISIONING', 'DELETING')
    union all select 'snapshots on their way', count(*) from snapshots where wanted = 'ABSENT' or snapshot_ref is null
    union all select 'machines to be destroyed', count(*) from sim_machines where (gone_at is null or gone_at > now())
        and exists (select from instances i where i.id::text = reference and i.wanted = 'DELETED')";

/// What must not be, each with how often it is.
const WRONG: &str = "
    with alive as (select * from sim_machines where gone_at is null or gone_at > now()),
    ours as (select * from instances where state in ('RUNNING', 'STOPPED', 'SUSPENDED'))
    -- I3: one key has one effect.
    select 'orders unlike the calls that placed them' as what, abs(
        (select count(*) from writes where method like '%.OrderService/PlaceOrder' and code = 0) - (select count(*) from orders))
    union all select 'deposits unlike the calls that opened them', abs(
        (select count(*) from writes where method like '%.WalletService/CreateDeposit' and code = 0) - (select count(*) from deposits))
    -- I4: nothing that was not delivered is paid, and what is held has a purpose.
    union all select 'money held for nothing', count(*) from balances b where held <> (
        select coalesce(sum(total), 0) from orders o where o.account_id = b.account_id and o.state in ('PAID', 'PROVISIONING')) + (
        select coalesce(sum(price + tax), 0) from renewals r where r.account_id = b.account_id and r.state = 'HELD')
    -- I5: the cloud has our machines and no others, each once.
    union all select 'machines nobody owns', count(*) from alive where not exists (select from ours where ours.id::text = alive.reference)
    union all select 'machines that are not at the cloud once', count(*) from ours where 1 <> (select count(*) from alive where alive.reference = ours.id::text)
    union all select 'paid orders that never had a machine', count(*) from orders o where o.state = 'ACTIVE'
        and not exists (select from instances i where i.account_id = o.account_id and i.id = o.instance_id and i.state <> 'FAILED')
    union all select 'orders given back that have a machine', count(*) from orders o where o.state in ('REFUNDED', 'CANCELLED', 'EXPIRED')
        and exists (select from alive where alive.reference = o.instance_id::text)
    union all select 'snapshots nobody knows of', count(*) from sim_snapshots c
        where not exists (select from snapshots s where c.id::text = s.snapshot_ref)
    -- I6: a period is charged once.
    union all select 'periods charged other than once', count(*) from renewals r where r.state = 'PAID' and r.period_number > 1 and 1 <> (
        select count(*) from journals j where j.account_id = r.account_id and j.subject_id = r.instance_id and j.kind in (3, 5)
            and j.description = format('Renewal %s of %s', r.period_number, r.instance_id) and j.revenue + j.ppn_payable = r.price + r.tax)
    union all select 'charges for no period', count(*) from journals j where j.kind in (3, 5) and j.description like 'Renewal %' and not exists (
        select from renewals r where r.account_id = j.account_id and r.instance_id = j.subject_id and r.state = 'PAID'
            and j.description = format('Renewal %s of %s', r.period_number, r.instance_id))
    -- I8: the log tells of every order and deposit what became of it, in order and once.
    union all select 'events told twice', count(*) from (select from events group by account_id, type, subject_id, revision having count(*) > 1) twice
    union all select 'events out of order', count(*) from (
        select e.revision, lag(e.revision) over (partition by e.account_id, subject_id order by seq) as before from events e
        join orders o on o.account_id = e.account_id and o.id = e.subject_id) told where revision < before
    union all select 'orders whose end was not told', count(*) from orders o where o.state <> 'PENDING_PAYMENT' and 1 <> (
        select count(*) from events e where e.account_id = o.account_id and e.subject_id = o.id
            and e.type = case o.state when 'ACTIVE' then 4 when 'REFUNDED' then 6 when 'CANCELLED' then 7 when 'EXPIRED' then 8 end)
    union all select 'deposits whose payment was not told', count(*) from payments p where p.kind <> 6 and not exists (
        select from events e where e.account_id = p.account_id and e.subject_id = p.deposit_id and e.type = 12)";

/// Each thing that is counted, and its number where that is not 0.
async fn counted(database: &mut PgConnection, text: &'static str) -> Vec<(String, i64)> {
    let rows: Vec<(String, i64)> = sqlx::query_as(text)
        .fetch_all(database)
        .await
        .expect("the test's database answers");
    rows.into_iter().filter(|(_, count)| *count != 0).collect()
}

impl World {
    /// Waits until nothing is under way, and compares the platform with what the cloud, the log and its callers know.
    ///
    /// # Panics
    /// If it does not come to rest, or an invariant does not hold.
    pub async fn settled(&self) {
        // A lease whose owner was killed lasts half a minute; nobody waits that long for a test.
        let leases = "with o as (
                update orders set next_attempt_at = now() where state in ('PAID', 'PROVISIONING') and next_attempt_at > now() + interval '3 seconds')
            update operations set next_attempt_at = now() where finished_at is null and next_attempt_at > now() + interval '3 seconds'";
        eventually("the platform has come to rest", || async {
            let mut database = self.behind_the_scenes().await;
            sqlx::query(leases)
                .execute(&mut database)
                .await
                .expect("the test's database answers");
            let open = counted(&mut database, OPEN).await;
            if open.is_empty() { Ok(()) } else { Err(open) }
        })
        .await;
        let mut database = self.behind_the_scenes().await;
        let wrong = counted(&mut database, WRONG).await;
        assert!(wrong.is_empty(), "{wrong:?}");
        self.prove();
    }
}
