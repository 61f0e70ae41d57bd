-- owner: catalog

-- Lower prices of plans for a time. `uses` moves under the lock of the row, which is what makes the limits hold however many orders are placed at once; the rest is read
-- with the catalogue.
create table plan_promotions (
    id uuid not null,
    display_name text not null,
    sandbox boolean not null,
    enabled boolean not null,
    fixed bigint not null,
    basis_points integer not null,
    cap bigint not null,
    plan_ids uuid[] not null,
    periods smallint[] not null,
    renewals boolean not null,
    new_customers_only boolean not null,
    total_limit integer not null,
    account_limit integer not null,
    starts_at timestamptz not null,
    ends_at timestamptz,
    uses integer not null default 0,
    created_at timestamptz not null,
    constraint plan_promotions_pkey primary key (id),
    constraint plan_promotions_fixed_or_percent check ((fixed > 0 and basis_points = 0 and cap = 0) or (fixed = 0 and basis_points between 1 and 10000 and cap >= 0)),
    constraint plan_promotions_limits_not_negative check (total_limit >= 0 and account_limit >= 0 and uses >= 0),
    constraint plan_promotions_total_limit_holds check (total_limit = 0 or uses <= total_limit),
    constraint plan_promotions_end_after_start check (ends_at > starts_at)
);
create index plan_promotions_enabled on plan_promotions (id) where enabled;

-- Which order has which promotion. One that failed or was called off returns it.
create table plan_promotion_uses (
    account_id uuid not null,
    order_id uuid not null,
    promotion_id uuid not null,
    discount bigint not null,
    used_at timestamptz not null,
    returned_at timestamptz,
    constraint plan_promotion_uses_pkey primary key (account_id, order_id),
    constraint plan_promotion_uses_discount_positive check (discount > 0)
);
create index plan_promotion_uses_promotion on plan_promotion_uses (promotion_id, account_id) where returned_at is null;
