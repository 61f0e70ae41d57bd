-- owner: lifecycle

-- A change of plan is priced for the rest of a period. When that period is cut short meanwhile, because what paid for it was taken back, there is no rest to pay for or
-- to give back: the change goes on, and no money moves for it.
alter table plan_changes add column period_cut_short boolean not null default false;
