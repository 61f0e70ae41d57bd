-- owner: simulator

-- The names in reverse DNS that addresses of a machine of the simulated cloud were given; null for its own default. They end with the machine.
alter table sim_machines
    add column reverse_ipv4 text,
    add column reverse_ipv6 text;
