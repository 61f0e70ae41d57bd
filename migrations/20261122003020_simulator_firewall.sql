-- owner: simulator

-- The firewall of a machine of the simulated cloud: what it lets in; null for none. It ends with the machine.
alter table sim_machines
    add column firewall jsonb;
