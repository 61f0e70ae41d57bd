-- owner: promotion

-- What is given with deposits. Not a tenant table: a limit holds for the whole platform. `uses` and `given` move under the lock of the row, which is what makes the
-- limits hold however many deposits are paid at once.
create table promotions (
    id uuid not null,
    kind smallint not null,
    display_name text not null,
    sandbox boolean not null,
    enabled boolean not null,
    fixed bigint not null,
    basis_points integer not null,
    cap bigint not null,
    minimum bigint not null,
    total_limit integer not null,
    account_limit integer not null,
    new_accounts_only boolean not null,
    starts_at timestamptz not null,
    ends_at timestamptz,
    uses integer not null default 0,
    given bigint not null default 0,
    created_at timestamptz not null,
    constraint promotions_pkey primary key (id),
    constraint promotions_kind_known check (kind between 1 and 4),
    constraint promotions_fixed_or_percent check ((fixed > 0 and basis_points = 0 and cap = 0) or (fixed = 0 and basis_points between 1 and 10000 and cap >= 0)),
    constraint promotions_limits_not_negative check (minimum >= 0 and total_limit >= 0 and account_limit >= 0),
    constraint promotions_total_limit_holds check (total_limit = 0 or uses <= total_limit),
    constraint promotions_end_after_start check (ends_at > starts_at)
);
create index promotions_enabled on promotions (id) where enabled;

-- What was given to whom for which deposit, and how much of it was taken back. The unique index lets a promotion be given once for a deposit.
create table promotion_uses (
    account_id uuid not null,
    id uuid not null,
    promotion_id uuid not null,
    payer_id uuid not null,
    deposit_id uuid not null,
    journal_id uuid not null,
    amount bigint not null,
    given_at timestamptz not null,
    taken bigint not null default 0,
    revoked_at timestamptz,
    constraint promotion_uses_pkey primary key (account_id, id),
    constraint promotion_uses_amount_positive check (amount > 0),
    constraint promotion_uses_taken_back check (taken between 0 and amount)
);
create unique index promotion_uses_deposit_key on promotion_uses (deposit_id, promotion_id);
create index promotion_uses_promotion on promotion_uses (promotion_id, account_id);
