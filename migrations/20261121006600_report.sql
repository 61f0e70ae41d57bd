-- owner: report

-- Reports and the daily proof read spans of time over all accounts. Block ranges find these and cost next to nothing to keep, so nobody who moves money waits for a
-- report. Rows of `deposits` and `orders` are rewritten elsewhere now and then, and periods of test clocks lie far ahead: those keep several ranges for each block.
create index journals_recorded_at_brin on journals using brin (recorded_at) with (pages_per_range = 32, autosummarize = on);
create index payments_recorded_at_brin on payments using brin (recorded_at) with (pages_per_range = 32, autosummarize = on);
create index invoices_issued_at_brin on invoices using brin (issued_at) with (pages_per_range = 32, autosummarize = on);
create index deposits_created_at_brin on deposits using brin (created_at timestamptz_minmax_multi_ops) with (pages_per_range = 32, autosummarize = on);
create index orders_created_at_brin on orders using brin (created_at timestamptz_minmax_multi_ops) with (pages_per_range = 32, autosummarize = on);
create index renewals_starts_at_brin on renewals using brin (starts_at timestamptz_minmax_multi_ops) with (pages_per_range = 32, autosummarize = on);
-- What is owed: few of all subscriptions, and touched only when one falls behind or is paid again.
create index subscriptions_unpaid on subscriptions (paid_until, instance_id) where state in ('GRACE', 'SUSPENDED');

-- Figures of days that are over, by plan: what the ledger and orders say of them, kept so that a year is not summed from a hundred million journals. The nil plan
-- stands for what concerns none, and every day that is kept has its row. A day is computed anew while orders of it are open, and compared with the ledger by its
-- proof. Nothing else reads it, and it can be emptied at any time.
create table report_days (
    day date not null,
    plan_id uuid not null,
    charges bigint not null,
    charged bigint not null,
    charged_tax bigint not null,
    refunds bigint not null,
    refunded bigint not null,
    refunded_tax bigint not null,
    paid_in bigint not null,
    paid_back bigint not null,
    gateway_fees bigint not null,
    promotions bigint not null,
    adjustments bigint not null,
    orders_placed bigint not null,
    orders_active bigint not null,
    orders_refunded bigint not null,
    orders_cancelled bigint not null,
    orders_expired bigint not null,
    orders_open bigint not null,
    kept_at timestamptz not null,
    constraint report_days_pkey primary key (day, plan_id)
);
create index report_days_open on report_days (kept_at) where orders_open > 0;

-- Every run of the proof of a day, with what it came to. `fence` grows with each attempt, so that one whose lease ran out can no longer write.
create table reconciliations (
    id uuid not null,
    day date not null,
    requested_by uuid,
    state text not null,
    fence integer not null default 0,
    leased_until timestamptz,
    created_at timestamptz not null,
    finished_at timestamptz,
    complete boolean not null default false,
    differences bigint not null default 0,
    differing bigint not null default 0,
    gateways jsonb not null default '[]',
    charges bigint not null default 0,
    charged bigint not null default 0,
    invoiced bigint not null default 0,
    failure text not null default '',
    constraint reconciliations_pkey primary key (id),
    constraint reconciliations_state_known check (state in ('PENDING', 'RUNNING', 'DONE', 'FAILED')),
    constraint reconciliations_ended_has_time check ((state in ('DONE', 'FAILED')) = (finished_at is not null))
);
create index reconciliations_day on reconciliations (day, id);
-- Of one day one run waits or is under way at a time.
create unique index reconciliations_open_key on reconciliations (day) where state in ('PENDING', 'RUNNING');

-- What a run found.
create table reconciliation_differences (
    reconciliation_id uuid not null,
    number integer not null,
    kind smallint not null,
    cause text not null,
    ours bigint not null,
    theirs bigint not null,
    method smallint not null,
    gateway_ref text not null,
    account_id uuid,
    deposit_id uuid,
    journal_id uuid,
    invoice_id uuid,
    constraint reconciliation_differences_pkey primary key (reconciliation_id, number),
    constraint reconciliation_differences_run_fkey foreign key (reconciliation_id) references reconciliations (id)
);

-- The history of proofs is added to and nothing else.
revoke update, delete on reconciliation_differences from sewa_app;
revoke delete on reconciliations from sewa_app;
