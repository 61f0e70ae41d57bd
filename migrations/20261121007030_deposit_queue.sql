-- owner: wallet

-- Bank transfers that wait for staff, of all accounts, the oldest first. `half_confirmed` says that one person has seen a transfer that is not credited yet, also after the
-- deposit expired.
alter table deposits add column half_confirmed boolean not null default false;
update deposits d set half_confirmed = true where method = 5 and exists (
    select from bank_confirmations c where c.account_id = d.account_id and c.deposit_id = d.id and not exists (
        select from payments p where p.account_id = c.account_id and p.deposit_id = c.deposit_id and p.gateway_ref = c.bank_reference));
create index deposits_to_confirm on deposits (id) where method = 5 and (state = 'PENDING' or half_confirmed);

-- The server may not delete callbacks; it may ask for those before an id to go, a few at a time. Ids are of version 7, so they are sorted by time.
create function forget_callbacks(bound uuid, many bigint) returns bigint
language sql security definer
set search_path = public, pg_temp
as $$
    with old as (
        select id from payment_callbacks where id < bound order by id limit many
    ), gone as (
        delete from payment_callbacks c using old where c.id = old.id returning 1
    )
    select count(*) from gone
$$;
revoke all on function forget_callbacks(uuid, bigint) from public;
grant execute on function forget_callbacks(uuid, bigint) to sewa_app;
