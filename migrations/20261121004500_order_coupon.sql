-- owner: order

-- The coupon an order used, and what it took off the price. `subtotal` is what is left of the price.
alter table orders
    add column coupon_id uuid,
    add column coupon_code text not null default '',
    add column discount bigint not null default 0,
    add constraint orders_discount_has_coupon check (discount >= 0 and (coupon_id is not null) = (discount > 0));
