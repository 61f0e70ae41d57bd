-- owner: operation

-- Kinds 12 to 14 take a snapshot of a disk, go back to it and delete it.
alter table operations
    drop constraint operations_kind_known,
    add constraint operations_kind_known check (kind between 1 and 14);
