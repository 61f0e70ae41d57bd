-- owner: order

-- What was bought and how far it is. The price is kept as it was when the order was placed; `history` holds every move with its actor and reason, in the row that
-- moves, so that reading an order is reading one row. `next_attempt_at` and `fence` make the row its own place in the queue of fulfilment.
create table orders (
    account_id uuid not null,
    id uuid not null,
    state text not null,
    payment smallint not null,
    plan_id uuid not null,
    region_id uuid not null,
    image_id uuid not null,
    period smallint not null,
    hostname text not null,
    auto_renew boolean not null,
    labels jsonb not null,
    subtotal bigint not null,
    tax bigint not null,
    total bigint not null,
    plan_name text not null,
    price_until timestamptz,
    instance_id uuid not null,
    operation_id uuid not null,
    hold_id uuid,
    client_reference text,
    failure_reason text,
    failure_message text,
    history jsonb not null,
    attempts integer not null default 0,
    last_error text,
    fence integer not null default 0,
    next_attempt_at timestamptz not null,
    deadline_at timestamptz not null,
    revision bigint not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    constraint orders_pkey primary key (account_id, id),
    constraint orders_state_known check (state in ('PENDING_PAYMENT', 'PAID', 'PROVISIONING', 'ACTIVE', 'FAILED', 'REFUNDED', 'CANCELLED', 'EXPIRED')),
    constraint orders_total_adds_up check (total = subtotal + tax and total > 0),
    constraint orders_paid_is_held check (state not in ('PAID', 'PROVISIONING', 'ACTIVE') or hold_id is not null)
) with (fillfactor = 70);
create unique index orders_client_reference_key on orders (account_id, client_reference) where client_reference is not null;
create index orders_to_fulfil on orders (next_attempt_at) where state in ('PAID', 'PROVISIONING');
create index orders_to_expire on orders (deadline_at) where state = 'PENDING_PAYMENT';
-- Staff list orders of all accounts by age. Ids are of version 7, so this index grows at its right end only.
create index orders_by_age on orders (id);
