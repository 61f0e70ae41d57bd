-- owner: promotion

-- Discounts on orders for whoever names the code. Not a tenant table: a limit holds for the whole platform. `uses` moves under the lock of the row.
create table coupons (
    id uuid not null,
    code text not null,
    display_name text not null,
    sandbox boolean not null,
    enabled boolean not null,
    fixed bigint not null,
    basis_points integer not null,
    cap bigint not null,
    minimum bigint not null,
    plan_ids uuid[] not null,
    periods smallint[] not null,
    total_limit integer not null,
    account_limit integer not null,
    starts_at timestamptz not null,
    ends_at timestamptz,
    uses integer not null default 0,
    created_at timestamptz not null,
    constraint coupons_pkey primary key (id),
    constraint coupons_code_key unique (sandbox, code),
    constraint coupons_fixed_or_percent check ((fixed > 0 and basis_points = 0 and cap = 0) or (fixed = 0 and basis_points between 1 and 10000 and cap >= 0)),
    constraint coupons_limits_not_negative check (minimum >= 0 and total_limit >= 0 and account_limit >= 0 and uses >= 0),
    constraint coupons_total_limit_holds check (total_limit = 0 or uses <= total_limit),
    constraint coupons_end_after_start check (ends_at > starts_at)
);

-- Which order used which coupon. One that failed or was called off returns it.
create table coupon_redemptions (
    account_id uuid not null,
    order_id uuid not null,
    coupon_id uuid not null,
    discount bigint not null,
    redeemed_at timestamptz not null,
    returned_at timestamptz,
    constraint coupon_redemptions_pkey primary key (account_id, order_id),
    constraint coupon_redemptions_discount_positive check (discount > 0)
);
create index coupon_redemptions_coupon on coupon_redemptions (coupon_id, account_id) where returned_at is null;
