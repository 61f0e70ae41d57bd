-- owner: instance

-- Public keys of an account, to be named when a machine is ordered or rebuilt. Machines are given copies of their texts.
create table ssh_keys (
    account_id uuid not null,
    id uuid not null,
    display_name text not null,
    public_key text not null,
    fingerprint text not null,
    created_at timestamptz not null,
    constraint ssh_keys_pkey primary key (account_id, id),
    constraint ssh_keys_fingerprint_key unique (account_id, fingerprint)
);

-- What the machine of an order is to be given when it first boots, besides its password: keys and user data, sealed under the key named beside them because user data may
-- hold secrets. Only orders that ask for it have a row, and only until the machine has it or the order has ended.
create table first_boots (
    account_id uuid not null,
    instance_id uuid not null,
    sealed_key text not null,
    sealed bytea not null,
    created_at timestamptz not null,
    constraint first_boots_pkey primary key (account_id, instance_id)
);

-- The password that was made for the machine, sealed before its provider is asked, so that it is known whatever becomes of the answer. It ends when it is shown, when another
-- one is set, with the machine, or at `first_password_until`.
alter table instances
    add column first_password bytea,
    add column first_password_key text,
    add column first_password_until timestamptz,
    add constraint instances_first_password_is_whole check (num_nulls(first_password, first_password_key, first_password_until) in (0, 3));
create index instances_first_password_ends on instances (first_password_until) where first_password_until is not null;
