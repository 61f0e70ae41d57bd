-- owner: wallet

-- One row for each account: the derived, locked head of its books. The proof recomputes it from the journals. Updated in place, never indexed beyond its key.
create table balances (
    account_id uuid not null,
    available bigint not null default 0,
    held bigint not null default 0,
    promo bigint not null default 0,
    withdrawable bigint not null default 0,
    last_journal_id uuid not null default '00000000-0000-0000-0000-000000000000',
    updated_at timestamptz not null,
    constraint balances_pkey primary key (account_id),
    constraint balances_available_not_negative check (available >= 0),
    constraint balances_held_not_negative check (held >= 0),
    constraint balances_promo_not_negative check (promo >= 0),
    constraint balances_withdrawable_not_negative check (withdrawable >= 0)
) with (fillfactor = 50);

-- The ledger. A journal is one row and its postings are columns, one for each ledger account, so that a plain check makes every journal sum to zero and a
-- journal can be neither half written nor unbalanced (docs/decisions/0005). A capture or release names the hold it closes; a hold is closed once.
create table journals (
    account_id uuid not null,
    id uuid not null,
    kind smallint not null,
    subject_id uuid not null,
    closes uuid,
    description text not null,
    available bigint not null default 0,
    held bigint not null default 0,
    promo bigint not null default 0,
    withdrawable bigint not null default 0,
    cash_in bigint not null default 0,
    revenue bigint not null default 0,
    promo_expense bigint not null default 0,
    refund bigint not null default 0,
    adjustment bigint not null default 0,
    gateway_fee bigint not null default 0,
    ppn_payable bigint not null default 0,
    clearing bigint not null default 0,
    available_after bigint not null,
    held_after bigint not null,
    recorded_at timestamptz not null,
    constraint journals_pkey primary key (account_id, id),
    constraint journals_sum_to_zero check (
        available + held + promo + withdrawable + cash_in + revenue + promo_expense + refund + adjustment + gateway_fee + ppn_payable + clearing = 0
    )
);
create unique index journals_closes_key on journals (account_id, closes) where closes is not null;
revoke update, delete on journals from sewa_app;

-- The classical shape, for people and tools that think in postings.
create view postings as
select j.account_id, j.id as journal_id, p.ledger_account, p.amount, j.recorded_at
from journals j
cross join lateral (values
    ('available', j.available), ('held', j.held), ('promo', j.promo), ('withdrawable', j.withdrawable), ('cash_in', j.cash_in), ('revenue', j.revenue),
    ('promo_expense', j.promo_expense), ('refund', j.refund), ('adjustment', j.adjustment), ('gateway_fee', j.gateway_fee), ('ppn_payable', j.ppn_payable),
    ('clearing', j.clearing)
) as p (ledger_account, amount)
where p.amount <> 0;

-- Money on its way in: what a gateway was asked for and how it ended.
create table deposits (
    account_id uuid not null,
    id uuid not null,
    amount bigint not null,
    method smallint not null,
    state text not null,
    client_reference text,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    closed_at timestamptz,
    constraint deposits_pkey primary key (account_id, id),
    constraint deposits_amount_positive check (amount > 0),
    constraint deposits_state_known check (state in ('PENDING', 'PAID', 'EXPIRED', 'FAILED'))
);
create unique index deposits_client_reference_key on deposits (account_id, client_reference) where client_reference is not null;
create index deposits_expiring on deposits (expires_at) where state = 'PENDING';
