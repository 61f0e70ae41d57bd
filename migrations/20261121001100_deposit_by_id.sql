-- owner: wallet

-- Staff read a deposit of any account by its id alone.
create index deposits_by_age on deposits (id);
