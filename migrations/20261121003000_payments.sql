-- owner: wallet

-- What a gateway was asked for, and how its payer is to pay. `next_look_at` says when the gateway is asked next; it is the lease of whoever asks, too.
alter table deposits
    add column channel text not null default '',
    add column payable bigint,
    add column fee bigint,
    add column gateway_ref text not null default '',
    add column pay_url text not null default '',
    add column pay_code text not null default '',
    add column qr_string text not null default '',
    add column instructions jsonb not null default '[]',
    add column failure text not null default '',
    add column revision bigint not null default 1,
    add column asked_at timestamptz,
    add column next_look_at timestamptz,
    drop constraint deposits_state_known,
    add constraint deposits_state_known check (state in ('PREPARING', 'PENDING', 'PAID', 'EXPIRED', 'FAILED', 'REVERSED'));
create index deposits_next_look on deposits (next_look_at) where next_look_at is not null;

-- Money that came for a deposit, or was taken back. Written in the transaction that moves it in the ledger; the unique index is what makes it move once,
-- however often and in whatever order a gateway tells of it.
create table payments (
    account_id uuid not null,
    id uuid not null,
    deposit_id uuid not null,
    method smallint not null,
    gateway_ref text not null,
    kind smallint not null,
    paid bigint not null,
    credited bigint not null,
    recorded_at timestamptz not null,
    constraint payments_pkey primary key (account_id, id),
    constraint payments_kind_known check (kind between 1 and 6),
    constraint payments_paid_positive check (paid > 0)
);
create index payments_deposit_id on payments (account_id, deposit_id);
create unique index payments_gateway_ref_key on payments (method, gateway_ref) where kind <> 6;

-- Every callback that was received, and what became of it. Not a tenant table: whose it is, is only known after it was read. Of one that is not signed, no more than
-- its first kilobyte is kept.
create table payment_callbacks (
    id uuid not null,
    method smallint not null,
    digest bytea not null,
    body bytea not null,
    verdict text not null,
    gateway_ref text not null,
    ip text not null,
    received_at timestamptz not null,
    constraint payment_callbacks_pkey primary key (id)
);
create index payment_callbacks_settled on payment_callbacks (method, digest) where verdict in ('CONFIRMED', 'REFUSED');

-- Who of the staff has seen which transfer on a statement.
create table bank_confirmations (
    account_id uuid not null,
    deposit_id uuid not null,
    bank_reference text not null,
    principal_id uuid not null,
    received bigint not null,
    confirmed_at timestamptz not null,
    constraint bank_confirmations_pkey primary key (account_id, deposit_id, bank_reference, principal_id)
);

revoke update, delete on payments, payment_callbacks, bank_confirmations from sewa_app;
