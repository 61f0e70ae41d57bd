//! A platform that sells for money, with a gateway of its own, and what is asked of it again and again.

use sewa_payment_simulators::Callback;
use sewa_payment_simulators::tripay::{self, Tripay};
use sewa_sdk::money::Money;
use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::wallet::v1::deposit::{Method, State};
use sewa_sdk::sewa::wallet::v1::payment::Kind;
use sewa_sdk::sewa::wallet::v1::{CreateDepositRequest, Deposit, GetDepositRequest};
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, Settings, World};

/// A platform with a Tripay of its own, and a customer who is no sandbox.
pub(crate) struct Shop {
    pub(crate) world: World,
    pub(crate) tripay: Tripay,
    pub(crate) budi: Actor,
}

impl Shop {
    /// `poll_ms` is how often the platform looks by itself.
    pub(crate) async fn open(poll_ms: u32) -> Self {
        Self::with(poll_ms, Settings::default()).await
    }

    pub(crate) async fn with(poll_ms: u32, settings: Settings) -> Self {
        let tripay = Tripay::open().await.unwrap();
        let settings = settings
            .with("PAYMENTS__POLL_MS", poll_ms)
            .with("PAYMENTS__REST_MS", 300)
            .with("PAYMENTS__TRIPAY__BASE_URL", tripay.base_url())
            .with("PAYMENTS__TRIPAY__MERCHANT_CODE", tripay::MERCHANT)
            .with("PAYMENTS__TRIPAY__API_KEY", tripay::API_KEY)
            .with("PAYMENTS__TRIPAY__PRIVATE_KEY", tripay::PRIVATE_KEY);
        let world = World::with(settings).await;
        let budi = world.real_reseller().await;
        Self {
            world,
            tripay,
            budi,
        }
    }

    pub(crate) async fn deposit(&self, amount: i64) -> Deposit {
        let deposit = open(&self.budi, Method::Tripay, "BRIVA", amount).await;
        assert_eq!(deposit.state(), State::Pending, "{deposit:?}");
        deposit
    }

    pub(crate) async fn deliver(&self, callback: &Callback) -> (u16, String) {
        deliver(&self.world, "tripay", callback).await
    }

    /// Customers got exactly what the gateway says was paid.
    pub(crate) async fn agree(&self) {
        assert_eq!(credited(&self.world).await, self.tripay.owed());
    }
}

/// Settings with a bank account, and the file they are in.
pub(crate) fn bank() -> (tempfile::NamedTempFile, Settings) {
    use std::io::Write;
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    let text = r#"
        [payments.bank_transfer]
        second_person_from = 1000000
        accounts = [{ code = "BCA", bank = "Bank Central Asia", number = "0123456789", holder = "PT Contoh" }]
    "#;
    file.write_all(text.as_bytes()).unwrap();
    let settings = Settings::default().with("CONFIG", file.path().display());
    (file, settings)
}

pub(crate) async fn deliver(world: &World, gateway: &str, callback: &Callback) -> (u16, String) {
    let url = format!("{}/callbacks/{gateway}", world.url());
    let answer = callback.send(&url).await.expect("an answer to a callback");
    (answer.status, answer.body)
}

/// What came in and stayed, over all accounts, before the gateways' fees.
pub(crate) async fn credited(world: &World) -> i64 {
    let mut database = world.behind_the_scenes().await;
    sqlx::query_scalar("select coalesce(-sum(cash_in + gateway_fee), 0)::bigint from journals")
        .fetch_one(&mut database)
        .await
        .unwrap()
}

pub(crate) fn wish(method: Method, channel: &str, amount: i64) -> CreateDepositRequest {
    CreateDepositRequest {
        amount: Some(Money::idr(amount)),
        method: method.into(),
        channel: channel.to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn open(actor: &Actor, method: Method, channel: &str, amount: i64) -> Deposit {
    let request = wish(method, channel, amount);
    let reply = actor.wallet().create_deposit(request).await;
    reply.expect("opening").into_inner().deposit.unwrap()
}

pub(crate) async fn read(actor: &Actor, id: &str) -> Deposit {
    let request = GetDepositRequest {
        deposit_id: id.to_owned(),
    };
    let reply = actor.wallet().get_deposit(request).await;
    reply.expect("reading").into_inner().deposit.unwrap()
}

pub(crate) async fn until(actor: &Actor, id: &str, state: State) -> Deposit {
    eventually("a deposit gets where it should", || async move {
        let deposit = read(actor, id).await;
        if deposit.state() == state {
            Ok(deposit)
        } else {
            Err(deposit)
        }
    })
    .await
}

pub(crate) fn payments(deposit: &Deposit) -> Vec<(Kind, i64, i64)> {
    let shown = deposit.payments.iter();
    shown
        .map(|p| {
            (
                p.kind(),
                rupiah(p.paid.as_ref()),
                rupiah(p.credited.as_ref()),
            )
        })
        .collect()
}

pub(crate) async fn events(actor: &Actor, id: &str) -> Vec<(EventType, String)> {
    use sewa_sdk::sewa::event::v1::{ListEventsRequest, event::Payload};
    let request = ListEventsRequest {
        subject_id: id.to_owned(),
        ..Default::default()
    };
    let reply = actor.events().list_events(request).await.unwrap();
    let reason = |payload| match payload {
        Some(Payload::Wallet(wallet)) => wallet.reason,
        other => panic!("{other:?}"),
    };
    let listed = reply.into_inner().events.into_iter();
    listed.map(|e| (e.r#type(), reason(e.payload))).collect()
}

/// Waits until the last thing that is said of a deposit is this one.
pub(crate) async fn until_told(actor: &Actor, id: &str, kind: EventType, reason: &str) {
    let wanted = (kind, reason.to_owned());
    eventually("an event is told", || async {
        let told = events(actor, id).await;
        if told.last() == Some(&wanted) {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
}
