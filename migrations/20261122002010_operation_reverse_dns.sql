-- owner: operation

-- Kind 15 gives an address a name in reverse DNS.
alter table operations
    drop constraint operations_kind_known,
    add constraint operations_kind_known check (kind between 1 and 15);
