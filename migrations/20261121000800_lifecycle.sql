-- owner: lifecycle

-- The paying side of an instance: until when it is paid and what happens next. The sweep finds its work by `next_step_at` alone.
create table subscriptions (
    account_id uuid not null,
    instance_id uuid not null,
    order_id uuid not null,
    price_idr bigint not null,
    period smallint not null,
    anchor_at timestamptz not null,
    anchor_number integer not null,
    period_number integer not null,
    paid_until timestamptz not null,
    auto_renew boolean not null,
    policy text not null,
    state text not null,
    next_step text not null,
    next_step_at timestamptz,
    renewal_hold uuid,
    on_test_clock boolean not null,
    revision bigint not null,
    constraint subscriptions_pkey primary key (account_id, instance_id),
    constraint subscriptions_state_known check (state in ('ACTIVE', 'GRACE', 'SUSPENDED', 'ENDED')),
    constraint subscriptions_step_known check (next_step in ('', 'renew', 'suspend', 'terminate')),
    constraint subscriptions_ended_is_over check ((state = 'ENDED') = (next_step_at is null)),
    constraint subscriptions_price_not_negative check (price_idr >= 0)
) with (fillfactor = 80);
create index subscriptions_due on subscriptions (next_step_at) where next_step_at is not null and not on_test_clock;
create index subscriptions_due_by_clock on subscriptions (account_id, next_step_at) where next_step_at is not null;

-- One row for each period paid or attempted. The partial key is why no period is ever paid twice.
create table renewals (
    account_id uuid not null,
    id uuid not null,
    instance_id uuid not null,
    period_number integer not null,
    starts_at timestamptz not null,
    ends_at timestamptz not null,
    price bigint not null,
    tax bigint not null,
    state text not null,
    created_at timestamptz not null,
    constraint renewals_pkey primary key (account_id, id),
    constraint renewals_state_known check (state in ('HELD', 'PAID', 'UNPAID', 'RELEASED'))
);
create unique index renewals_period_key on renewals (account_id, instance_id, period_number) where state in ('HELD', 'PAID');

-- Which policy an account is under, where it is not the default.
create table account_policies (
    account_id uuid not null,
    policy text not null,
    constraint account_policies_pkey primary key (account_id)
);

-- Clocks of sandbox accounts. A clock stands still at `now_at` until `target_at` is set further on; the worker then walks it there.
create table test_clocks (
    account_id uuid not null,
    now_at timestamptz not null,
    target_at timestamptz not null,
    constraint test_clocks_pkey primary key (account_id),
    constraint test_clocks_never_back check (target_at >= now_at)
);
create index test_clocks_advancing on test_clocks (target_at) where target_at > now_at;
