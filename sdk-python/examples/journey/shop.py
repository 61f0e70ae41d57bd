"""Buying: the price, the order, its fulfilment, and what a repeat and a lost answer do."""

import uuid
from dataclasses import dataclass

import sewa
from sewa.api.v1 import BillingPeriod
from sewa.catalog.v1 import CatalogServiceStub, ListImagesRequest, ListPlansRequest, ListRegionsRequest, Plan
from sewa.event.v1 import EventType
from sewa.order.v1 import (
    GetOrderRequest,
    ListOrdersRequest,
    Order,
    OrderDraft,
    OrderServiceStub,
    Payment,
    PlaceOrderRequest,
    PreviewOrderRequest,
)
from sewa.sandbox.v1 import Fault, InjectFaultRequest, ListFaultsRequest, SandboxServiceStub

from . import machine
from .money import balance
from .stage import Broken, Stage, idr, names, rupiah


@dataclass
class Goods:
    """What is bought, and with what it is rebuilt later."""

    draft: OrderDraft
    net_price: int
    other_image_id: str


@dataclass
class Bought:
    """An order that was placed, and how."""

    key: str
    request: PlaceOrderRequest
    order_id: str
    instance_id: str


def orders(stage: Stage) -> OrderServiceStub:
    return stage.client.service(OrderServiceStub)


def choose(stage: Stage) -> Goods:
    """Finds the cheapest plan by the month, an open region, and two images that fit."""
    stage.asks("look for the cheapest plan by the month")
    catalog = stage.client.service(CatalogServiceStub)
    plans = sewa.items(catalog.ListPlans, ListPlansRequest(), lambda page: page.plans)
    priced = [(price, plan) for plan in plans if (price := monthly(plan)) is not None]
    if not priced:
        raise Broken("there is no plan with a monthly price")
    price, plan = min(priced, key=lambda pair: pair[0])
    region = next(region for region in catalog.ListRegions(ListRegionsRequest()).regions if region.available)
    images = [image for image in catalog.ListImages(ListImagesRequest()).images if image.min_disk_gib <= plan.disk_gib]
    image, other = images[:2]
    stage.sees(
        f"{plan.display_name} for {rupiah(price)} a month before tax, in {region.display_name}, with {image.display_name} or "
        f"{other.display_name}"
    )
    draft = OrderDraft(
        plan_id=plan.id,
        region_id=region.id,
        image_id=image.id,
        period=BillingPeriod.BILLING_PERIOD_MONTH,
        hostname="web-1",
        auto_renew=True,
    )
    return Goods(draft, price, other.id)


def monthly(plan: Plan) -> int | None:
    month = BillingPeriod.BILLING_PERIOD_MONTH
    return next((price.amount.units for price in plan.prices if price.available and price.period == month), None)


def quote(stage: Stage, goods: Goods) -> int:
    """Asks what it costs, tax included."""
    stage.asks("price an order without placing it")
    quoted = orders(stage).PreviewOrder(PreviewOrderRequest(draft=goods.draft)).quote
    total = quoted.total.units
    lines = sum(line.amount.units for line in quoted.lines)
    stage.check(lines == total and quoted.subtotal.units == goods.net_price, f"the quote does not add up: {quoted}")
    available = balance(stage).available.units
    stage.check(3 * total <= available < 4 * total, f"{rupiah(available)} are not three periods of {rupiah(total)}")
    stage.sees(f"{rupiah(goods.net_price)} and {rupiah(quoted.tax)} PPN make {rupiah(total)}")
    return total


def request_for(draft: OrderDraft, total: int) -> PlaceOrderRequest:
    return PlaceOrderRequest(draft=draft, payment=Payment.PAYMENT_WALLET, expected_total=idr(total))


def buy(stage: Stage, goods: Goods, total: int) -> Bought:
    """Places the order at exactly that price, and follows it until its machine runs."""
    before = balance(stage).available.units
    stage.asks(f"order {goods.draft.hostname} for {rupiah(total)}, renewing by itself")
    bought = fulfilled(stage, request_for(goods.draft, total))
    after = balance(stage)
    stage.check(
        after.available.units == before - total and after.held.units == 0,
        f"{rupiah(after.available)} are available and {rupiah(after.held)} held",
    )
    stage.sees(f"the order is ACTIVE, the balance {rupiah(after.available)}, nothing held")
    return bought


def fulfilled(stage: Stage, request: PlaceOrderRequest) -> Bought:
    key = str(uuid.uuid4())
    placed = place(stage, request, key).message
    progress = stage.finish(placed.operation)
    stage.sees(f"the operation went through {progress}")
    events = stage.follow(placed.order.id, EventType.EVENT_TYPE_ORDER_ACTIVE)
    expected = [
        EventType.EVENT_TYPE_ORDER_PLACED,
        EventType.EVENT_TYPE_ORDER_PROVISIONING,
        EventType.EVENT_TYPE_ORDER_ACTIVE,
    ]
    stage.check([event.type for event in events] == expected, f"the events were {names(events)}")
    stage.sees(f"events {names(events)}")
    order = orders(stage).GetOrder(GetOrderRequest(order_id=placed.order.id)).order
    stage.check(order.state == Order.STATE_ACTIVE, f"the order is {order.state}")
    return Bought(key, request, order.id, order.instance_id)


def place(stage: Stage, request: PlaceOrderRequest, key: str) -> sewa.Reply:
    return stage.client.call("sewa.order.v1.OrderService/PlaceOrder", request, idempotency_key=key)


def count(stage: Stage) -> int:
    return len(orders(stage).ListOrders(ListOrdersRequest()).orders)


def repeat(stage: Stage, bought: Bought) -> None:
    """Sends the order again with its idempotency key, then something else with that key."""
    before = balance(stage).available.units
    stage.asks("send the same order again with the same idempotency key")
    again = place(stage, bought.request, bought.key)
    order_id = again.message.order.id
    stage.check(
        again.replayed and order_id == bought.order_id, f"order {order_id} came back, replayed: {again.replayed}"
    )
    stage.check(count(stage) == 1 and balance(stage).available.units == before, f"there are {count(stage)} orders now")
    stage.sees(f"idempotency-replayed: true, order {order_id} again, still the only one, nothing charged")

    stage.asks("send another order with that key")
    other = PlaceOrderRequest()
    other.CopyFrom(bought.request)
    other.draft.hostname = "another"
    refusal = stage.refused(lambda: place(stage, other, bought.key), "IDEMPOTENCY_KEY_REUSED")
    stage.check(count(stage) == 1, f"there are {count(stage)} orders now")
    stage.sees(f"refused: {refusal}")


def lose_next_answer(stage: Stage) -> None:
    """Has the simulated cloud misbehave once, in the way that hurts most."""
    stage.asks("have the cloud make the next machine and then lose its answer")
    sandbox = stage.client.service(SandboxServiceStub)
    sandbox.InjectFault(InjectFaultRequest(kind=Fault.KIND_ANSWER_LOST, times=1))
    found = faults(stage)
    stage.check(found == [(Fault.KIND_ANSWER_LOST, 1)], f"the faults are {found}")
    stage.sees("the fault ANSWER_LOST is in force for one call")


def faults(stage: Stage) -> list[tuple[Fault.Kind.ValueType, int]]:
    listed = stage.client.service(SandboxServiceStub).ListFaults(ListFaultsRequest()).faults
    return [(fault.kind, fault.times_left) for fault in listed]


def buy_despite_lost_answer(stage: Stage, goods: Goods, total: int) -> str:
    """Buys a second machine while the cloud loses its answer. Returns the machine."""
    before = balance(stage).available.units
    stage.asks("order web-2")
    draft = OrderDraft()
    draft.CopyFrom(goods.draft)
    draft.hostname = "web-2"
    bought = fulfilled(stage, request_for(draft, total))
    left = faults(stage)
    stage.check(not left, f"the fault did not strike: {left}")
    instances, after = machine.everything(stage), balance(stage).available.units
    stage.check(
        len(instances) == 2 and instances[0].ipv4_address != instances[1].ipv4_address and after == before - total,
        f"there are {len(instances)} instances and {rupiah(after)} are available",
    )
    stage.sees("the answer was lost, the machine found again: two instances, paid once each")
    return bought.instance_id
