-- owner: operation

-- Kind 16 replaces a firewall.
alter table operations
    drop constraint operations_kind_known,
    add constraint operations_kind_known check (kind between 1 and 16);
