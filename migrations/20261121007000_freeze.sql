-- owner: wallet

-- Since when no money of an account moves, and the rule and row for which: set by the proof that goes on all the time, lifted by staff. In the row that every movement
-- locks, so that none passes it by.
alter table balances
    add column frozen_at timestamptz,
    add column frozen_for text;
create index balances_frozen on balances (account_id) where frozen_at is not null;

-- Deposits that were paid before payments were written down: the proof compares the two.
insert into payments (account_id, id, deposit_id, method, gateway_ref, kind, paid, credited, recorded_at)
select d.account_id, j.id, d.id, d.method, d.id::text, 1, j.available, j.available, j.recorded_at
from deposits d join journals j on j.account_id = d.account_id and j.subject_id = d.id and j.kind = 1
where not exists (select from payments p where p.account_id = d.account_id and p.deposit_id = d.id)
on conflict do nothing;
