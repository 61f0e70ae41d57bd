-- owner: operation

-- Staff read an operation of any account by its id alone. Ids are of version 7 and so lie in the order of their making, for which ranges of blocks are enough; a
-- tree would cost every order one more write.
create index operations_id_brin on operations using brin (id) with (pages_per_range = 32, autosummarize = on);
