//! A reseller's day, from nothing to a machine and back, on a sandbox account: nothing here costs money, everything goes the way it does in earnest.
//!
//! `cargo run -p sewa-sdk --example journey -- http://127.0.0.1:8080`

use std::pin::pin;

use futures_util::TryStreamExt;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::{BillingPeriod, Operation};
use sewa_sdk::sewa::catalog::v1::catalog_service_client::CatalogServiceClient;
use sewa_sdk::sewa::catalog::v1::{ListImagesRequest, ListPlansRequest, ListRegionsRequest};
use sewa_sdk::sewa::event::v1::event_service_client::EventServiceClient;
use sewa_sdk::sewa::event::v1::{EventType, ListEventsRequest};
use sewa_sdk::sewa::identity::v1::identity_service_client::IdentityServiceClient;
use sewa_sdk::sewa::identity::v1::{AccountKind, RegisterRequest};
use sewa_sdk::sewa::instance::v1::instance_service_client::InstanceServiceClient;
use sewa_sdk::sewa::instance::v1::{
    DeleteInstanceRequest, GetInstanceRequest, Instance, PowerOnInstanceRequest,
    RebootInstanceRequest, RebuildInstanceRequest, ResetInstancePasswordRequest,
    ShutdownInstanceRequest,
};
use sewa_sdk::sewa::order::v1::order_service_client::OrderServiceClient;
use sewa_sdk::sewa::order::v1::{
    GetOrderRequest, OrderDraft, Payment, PlaceOrderRequest, PreviewOrderRequest,
};
use sewa_sdk::sewa::sandbox::v1::sandbox_service_client::SandboxServiceClient;
use sewa_sdk::sewa::sandbox::v1::{SettleDepositRequest, settle_deposit_request::Outcome};
use sewa_sdk::sewa::wallet::v1::wallet_service_client::WalletServiceClient;
use sewa_sdk::sewa::wallet::v1::{
    CreateDepositRequest, GetWalletRequest, ListTransactionsRequest, deposit,
};
use sewa_sdk::{Client, Credentials, Error, WaitOptions, WatchOptions, pages, wait, watch};
use tonic::Status;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoint = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "http://127.0.0.1:8080".into());
    let client = register(&endpoint).await?;
    deposit(&client, 2_000_000).await?;
    show_wallet(&client).await?;

    let draft = choose(&client).await?;
    let instance = order(&client, draft.clone()).await?;
    show_wallet(&client).await?;
    operate(&client, &instance).await?;
    overspend(&client, draft).await?;
    delete(&client, instance).await?;
    statement(&client).await
}

/// Opens an account. Its first user is signed in by the same reply.
async fn register(endpoint: &str) -> Result<Client, Error> {
    let email = format!("budi-{}@example.com", uuid::Uuid::now_v7().simple());
    let password = "correct horse 9";
    let nobody = Client::builder(endpoint).build()?;
    let request = RegisterRequest {
        email: email.clone(),
        password: password.into(),
        name: "Budi".into(),
        account_name: "Toko Budi".into(),
        account_kind: AccountKind::Reseller.into(),
        sandbox: true,
    };
    let reply = nobody
        .service(IdentityServiceClient::new)
        .register(request)
        .await?
        .into_inner();
    println!("account {} for {email}", reply.account_id);
    // The tokens of the reply would do as well (`Session::resume`); with the password the session lasts beyond them.
    Client::builder(endpoint)
        .credentials(Credentials::login(email, password))
        .build()
}

/// Pays money in through the sandbox gateway, and plays the payer.
async fn deposit(client: &Client, rupiah: i64) -> Result<(), Error> {
    let request = CreateDepositRequest {
        amount: Some(Money::idr(rupiah)),
        method: deposit::Method::Sandbox.into(),
        client_reference: String::new(),
    };
    let reply = client
        .service(WalletServiceClient::new)
        .create_deposit(request)
        .await?
        .into_inner();
    let deposit = reply.deposit.ok_or_else(|| incomplete("deposit"))?;
    let request = SettleDepositRequest {
        deposit_id: deposit.id,
        outcome: Outcome::Paid.into(),
    };
    client
        .service(SandboxServiceClient::new)
        .settle_deposit(request)
        .await?;
    Ok(())
}

async fn show_wallet(client: &Client) -> Result<(), Error> {
    let reply = client
        .service(WalletServiceClient::new)
        .get_wallet(GetWalletRequest::default())
        .await?
        .into_inner();
    let wallet = reply.wallet.ok_or_else(|| incomplete("wallet"))?;
    println!(
        "wallet: {} available, {} held",
        rupiah(wallet.available.as_ref()),
        rupiah(wallet.held.as_ref())
    );
    Ok(())
}

/// The first plan that has a monthly price, where and with what it can be had.
async fn choose(client: &Client) -> Result<OrderDraft, Error> {
    let catalog = client.service(CatalogServiceClient::new);
    let plans = pages(
        ListPlansRequest::default(),
        |request, token| request.page_token = token,
        |request| {
            let mut catalog = catalog.clone();
            async move { catalog.list_plans(request).await }
        },
        |reply| (reply.plans, reply.next_page_token),
    );
    let mut plans = pin!(plans.try_filter(|plan| {
        std::future::ready(
            plan.prices
                .iter()
                .any(|price| price.period() == BillingPeriod::Month),
        )
    }));
    let plan = plans
        .try_next()
        .await?
        .ok_or_else(|| incomplete("plan with a monthly price"))?;

    let regions = catalog
        .clone()
        .list_regions(ListRegionsRequest::default())
        .await?
        .into_inner()
        .regions;
    let region = regions
        .into_iter()
        .find(|region| region.available)
        .ok_or_else(|| incomplete("region"))?;
    let images = catalog
        .clone()
        .list_images(ListImagesRequest::default())
        .await?
        .into_inner()
        .images;
    let image = images
        .into_iter()
        .find(|image| image.min_disk_gib <= plan.disk_gib)
        .ok_or_else(|| incomplete("image"))?;
    println!(
        "{} in {} with {}",
        plan.display_name, region.display_name, image.display_name
    );
    Ok(OrderDraft {
        plan_id: plan.id,
        region_id: region.id,
        image_id: image.id,
        period: BillingPeriod::Month.into(),
        hostname: "web-1".into(),
        ..OrderDraft::default()
    })
}

/// Asks for the price, places the order at exactly that price, and follows it until its machine runs.
async fn order(client: &Client, draft: OrderDraft) -> Result<Instance, Error> {
    let mut orders = client.service(OrderServiceClient::new);
    let request = PreviewOrderRequest {
        draft: Some(draft.clone()),
    };
    let quote = orders
        .preview_order(request)
        .await?
        .into_inner()
        .quote
        .ok_or_else(|| incomplete("quote"))?;
    println!(
        "price: {} with {} tax",
        rupiah(quote.total.as_ref()),
        rupiah(quote.tax.as_ref())
    );

    let before = newest_cursor(client).await?;
    let request = PlaceOrderRequest {
        draft: Some(draft),
        payment: Payment::Wallet.into(),
        expected_total: quote.total,
        client_reference: uuid::Uuid::now_v7().to_string(),
    };
    let placed = orders.place_order(request).await?.into_inner();
    let order = placed.order.ok_or_else(|| incomplete("order"))?;
    let operation = placed.operation.ok_or_else(|| incomplete("operation"))?;
    finish(client, operation).await?;

    // The operation says it is done; the log of events tells how it came about.
    let options = WatchOptions {
        resume_cursor: before,
        subject_id: order.id.clone(),
        ..WatchOptions::default()
    };
    let mut events = pin!(watch(client, options));
    while let Some(event) = events.try_next().await? {
        println!("  event {:?}", event.r#type());
        if event.r#type() == EventType::OrderActive {
            break;
        }
    }
    let order = orders
        .get_order(GetOrderRequest { order_id: order.id })
        .await?
        .into_inner()
        .order
        .ok_or_else(|| incomplete("order"))?;
    println!("order {:?}, instance {}", order.state(), order.instance_id);
    read(client, order.instance_id).await
}

/// The newest place in the log of events.
async fn newest_cursor(client: &Client) -> Result<String, Error> {
    let events = client.service(EventServiceClient::new);
    let mut all = pin!(pages(
        ListEventsRequest::default(),
        |request, token| request.page_token = token,
        |request| {
            let mut events = events.clone();
            async move { events.list_events(request).await }
        },
        |reply| (reply.events, reply.next_page_token),
    ));
    let mut cursor = String::new();
    while let Some(event) = all.try_next().await? {
        cursor = event.cursor;
    }
    Ok(cursor)
}

/// Everything a machine can go through.
async fn operate(client: &Client, instance: &Instance) -> Result<(), Error> {
    let mut instances = client.service(InstanceServiceClient::new);
    let id = || instance.id.clone();

    let request = ShutdownInstanceRequest {
        instance_id: id(),
        ..Default::default()
    };
    finish(
        client,
        required(
            instances
                .shutdown_instance(request)
                .await?
                .into_inner()
                .operation,
        )?,
    )
    .await?;
    let request = PowerOnInstanceRequest {
        instance_id: id(),
        ..Default::default()
    };
    finish(
        client,
        required(
            instances
                .power_on_instance(request)
                .await?
                .into_inner()
                .operation,
        )?,
    )
    .await?;
    let request = RebootInstanceRequest {
        instance_id: id(),
        ..Default::default()
    };
    finish(
        client,
        required(
            instances
                .reboot_instance(request)
                .await?
                .into_inner()
                .operation,
        )?,
    )
    .await?;
    let request = RebuildInstanceRequest {
        instance_id: id(),
        ..Default::default()
    };
    finish(
        client,
        required(
            instances
                .rebuild_instance(request)
                .await?
                .into_inner()
                .operation,
        )?,
    )
    .await?;

    let request = ResetInstancePasswordRequest { instance_id: id() };
    match instances
        .reset_instance_password(request)
        .await
        .map_err(Error::from)
    {
        Ok(reply) => {
            let reply = reply.into_inner();
            println!("new password of {} characters", reply.password.len());
            finish(client, required(reply.operation)?).await?;
        }
        Err(error) if error.is("NOT_SUPPORTED_BY_PROVIDER") => {
            println!("this provider sets no passwords")
        }
        Err(error) => return Err(error),
    }
    let instance = read(client, id()).await?;
    println!(
        "{} {:?} at {}",
        instance.hostname,
        instance.state(),
        instance.ipv4_address
    );
    Ok(())
}

/// Orders until the money is gone, to show what a refusal looks like.
async fn overspend(client: &Client, draft: OrderDraft) -> Result<(), Error> {
    let draft = OrderDraft {
        period: BillingPeriod::Year.into(),
        ..draft
    };
    for number in 2..1000 {
        let draft = OrderDraft {
            hostname: format!("web-{number}"),
            ..draft.clone()
        };
        let request = PlaceOrderRequest {
            draft: Some(draft),
            payment: Payment::Wallet.into(),
            ..Default::default()
        };
        match client
            .service(OrderServiceClient::new)
            .place_order(request)
            .await
            .map_err(Error::from)
        {
            Ok(_) => println!("web-{number} is ordered as well"),
            Err(error) if error.is("INSUFFICIENT_BALANCE") || error.is("PERIOD_UNAVAILABLE") => {
                println!(
                    "refused: {error}\n  advice: {}",
                    error.remedy().unwrap_or("none")
                );
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    Err(incomplete("refusal"))
}

async fn delete(client: &Client, instance: Instance) -> Result<(), Error> {
    let mut instances = client.service(InstanceServiceClient::new);
    let id = instance.id;
    let wrong = DeleteInstanceRequest {
        instance_id: id.clone(),
        confirm_hostname: "another".into(),
        ..Default::default()
    };
    let refused = instances
        .delete_instance(wrong)
        .await
        .map_err(Error::from)
        .err()
        .ok_or_else(|| incomplete("refusal"))?;
    println!("refused: {refused}");
    let request = DeleteInstanceRequest {
        instance_id: id.clone(),
        confirm_hostname: instance.hostname,
        ..Default::default()
    };
    finish(
        client,
        required(
            instances
                .delete_instance(request)
                .await?
                .into_inner()
                .operation,
        )?,
    )
    .await?;
    println!("instance {:?}", read(client, id).await?.state());
    Ok(())
}

/// Every movement of money, newest first.
async fn statement(client: &Client) -> Result<(), Error> {
    let wallet = client.service(WalletServiceClient::new);
    let mut all = pin!(pages(
        ListTransactionsRequest {
            page_size: 2,
            ..Default::default()
        },
        |request, token| request.page_token = token,
        |request| {
            let mut wallet = wallet.clone();
            async move { wallet.list_transactions(request).await }
        },
        |reply| (reply.transactions, reply.next_page_token),
    ));
    while let Some(line) = all.try_next().await? {
        println!(
            "{:>14} {:?} {}",
            rupiah(line.available_change.as_ref()),
            line.kind(),
            line.description
        );
    }
    Ok(())
}

async fn finish(client: &Client, operation: Operation) -> Result<(), Error> {
    let kind = operation.kind();
    let show = |now: &Operation| println!("  {kind:?} {:>3} % {}", now.progress_percent, now.step);
    wait(client, operation.id, WaitOptions::default().progress(show)).await?;
    Ok(())
}

async fn read(client: &Client, instance_id: String) -> Result<Instance, Error> {
    let reply = client
        .service(InstanceServiceClient::new)
        .get_instance(GetInstanceRequest { instance_id })
        .await?;
    reply
        .into_inner()
        .instance
        .ok_or_else(|| incomplete("instance"))
}

fn required(operation: Option<Operation>) -> Result<Operation, Error> {
    operation.ok_or_else(|| incomplete("operation"))
}

fn incomplete(what: &str) -> Error {
    Status::internal(format!("the server gave no {what}")).into()
}

fn rupiah(money: Option<&Money>) -> String {
    format!("Rp{}", money.map_or(0, |money| money.units))
}
