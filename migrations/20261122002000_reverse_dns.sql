-- owner: instance

-- The names in reverse DNS that were set for addresses of instances, so that reading them asks no provider. `hostname` is what the provider last accepted, or was seen to have; empty is
-- its own default. `asked` is what operation `operation_id` asks for, which is the last that was recorded for the address, whatever became of it. Rows end with the machine, whose
-- addresses are somebody else's afterwards.
create table reverse_dns (
    account_id uuid not null,
    instance_id uuid not null,
    address text not null,
    hostname text not null default '',
    set_at timestamptz,
    asked text not null,
    operation_id uuid not null,
    constraint reverse_dns_pkey primary key (account_id, instance_id, address),
    constraint reverse_dns_names_have_their_time check ((hostname = '') = (set_at is null))
);
