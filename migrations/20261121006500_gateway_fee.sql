-- owner: wallet

-- What the gateway kept of a payment for its service, as it was posted to `gateway_fee` in the ledger; null where the gateway did not say.
alter table payments
    add column gateway_fee bigint,
    add constraint payments_gateway_fee_not_negative check (gateway_fee >= 0);
