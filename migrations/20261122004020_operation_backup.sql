-- owner: operation

-- Kind 17 puts a disk back to a backup.
alter table operations
    drop constraint operations_kind_known,
    add constraint operations_kind_known check (kind between 1 and 17);
