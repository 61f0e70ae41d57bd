//! The goals, one line each.

use std::sync::Arc;

use crate::baseline::{self, Echo};
use crate::frames::Style;
use crate::load::{self, Keys, Outcome, Over, Shot};
use crate::measure::spread;
use crate::platform::{ACCOUNTS, Platform, Server, bearers, order_as_json, orders};
use crate::{Plan, gateway, repeats, strain, sweep};

pub(crate) const PLACE: &str = "/sewa.order.v1.OrderService/PlaceOrder";
const CALLER: &str = "/sewa.identity.v1.IdentityService/GetCaller";
/// Renewals of the one-transaction-each baseline.
const ONE_BY_ONE: i64 = 4000;

/// Measures the goals named, or all if none is.
pub(crate) async fn run(plan: Plan, only: &[String]) -> anyhow::Result<()> {
    let wanted = |names: &[&str]| {
        only.is_empty() || names.iter().any(|n| only.iter().any(|asked| asked == n))
    };
    if wanted(&["P1", "P2", "P3", "P4", "P9", "P10", "P11", "P19"]) {
        calls(plan, &wanted).await?;
    }
    if wanted(&["P14", "P15", "P19"]) {
        renewals(plan, &wanted).await?;
    }
    if wanted(&["P21", "callbacks"]) {
        repeats::run(plan, &wanted).await?;
    }
    if wanted(&["P12", "P13", "P22"]) {
        strain::run(plan, &wanted).await?;
    }
    Ok(())
}

async fn calls(plan: Plan, wanted: &impl Fn(&[&str]) -> bool) -> anyhow::Result<()> {
    let platform = Platform::start("bench").await?;
    baseline::prepare(&platform).await?;
    platform.populate().await?;
    header(&platform).await?;
    let server = platform.serve("api").await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let idle = server.memory();
    if wanted(&["P1", "P19"]) {
        orders_against_updates(&platform, &server, plan, "P1", 512, 1.5).await?;
    }
    if wanted(&["P19"]) {
        line_at_most("P19 idle MiB", idle.now, 30.0);
        line_at_most("P19 busy MiB", server.memory().peak, 64.0);
    }
    if wanted(&["P2"]) {
        orders_against_updates(&platform, &server, plan, "P2", 16, 0.4).await?;
    }
    let all = shot(ACCOUNTS, 1);
    if wanted(&["P3"]) {
        pairs(&platform, &server, plan, ("P3", 0.9), &shot(1, 1), &all).await?;
    }
    if wanted(&["P4"]) {
        // Books are kept for each account, so no seller has a row that all orders touch; what they can share is the plan.
        pairs(
            &platform,
            &server,
            plan,
            ("P4", 0.95),
            &all,
            &shot(ACCOUNTS, 7),
        )
        .await?;
    }
    if wanted(&["P9"]) {
        calls_against_echo(&server, plan).await?;
    }
    if wanted(&["P10"]) {
        rest_against_grpc(&server, plan).await?;
    }
    if wanted(&["P11"]) {
        gateway::rest_against_gateways(&server, plan).await?;
    }
    drop(server);
    prove(&platform)
}

/// Renewals have a database of their own: the worker would otherwise also fulfil the orders of the other goals.
async fn renewals(plan: Plan, wanted: &impl Fn(&[&str]) -> bool) -> anyhow::Result<()> {
    let platform = Platform::start("sweep").await?;
    platform.populate().await?;
    if wanted(&["P14", "P19"]) {
        let peak = sweeps(&platform, plan).await?;
        line_at_most("P19 sweep MiB", peak, 64.0);
    }
    if wanted(&["P15"]) {
        among(&platform, plan).await?;
    }
    // Its subscriptions have no machines and no first period; what is proved is the money that moved.
    sqlx::raw_sql("truncate subscriptions, renewals")
        .execute(&platform.pool)
        .await?;
    prove(&platform)
}

pub(crate) fn prove(platform: &Platform) -> anyhow::Result<()> {
    let proof = platform.sewa(&["prove"])?;
    println!("books: {}", proof.lines().last().unwrap_or_default());
    Ok(())
}

async fn header(platform: &Platform) -> anyhow::Result<()> {
    let version: String = sqlx::query_scalar("select version()")
        .fetch_one(&platform.pool)
        .await?;
    let settings: Vec<(String, String)> =
        sqlx::query_as("select name, setting from pg_settings where name in ('fsync', 'synchronous_commit', 'shared_buffers', 'max_wal_size', 'wal_compression') order by name")
            .fetch_all(&platform.pool)
            .await?;
    let cores = std::thread::available_parallelism()?;
    let settings: Vec<String> = settings
        .into_iter()
        .map(|(name, setting)| format!("{name}={setting}"))
        .collect();
    println!(
        "commit {}; {cores} cores; {}; {}",
        commit(),
        version.split(" on ").next().unwrap_or_default(),
        settings.join(" ")
    );
    println!("fdatasync/s {:.0}", fdatasyncs()?);
    Ok(())
}

/// What is measured, as git names it.
fn commit() -> String {
    let output = std::process::Command::new("git")
        .args(["describe", "--always", "--dirty"])
        .output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |o| String::from_utf8_lossy(&o.stdout).trim().to_owned(),
    )
}

/// How often a second the disk writes a page down for good.
fn fdatasyncs() -> anyhow::Result<f64> {
    let mut file = tempfile::tempfile_in("/tmp")?;
    let begin = std::time::Instant::now();
    let mut count = 0_u32;
    while begin.elapsed() < std::time::Duration::from_secs(1) {
        std::io::Write::write_all(&mut file, &[0; 8192])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

pub(crate) fn shot(accounts: usize, plans: usize) -> Shot {
    Shot {
        style: Style::Grpc,
        over: Over::Shared,
        path: PLACE,
        bearers: Arc::new(bearers(accounts)),
        messages: Arc::new(orders(plans)),
        keys: Keys::Fresh,
    }
}

async fn orders_against_updates(
    platform: &Platform,
    server: &Server,
    plan: Plan,
    name: &str,
    in_flight: usize,
    target: f64,
) -> anyhow::Result<()> {
    let mut ratios = Vec::new();
    for _ in 0..plan.pairs {
        platform.settle().await?;
        let updates = baseline::updates(platform, plan.seconds)?;
        platform.settle().await?;
        let (cpu, wal) = (server.cpu(), platform.wal().await?);
        let database = platform.cpu().await?;
        let placed = load::run(server.port, shot(ACCOUNTS, 1), in_flight, plan.seconds).await?;
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let orders = placed.calls as f64 * plan.seconds as f64 / (plan.seconds - 1) as f64;
        let each = |used: std::time::Duration| used.as_secs_f64() / orders * 1e6;
        let server_cpu = each(server.cpu() - cpu);
        let database_cpu = each(platform.cpu().await?.saturating_sub(database));
        let wal = (platform.wal().await? - wal) / orders;
        println!(
            "  {name}: {} against {updates:.0} updates/s; for each order {server_cpu:.0} us of CPU in the server, {database_cpu:.0} us in PostgreSQL, {:.1} kB of WAL",
            show(&placed),
            wal / 1024.0
        );
        ratios.push(placed.rate / updates);
    }
    line(name, &ratios, target);
    Ok(())
}

async fn pairs(
    platform: &Platform,
    server: &Server,
    plan: Plan,
    (name, target): (&str, f64),
    one: &Shot,
    other: &Shot,
) -> anyhow::Result<()> {
    let mut ratios = Vec::new();
    for _ in 0..plan.pairs {
        platform.settle().await?;
        let narrow = load::run(server.port, one.clone(), 256, plan.seconds).await?;
        platform.settle().await?;
        let wide = load::run(server.port, other.clone(), 256, plan.seconds).await?;
        println!("  {name}: {} against {}", show(&narrow), show(&wide));
        ratios.push(narrow.rate / wide.rate);
    }
    line(name, &ratios, target);
    Ok(())
}

async fn calls_against_echo(server: &Server, plan: Plan) -> anyhow::Result<()> {
    let echo = Echo::start().await?;
    let bare = Shot {
        style: Style::Grpc,
        over: Over::Shared,
        path: baseline::ECHO,
        bearers: Arc::new(Vec::new()),
        messages: Arc::new(vec![Vec::new()]),
        keys: Keys::None,
    };
    let ours = Shot {
        style: Style::Grpc,
        over: Over::Shared,
        path: CALLER,
        bearers: Arc::new(bearers(ACCOUNTS)),
        messages: Arc::new(vec![Vec::new()]),
        keys: Keys::None,
    };
    let mut ratios = Vec::new();
    for _ in 0..plan.pairs {
        let (bare, ours) = (
            load::run(echo.port, bare.clone(), 64, plan.seconds).await?,
            load::run(server.port, ours.clone(), 64, plan.seconds).await?,
        );
        println!("  P9: {} against {}", show(&ours), show(&bare));
        ratios.push(ours.rate / bare.rate);
    }
    line("P9", &ratios, 0.6);
    Ok(())
}

fn of_all(style: Style, path: &'static str, message: Vec<u8>, keys: Keys) -> Shot {
    Shot {
        style,
        over: Over::Shared,
        path,
        bearers: Arc::new(bearers(ACCOUNTS)),
        messages: Arc::new(vec![message]),
        keys,
    }
}

/// A call by REST whose handler does nothing, which shows what the way there costs.
pub(crate) fn rest_call() -> Shot {
    of_all(Style::Rest, "/v1/caller", Vec::new(), Keys::None)
}

/// A read by REST.
pub(crate) fn rest_read() -> Shot {
    of_all(Style::Rest, "/v1/wallet", Vec::new(), Keys::None)
}

/// An order by REST.
pub(crate) fn rest_order() -> Shot {
    of_all(Style::Rest, "/v1/orders", order_as_json(), Keys::Fresh)
}

/// The same read and the same order by REST, in both versions of HTTP, and by gRPC with as many connections. What a client loses who has a connection for each call in
/// flight, because HTTP/1.1 knows no other way, beside one whose calls by gRPC share two, is shown after that, against the same figures: it is what connections cost, not REST.
async fn rest_against_grpc(server: &Server, plan: Plan) -> anyhow::Result<()> {
    let wallet = "/sewa.wallet.v1.WalletService/GetWallet";
    let read = of_all(Style::Grpc, wallet, Vec::new(), Keys::None);
    let order = orders(1).concat();
    let place = of_all(Style::Grpc, PLACE, order, Keys::Fresh);
    for (name, rest, grpc) in [
        ("HTTP/1.1", Over::Http1, Over::Alone),
        ("HTTP/2", Over::Shared, Over::Shared),
        ("HTTP/1.1 beside shared", Over::Http1, Over::Shared),
    ] {
        let by_rest = |shot: Shot| Shot { over: rest, ..shot };
        let by_grpc = |shot: &Shot| Shot {
            over: grpc,
            ..shot.clone()
        };
        let (mut reads, mut waits) = (Vec::new(), Vec::new());
        for _ in 0..plan.pairs {
            let rest = load::run(server.port, by_rest(rest_read()), 64, plan.seconds).await?;
            let grpc = load::run(server.port, by_grpc(&read), 64, plan.seconds).await?;
            println!(
                "  P10: {name} reads: {} against {}",
                show(&rest),
                show(&grpc)
            );
            reads.push(rest.rate / grpc.rate);
            let rest = load::run(server.port, by_rest(rest_order()), 64, plan.seconds).await?;
            let grpc = load::run(server.port, by_grpc(&place), 64, plan.seconds).await?;
            println!(
                "  P10: {name} orders: {} against {}",
                show(&rest),
                show(&grpc)
            );
            waits.push(rest.p99.as_secs_f64() / grpc.p99.as_secs_f64());
        }
        line(&format!("P10 {name} reads"), &reads, 0.8);
        spread_at_most(&format!("P10 {name} p99"), &waits, 1.25);
    }
    Ok(())
}

/// Returns the peak memory of the largest sweep.
async fn sweeps(platform: &Platform, plan: Plan) -> anyhow::Result<f64> {
    let mut sizes: Vec<(f64, f64)> = Vec::new();
    let mut last = None;
    for due in plan.sweeps {
        sweep::fill(&platform.pool, *due, *due).await?;
        let swept = sweep::sweep(platform, *due).await?;
        println!(
            "  P14: {due} due: {:.0} renewals/s, {} sequential scans, {:.1} rows fetched each, {:.0} MiB",
            swept.rate, swept.scans, swept.fetched, swept.memory.peak
        );
        #[expect(clippy::cast_precision_loss, reason = "a size")]
        let size = *due as f64;
        sizes.push((size, size / swept.rate));
        last = Some(swept);
    }
    let mut singles = Vec::new();
    for _ in 0..plan.pairs {
        sweep::fill(&platform.pool, ONE_BY_ONE, ONE_BY_ONE).await?;
        let single = sweep::one_by_one(platform, ONE_BY_ONE).await?;
        println!("  P14: one transaction each: {single:.0} renewals/s");
        singles.push(single);
    }
    if let (Some((small, quick)), Some((large, slow)), Some(last)) =
        (sizes.first(), sizes.last(), last)
    {
        line_at_most(
            "P14 exponent",
            (slow / quick).ln() / (large / small).ln(),
            1.10,
        );
        let ratios: Vec<f64> = singles.iter().map(|single| last.rate / single).collect();
        line("P14", &ratios, 5.0);
        line_at_most("P14 rows fetched", last.fetched, 10.0);
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        line_at_most("P14 sequential scans", last.scans as f64, 0.0);
        return Ok(last.memory.peak);
    }
    Ok(0.0)
}

async fn among(platform: &Platform, plan: Plan) -> anyhow::Result<()> {
    let (due, small, large) = plan.among;
    let mut ratios = Vec::new();
    for _ in 0..plan.pairs {
        sweep::fill(&platform.pool, small, due).await?;
        let few = sweep::sweep(platform, due).await?;
        sweep::fill(&platform.pool, large, due).await?;
        let many = sweep::sweep(platform, due).await?;
        println!(
            "  P15: {due} due among {small}: {:.0}/s, among {large}: {:.0}/s",
            few.rate, many.rate
        );
        ratios.push(few.rate / many.rate);
    }
    spread_at_most("P15", &ratios, 1.2);
    Ok(())
}

pub(crate) fn show(outcome: &Outcome) -> String {
    format!(
        "{:.0}/s (p50 {:.1} ms, p99 {:.1} ms)",
        outcome.rate,
        outcome.p50.as_secs_f64() * 1e3,
        outcome.p99.as_secs_f64() * 1e3
    )
}

pub(crate) fn line(name: &str, ratios: &[f64], target: f64) {
    let (middle, min, max) = spread(ratios);
    println!(
        "{name} ratio={middle:.2} target>={target} min={min:.2} max={max:.2}{}",
        if middle >= target { "" } else { " MISSED" }
    );
}

/// The line of a goal whose ratios are to be small.
pub(crate) fn spread_at_most(name: &str, ratios: &[f64], target: f64) {
    let (middle, min, max) = spread(ratios);
    println!(
        "{name} ratio={middle:.2} target<={target} min={min:.2} max={max:.2}{}",
        if middle <= target { "" } else { " MISSED" }
    );
}

pub(crate) fn line_at_most(name: &str, value: f64, target: f64) {
    println!(
        "{name}={value:.2} target<={target}{}",
        if value <= target { "" } else { " MISSED" }
    );
}
