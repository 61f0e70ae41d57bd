-- owner: catalog

-- Whether machines of a plan are backed up every day. Fixed when the plan is made, as all that was sold with it.
alter table plans
    add column backups boolean not null default false;
