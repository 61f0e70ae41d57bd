-- owner: instance

-- How far the reading of each machine's metrics has come. Apart from `instances`, because it changes every minute. A machine is read when `due_at` has come (never, if null: it is gone)
-- by whoever raises `fence`; what was read is written in one transaction with the counters it was compared with, if the fence still stands there: so nothing is counted twice, whoever
-- dies when. The counters are those of the machine when it was read at `read_at`, `uptime_seconds` after it was powered on; they begin anew with each start. Where a provider gives
-- series instead, `read_until` is their end. `asked_at` is the last time it answered, `forget_at` when old samples are looked for.
create table meters (
    account_id uuid not null,
    instance_id uuid not null,
    due_at timestamptz,
    fence bigint not null default 0,
    asked_at timestamptz,
    read_at timestamptz,
    uptime_seconds bigint not null default 0,
    network_in bigint not null default 0,
    network_out bigint not null default 0,
    disk_read bigint not null default 0,
    disk_write bigint not null default 0,
    read_until timestamptz,
    forget_at timestamptz not null,
    constraint meters_pkey primary key (account_id, instance_id)
) with (fillfactor = 70);
create index meters_due on meters (due_at) where due_at is not null;
create index meters_to_forget on meters (forget_at);

-- What machines used, as averages over a minute; null is what their provider does not measure. Kept for 24 hours.
create table metrics_1m (
    account_id uuid not null,
    instance_id uuid not null,
    at timestamptz not null,
    cpu_percent real,
    memory_bytes bigint,
    disk_read bigint,
    disk_write bigint,
    network_in bigint,
    network_out bigint,
    constraint metrics_1m_pkey primary key (account_id, instance_id, at)
);

-- The same over five minutes, from those of a minute or from the provider. A table of its own, so that a long span reads few rows. Kept for 14 days.
create table metrics_5m (
    account_id uuid not null,
    instance_id uuid not null,
    at timestamptz not null,
    cpu_percent real,
    memory_bytes bigint,
    disk_read bigint,
    disk_write bigint,
    network_in bigint,
    network_out bigint,
    constraint metrics_5m_pkey primary key (account_id, instance_id, at)
);

-- The same over an hour, from those of five minutes. Kept for 400 days.
create table metrics_60m (
    account_id uuid not null,
    instance_id uuid not null,
    at timestamptz not null,
    cpu_percent real,
    memory_bytes bigint,
    disk_read bigint,
    disk_write bigint,
    network_in bigint,
    network_out bigint,
    constraint metrics_60m_pkey primary key (account_id, instance_id, at)
);

-- Bytes each instance moved in each month of UTC, and what its plan included when it was last read in that month (null: no limit). `month` is the first day. Never deleted: it is what
-- an overage is reckoned from. By month first, because the months are listed.
create table traffic_months (
    account_id uuid not null,
    month date not null,
    instance_id uuid not null,
    received bigint not null,
    sent bigint not null,
    included bigint,
    read_at timestamptz not null,
    constraint traffic_months_pkey primary key (account_id, month, instance_id),
    constraint traffic_months_not_negative check (received >= 0 and sent >= 0)
) with (fillfactor = 70);
