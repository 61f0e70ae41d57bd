-- owner: instance

-- The firewalls of instances. A row is written before a provider is asked for a firewall and is there as long as one may be there, so that none is left behind that nobody knows of. `enabled`
-- and `rules` are what was set; `asked_enabled` and `asked_rules` what operation `operation_id` asks for, the last that was recorded, which replace them when it succeeds. `in_force` says
-- whether the provider was last seen to have what was set. Until `held_until` somebody changes it, and nobody else does; until `unsure_until` a firewall may exist that does not show yet. Once
-- `wanted` is ABSENT the instance is gone, and its firewall is to go. Whoever comes at `look_at` sees to one that is not as it should be, if its operation has ended.
create table firewalls (
    account_id uuid not null,
    instance_id uuid not null,
    enabled boolean not null default false,
    rules jsonb not null default '[]',
    set_at timestamptz,
    asked_enabled boolean not null,
    asked_rules jsonb not null,
    operation_id uuid not null,
    in_force boolean not null default true,
    wanted text not null default 'PRESENT',
    held_until timestamptz,
    unsure_until timestamptz,
    look_at timestamptz,
    constraint firewalls_pkey primary key (account_id, instance_id),
    constraint firewalls_wanted_known check (wanted in ('PRESENT', 'ABSENT')),
    constraint firewalls_absent_is_looked_at check (wanted = 'PRESENT' or look_at is not null)
) with (fillfactor = 80);
create index firewalls_to_look_at on firewalls (look_at) where look_at is not null;
