-- owner: simulator

-- Snapshots of the simulated cloud: what was on the disk. As at real clouds they outlive their machines, and two of one name are two. One that is not ready yet does not show.
create table sim_snapshots (
    id uuid not null,
    account_id uuid not null,
    machine_id uuid not null,
    name text not null,
    image text not null,
    password_digest bytea not null,
    ssh_keys text[] not null,
    user_data_digest bytea,
    ready_at timestamptz not null,
    constraint sim_snapshots_pkey primary key (id)
);
create index sim_snapshots_by_name on sim_snapshots (name);

alter table sim_machines
    drop constraint sim_machines_action_known,
    add constraint sim_machines_action_known
        check (action in ('CREATE', 'POWER_ON', 'POWER_OFF', 'SHUTDOWN', 'REBOOT', 'REBUILD', 'RESET_PASSWORD', 'RESIZE', 'SNAPSHOT', 'RESTORE'));
