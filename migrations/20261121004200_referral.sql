-- owner: identity

-- Who brought an account here. The code follows from the id, so that accounts that are older than it have one too.
alter table accounts
    add column referral_code text not null generated always as (upper(left(encode(sha256(uuid_send(id)), 'hex'), 12))) stored,
    add column referred_by uuid,
    add constraint accounts_referred_by_fkey foreign key (referred_by) references accounts (id),
    add constraint accounts_referred_by_another check (referred_by <> id);
create unique index accounts_referral_code_key on accounts (referral_code);
create index accounts_referred_by on accounts (referred_by) where referred_by is not null;
