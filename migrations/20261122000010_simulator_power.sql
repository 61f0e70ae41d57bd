-- owner: simulator

-- When a machine of the simulated cloud was last powered on, from which its counters of bytes follow; null if it is off, or was last worked on by a server that does not write it: then
-- it is when that work was done.
alter table sim_machines add column powered_at timestamptz;
