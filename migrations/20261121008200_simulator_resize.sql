-- owner: simulator

-- Machines of the simulated cloud can be given another size while they are off.
alter table sim_machines
    drop constraint sim_machines_action_known,
    add constraint sim_machines_action_known
        check (action in ('CREATE', 'POWER_ON', 'POWER_OFF', 'SHUTDOWN', 'REBOOT', 'REBUILD', 'RESET_PASSWORD', 'RESIZE'));
