-- owner: identity

-- When and how the person of a session last confirmed that it is them: at sign-in, and with StepUp. Kept with the session and not in its tokens alone, so that it is
-- true on every replica at once and ends with the session. Sessions older than this column have not confirmed.
alter table refresh_families
    add column confirmed_at timestamptz,
    add column second_factor boolean not null default false;

-- The authenticator application of a user. The secret is sealed by the master key. `last_step` is the time step of the last code taken: only later ones are, so a code
-- works once on all replicas together. `attempts` counts codes looked at since `attempts_since`; a right one sets it back.
create table second_factors (
    user_id uuid not null,
    secret_sealed bytea not null,
    created_at timestamptz not null,
    confirmed_at timestamptz,
    last_step bigint not null default 0,
    attempts smallint not null default 0,
    attempts_since timestamptz not null,
    constraint second_factors_pkey primary key (user_id),
    constraint second_factors_user_id_fkey foreign key (user_id) references users (id)
);

-- Recovery codes not used yet, as digests keyed by the master key.
create table recovery_codes (
    user_id uuid not null,
    digest bytea not null,
    constraint recovery_codes_pkey primary key (user_id, digest),
    constraint recovery_codes_user_id_fkey foreign key (user_id) references second_factors (user_id) on delete cascade
);
