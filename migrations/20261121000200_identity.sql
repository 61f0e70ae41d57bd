-- owner: identity

-- The unit that owns a wallet, orders and instances. Small and hot: read with every sign-in and every use of an API key.
create table accounts (
    id uuid not null,
    kind smallint not null,
    name text not null,
    sandbox boolean not null,
    suspended_at timestamptz,
    created_at timestamptz not null,
    constraint accounts_pkey primary key (id),
    constraint accounts_kind_check check (kind in (1, 2))
);

-- People who sign in. Not a tenant table: an e-mail address belongs to one person of the whole platform, and staff have no account.
create table users (
    id uuid not null,
    email text not null,
    password_hash text not null,
    name text not null,
    phone text not null default '',
    language text not null default '',
    staff_role text,
    suspended_at timestamptz,
    created_at timestamptz not null,
    constraint users_pkey primary key (id),
    constraint users_email_key unique (email),
    constraint users_email_check check (email = lower(email)),
    constraint users_staff_role_check check (staff_role in ('support', 'sysadmin', 'business', 'finance', 'admin', 'super_admin'))
);

-- Who acts for an account, and as what. A user acts for one account.
create table memberships (
    account_id uuid not null,
    user_id uuid not null,
    role text not null,
    created_at timestamptz not null,
    constraint memberships_pkey primary key (account_id, user_id),
    constraint memberships_user_id_key unique (user_id),
    constraint memberships_account_id_fkey foreign key (account_id) references accounts (id),
    constraint memberships_user_id_fkey foreign key (user_id) references users (id),
    constraint memberships_role_check check (role in ('owner', 'reseller', 'member', 'readonly'))
);

-- One row for each sign-in: the chain of refresh tokens that follow one another. The tokens themselves are not kept; each is sealed by the master key over
-- (family, generation), and the row knows which generation is the valid one. Whoever reads this table can therefore not sign in.
create table refresh_families (
    id uuid not null,
    user_id uuid not null,
    generation integer not null,
    rotated_at timestamptz not null,
    expires_at timestamptz not null,
    revoked_at timestamptz,
    constraint refresh_families_pkey primary key (id),
    constraint refresh_families_user_id_fkey foreign key (user_id) references users (id)
);
-- A sign-in removes the user's expired families.
create index refresh_families_user_id on refresh_families (user_id, expires_at);

-- API keys. Only a digest of the secret is kept. `role` is that of the maker: the scopes grant at most what it holds.
create table api_keys (
    account_id uuid not null,
    id uuid not null,
    digest bytea not null,
    display_name text not null,
    scopes text[] not null,
    role text not null,
    created_by uuid not null,
    created_at timestamptz not null,
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz,
    constraint api_keys_pkey primary key (account_id, id),
    constraint api_keys_digest_key unique (digest),
    constraint api_keys_account_id_fkey foreign key (account_id) references accounts (id),
    constraint api_keys_role_check check (role in ('owner', 'reseller', 'member', 'readonly'))
);

-- Keys that sign access tokens; private halves are sealed by the master key. `generation` is unique so that of several replicas starting on an empty database,
-- or of two rotations at one moment, exactly one makes the next key. Rows stay: the oldest one tells since when the platform exists.
create table signing_keys (
    kid text not null,
    generation integer not null,
    public_key bytea not null,
    private_key_sealed bytea not null,
    created_at timestamptz not null,
    active_at timestamptz not null,
    retire_at timestamptz,
    constraint signing_keys_pkey primary key (kid),
    constraint signing_keys_generation_key unique (generation)
);
