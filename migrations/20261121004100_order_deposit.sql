-- owner: order

-- The deposit by which an order is paid directly at a gateway.
alter table orders
    add column deposit_id uuid,
    add constraint orders_gateway_names_deposit check ((payment = 3) = (deposit_id is not null));
