//! Background work: the whole list. Each job takes no arguments and repeats safely, so any number of replicas may run them all.

use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::{JoinHandle, JoinSet};

use crate::app::App;
use crate::base::outbox::retention;
use crate::prove::guard;
use crate::service::{
    identity, instance, inventory, invoice, lifecycle, operation, order, provider, report, wallet,
};

/// Rest after a job that found work, so that a wave of commits does not become a wave of queries.
const BREATH: Duration = Duration::from_millis(20);
/// A job that did this much has more to do.
const FULL: usize = 500;
/// Rest after a job that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// How long a step of a job may take. Each is made of attempts that end sooner by themselves, unless the database is silent; what is cut off is due again, as after
/// a crash.
const STEP: Duration = Duration::from_secs(120);
/// The same for a look at the books, which grows with them.
const PROOF: Duration = Duration::from_secs(900);

/// Starts every job. The handle ends when all have stopped, which they do when `app.stop` is cancelled, each after the step it is at.
pub fn start(app: App) -> JoinHandle<()> {
    let mut jobs = JoinSet::new();
    let ms = Duration::from_millis;
    documents(&mut jobs, &app);
    machines(&mut jobs, &app);
    accounts_at_providers(&mut jobs, &app);
    jobs.spawn(every(
        app.clone(),
        "fulfil orders",
        ms(250),
        |app| async move { order::job::step(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "follow news of instances and deposits",
        ms(500),
        |app| async move { lifecycle::news::step(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "follow news of deposits that pay for orders",
        ms(500),
        |app| async move { order::news::step(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "renew, suspend, terminate",
        ms(1000),
        |app| async move { lifecycle::sweep::step(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "change plans",
        ms(250),
        |app| async move { lifecycle::job::step(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "walk test clocks",
        ms(500),
        |app| async move { lifecycle::clock::walk(&app).await.map(usize::from) },
    ));
    jobs.spawn(every(
        app.clone(),
        "ask gateways about deposits",
        ms(500),
        |app| async move { wallet::gateway::look_once(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "expire deposits",
        ms(30_000),
        |app| async move { wallet::job::expire_deposits(&app).await },
    ));
    forget(&mut jobs, &app);
    jobs.spawn(every(
        app.clone(),
        "expire orders",
        ms(30_000),
        |app| async move { order::job::expire(&app).await },
    ));
    jobs.spawn(every_within(
        PROOF,
        app,
        "prove the books",
        ms(5000),
        |app| async move { guard::step(&app).await },
    ));
    tokio::spawn(async move {
        while let Some(ended) = jobs.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a job was ended");
            }
        }
    })
}

/// Starts the jobs that forget what is not needed any more.
fn forget(jobs: &mut JoinSet<()>, app: &App) {
    let ms = Duration::from_millis;
    let stride = retention::stride(app.config.retention.events())
        .to_std()
        .unwrap_or_default()
        .clamp(ms(100), ms(60_000));
    jobs.spawn(every(
        app.clone(),
        "forget old events",
        stride,
        |app| async move {
            let (keep, now) = (app.config.retention.events(), app.clock.now());
            retention::forget(&app.db, &app.tail, keep, now).await
        },
    ));
    jobs.spawn(every(
        app.clone(),
        "forget finished operations",
        stride,
        |app| async move { operation::retention::forget(&app).await },
    ));
    let callbacks = retention::stride(app.config.retention.callbacks());
    jobs.spawn(every(
        app.clone(),
        "forget old callbacks",
        callbacks
            .to_std()
            .unwrap_or_default()
            .clamp(ms(100), ms(60_000)),
        |app| async move { wallet::job::forget_callbacks(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "forget ended sessions",
        ms(60_000),
        |app| async move { identity::session::forget_ended(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "forget first passwords",
        ms(60_000),
        |app| async move { instance::boot::forget_passwords(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "forget ended consoles",
        ms(60_000),
        |app| async move { instance::console::forget(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "forget old metrics",
        ms(5000),
        |app| async move { instance::metrics_work::forget_once(&app).await },
    ));
}

/// What makes machines what they should be.
fn machines(jobs: &mut JoinSet<()>, app: &App) {
    let ms = Duration::from_millis;
    jobs.spawn(every(
        app.clone(),
        "reconcile instances",
        ms(250),
        |app| async move { instance::job::reconcile_once(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "look at machines",
        ms(1000),
        |app| async move { instance::patrol::patrol_once(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "look after snapshots",
        ms(1000),
        |app| async move { instance::snapshot_work::tend_once(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "look after backups",
        ms(2000),
        |app| async move { instance::backup::watch_once(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "look after firewalls",
        ms(2000),
        |app| async move { instance::firewall_work::tend_once(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "read what machines use",
        ms(1000),
        |app| async move { instance::metrics_work::collect_once(&app).await },
    ));
}

/// Looks at accounts at real clouds, and at what is in them.
fn accounts_at_providers(jobs: &mut JoinSet<()>, app: &App) {
    let ms = Duration::from_millis;
    jobs.spawn(every(
        app.clone(),
        "ask provider accounts how they are",
        ms(30_000),
        |app| async move { provider::job::check_once(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "compare provider accounts",
        ms(1000),
        |app| async move { inventory::job::step(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "ask for comparisons that are due",
        ms(30_000),
        |app| async move { inventory::job::ask(&app).await },
    ));
}

/// What is written down about money that has moved.
fn documents(jobs: &mut JoinSet<()>, app: &App) {
    let ms = Duration::from_millis;
    jobs.spawn(every(
        app.clone(),
        "issue invoices",
        ms(500),
        |app| async move { invoice::job::step(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "look for charges without invoices",
        ms(60_000),
        |app| async move { invoice::job::walk(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "keep figures of days that are over",
        ms(60_000),
        |app| async move { report::job::keep(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "ask for the proof of yesterday",
        ms(60_000),
        |app| async move { report::job::ask(&app).await },
    ));
    jobs.spawn(every(
        app.clone(),
        "prove days against gateways and invoices",
        ms(1000),
        |app| async move { report::job::prove(&app).await },
    ));
}

/// Repeats a job: at once while it finds work, when something commits, and at least every `idle`.
async fn every<F, R, E>(app: App, name: &'static str, idle: Duration, job: F)
where
    F: Fn(App) -> R,
    R: Future<Output = Result<usize, E>>,
    E: Display,
{
    every_within(STEP, app, name, idle, job).await;
}

async fn every_within<F, R, E>(
    limit: Duration,
    app: App,
    name: &'static str,
    idle: Duration,
    job: F,
) where
    F: Fn(App) -> R,
    R: Future<Output = Result<usize, E>>,
    E: Display,
{
    while !app.stop.is_cancelled() {
        if !app.agreed.holds(app.clock.now()) {
            tokio::select! {
                () = tokio::time::sleep(AFTER_FAILURE) => continue,
                () = app.stop.cancelled() => return,
            }
        }
        let seen = app.tail.safe();
        let step = AssertUnwindSafe(tokio::time::timeout(limit, job(app.clone())));
        let pause = match step.catch_unwind().await {
            Ok(Err(_late)) => {
                tracing::warn!(job = name, "a job took too long and is repeated");
                AFTER_FAILURE
            }
            Ok(Ok(Ok(0))) => idle,
            Ok(Ok(Ok(done))) if done >= FULL => Duration::ZERO,
            Ok(Ok(Ok(_))) => BREATH,
            Ok(Ok(Err(error))) => {
                tracing::warn!(job = name, %error, "a job failed and is repeated");
                AFTER_FAILURE
            }
            Err(_panic) => {
                tracing::error!(job = name, "a job panicked and is repeated");
                AFTER_FAILURE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = app.tail.beyond(seen), if pause == idle && idle < Duration::from_secs(5) => tokio::time::sleep(BREATH).await,
            () = app.stop.cancelled() => {}
        }
    }
}
