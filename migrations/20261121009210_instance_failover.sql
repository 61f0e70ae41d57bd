-- owner: instance

-- True once a creation at the instance's provider account was begun and its end is not known for sure. From then on the instance stays with that account, where a machine of it
-- may show up; until then another account may be asked when this one refuses.
-- Of those that are being made nobody wrote that down so far.
alter table instances add column unanswered boolean not null default false;
update instances set unanswered = true where unsure_until is not null or (state = 'PROVISIONING' and provider_account_id is not null);
