-- owner: lifecycle

-- What the present period is, apart from what the next one will be: a change of plan prices the rest of it anew, and a change of period leaves it alone. `present_price` is
-- what the plan costs for the whole of it. It was bought at `present_bought`, of which `present_paid` was paid, because a coupon may have taken something off.
alter table subscriptions
    add column present_starts_at timestamptz,
    add column present_period smallint,
    add column present_price bigint,
    add column present_bought bigint,
    add column present_paid bigint,
    add column change_id uuid;
update subscriptions s set present_starts_at = coalesce(r.starts_at, s.anchor_at), present_period = s.period, present_price = s.price_idr,
    present_bought = s.price_idr, present_paid = case when s.period_number = 1 then least(coalesce(o.subtotal, s.price_idr), s.price_idr) else s.price_idr end
from subscriptions k
left join renewals r on r.account_id = k.account_id and r.instance_id = k.instance_id and r.period_number = k.period_number and r.state = 'PAID'
left join orders o on o.account_id = k.account_id and o.id = k.order_id
where k.account_id = s.account_id and k.instance_id = s.instance_id;
alter table subscriptions
    alter column present_starts_at set not null,
    alter column present_period set not null,
    alter column present_price set not null,
    alter column present_bought set not null,
    alter column present_paid set not null,
    add constraint subscriptions_paid_within_price check (present_paid between 0 and present_bought);
-- The account of a test clock waits while a change is under way.
create index subscriptions_changing on subscriptions (account_id) where change_id is not null;

-- Changes of plan, each under the id of the operation that makes it. While one is OPEN its subscription names it in `change_id`, and neither renews nor is suspended, so
-- that what was priced is what is changed. A hold sets aside what is to be paid; a refund is written when the machine has its new size. `failure_reason` is set as
-- soon as the change cannot be had; the machine is then put back as it was before the change is FAILED.
create table plan_changes (
    account_id uuid not null,
    operation_id uuid not null,
    instance_id uuid not null,
    state text not null,
    from_plan_id uuid not null,
    plan_id uuid not null,
    from_plan_name text not null,
    plan_name text not null,
    provider_size text not null,
    vcpus integer not null,
    memory_mib integer not null,
    disk_gib integer not null,
    disk_grows boolean not null,
    price bigint not null,
    present_price bigint not null,
    remaining_days integer not null,
    period_days integer not null,
    net bigint not null,
    tax bigint not null,
    hold_id uuid,
    refund_id uuid,
    failure_reason text,
    failure_message text,
    created_at timestamptz not null,
    finished_at timestamptz,
    constraint plan_changes_pkey primary key (account_id, operation_id),
    constraint plan_changes_state_known check (state in ('OPEN', 'DONE', 'FAILED')),
    constraint plan_changes_open_is_unfinished check ((state = 'OPEN') = (finished_at is null)),
    constraint plan_changes_hold_where_charged check ((net > 0) = (hold_id is not null)),
    constraint plan_changes_refund_where_given_back check ((state = 'DONE' and net < 0) = (refund_id is not null)),
    constraint plan_changes_tax_has_its_sign check (sign(tax) in (0, sign(net))),
    constraint plan_changes_failed_has_reason check (state <> 'FAILED' or (failure_reason is not null and failure_message is not null))
);
create unique index plan_changes_one_open on plan_changes (account_id, instance_id) where state = 'OPEN';
