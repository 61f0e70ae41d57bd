-- owner: instance

-- Consoles that are open, and ways to one that were not used yet. A row counts until `until`: a way until its ticket ends, an open console as long as the replica that relays it
-- says so again and again, so that one which died with its replica is soon not counted. Of a ticket there is only its digest, and none once it was used. Whoever comes by any replica with
-- the ticket is let in, once. `key_id` is the API key that asked, whose end is the console's, too. Rows whose time is over are deleted.
create table consoles (
    account_id uuid not null,
    id uuid not null,
    instance_id uuid not null,
    principal_id uuid not null,
    key_id uuid,
    ticket_digest bytea,
    until timestamptz not null,
    created_at timestamptz not null,
    constraint consoles_pkey primary key (account_id, id),
    constraint consoles_ticket_digest_is_one check (octet_length(ticket_digest) = 32)
) with (fillfactor = 80);
create unique index consoles_by_ticket on consoles (ticket_digest) where ticket_digest is not null;
create index consoles_by_instance on consoles (account_id, instance_id);
create index consoles_to_forget on consoles (until);
