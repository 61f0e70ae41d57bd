-- owner: instance

-- Copies of machines' disks at their providers. A row is there as long as a snapshot may be there, so that none is paid for that nobody knows of: it is written before the provider is
-- asked, and goes when the provider has shown that there is none. What should be is `wanted`, what was seen is `snapshot_ref`, which is set once the snapshot is whole. While
-- `unsure_until` lies ahead, one may exist that does not show yet. `operation_id` is what last worked on it; when that has ended and the snapshot is not as it should be,
-- whoever comes at `look_at` sees to it.
create table snapshots (
    account_id uuid not null,
    id uuid not null,
    instance_id uuid not null,
    operation_id uuid not null,
    display_name text not null,
    wanted text not null,
    snapshot_ref text,
    unsure_until timestamptz,
    image_id uuid not null,
    image_code text not null,
    look_at timestamptz,
    created_at timestamptz not null,
    constraint snapshots_pkey primary key (account_id, id),
    constraint snapshots_wanted_known check (wanted in ('PRESENT', 'ABSENT')),
    constraint snapshots_absent_is_looked_at check (wanted = 'PRESENT' or look_at is not null)
) with (fillfactor = 80);
create index snapshots_by_instance on snapshots (account_id, instance_id, id);
create index snapshots_to_look_at on snapshots (look_at) where look_at is not null;
