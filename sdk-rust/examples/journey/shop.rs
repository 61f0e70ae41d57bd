//! Buying: the price, the order, its fulfilment, and what a repeat and a lost answer do.

use std::pin::pin;

use futures_util::TryStreamExt;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::catalog::v1::catalog_service_client::CatalogServiceClient;
use sewa_sdk::sewa::catalog::v1::{ListImagesRequest, ListPlansRequest, ListRegionsRequest, Plan};
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::order::v1::order_service_client::OrderServiceClient;
use sewa_sdk::sewa::order::v1::{
    GetOrderRequest, ListOrdersRequest, Order, OrderDraft, Payment, PlaceOrderRequest,
    PlaceOrderResponse, PreviewOrderRequest, order,
};
use sewa_sdk::sewa::sandbox::v1::fault::Kind as Fault;
use sewa_sdk::sewa::sandbox::v1::sandbox_service_client::SandboxServiceClient;
use sewa_sdk::sewa::sandbox::v1::{InjectFaultRequest, ListFaultsRequest};
use sewa_sdk::{Error, pages};
use tonic::{Response, Status};

use super::machine;
use super::money::balance;
use super::stage::{Stage, call, given, names, rupiah, units};

/// What is bought, and with what it is rebuilt later.
pub(crate) struct Goods {
    draft: OrderDraft,
    pub(crate) net_price: i64,
    pub(crate) other_image_id: String,
}

/// An order that was placed, and how.
pub(crate) struct Bought {
    key: String,
    request: PlaceOrderRequest,
    order_id: String,
    pub(crate) instance_id: String,
}

/// Finds the cheapest plan by the month, an open region, and two images that fit.
pub(crate) async fn choose(stage: &mut Stage) -> Result<Goods, Error> {
    stage.asks("look for the cheapest plan by the month");
    let mut catalog = stage.client.service(CatalogServiceClient::new);
    let (plan, net_price) = cheapest(stage).await?;
    let regions = catalog
        .list_regions(call(ListRegionsRequest::default()))
        .await?
        .into_inner()
        .regions;
    let region = given(
        regions.into_iter().find(|region| region.available),
        "open region",
    )?;
    let images = catalog
        .list_images(call(ListImagesRequest::default()))
        .await?
        .into_inner()
        .images;
    let mut fitting = images
        .into_iter()
        .filter(|image| image.min_disk_gib <= plan.disk_gib);
    let image = given(fitting.next(), "image that fits")?;
    let other = given(fitting.next(), "second image that fits")?;
    stage.sees(format!(
        "{} for {} a month before tax, in {}, with {} or {}",
        plan.display_name,
        rupiah(net_price),
        region.display_name,
        image.display_name,
        other.display_name
    ));
    let draft = OrderDraft {
        plan_id: plan.id,
        region_id: region.id,
        image_id: image.id,
        period: BillingPeriod::Month.into(),
        hostname: "web-1".to_owned(),
        auto_renew: true,
        ..Default::default()
    };
    Ok(Goods {
        draft,
        net_price,
        other_image_id: other.id,
    })
}

async fn cheapest(stage: &Stage) -> Result<(Plan, i64), Error> {
    let catalog = stage.client.service(CatalogServiceClient::new);
    let plans = pages(
        ListPlansRequest::default(),
        |request, token| request.page_token = token,
        |request| {
            let mut catalog = catalog.clone();
            async move { catalog.list_plans(call(request)).await }
        },
        |reply| (reply.plans, reply.next_page_token),
    );
    let mut plans = pin!(plans);
    let mut cheapest: Option<(Plan, i64)> = None;
    while let Some(plan) = plans.try_next().await? {
        let monthly = plan
            .prices
            .iter()
            .find(|price| price.available && price.period() == BillingPeriod::Month);
        let Some(price) = monthly.map(|price| units(price.amount.as_ref())) else {
            continue;
        };
        if cheapest.as_ref().is_none_or(|(_, least)| price < *least) {
            cheapest = Some((plan, price));
        }
    }
    given(cheapest, "plan with a monthly price")
}

/// Asks what it costs, tax included.
pub(crate) async fn quote(stage: &mut Stage, goods: &Goods) -> Result<i64, Error> {
    stage.asks("price an order without placing it");
    let request = PreviewOrderRequest {
        draft: Some(goods.draft.clone()),
    };
    let mut orders = stage.client.service(OrderServiceClient::new);
    let quote = orders
        .preview_order(call(request))
        .await?
        .into_inner()
        .quote;
    let quote = given(quote, "quote")?;
    let total = units(quote.total.as_ref());
    let lines: i64 = quote
        .lines
        .iter()
        .map(|line| units(line.amount.as_ref()))
        .sum();
    stage.check(
        lines == total && units(quote.subtotal.as_ref()) == goods.net_price,
        format!("the quote does not add up: {quote:?}"),
    )?;
    let wallet = balance(stage).await?;
    stage.check(
        wallet.available >= 3 * total && wallet.available < 4 * total,
        format!(
            "{} are not three periods of {}",
            rupiah(wallet.available),
            rupiah(total)
        ),
    )?;
    stage.sees(format!(
        "{} and {} PPN make {}",
        rupiah(goods.net_price),
        rupiah(units(quote.tax.as_ref())),
        rupiah(total)
    ));
    Ok(total)
}

/// Places the order at exactly that price, and follows it until its machine runs.
pub(crate) async fn buy(stage: &mut Stage, goods: &Goods, total: i64) -> Result<Bought, Error> {
    let before = balance(stage).await?;
    stage.asks(format!(
        "order {} for {}, renewing by itself",
        goods.draft.hostname,
        rupiah(total)
    ));
    let request = PlaceOrderRequest {
        draft: Some(goods.draft.clone()),
        payment: Payment::Wallet.into(),
        expected_total: Some(Money::idr(total)),
        ..Default::default()
    };
    let bought = fulfilled(stage, request).await?;
    let after = balance(stage).await?;
    stage.check(
        after.available == before.available - total && after.held == 0,
        format!(
            "{} are available and {} held",
            rupiah(after.available),
            rupiah(after.held)
        ),
    )?;
    stage.sees(format!(
        "the order is ACTIVE, the balance {}, nothing held",
        rupiah(after.available)
    ));
    Ok(bought)
}

async fn fulfilled(stage: &mut Stage, request: PlaceOrderRequest) -> Result<Bought, Error> {
    let key = uuid::Uuid::now_v7().to_string();
    let placed = place(stage, &request, &key).await?.into_inner();
    let order = given(placed.order, "order")?;
    let progress = stage.finish(placed.operation).await?;
    stage.sees(format!("the operation went through {progress}"));
    let events = stage.follow(&order.id, EventType::OrderActive).await?;
    let expected = [
        EventType::OrderPlaced,
        EventType::OrderProvisioning,
        EventType::OrderActive,
    ];
    stage.check(
        events.iter().map(|event| event.r#type()).eq(expected),
        format!("the events were {}", names(&events)),
    )?;
    stage.sees(format!("events {}", names(&events)));
    let order = read(stage, order.id).await?;
    stage.check(
        order.state() == order::State::Active,
        format!("the order is {:?}", order.state()),
    )?;
    Ok(Bought {
        key,
        request,
        order_id: order.id,
        instance_id: order.instance_id,
    })
}

async fn place(
    stage: &Stage,
    request: &PlaceOrderRequest,
    key: &str,
) -> Result<Response<PlaceOrderResponse>, Status> {
    let mut request = call(request.clone());
    let key = key
        .parse()
        .map_err(|_| Status::internal("the key does not fit a header"))?;
    request.metadata_mut().insert("idempotency-key", key);
    let mut orders = stage.client.service(OrderServiceClient::new);
    orders.place_order(request).await
}

async fn read(stage: &Stage, order_id: String) -> Result<Order, Error> {
    let mut orders = stage.client.service(OrderServiceClient::new);
    let reply = orders.get_order(call(GetOrderRequest { order_id })).await?;
    given(reply.into_inner().order, "order")
}

async fn count(stage: &Stage) -> Result<usize, Error> {
    let mut orders = stage.client.service(OrderServiceClient::new);
    let reply = orders
        .list_orders(call(ListOrdersRequest::default()))
        .await?;
    Ok(reply.into_inner().orders.len())
}

/// Sends the order again with its idempotency key, then something else with that key.
pub(crate) async fn repeat(stage: &mut Stage, bought: &Bought) -> Result<(), Error> {
    let before = balance(stage).await?;
    stage.asks("send the same order again with the same idempotency key");
    let reply = place(stage, &bought.request, &bought.key).await?;
    let replayed = reply
        .metadata()
        .get("idempotency-replayed")
        .is_some_and(|value| value == "true");
    let again = given(reply.into_inner().order, "order")?;
    stage.check(
        replayed && again.id == bought.order_id,
        format!("order {} came back, replayed: {replayed}", again.id),
    )?;
    let (orders, after) = (count(stage).await?, balance(stage).await?);
    stage.check(
        orders == 1 && after.available == before.available,
        format!("there are {orders} orders now"),
    )?;
    stage.sees(format!(
        "idempotency-replayed: true, order {} again, still the only one, nothing charged",
        again.id
    ));

    stage.asks("send another order with that key");
    let mut other = bought.request.clone();
    if let Some(draft) = &mut other.draft {
        draft.hostname = "another".to_owned();
    }
    let refusal = stage.refused(
        place(stage, &other, &bought.key).await,
        "IDEMPOTENCY_KEY_REUSED",
    )?;
    let orders = count(stage).await?;
    stage.check(orders == 1, format!("there are {orders} orders now"))?;
    stage.sees(format!("refused: {refusal}"));
    Ok(())
}

/// Has the simulated cloud misbehave once, in the way that hurts most.
pub(crate) async fn lose_next_answer(stage: &mut Stage) -> Result<(), Error> {
    stage.asks("have the cloud make the next machine and then lose its answer");
    let mut sandbox = stage.client.service(SandboxServiceClient::new);
    let request = InjectFaultRequest {
        kind: Fault::AnswerLost.into(),
        times: 1,
    };
    sandbox.inject_fault(call(request)).await?;
    let faults = faults(stage).await?;
    stage.check(
        faults == [(Fault::AnswerLost, 1)],
        format!("the faults are {faults:?}"),
    )?;
    stage.sees("the fault ANSWER_LOST is in force for one call");
    Ok(())
}

async fn faults(stage: &Stage) -> Result<Vec<(Fault, i32)>, Error> {
    let mut sandbox = stage.client.service(SandboxServiceClient::new);
    let reply = sandbox
        .list_faults(call(ListFaultsRequest::default()))
        .await?
        .into_inner();
    let pair = |fault: &sewa_sdk::sewa::sandbox::v1::Fault| (fault.kind(), fault.times_left);
    Ok(reply.faults.iter().map(pair).collect())
}

/// Buys a second machine while the cloud loses its answer. Returns the machine.
pub(crate) async fn buy_despite_lost_answer(
    stage: &mut Stage,
    goods: &Goods,
    total: i64,
) -> Result<String, Error> {
    let before = balance(stage).await?;
    stage.asks("order web-2");
    let draft = OrderDraft {
        hostname: "web-2".to_owned(),
        ..goods.draft.clone()
    };
    let request = PlaceOrderRequest {
        draft: Some(draft),
        payment: Payment::Wallet.into(),
        expected_total: Some(Money::idr(total)),
        ..Default::default()
    };
    let bought = fulfilled(stage, request).await?;
    let left = faults(stage).await?;
    stage.check(
        left.is_empty(),
        format!("the fault did not strike: {left:?}"),
    )?;
    let (instances, after) = (machine::list(stage).await?, balance(stage).await?);
    stage.check(
        instances.len() == 2
            && instances[0].ipv4_address != instances[1].ipv4_address
            && after.available == before.available - total,
        format!(
            "there are {} instances and {} are available",
            instances.len(),
            rupiah(after.available)
        ),
    )?;
    stage.sees("the answer was lost, the machine found again: two instances, paid once each");
    Ok(bought.instance_id)
}
