-- owner: operation

-- Kind 11 gives a machine another size. It belongs to a change of plan, whose money it decides, and is worked on there; nobody cancels it or puts something else in
-- its place.
alter table operations
    drop constraint operations_kind_known,
    add constraint operations_kind_known check (kind between 1 and 11);
