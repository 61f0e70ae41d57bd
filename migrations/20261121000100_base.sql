-- owner: base

-- One row for each accepted write: the audit trail and the idempotency record are the same fact, so they are the same row. The key is the caller's
-- idempotency key, or one made by the server where the caller sent none. Rows are never changed; `reply` is what a repeated call gets.
create table writes (
    account_id uuid not null,
    principal_id uuid not null,
    method text not null,
    key text not null,
    fingerprint bytea not null,
    code smallint not null,
    reply bytea not null,
    request bytea not null,
    before bytea,
    request_id text not null,
    ip text not null,
    recorded_at timestamptz not null,
    constraint writes_pkey primary key (account_id, principal_id, method, key)
);
-- The audit list reads by time. A block-range index costs next to nothing to keep.
create index writes_recorded_at_brin on writes using brin (recorded_at) with (pages_per_range = 32, autosummarize = on);

-- The one log of what happened. Written in the transaction of the change, after the changed row is locked, so that `seq` orders the events of a subject.
-- Readers stop at the newest `seq` below which no transaction is still open (see server/src/base/outbox/reader.rs). Never updated.
create sequence events_seq;
create table events (
    account_id uuid not null,
    seq bigint not null default nextval('events_seq'),
    id uuid not null,
    type smallint not null,
    subject_id uuid not null,
    revision bigint not null,
    occurred_at timestamptz not null,
    payload bytea not null,
    constraint events_pkey primary key (account_id, seq)
);
create index events_seq_brin on events using brin (seq) with (pages_per_range = 16, autosummarize = on);

-- How far each consumer of the log has read.
create table consumers (
    name text not null,
    seq bigint not null,
    constraint consumers_pkey primary key (name)
);

revoke update, delete on writes, events from sewa_app;
