-- owner: inventory

-- Runs of the comparison of a provider account's machines with ours, with what they came to. `fence` grows with each attempt, so that one whose lease ran out can no
-- longer write.
create table inventory_runs (
    id uuid not null,
    provider_account_id uuid not null,
    dry_run boolean not null,
    requested_by uuid,
    state text not null,
    fence integer not null default 0,
    leased_until timestamptz,
    machines integer not null default 0,
    findings integer not null default 0,
    daily_cost bigint not null default 0,
    failure text not null default '',
    created_at timestamptz not null,
    finished_at timestamptz,
    constraint inventory_runs_pkey primary key (id),
    constraint inventory_runs_state_known check (state in ('PENDING', 'RUNNING', 'DONE', 'FAILED')),
    constraint inventory_runs_ended_has_time check ((state in ('DONE', 'FAILED')) = (finished_at is not null))
);
create index inventory_runs_account on inventory_runs (provider_account_id, id);
-- Of one account one run waits or is under way at a time.
create unique index inventory_runs_open_key on inventory_runs (provider_account_id) where state in ('PENDING', 'RUNNING');
revoke delete on inventory_runs from sewa_app;

-- What a run found, and what became of it there. A repair is written down before it is begun, and such rows are kept for good; the others are forgotten after months.
create table inventory_findings (
    id uuid not null,
    run_id uuid not null,
    provider_account_id uuid not null,
    reason smallint not null,
    machine text not null,
    machine_name text not null,
    instance_id uuid,
    detail text not null,
    daily_cost bigint not null,
    cost_basis smallint not null,
    first_seen_at timestamptz not null,
    repair smallint not null,
    outcome smallint not null,
    words text not null default '',
    acted_at timestamptz,
    constraint inventory_findings_pkey primary key (id),
    constraint inventory_findings_run_fkey foreign key (run_id) references inventory_runs (id)
);
create index inventory_findings_run on inventory_findings (run_id, id);
create index inventory_findings_repairs on inventory_findings (provider_account_id, id) where acted_at is not null;

-- What may be put right by itself in a provider account, and when; null is never. An account without a row is under the usual policy (server/src/service/inventory/model.rs).
create table inventory_policies (
    provider_account_id uuid not null,
    interval_minutes integer not null,
    destroy_after_minutes integer,
    look_after_minutes integer,
    destroy_limit integer not null,
    constraint inventory_policies_pkey primary key (provider_account_id),
    constraint inventory_policies_not_negative check (interval_minutes >= 0 and destroy_after_minutes >= 0 and look_after_minutes >= 0 and destroy_limit >= 0)
);
revoke delete on inventory_policies from sewa_app;
