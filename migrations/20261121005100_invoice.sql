-- owner: invoice

-- The last number given in each series and month. The row is locked by whoever issues until that commits, so that a number which is not used goes to the next
-- one: there are no gaps, whatever crashes.
create table invoice_counters (
    series text not null,
    month date not null,
    last integer not null,
    constraint invoice_counters_pkey primary key (series, month),
    constraint invoice_counters_first_day check (extract(day from month) = 1)
);

-- Invoices and credit notes as they were issued, with everything they say. `sequence` has no gap within series and month; a journal has one at most.
create table invoices (
    account_id uuid not null,
    id uuid not null,
    kind smallint not null,
    series text not null,
    month date not null,
    sequence integer not null,
    journal_id uuid not null,
    subject_id uuid not null,
    corrects text not null,
    net bigint not null,
    tax_base bigint not null,
    tax_percent integer not null,
    tax bigint not null,
    total bigint not null,
    lines jsonb not null,
    seller jsonb not null,
    buyer jsonb not null,
    has_tax_number boolean not null,
    language text not null,
    sandbox boolean not null,
    issued_at timestamptz not null,
    created_at timestamptz not null,
    constraint invoices_pkey primary key (account_id, id),
    constraint invoices_journal_key unique (account_id, journal_id),
    constraint invoices_number_key unique (series, month, sequence),
    constraint invoices_kind_known check (kind in (1, 2)),
    constraint invoices_adds_up check (total = net + tax and net >= 0 and tax >= 0)
);
-- A credit note names the last invoice for its subject.
create index invoices_subject on invoices (account_id, subject_id, id);
-- Staff read an invoice of any account by its id alone. Ids are of version 7, so this index grows at its right end only.
create index invoices_by_age on invoices (id);

-- Up to which journal an account was looked through; journals of an account have growing ids. The row is locked while invoices are issued for the account, which is
-- why two replicas never issue two for one charge. `behind` is set while there is more than one transaction should do.
create table invoice_cursors (
    account_id uuid not null,
    journal_id uuid not null,
    behind boolean not null default false,
    constraint invoice_cursors_pkey primary key (account_id)
) with (fillfactor = 80);
create index invoice_cursors_behind on invoice_cursors (account_id) where behind;

-- As journals are: inserted, and nothing else.
revoke update, delete on invoices from sewa_app;
revoke delete on invoice_counters from sewa_app;
