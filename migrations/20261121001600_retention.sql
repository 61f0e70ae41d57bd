-- owner: base

-- What is forgotten after a while: old events, finished operations, ended sessions. Journals and the audit trail are not.

-- Up to which position the log was complete at some time, so that "older than ninety days" is a position of the log and not a guess. Events carry the time of their
-- account, which a test clock moves.
create table log_marks (
    at timestamptz not null,
    seq bigint not null,
    constraint log_marks_pkey primary key (at, seq)
);
-- One row: events up to this position are no longer promised. It rises before they are deleted, so a reader that finds it below its cursor has missed nothing.
create table log_floor (
    id boolean not null default true,
    seq bigint not null,
    constraint log_floor_pkey primary key (id),
    constraint log_floor_one check (id)
);
insert into log_floor (seq) values (0);

-- Where a walk through all accounts is. One replica at a time locks a row and does the next few accounts.
create table walks (
    name text not null,
    account_id uuid not null,
    rest_until timestamptz not null,
    constraint walks_pkey primary key (name)
);

-- The server may not delete events; it may ask for those below the floor to go, a few of each account. They are found by the primary key: the block ranges of
-- events_seq_brin grow wide where space of deleted events is used again.
create function forget_events(accounts uuid[], each bigint) returns bigint
language sql security definer
set search_path = public, pg_temp
as $$
    with old as (
        select e.account_id, e.seq
        from log_floor f cross join unnest(accounts) as a (id)
        cross join lateral (
            select account_id, seq from events where account_id = a.id and seq <= f.seq order by seq limit each
        ) e
    ), gone as (
        delete from events e using old where e.account_id = old.account_id and e.seq = old.seq returning 1
    )
    select count(*) from gone
$$;
revoke all on function forget_events(uuid[], bigint) from public;
grant execute on function forget_events(uuid[], bigint) to sewa_app;

-- Sessions whose time is over, of people who never came back.
create index refresh_families_expires_at on refresh_families (expires_at);
