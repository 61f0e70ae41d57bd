-- owner: operation

-- Work that outlives the call that asked for it, and its own place in the queue of that work: `next_attempt_at` says when somebody looks at it next, `attempt` grows
-- each time somebody does, so that the result of one who was given up for dead is refused. An operation that fulfils an order (kind 1) is worked on by the order
-- and only shown here. `secret` is a sealed password on its way to the provider; it ends with the operation.
create table operations (
    account_id uuid not null,
    id uuid not null,
    instance_id uuid not null,
    order_id uuid,
    kind smallint not null,
    state text not null,
    step text not null,
    progress smallint not null,
    asked_at timestamptz,
    unsure boolean not null default false,
    attempt integer not null default 0,
    next_attempt_at timestamptz not null,
    image_id uuid,
    image_code text,
    secret bytea,
    error_reason text,
    error_message text,
    revision bigint not null default 1,
    created_at timestamptz not null,
    finished_at timestamptz,
    constraint operations_pkey primary key (account_id, id),
    constraint operations_kind_known check (kind between 1 and 10),
    constraint operations_state_known check (state in ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')),
    constraint operations_progress_is_percent check (progress between 0 and 100),
    constraint operations_final_is_finished check ((state in ('PENDING', 'RUNNING')) = (finished_at is null)),
    constraint operations_failed_has_reason check (state <> 'FAILED' or (error_reason is not null and error_message is not null)),
    constraint operations_final_has_no_secret check (secret is null or finished_at is null),
    constraint operations_image_is_whole check ((image_id is null) = (image_code is null))
) with (fillfactor = 70);
-- One at a time for each instance. The one that fulfils the order is left out: the instance is PROVISIONING as long as that is open and takes no other work, and when
-- it fails the machine's removal is recorded a moment before its own end.
create unique index operations_one_open on operations (account_id, instance_id) where state in ('PENDING', 'RUNNING') and kind <> 1;
create index operations_due on operations (next_attempt_at) where state in ('PENDING', 'RUNNING') and kind <> 1;
create index operations_by_instance on operations (account_id, instance_id, id);
