-- owner: provider

-- Accounts at real clouds. A reference table: small, the same for all tenants, written by staff. The token is sealed under the key named beside it. How the account
-- was when last asked for (`health` and what follows) changes without a change of `revision`, which counts what staff changed and what a line is built from.
create table provider_accounts (
    id uuid not null,
    provider text not null,
    display_name text not null,
    base_url text not null,
    token_key text not null,
    token_sealed bytea not null,
    region_codes text[] not null,
    plan_ids uuid[] not null,
    weight integer not null,
    machine_limit integer not null,
    call_limit integer not null,
    enabled boolean not null default true,
    revision bigint not null default 1,
    health smallint not null default 1,
    health_message text not null default '',
    checked_at timestamptz,
    provider_machine_limit integer,
    provider_balance text not null default '',
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint provider_accounts_pkey primary key (id),
    constraint provider_accounts_display_name_key unique (display_name),
    constraint provider_accounts_weight_check check (weight between 0 and 1000),
    constraint provider_accounts_machine_limit_check check (machine_limit >= 0),
    constraint provider_accounts_health_check check (health in (1, 2, 3, 4))
);
revoke delete on provider_accounts from sewa_app;
