//! What comes twice, and how callbacks of a gateway keep up. The gateway is the simulated Tripay, in this process, so that its work is in nobody's bill.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::StreamExt;
use futures_util::future::join_all;
use prost::Message;
use sewa_payment_simulators::tripay::{self, Tripay};
use sewa_payment_simulators::{Callback, Status};
use sewa_sdk::money::Money;
use sewa_sdk::sewa::wallet::v1::CreateDepositRequest;
use sewa_sdk::sewa::wallet::v1::deposit::Method;

use crate::Plan;
use crate::frames::Style;
use crate::goals::{PLACE, line_at_most, shot, spread_at_most};
use crate::load::{self, Keys, Over, Shot};
use crate::measure::spread;
use crate::platform::{Platform, Server};

/// Deposits paid for each measurement.
const DEPOSITS: usize = 2000;
/// Callbacks a second in the test of latency.
const RATE: u32 = 200;
/// Callbacks one after another, for what one costs alone.
const ALONE: usize = 60;
/// Replays of one callback for each first one that was measured.
const REPLAYS: usize = 5;
/// At once, for replays and what they are compared with.
const AT_ONCE: usize = 16;
const CREATE: &str = "/sewa.wallet.v1.WalletService/CreateDeposit";
/// Accounts that pay with money. Those of one account would wait for each other, as its wallet is locked while it is credited.
const PAYERS: usize = 100;

/// Measures both.
pub(crate) async fn run(plan: Plan, wanted: &impl Fn(&[&str]) -> bool) -> anyhow::Result<()> {
    let platform = Platform::start("repeats").await?;
    platform.populate().await?;
    add_payers(&platform).await?;
    let tripay = Tripay::open().await?;
    let settings = [
        ("BASE_URL", tripay.base_url()),
        ("MERCHANT_CODE", tripay::MERCHANT.to_owned()),
        ("API_KEY", tripay::API_KEY.to_owned()),
        ("PRIVATE_KEY", tripay::PRIVATE_KEY.to_owned()),
    ];
    let settings = settings.map(|(name, value)| (format!("SEWA_PAYMENTS__TRIPAY__{name}"), value));
    let server = platform.serve_with("api", &settings).await?;
    if wanted(&["P21"]) {
        retries(&platform, &server, plan).await?;
        replays(&platform, &server, &tripay, plan).await?;
    }
    if wanted(&["callbacks"]) {
        latency(&platform, &server, &tripay, plan).await?;
    }
    drop(server);
    crate::goals::prove(&platform)
}

async fn add_payers(platform: &Platform) -> anyhow::Result<()> {
    let payers = format!(
        "(select ('00000000-0000-7000-9000-' || lpad(to_hex(i), 12, '0'))::uuid as id, i from generate_series(1, {PAYERS}) i) payers"
    );
    for statement in [
        format!("insert into accounts (id, kind, name, sandbox, created_at) select id, 2, 'payer ' || i, false, now() from {payers}"),
        format!("insert into users (id, email, password_hash, name, created_at) select id, 'payer' || i || '@example.com', '', 'Payer', now() from {payers}"),
        format!("insert into memberships (account_id, user_id, role, created_at) select id, id, 'reseller', now() from {payers}"),
        format!("insert into api_keys (account_id, id, digest, display_name, scopes, role, created_by, created_at)
            select id, id, sha256(convert_to('sk_bench_payer_' || i, 'utf8')), 'payer', array['wallet'], 'reseller', id, now() from {payers}"),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&platform.pool).await?;
    }
    Ok(())
}

/// Processor time, of the server and of the database.
#[derive(Clone, Copy)]
struct Used {
    server: Duration,
    database: Duration,
}

impl Used {
    async fn so_far(platform: &Platform, server: &Server) -> anyhow::Result<Self> {
        let (server, database) = (server.cpu(), platform.cpu().await?);
        Ok(Self { server, database })
    }

    /// Microseconds each of `calls` took since, of both.
    fn each_since(self, before: Self, calls: f64) -> [f64; 2] {
        [
            (self.server, before.server),
            (self.database, before.database),
        ]
        .map(|(now, then)| now.saturating_sub(then).as_secs_f64() / calls * 1e6)
    }
}

/// Placing with a key that was used, against placing.
async fn retries(platform: &Platform, server: &Server, plan: Plan) -> anyhow::Result<()> {
    let first = shot(1, 1);
    let again = Shot {
        keys: Keys::Same,
        ..shot(1, 1)
    };
    // The orders that the others repeat.
    load::run(server.port, again.clone(), AT_ONCE, 2).await?;
    let mut ratios = Vec::new();
    for _ in 0..plan.pairs {
        let fresh = cost_of_calls(platform, server, &first, plan.seconds).await?;
        let repeat = cost_of_calls(platform, server, &again, plan.seconds).await?;
        ratios.push(compare(&format!("a retry of {PLACE}"), repeat, fresh));
    }
    spread_at_most("P21 retries", &ratios, 0.4);
    Ok(())
}

async fn cost_of_calls(
    platform: &Platform,
    server: &Server,
    shot: &Shot,
    seconds: u64,
) -> anyhow::Result<[f64; 2]> {
    platform.settle().await?;
    let before = Used::so_far(platform, server).await?;
    let outcome = load::run(server.port, shot.clone(), AT_ONCE, seconds).await?;
    // What was not counted while it warmed up costs as much.
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let calls = outcome.rate * seconds as f64;
    Ok(Used::so_far(platform, server)
        .await?
        .each_since(before, calls))
}

/// Prints what a repeat costs beside the first, and returns the ratio.
fn compare(what: &str, again: [f64; 2], first: [f64; 2]) -> f64 {
    let [server, database] = again;
    let [server_first, database_first] = first;
    println!(
        "  P21: {what} takes {server:.0} + {database:.0} us of server and database, the first {server_first:.0} + {database_first:.0} us"
    );
    (server + database) / (server_first + database_first)
}

/// A callback that was dealt with, against the first of each deposit.
async fn replays(
    platform: &Platform,
    server: &Server,
    tripay: &Tripay,
    plan: Plan,
) -> anyhow::Result<()> {
    let url = callbacks_url(server);
    let mut ratios = Vec::new();
    for _ in 0..plan.pairs {
        let callbacks = paid(server, tripay, DEPOSITS).await?;
        let first = cost_of_callbacks(platform, server, &url, &callbacks).await?;
        let same = vec![callbacks[0].clone(); DEPOSITS * REPLAYS];
        let again = cost_of_callbacks(platform, server, &url, &same).await?;
        ratios.push(compare("a replayed callback", again, first));
    }
    spread_at_most("P21 callbacks", &ratios, 0.4);
    Ok(())
}

async fn cost_of_callbacks(
    platform: &Platform,
    server: &Server,
    url: &str,
    callbacks: &[Callback],
) -> anyhow::Result<[f64; 2]> {
    platform.settle().await?;
    let before = Used::so_far(platform, server).await?;
    let sent = futures_util::stream::iter(callbacks).map(|callback| deliver(url, callback));
    let taken: Vec<anyhow::Result<Duration>> = sent.buffer_unordered(AT_ONCE).collect().await;
    let count = f64::from(u32::try_from(taken.len())?);
    taken.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Used::so_far(platform, server)
        .await?
        .each_since(before, count))
}

/// From the receipt of a callback to the credited wallet, which is when it is answered: at a fixed rate, against one with nothing beside it.
async fn latency(
    platform: &Platform,
    server: &Server,
    tripay: &Tripay,
    plan: Plan,
) -> anyhow::Result<()> {
    let url = callbacks_url(server);
    let mut ratios = Vec::new();
    let mut worst = Duration::ZERO;
    for _ in 0..plan.pairs {
        let seconds = u32::try_from(plan.seconds)?.max(5);
        let many = usize::try_from(RATE * seconds)?;
        let callbacks = paid(server, tripay, many + ALONE).await?;
        platform.settle().await?;
        let (alone, burst) = callbacks.split_at(ALONE);
        let mut singles = Vec::with_capacity(ALONE);
        for callback in alone {
            singles.push(deliver(&url, callback).await?.as_secs_f64());
        }
        let (single, ..) = spread(&singles);
        let begin = Instant::now();
        let sent = burst.iter().zip(0_u32..).map(|(callback, number)| {
            let (url, due) = (&url, begin + Duration::from_secs(1) * number / RATE);
            async move {
                tokio::time::sleep_until(due.into()).await;
                // From when it was due: what waits in a queue waits.
                deliver(url, callback).await.map(|_| due.elapsed())
            }
        });
        let taken = join_all(sent).await;
        let mut taken = taken
            .into_iter()
            .collect::<anyhow::Result<Vec<Duration>>>()?;
        taken.sort_unstable();
        let p99 = taken[taken.len() * 99 / 100];
        println!(
            "  callbacks: {RATE}/s: p50 {:.1} ms, p99 {:.1} ms; one alone {:.1} ms",
            taken[taken.len() / 2].as_secs_f64() * 1e3,
            p99.as_secs_f64() * 1e3,
            single * 1e3
        );
        worst = worst.max(p99);
        ratios.push(p99.as_secs_f64() / single);
    }
    let (middle, min, max) = spread(&ratios);
    println!("callbacks p99 ÷ one alone ratio={middle:.2} min={min:.2} max={max:.2}");
    line_at_most("callbacks p99 ms", worst.as_secs_f64() * 1e3, 100.0);
    Ok(())
}

fn callbacks_url(server: &Server) -> String {
    format!("http://127.0.0.1:{}/callbacks/tripay", server.port)
}

async fn deliver(url: &str, callback: &Callback) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    let answer = callback
        .send(url)
        .await
        .map_err(anyhow::Error::from_boxed)?;
    ensure!(answer.status == 200, "a callback was refused: {answer:?}");
    Ok(begin.elapsed())
}

/// Opens deposits, has them paid at the gateway, and returns the callbacks about it, which were not sent yet.
async fn paid(server: &Server, tripay: &Tripay, count: usize) -> anyhow::Result<Vec<Callback>> {
    let request = CreateDepositRequest {
        amount: Some(Money::idr(50_000)),
        method: Method::Tripay.into(),
        channel: "BRIVA".to_owned(),
        ..CreateDepositRequest::default()
    };
    let open = Shot {
        style: Style::Grpc,
        over: Over::Shared,
        path: CREATE,
        bearers: Arc::new(
            (1..=PAYERS)
                .map(|i| format!("sk_bench_payer_{i}"))
                .collect(),
        ),
        messages: Arc::new(vec![request.encode_to_vec()]),
        keys: Keys::Fresh,
    };
    let unpaid = |tripay: &Tripay| -> Vec<String> {
        let payments = tripay.payments().into_iter();
        let unpaid = payments.filter(|p| p.status == Status::Unpaid);
        unpaid.map(|p| p.reference).collect()
    };
    let patience = Instant::now() + Duration::from_secs(300);
    while unpaid(tripay).len() < count {
        ensure!(Instant::now() < patience, "deposits are opened too slowly");
        load::run(server.port, open.clone(), AT_ONCE, 2).await?;
    }
    let mut chosen = unpaid(tripay);
    chosen.truncate(count);
    for reference in &chosen {
        tripay.move_to(reference, Status::Paid);
    }
    let callbacks: Vec<Callback> = chosen.iter().map(|r| tripay.callback(r)).collect();
    callbacks.first().context("no deposit was opened")?;
    Ok(callbacks)
}
