-- owner: simulator

-- A small cloud, as the simulator provider shows it to the rest of the platform, which reads it through the provider trait only. Nothing works on these rows in the
-- background: what a machine is at some moment follows from its row and the time (server/src/provider/compute/simulator/model.rs).

-- Places of the simulated cloud and how many machines each has room for. A region nobody asked for before is opened on first use.
create table sim_regions (
    code text not null,
    capacity integer not null,
    used integer not null,
    constraint sim_regions_pkey primary key (code),
    constraint sim_regions_within_capacity check (used >= 0 and used <= capacity)
);

-- Machines of the simulated cloud. `reference` is not unique: like real clouds, this one makes two machines for whoever asks twice. A row whose `gone_at` has passed
-- is no machine any more, and gives its room and address up when the next one is made.
create table sim_machines (
    id uuid not null,
    account_id uuid not null,
    reference text not null,
    region text not null,
    size text not null,
    image text not null,
    hostname text not null,
    password_digest bytea not null,
    address integer not null,
    powered_on boolean not null,
    action text not null,
    began_at timestamptz not null,
    settles_at timestamptz not null,
    address_at timestamptz not null,
    vanishes boolean not null,
    gone_at timestamptz,
    created_at timestamptz not null,
    constraint sim_machines_pkey primary key (id),
    constraint sim_machines_address_key unique (address),
    constraint sim_machines_address_in_pool check (address between 1 and 131070),
    constraint sim_machines_action_known check (action in ('CREATE', 'POWER_ON', 'POWER_OFF', 'SHUTDOWN', 'REBOOT', 'REBUILD', 'RESET_PASSWORD'))
);
create index sim_machines_by_reference on sim_machines (reference);
create index sim_machines_gone on sim_machines (region, gone_at) where gone_at is not null;

-- Hands out addresses of 198.18.0.0/15, which is set aside for benchmarks (RFC 2544). It goes round; an address still in use is skipped by its unique key.
create sequence sim_addresses_seq as integer minvalue 1 maxvalue 131070 cycle;

-- How the simulated cloud misbehaves towards one account; `times_left` 0 means until cleared.
create table sim_faults (
    account_id uuid not null,
    kind smallint not null,
    times_left integer not null,
    constraint sim_faults_pkey primary key (account_id, kind),
    constraint sim_faults_times_not_negative check (times_left >= 0)
);
