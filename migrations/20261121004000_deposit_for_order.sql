-- owner: wallet

-- A deposit that pays for one order: what comes in time is received and held for it in one journal, `hold_id`. What comes otherwise is ordinary credit.
alter table deposits
    add column order_id uuid,
    add column hold_id uuid,
    add constraint deposits_hold_has_purpose check (hold_id is null or order_id is not null);
