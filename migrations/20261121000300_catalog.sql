-- owner: catalog
-- Reference tables: small, read by everybody, written by staff, the same in every account. Each server keeps them in memory.

-- Sizes for sale. What was sold never changes, so only name and availability do, and no row is deleted.
create table plans (
    id uuid not null,
    code text not null,
    display_name text not null,
    vcpus integer not null,
    memory_mib integer not null,
    disk_gib integer not null,
    transfer_gib integer not null,
    provider text not null,
    provider_size text not null,
    available boolean not null,
    archived_at timestamptz,
    created_at timestamptz not null,
    constraint plans_pkey primary key (id),
    constraint plans_code_key unique (code)
);

-- What a plan costs for one period, from some moment on. Only prices that have not begun are ever replaced.
create table plan_prices (
    plan_id uuid not null,
    period smallint not null,
    effective_at timestamptz not null,
    amount bigint not null,
    available boolean not null,
    constraint plan_prices_pkey primary key (plan_id, period, effective_at),
    constraint plan_prices_plan_id_fkey foreign key (plan_id) references plans (id),
    constraint plan_prices_period_check check (period in (1, 2, 3, 4)),
    constraint plan_prices_amount_check check (amount between 1 and 1000000000)
);

-- Disk images a machine can start from.
create table images (
    id uuid not null,
    code text not null,
    display_name text not null,
    kind smallint not null,
    distribution text not null,
    min_disk_gib integer not null,
    provider text not null,
    provider_image text not null,
    constraint images_pkey primary key (id),
    constraint images_code_key unique (code),
    constraint images_kind_check check (kind in (1, 2))
);

-- Places where machines run. `available` says whether there is room.
create table regions (
    id uuid not null,
    code text not null,
    display_name text not null,
    country_code text not null,
    available boolean not null,
    provider text not null,
    provider_region text not null,
    constraint regions_pkey primary key (id),
    constraint regions_code_key unique (code)
);

-- One row, one number: it grows with every change of the tables above, in the same transaction. Servers compare it with that of their copy.
create table catalog_version (
    single boolean not null default true,
    version bigint not null,
    constraint catalog_version_pkey primary key (single),
    constraint catalog_version_single_check check (single)
);
insert into catalog_version (version) values (1);
