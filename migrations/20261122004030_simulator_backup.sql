-- owner: simulator

-- Backups of the simulated cloud: what was on the disk of a machine that has them switched on, once a day. They end with the machine.
alter table sim_machines
    add column backups boolean not null default false;

create table sim_backups (
    id uuid not null,
    machine_id uuid not null,
    image text not null,
    password_digest bytea not null,
    ssh_keys text[] not null,
    user_data_digest bytea,
    taken_at timestamptz not null,
    constraint sim_backups_pkey primary key (id),
    constraint sim_backups_machine_id_fkey foreign key (machine_id) references sim_machines (id) on delete cascade
);
create index sim_backups_by_machine on sim_backups (machine_id, taken_at);
