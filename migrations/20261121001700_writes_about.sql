-- owner: base

-- The account that a member of staff wrote to; the row itself belongs to the platform, as its author does. Empty for everybody else, so the index costs their writes
-- nothing.
alter table writes add column about_account_id uuid;
create index writes_about_account_id on writes (about_account_id) where about_account_id is not null;
