-- owner: billing

-- Who an account's invoices are made out to: personal data. Invoices keep a copy as it was when they were issued, so this may change at any time.
create table billing_profiles (
    account_id uuid not null,
    name text not null default '',
    tax_number_kind smallint not null default 0,
    tax_number text not null default '',
    branch text not null default '',
    address text not null default '',
    city text not null default '',
    province text not null default '',
    postal_code text not null default '',
    email text not null default '',
    language text not null default '',
    updated_at timestamptz not null,
    constraint billing_profiles_pkey primary key (account_id),
    constraint billing_profiles_account_id_fkey foreign key (account_id) references accounts (id),
    constraint billing_profiles_tax_number_form check (
        tax_number_kind = 0 and tax_number = '' or tax_number_kind in (1, 2) and tax_number ~ '^[0-9]{16}$'
    )
);
