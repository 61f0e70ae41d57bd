//! Sixteen clients work on a few accounts at once and write down every call, when it began, when it was answered, and what it was told. Afterwards a model that does
//! one thing at a time takes the same things in the order of the journals, and has to say the same to every caller, in an order that contradicts nobody's clock. [R14, I10]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sewa_sdk::Error;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::order::v1::{CancelOrderRequest, OrderDraft, Payment, PlaceOrderRequest};
use sewa_sdk::sewa::sandbox::v1::SettleDepositRequest;
use sewa_sdk::sewa::sandbox::v1::settle_deposit_request::Outcome;
use sewa_sdk::sewa::wallet::v1::{CreateDepositRequest, GetWalletRequest, deposit};
use sewa_tests::actor::rupiah;
use sewa_tests::patience::PATIENCE;
use sewa_tests::proxy::Proxy;
use sewa_tests::random::Random;
use sewa_tests::{Actor, Settings, World, keyed, seed, soak};
use sqlx::PgConnection;
use tokio::task::JoinSet;
use tonic::Code;
use uuid::Uuid;

use crate::load::end_leases;

const CLIENTS: usize = 16;
const ACCOUNTS: usize = 4;
/// Calls of each client, at least.
const CALLS: u64 = 12;

/// What a caller was told.
#[derive(Debug, Clone)]
enum Told {
    /// So much came in.
    Paid { deposit: Uuid, amount: i64 },
    /// So much is held for an order.
    Placed { order: Uuid, total: i64 },
    /// There is too little for an order that costs so much.
    TooLittle { total: i64 },
    /// An order was called off.
    Cancelled { order: Uuid },
    /// The balance.
    Has { available: i64, held: i64 },
}

/// One call. Whatever it did it did between these two moments.
#[derive(Debug, Clone)]
struct Call {
    account: Uuid,
    began: Instant,
    ended: Instant,
    told: Told,
}

/// Makes a call, with its key, until what became of it is known.
async fn known<T, F>(mut call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    let began = Instant::now();
    loop {
        let error = match call().await {
            Ok(reply) => return Ok(reply.into_inner()),
            Err(status) => Error::from(status),
        };
        let unknown = matches!(error.code(), Code::Unavailable | Code::DeadlineExceeded);
        if !unknown && !error.is("IDEMPOTENCY_IN_PROGRESS") {
            return Err(error);
        }
        assert!(began.elapsed() < PATIENCE, "never answered: {error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

struct Client {
    number: usize,
    person: Actor,
    account: Uuid,
    draft: OrderDraft,
    total: i64,
    random: Random,
    calls: Vec<Call>,
    orders: Vec<Uuid>,
}

impl Client {
    async fn works(mut self, rounds: u64) -> Vec<Call> {
        for round in 0..rounds {
            let key = format!("{}-{round}", self.number);
            let began = Instant::now();
            let told = match self.random.below(8) {
                0 | 1 => Some(self.pays(&key).await),
                2..5 => Some(self.orders(&key).await),
                5 => self.cancels(&key).await,
                _ => Some(self.reads().await),
            };
            if let Some(told) = told {
                let (account, ended) = (self.account, Instant::now());
                self.calls.push(Call {
                    account,
                    began,
                    ended,
                    told,
                });
            }
        }
        self.calls
    }

    async fn pays(&mut self, key: &str) -> Told {
        let amount = 10_000 + i64::try_from(self.random.below(150_000)).unwrap();
        let request = CreateDepositRequest {
            amount: Some(Money::idr(amount)),
            method: deposit::Method::Sandbox.into(),
            ..Default::default()
        };
        let person = &self.person;
        let opening = || {
            let request = keyed(key, request.clone());
            async move { person.wallet().create_deposit(request).await }
        };
        let deposit = known(opening).await.unwrap().deposit.unwrap().id;
        let request = SettleDepositRequest {
            deposit_id: deposit.clone(),
            outcome: Outcome::Paid.into(),
        };
        let settling = || {
            let request = keyed(key, request.clone());
            async move { person.sandbox().settle_deposit(request).await }
        };
        known(settling).await.unwrap();
        let deposit = deposit.parse().unwrap();
        Told::Paid { deposit, amount }
    }

    async fn orders(&mut self, key: &str) -> Told {
        let request = PlaceOrderRequest {
            draft: Some(OrderDraft {
                hostname: format!("web-{key}"),
                ..self.draft.clone()
            }),
            payment: Payment::Wallet.into(),
            ..Default::default()
        };
        let person = &self.person;
        let placing = || {
            let request = keyed(key, request.clone());
            async move { person.orders().place_order(request).await }
        };
        let total = self.total;
        match known(placing).await {
            Ok(placed) => {
                let order = placed.order.unwrap().id.parse().unwrap();
                self.orders.push(order);
                Told::Placed { order, total }
            }
            Err(error) => {
                assert!(error.is("INSUFFICIENT_BALANCE"), "{error:?}");
                Told::TooLittle { total }
            }
        }
    }

    /// Calls its last order off, if it is not too late.
    async fn cancels(&mut self, key: &str) -> Option<Told> {
        let order = self.orders.pop()?;
        let request = CancelOrderRequest {
            order_id: order.to_string(),
            ..Default::default()
        };
        let person = &self.person;
        let cancelling = || {
            let request = keyed(key, request.clone());
            async move { person.orders().cancel_order(request).await }
        };
        match known(cancelling).await {
            Ok(_) => Some(Told::Cancelled { order }),
            Err(error) => {
                assert_eq!(error.code(), Code::FailedPrecondition, "{error:?}");
                None
            }
        }
    }

    async fn reads(&self) -> Told {
        let person = &self.person;
        let reading = || async {
            person
                .wallet()
                .get_wallet(GetWalletRequest::default())
                .await
        };
        let wallet = known(reading).await.unwrap().wallet.unwrap();
        Told::Has {
            available: rupiah(wallet.available.as_ref()),
            held: rupiah(wallet.held.as_ref()),
        }
    }
}

/// A journal as it was kept, and the balances after it.
#[derive(Debug, Clone, sqlx::FromRow)]
struct Kept {
    kind: i16,
    subject_id: Uuid,
    available_after: i64,
    held_after: i64,
}

const DEPOSIT: i16 = 1;
const HOLD: i16 = 2;
const CAPTURE: i16 = 3;
const RELEASE: i16 = 4;

/// An account whose owner does one thing at a time.
#[derive(Debug, Default)]
struct Model {
    available: i64,
    held: i64,
    orders: HashMap<Uuid, i64>,
}

impl Model {
    /// Does what a journal says was done, and refuses what makes no sense.
    fn take(&mut self, kept: &Kept, paid: &HashMap<Uuid, i64>, placed: &HashMap<Uuid, i64>) {
        let subject = kept.subject_id;
        match kept.kind {
            DEPOSIT => self.available += paid.get(&subject).expect("somebody paid it"),
            HOLD => {
                let total = *placed.get(&subject).expect("somebody placed it");
                assert!(self.available >= total, "{kept:?} of {self:?}");
                (self.available, self.held) = (self.available - total, self.held + total);
                assert_eq!(
                    self.orders.insert(subject, total),
                    None,
                    "placed twice: {kept:?}"
                );
            }
            CAPTURE => self.held -= self.orders.remove(&subject).expect("money is held for it"),
            RELEASE => {
                let total = self.orders.remove(&subject).expect("money is held for it");
                (self.available, self.held) = (self.available + total, self.held - total);
            }
            _ => panic!("nobody did this: {kept:?}"),
        }
        assert_eq!(
            (self.available, self.held),
            (kept.available_after, kept.held_after),
            "{kept:?}"
        );
    }
}

/// Compares what callers of one account were told with its journals.
fn compare(calls: &[Call], journals: &[Kept]) {
    let (mut paid, mut placed) = (HashMap::new(), HashMap::new());
    for call in calls {
        match call.told {
            Told::Paid { deposit, amount } => assert_eq!(paid.insert(deposit, amount), None),
            Told::Placed { order, total } => assert_eq!(placed.insert(order, total), None),
            _ => {}
        }
    }
    let mut model = Model::default();
    for kept in journals {
        model.take(kept, &paid, &placed);
    }
    let place = |kind, subject| {
        let is = |kept: &Kept| kept.kind == kind && kept.subject_id == subject;
        let mut found = journals.iter().enumerate().filter(|(_, kept)| is(kept));
        let (at, _) = found
            .next()
            .unwrap_or_else(|| panic!("told and not done: {subject}"));
        assert_eq!(found.count(), 0, "done more than once: {subject}");
        at
    };
    // Where in the order of things each call was.
    let placed_at: Vec<(&Call, Option<usize>)> = calls
        .iter()
        .map(|call| {
            let at = match call.told {
                Told::Paid { deposit, .. } => Some(place(DEPOSIT, deposit)),
                Told::Placed { order, .. } => Some(place(HOLD, order)),
                Told::Cancelled { order } => Some(place(RELEASE, order)),
                Told::TooLittle { .. } | Told::Has { .. } => None,
            };
            (call, at)
        })
        .collect();
    let states: Vec<(i64, i64)> = std::iter::once((0, 0))
        .chain(
            journals
                .iter()
                .map(|kept| (kept.available_after, kept.held_after)),
        )
        .collect();
    for (call, at) in &placed_at {
        let others = placed_at
            .iter()
            .filter_map(|(other, at)| Some((other, (*at)?)));
        let (mut first, mut last) = (0, journals.len());
        for (other, at) in others {
            if other.ended < call.began {
                first = first.max(at + 1);
            }
            if other.began > call.ended {
                last = last.min(at);
            }
        }
        let between = states.get(first..=last).unwrap_or_default();
        let possible = match call.told {
            Told::Has { available, held } => between.contains(&(available, held)),
            Told::TooLittle { total } => between.iter().any(|(available, _)| *available < total),
            _ => at.is_some_and(|at| first <= at && at < last),
        };
        assert!(possible, "no order of things allows {call:?}: {between:?}");
    }
}

/// All balances are the sums of their journals and all journals together come to nothing, in one snapshot.
async fn snapshot(database: &mut PgConnection) {
    let wrong: Vec<(String, i64)> = sqlx::query_as(
        "select 'accounts whose balance is not their sum' as what, count(*) from balances b where (available, held) <> (
            select coalesce(sum(j.available), 0), coalesce(sum(j.held), 0) from journals j where j.account_id = b.account_id)
         union all select 'the whole ledger', coalesce(sum(amount), 0)::bigint from postings
         union all select 'negative balances', count(*) from balances where least(available, held) < 0",
    )
    .fetch_all(database)
    .await
    .unwrap();
    for (what, count) in wrong {
        assert_eq!(count, 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_were_told_is_what_one_after_the_other_would_have_been_told() {
    let seed = seed();
    let mut random = Random::from_seed(seed);
    let proxy = Proxy::to_postgres().await.unwrap();
    let world = World::behind(&proxy, Settings::default()).await;
    let mut people = Vec::new();
    for _ in 0..ACCOUNTS {
        let person = world.reseller().await;
        let draft = person.draft("web").await;
        let total = rupiah(person.preview(&draft).await.unwrap().total.as_ref());
        people.push((person, draft, total));
    }
    proxy.cut_replies_to_commits(seed, 20);
    let mut working = JoinSet::new();
    for number in 0..CLIENTS {
        let (person, draft, total) = people[number % ACCOUNTS].clone();
        let client = Client {
            number,
            account: person.account_id.parse().unwrap(),
            person,
            draft,
            total,
            random: Random::from_seed(seed ^ (number as u64 + 1)),
            calls: Vec::new(),
            orders: Vec::new(),
        };
        working.spawn(client.works(CALLS * soak()));
    }
    let mut database = world.behind_the_scenes().await;
    let (mut calls, mut snapshots) = (Vec::new(), 0);
    while !working.is_empty() {
        let pause = Duration::from_millis(20 + random.below(200));
        tokio::select! {
            done = working.join_next() => calls.extend(done.unwrap().unwrap()),
            () = tokio::time::sleep(pause) => {
                snapshot(&mut database).await;
                snapshots += 1;
                match random.below(20) {
                    0 => proxy.cut_all(),
                    1 => end_leases(&world).await,
                    _ => {}
                }
            }
        }
    }
    proxy.cut_replies_to_commits(seed, 0);
    world.settled().await;
    for (person, ..) in &people {
        let account: Uuid = person.account_id.parse().unwrap();
        let journals: Vec<Kept> = sqlx::query_as(
            "select kind, subject_id, available_after, held_after from journals where account_id = $1 order by id",
        )
        .bind(account)
        .fetch_all(&mut database)
        .await
        .unwrap();
        let mut own: Vec<Call> = calls
            .iter()
            .filter(|call| call.account == account)
            .cloned()
            .collect();
        // What it ends as is one more thing its owner is told.
        let (available, held) = person.balance().await;
        let now = Instant::now();
        own.push(Call {
            account,
            began: now,
            ended: now,
            told: Told::Has { available, held },
        });
        assert_eq!(held, 0, "nothing is under way any more");
        compare(&own, &journals);
    }
    let count = |wanted: fn(&Told) -> bool| calls.iter().filter(|call| wanted(&call.told)).count();
    let refused = count(|told| matches!(told, Told::TooLittle { .. }));
    let cancelled = count(|told| matches!(told, Told::Cancelled { .. }));
    println!(
        "{} calls compared, {refused} refused, {cancelled} called off, {snapshots} snapshots, {} replies to commits cut",
        calls.len(),
        proxy.replies_cut()
    );
    assert!(
        refused > 0 && proxy.replies_cut() > 0,
        "the test tests little"
    );
}
