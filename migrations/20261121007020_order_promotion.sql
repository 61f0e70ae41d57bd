-- owner: order

-- The promotion of the plan an order has, and what it took off the price. `subtotal` is what is left of the price after that and after the coupon.
alter table orders
    add column promotion_id uuid,
    add column promotion_name text not null default '',
    add column promotion_discount bigint not null default 0,
    add column promotion_renews boolean not null default false,
    add constraint orders_promotion_has_discount check (promotion_discount >= 0 and (promotion_id is not null) = (promotion_discount > 0));
