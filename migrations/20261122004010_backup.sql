-- owner: instance

-- Instances whose provider is asked for their backups: those whose plan has them, and those whose plan had them until the provider has switched them off. Looked at when `due_at` has come, by
-- whoever raises `fence`; what was seen is written if the fence still stands there. `enabled` is what was seen at `checked_at`.
create table backup_watches (
    account_id uuid not null,
    instance_id uuid not null,
    due_at timestamptz not null,
    fence bigint not null default 0,
    enabled boolean not null default false,
    checked_at timestamptz,
    constraint backup_watches_pkey primary key (account_id, instance_id)
) with (fillfactor = 80);
create index backup_watches_due on backup_watches (due_at);

-- Backups as providers last showed them. They take and delete them by themselves, so a row may be some hours late either way. The image is that of the disk when the backup was first seen.
-- `operation_id` is what last asked to go back to it.
create table backups (
    account_id uuid not null,
    id uuid not null,
    instance_id uuid not null,
    backup_ref text not null,
    taken_at timestamptz not null,
    image_id uuid not null,
    image_code text not null,
    operation_id uuid,
    constraint backups_pkey primary key (account_id, id),
    constraint backups_once unique (account_id, instance_id, backup_ref)
);
