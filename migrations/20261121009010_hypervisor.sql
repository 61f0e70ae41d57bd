-- owner: hypervisor

-- Addresses that machines on hypervisors of our own get. A reference table: small, written by staff. `next_address` is the first one that was never given out; it only
-- grows. No two pools share an address, whatever cluster they are of. `reserved` holds ranges as `first-last`.
create table address_pools (
    id uuid not null,
    provider_account_id uuid not null,
    display_name text not null,
    region_code text not null,
    cidr cidr not null,
    gateway inet not null,
    bridge text not null,
    vlan integer not null,
    nameservers text[] not null,
    reserved text[] not null,
    quarantine_seconds integer not null,
    enabled boolean not null default true,
    next_address inet not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint address_pools_pkey primary key (id),
    constraint address_pools_share_nothing exclude using gist (cidr inet_ops with &&),
    constraint address_pools_ipv4 check (family(cidr) = 4 and gateway <<= cidr),
    constraint address_pools_vlan_check check (vlan between 0 and 4094),
    constraint address_pools_quarantine_check check (quarantine_seconds between 0 and 7776000)
);
create index address_pools_by_provider_account on address_pools (provider_account_id, id);
revoke delete on address_pools from sewa_app;

-- Every address that was ever given to a machine or reserved, and what it is now. One row for each, so that none can be given out twice. One that is free has been: `free_at`
-- says since when, or until when it is in quarantine. Rows grow with the addresses we have, not with time.
create table addresses (
    pool_id uuid not null,
    address inet not null,
    state text not null,
    account_id uuid,
    instance_id uuid,
    note text not null default '',
    free_at timestamptz,
    updated_at timestamptz not null,
    constraint addresses_pkey primary key (pool_id, address),
    constraint addresses_pool_id_fkey foreign key (pool_id) references address_pools (id),
    constraint addresses_state_known check (state in ('HELD', 'RESERVED', 'FREE')),
    constraint addresses_held_by_somebody check (state <> 'HELD' or (account_id is not null and instance_id is not null)),
    constraint addresses_free_at_is_of_free check ((state = 'FREE') = (free_at is not null))
);
create index addresses_free on addresses (pool_id, free_at) where state = 'FREE';

-- Where on hypervisors of our own the machine of an instance is to be: decided and written down before the cluster is asked for it, because a number that was asked for
-- once must be known whatever becomes of the answer. Numbers are never used again, so rows stay. What it takes counts against its node also before the cluster shows it. An
-- instance has one place at a time; one that a cluster refused may have had others before.
create table places (
    account_id uuid not null,
    instance_id uuid not null,
    provider_account_id uuid not null,
    node text not null,
    vmid integer not null,
    pool_id uuid not null,
    address inet not null,
    vcpus integer not null,
    memory_mib integer not null,
    disk_gib integer not null,
    storage text not null,
    created_at timestamptz not null,
    released_at timestamptz,
    constraint places_pkey primary key (account_id, instance_id, provider_account_id, vmid),
    constraint places_vmid_key unique (provider_account_id, vmid),
    constraint places_address_fkey foreign key (pool_id, address) references addresses (pool_id, address)
);
create unique index places_one on places (account_id, instance_id) where released_at is null;
create index places_taken on places (provider_account_id) where released_at is null;
revoke delete on places from sewa_app;

-- Nodes that take no new machines. A row is maintenance; its end deletes the row.
create table node_maintenance (
    provider_account_id uuid not null,
    node text not null,
    since timestamptz not null,
    constraint node_maintenance_pkey primary key (provider_account_id, node)
);
