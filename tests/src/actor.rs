//! Somebody who uses the platform through the SDK. Each verb is one call, or one call and the wait for what it set going.

use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::{BillingPeriod, Operation};
use sewa_sdk::sewa::billing::v1::billing_service_client::BillingServiceClient;
use sewa_sdk::sewa::catalog::v1::catalog_service_client::CatalogServiceClient;
use sewa_sdk::sewa::catalog::v1::{ListImagesRequest, ListPlansRequest, ListRegionsRequest, Plan};
use sewa_sdk::sewa::event::v1::event_service_client::EventServiceClient;
use sewa_sdk::sewa::event::v1::{Event, ListEventsRequest};
use sewa_sdk::sewa::hypervisor::v1::hypervisor_service_client::HypervisorServiceClient;
use sewa_sdk::sewa::identity::v1::Tokens;
use sewa_sdk::sewa::identity::v1::identity_service_client::IdentityServiceClient;
use sewa_sdk::sewa::instance::v1::backup_service_client::BackupServiceClient;
use sewa_sdk::sewa::instance::v1::console_service_client::ConsoleServiceClient;
use sewa_sdk::sewa::instance::v1::firewall_service_client::FirewallServiceClient;
use sewa_sdk::sewa::instance::v1::instance_service_client::InstanceServiceClient;
use sewa_sdk::sewa::instance::v1::metrics_service_client::MetricsServiceClient;
use sewa_sdk::sewa::instance::v1::reverse_dns_service_client::ReverseDnsServiceClient;
use sewa_sdk::sewa::instance::v1::snapshot_service_client::SnapshotServiceClient;
use sewa_sdk::sewa::instance::v1::ssh_key_service_client::SshKeyServiceClient;
use sewa_sdk::sewa::instance::v1::{GetInstanceRequest, Instance};
use sewa_sdk::sewa::inventory::v1::inventory_service_client::InventoryServiceClient;
use sewa_sdk::sewa::invoice::v1::invoice_service_client::InvoiceServiceClient;
use sewa_sdk::sewa::lifecycle::v1::lifecycle_service_client::LifecycleServiceClient;
use sewa_sdk::sewa::operation::v1::operation_service_client::OperationServiceClient;
use sewa_sdk::sewa::order::v1::order::State as OrderState;
use sewa_sdk::sewa::order::v1::order_service_client::OrderServiceClient;
use sewa_sdk::sewa::order::v1::{
    GetOrderRequest, Order, OrderDraft, Payment, PlaceOrderRequest, PreviewOrderRequest, Quote,
};
use sewa_sdk::sewa::promotion::v1::promotion_service_client::PromotionServiceClient;
use sewa_sdk::sewa::provider::v1::provider_service_client::ProviderServiceClient;
use sewa_sdk::sewa::report::v1::report_service_client::ReportServiceClient;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::sewa::sandbox::v1::sandbox_service_client::SandboxServiceClient;
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::sandbox::v1::{
    AdvanceTestClockRequest, CreateTestClockRequest, GetTestClockRequest, InjectFaultRequest,
    SettleDepositRequest, TestClock, test_clock,
};
use sewa_sdk::sewa::wallet::v1::wallet_service_client::WalletServiceClient;
use sewa_sdk::sewa::wallet::v1::{
    CreateDepositRequest, Deposit, GetWalletRequest, ListTransactionsRequest, Transaction, deposit,
};
use sewa_sdk::{Client, Error, Transport, WaitOptions, wait};

use crate::patience::{PATIENCE, eventually};

/// A signed-in person and the account they act for (empty for staff).
#[derive(Debug, Clone)]
pub struct Actor {
    /// Their client.
    pub client: Client,
    /// Their account.
    pub account_id: String,
    /// They themselves.
    pub user_id: String,
    /// Their e-mail address.
    pub email: String,
    /// The tokens they began with.
    pub tokens: Tokens,
}

/// An order just placed.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The order.
    pub order: Order,
    /// What fulfils it.
    pub operation: Operation,
}

/// Whole rupiah of an amount; the contract promises that there are no others.
pub fn rupiah(money: Option<&Money>) -> i64 {
    let money = money.expect("an amount");
    assert_eq!((money.currency_code.as_str(), money.nanos), ("IDR", 0));
    money.units
}

macro_rules! stubs {
    ($($name:ident: $client:ident),+ $(,)?) => {$(
        #[doc = concat!("Their stub of the ", stringify!($name), " service.")]
        pub fn $name(&self) -> $client<Transport> {
            self.client.service($client::new)
        }
    )+};
}

impl Actor {
    stubs! {
        identity: IdentityServiceClient,
        catalog: CatalogServiceClient,
        wallet: WalletServiceClient,
        orders: OrderServiceClient,
        instances: InstanceServiceClient,
        metrics: MetricsServiceClient,
        snapshots: SnapshotServiceClient,
        backups: BackupServiceClient,
        reverse_dns: ReverseDnsServiceClient,
        firewalls: FirewallServiceClient,
        consoles: ConsoleServiceClient,
        ssh_keys: SshKeyServiceClient,
        lifecycle: LifecycleServiceClient,
        operations: OperationServiceClient,
        events: EventServiceClient,
        sandbox: SandboxServiceClient,
        promotions: PromotionServiceClient,
        providers: ProviderServiceClient,
        hypervisors: HypervisorServiceClient,
        inventory: InventoryServiceClient,
        billing: BillingServiceClient,
        invoices: InvoiceServiceClient,
        reports: ReportServiceClient,
    }

    /// The same person through another client.
    #[must_use]
    pub fn through(&self, client: Client) -> Self {
        Self {
            client,
            ..self.clone()
        }
    }

    /// Opens a deposit.
    pub async fn open_deposit(&self, rupiah: i64) -> Deposit {
        let request = CreateDepositRequest {
            amount: Some(Money::idr(rupiah)),
            method: deposit::Method::Sandbox.into(),
            ..Default::default()
        };
        let reply = self
            .wallet()
            .create_deposit(request)
            .await
            .expect("opening a deposit");
        reply.into_inner().deposit.expect("a deposit")
    }

    /// Ends a deposit as its payer would.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn settle(&self, deposit_id: &str, outcome: Outcome) -> Result<(), Error> {
        let request = SettleDepositRequest {
            deposit_id: deposit_id.to_owned(),
            outcome: outcome.into(),
        };
        Ok(self.sandbox().settle_deposit(request).await.map(drop)?)
    }

    /// Pays money in.
    pub async fn deposit(&self, rupiah: i64) -> Deposit {
        let deposit = self.open_deposit(rupiah).await;
        self.settle(&deposit.id, Outcome::Paid)
            .await
            .expect("settling a deposit");
        deposit
    }

    /// Available and held balance.
    pub async fn balance(&self) -> (i64, i64) {
        let reply = self
            .wallet()
            .get_wallet(GetWalletRequest::default())
            .await
            .expect("reading the wallet");
        let wallet = reply.into_inner().wallet.expect("a wallet");
        (
            rupiah(wallet.available.as_ref()),
            rupiah(wallet.held.as_ref()),
        )
    }

    /// All transactions, newest first.
    pub async fn transactions(&self) -> Vec<Transaction> {
        let request = ListTransactionsRequest {
            page_size: 200,
            ..Default::default()
        };
        self.wallet()
            .list_transactions(request)
            .await
            .expect("listing transactions")
            .into_inner()
            .transactions
    }

    /// The cheapest plan with a monthly price.
    pub async fn plan(&self) -> Plan {
        let plans = self
            .catalog()
            .list_plans(ListPlansRequest::default())
            .await
            .expect("listing plans")
            .into_inner()
            .plans;
        let monthly = |plan: &Plan| {
            plan.prices
                .iter()
                .any(|price| price.period() == BillingPeriod::Month && price.available)
        };
        plans
            .into_iter()
            .find(monthly)
            .expect("a plan that is sold by the month")
    }

    /// The cheapest plan in the first region with the first image that fits, by the month, renewing by itself.
    pub async fn draft(&self, hostname: &str) -> OrderDraft {
        let plan = self.plan().await;
        let regions = self
            .catalog()
            .list_regions(ListRegionsRequest::default())
            .await
            .expect("listing regions")
            .into_inner()
            .regions;
        let images = self
            .catalog()
            .list_images(ListImagesRequest::default())
            .await
            .expect("listing images")
            .into_inner()
            .images;
        OrderDraft {
            region_id: regions
                .into_iter()
                .find(|region| region.available)
                .expect("a region with room")
                .id,
            image_id: images
                .into_iter()
                .find(|image| image.min_disk_gib <= plan.disk_gib)
                .expect("an image that fits")
                .id,
            plan_id: plan.id,
            period: BillingPeriod::Month.into(),
            hostname: hostname.to_owned(),
            auto_renew: true,
            ..Default::default()
        }
    }

    /// The price of a draft.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn preview(&self, draft: &OrderDraft) -> Result<Quote, Error> {
        let reply = self
            .orders()
            .preview_order(PreviewOrderRequest {
                draft: Some(draft.clone()),
            })
            .await?;
        Ok(reply.into_inner().quote.expect("a quote"))
    }

    /// Orders from the wallet.
    ///
    /// # Errors
    /// The server's refusal.
    pub async fn place(&self, draft: OrderDraft) -> Result<Placed, Error> {
        let request = PlaceOrderRequest {
            draft: Some(draft),
            payment: Payment::Wallet.into(),
            ..Default::default()
        };
        let reply = self.orders().place_order(request).await?.into_inner();
        Ok(Placed {
            order: reply.order.expect("an order"),
            operation: reply.operation.expect("an operation"),
        })
    }

    /// Orders the usual machine.
    pub async fn buy(&self, hostname: &str) -> Placed {
        let draft = self.draft(hostname).await;
        self.place(draft).await.expect("placing an order")
    }

    /// An order as it is now.
    pub async fn order(&self, order_id: &str) -> Order {
        let reply = self
            .orders()
            .get_order(GetOrderRequest {
                order_id: order_id.to_owned(),
            })
            .await;
        reply
            .expect("reading an order")
            .into_inner()
            .order
            .expect("an order")
    }

    /// Waits until an order is in a state.
    pub async fn wait_order(&self, order_id: &str, state: OrderState) -> Order {
        eventually(&format!("order {order_id} is {state:?}"), || async {
            let order = self.order(order_id).await;
            if order.state() == state {
                Ok(order)
            } else {
                Err(order.state())
            }
        })
        .await
    }

    /// Waits until the machine of an order runs.
    pub async fn wait_active(&self, placed: &Placed) -> Order {
        self.finish(&placed.operation)
            .await
            .expect("fulfilling an order");
        self.wait_order(&placed.order.id, OrderState::Active).await
    }

    /// Buys a machine and waits until it runs, has its addresses and is paid.
    pub async fn running(&self, hostname: &str) -> Instance {
        let placed = self.buy(hostname).await;
        let order = self.wait_active(&placed).await;
        self.wait_instance(&order.instance_id, "is paid and reachable", |instance| {
            instance.paid_until.is_some() && !instance.ipv4_address.is_empty()
        })
        .await
    }

    /// Waits until an operation has succeeded.
    ///
    /// # Errors
    /// The operation's own.
    pub async fn finish(&self, operation: &Operation) -> Result<Operation, Error> {
        wait(
            &self.client,
            operation.id.clone(),
            WaitOptions::default().timeout(PATIENCE),
        )
        .await
    }

    /// An instance as it is now.
    pub async fn instance(&self, instance_id: &str) -> Instance {
        let reply = self
            .instances()
            .get_instance(GetInstanceRequest {
                instance_id: instance_id.to_owned(),
            })
            .await;
        reply
            .expect("reading an instance")
            .into_inner()
            .instance
            .expect("an instance")
    }

    /// Waits until an instance is as wanted.
    pub async fn wait_instance(
        &self,
        instance_id: &str,
        what: &str,
        wanted: impl Fn(&Instance) -> bool,
    ) -> Instance {
        eventually(&format!("instance {instance_id} {what}"), || async {
            let instance = self.instance(instance_id).await;
            if wanted(&instance) {
                Ok(instance)
            } else {
                Err(instance)
            }
        })
        .await
    }

    /// Makes the provider misbehave; `times` 0 is until cleared.
    pub async fn inject(&self, kind: FaultKind, times: i32) {
        self.sandbox()
            .inject_fault(InjectFaultRequest {
                kind: kind.into(),
                times,
            })
            .await
            .expect("injecting a fault");
    }

    /// Gives the account a clock of its own.
    pub async fn take_a_clock(&self) -> TestClock {
        let reply = self
            .sandbox()
            .create_test_clock(CreateTestClockRequest {})
            .await;
        reply
            .expect("creating a clock")
            .into_inner()
            .clock
            .expect("a clock")
    }

    /// Moves the clock and waits until everything due on the way has happened.
    pub async fn advance(&self, days: i64, hours: i64) -> TestClock {
        let duration = prost_types::Duration {
            seconds: days * 86_400 + hours * 3600,
            nanos: 0,
        };
        self.sandbox()
            .advance_test_clock(AdvanceTestClockRequest {
                duration: Some(duration),
            })
            .await
            .expect("advancing the clock");
        self.wait_clock().await
    }

    /// Moves the clock to the end of what is paid of a machine, and through a day of grace.
    pub async fn outlast(&self, machine: &Instance) -> TestClock {
        let clock = self.sandbox().get_test_clock(GetTestClockRequest {}).await;
        let clock = clock.expect("a reply").into_inner().clock;
        let now = clock.expect("a clock").now_time.expect("a time");
        let due = machine.paid_until.expect("it is paid for");
        self.advance(0, (due.seconds - now.seconds) / 3600 + 1 + 24)
            .await
    }

    /// Waits until the clock stands still.
    pub async fn wait_clock(&self) -> TestClock {
        eventually("the clock is READY", || async {
            let reply = self
                .sandbox()
                .get_test_clock(GetTestClockRequest {})
                .await
                .map_err(|e| e.to_string())?;
            let clock = reply.into_inner().clock.ok_or("no clock")?;
            if clock.state() == test_clock::State::Ready {
                Ok(clock)
            } else {
                Err(format!("{clock:?}"))
            }
        })
        .await
    }

    /// The events that are wanted, oldest first, once there are `count` of them. The log shows an event a moment after the reply to the call that caused it,
    /// when all that began before have ended.
    pub async fn logged(&self, count: usize, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        eventually(&format!("{count} events are logged"), || async {
            let mut events = self.all_events().await;
            events.retain(&wanted);
            if events.len() >= count {
                Ok(events)
            } else {
                Err(events)
            }
        })
        .await
    }

    /// All events of the account that can be read yet, oldest first.
    pub async fn all_events(&self) -> Vec<Event> {
        let mut request = ListEventsRequest {
            page_size: 200,
            ..Default::default()
        };
        let mut events = Vec::new();
        loop {
            let reply = self
                .events()
                .list_events(request.clone())
                .await
                .expect("listing events")
                .into_inner();
            events.extend(reply.events);
            if reply.next_page_token.is_empty() {
                return events;
            }
            request.page_token = reply.next_page_token;
        }
    }
}
