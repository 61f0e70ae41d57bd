-- owner: instance

-- The account at a real cloud that a machine is made in. Chosen before the machine is asked for, and never another one while there may be a machine; null for the
-- built-in cloud.
alter table instances add column provider_account_id uuid;
create index instances_by_provider_account on instances (provider_account_id)
    where provider_account_id is not null and state not in ('DELETED', 'FAILED');
