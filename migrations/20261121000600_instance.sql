-- owner: instance

-- Machines that were sold. What should be (`wanted`, `suspended`) and what was last seen at the provider (`state`, the addresses) are kept apart; the reconciler
-- makes the one follow the other. While `unsure_until` lies ahead, a machine we asked the provider for may exist without our knowing: until then nobody
-- creates another one, and nobody concludes that there is none. `look_at` is when the patrol looks at a machine that nobody works on.
create table instances (
    account_id uuid not null,
    id uuid not null,
    order_id uuid not null,
    state text not null,
    wanted text not null,
    suspended boolean not null default false,
    provider text not null,
    provider_size text not null,
    provider_ref text,
    unsure_until timestamptz,
    plan_id uuid not null,
    region_id uuid not null,
    region_code text not null,
    image_id uuid not null,
    image_code text not null,
    vcpus integer not null,
    memory_mib integer not null,
    disk_gib integer not null,
    hostname text not null,
    display_name text not null,
    labels jsonb not null,
    ipv4 text,
    ipv6 text,
    price bigint not null,
    period smallint not null,
    look_at timestamptz,
    revision bigint not null default 1,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint instances_pkey primary key (account_id, id),
    constraint instances_state_known check (state in ('PROVISIONING', 'RUNNING', 'STOPPED', 'SUSPENDED', 'DELETING', 'DELETED', 'FAILED', 'LOST')),
    constraint instances_wanted_known check (wanted in ('RUNNING', 'STOPPED', 'DELETED')),
    constraint instances_end_is_wanted check (state not in ('DELETING', 'DELETED', 'FAILED') or wanted = 'DELETED'),
    constraint instances_price_not_negative check (price >= 0)
) with (fillfactor = 80);
create index instances_to_look_at on instances (look_at) where look_at is not null;
-- Staff read an instance of any account by its id alone. Ids are of version 7, so this index grows at its right end only.
create index instances_by_age on instances (id);
