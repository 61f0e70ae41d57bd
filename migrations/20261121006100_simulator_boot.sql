-- owner: simulator

-- What the guest of a simulated machine was given when it first booted. Of user data, which may hold secrets, only a digest.
alter table sim_machines
    add column ssh_keys text[] not null default '{}',
    add column user_data_digest bytea;
