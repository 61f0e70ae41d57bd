//! Reading what machines use: the job that asks their providers, and the one that forgets what is old.
//!
//! A machine is leased, read while no transaction is open, and what was read is written in one transaction together with the counters it was compared with, if the lease still holds.
//! Whoever dies in between has written nothing, and whoever comes next compares with the same counters: nothing is counted twice, and nothing is lost but what the machine itself
//! forgets when it is powered off. Machines of one account are read together, at the pace their provider allows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt;
use tonic::Status;

use crate::app::App;
use crate::base::id::{AccountId, InstanceId, ProviderAccountId};
use crate::provider::compute::metrics::{Asked, Gives, Reading, Sample, Step, floor};
use crate::provider::compute::{Compute, ProviderError};
use crate::service::catalog;
use crate::service::instance::model::meter::{Booking, Meter, included};
use crate::service::instance::model::span::Resolution;
use crate::service::instance::store::metrics::Over;
use crate::service::instance::store::traffic::Bytes;
use crate::service::instance::{cloud, store};
use crate::service::provider;

/// Machines leased at once.
const CHUNK: i64 = 200;
/// Accounts at providers that are asked at once.
const CONCURRENT: usize = 8;
/// How long machines stay leased to a replica that may have died.
const LEASE: TimeDelta = TimeDelta::seconds(90);
/// How long the machines of one account may take to be read.
const PATIENCE: Duration = Duration::from_secs(60);
/// When a machine is asked for again whose provider tells nothing, or which it is not known to have.
const SELDOM: TimeDelta = TimeDelta::hours(1);
/// Machines whose old samples are looked for in one step.
const FORGET: i64 = 50;
/// Samples of one machine and resolution that are forgotten in one step.
const EACH: i64 = 300;
/// How often old samples of a machine are looked for.
const FORGET_ROUND: TimeDelta = TimeDelta::hours(1);

/// Reads the machines whose turn it is, and returns how many there were. Repeats safely; any number of replicas may read together.
///
/// # Errors
/// Of the database, when leasing. What goes wrong with single accounts is logged; their machines are due again.
pub async fn collect_once(app: &App) -> anyhow::Result<usize> {
    let now = app.clock.now();
    let leased = store::meters::lease(&app.db, now, now + LEASE, CHUNK)
        .await
        .context("lease meters")?;
    let count = leased.len();
    let mut by_account: BTreeMap<(String, Option<ProviderAccountId>), Vec<Meter>> = BTreeMap::new();
    for meter in leased {
        let key = (meter.provider.clone(), meter.provider_account);
        by_account.entry(key).or_default().push(meter);
    }
    futures_util::stream::iter(by_account)
        .for_each_concurrent(CONCURRENT, |((provider, account), meters)| async move {
            if let Err(error) = collect(app, &provider, account, &meters).await {
                tracing::warn!(
                    provider,
                    error = format!("{error:#}"),
                    "machines could not be read"
                );
            }
        })
        .await;
    Ok(count)
}

/// Reads the machines of one account.
async fn collect(
    app: &App,
    name: &str,
    account: Option<ProviderAccountId>,
    meters: &[Meter],
) -> anyhow::Result<()> {
    let cloud = match cloud::line_to(app, name, account).await? {
        Ok(cloud) => cloud,
        Err(error) => {
            tracing::debug!(provider = name, %error, "there is no line to read machines by");
            return put_off(app, meters, SELDOM).await;
        }
    };
    let Some(gives) = cloud.metrics().map(|metrics| metrics.gives()) else {
        return put_off(app, meters, SELDOM).await;
    };
    let interval = gives.interval(machines_of(app, &gives, account).await?);
    let (first, rest) = meters.split_at(meters.len().min(gives.in_one_go()));
    // The rest comes in later minutes, so many in each as the provider allows.
    let later = |n: usize| TimeDelta::minutes(i64::try_from(n / gives.in_one_go()).unwrap_or(60));
    let now = app.clock.now();
    let spread: Vec<(&Meter, DateTime<Utc>)> = rest
        .iter()
        .enumerate()
        .map(|(n, meter)| (meter, now + TimeDelta::minutes(1) + later(n)))
        .collect();
    store::meters::put_off(&app.db, &spread).await?;

    let Some(readings) = read(&cloud, first, now).await else {
        return put_off(app, first, interval).await;
    };
    let read_at = app.clock.now();
    let mut read: Vec<(&Meter, Booking)> = Vec::new();
    let mut failed: Vec<(&Meter, DateTime<Utc>)> = Vec::new();
    for (meter, reading) in first.iter().zip(readings) {
        match reading {
            Ok(reading) => read.push((meter, meter.book(&reading, read_at))),
            Err(error) => {
                tracing::debug!(instance = %meter.instance, %error, "a machine could not be read");
                failed.push((meter, read_at + after(&error, interval)));
            }
        }
    }
    store::meters::put_off(&app.db, &failed).await?;
    write(app, &read, read_at, interval).await
}

/// How many machines share what the provider allows.
async fn machines_of(
    app: &App,
    gives: &Gives,
    account: Option<ProviderAccountId>,
) -> Result<i64, sqlx::Error> {
    let Some(id) = account.filter(|_| gives.an_hour.is_some()) else {
        return Ok(0);
    };
    let mut connection = app.db.acquire().await?;
    let counts = provider::store::count_machines(&mut connection, &[id]).await?;
    Ok(counts.get(&id).copied().unwrap_or_default())
}

/// Asks the cloud; `None` if it did not answer in time.
async fn read(
    cloud: &Arc<dyn Compute>,
    meters: &[Meter],
    now: DateTime<Utc>,
) -> Option<Vec<Result<Reading, ProviderError>>> {
    let asked: Vec<Asked> = meters
        .iter()
        .map(|meter| Asked {
            // No machine has no name.
            provider_ref: meter.provider_ref.clone().unwrap_or_default(),
            vcpus: meter.vcpus,
            since: meter.read_until.unwrap_or(meter.created_at),
        })
        .collect();
    let metrics = cloud.metrics()?;
    tokio::time::timeout(PATIENCE, metrics.read(&asked, now))
        .await
        .ok()
}

/// When a machine is asked for again that could not be read.
fn after(error: &ProviderError, interval: TimeDelta) -> TimeDelta {
    match error {
        ProviderError::RateLimited { after } => TimeDelta::from_std(*after)
            .unwrap_or(SELDOM)
            .clamp(interval, SELDOM.max(interval)),
        ProviderError::Unauthorized(_) => SELDOM.max(interval),
        _ => interval,
    }
}

async fn put_off(app: &App, meters: &[Meter], interval: TimeDelta) -> anyhow::Result<()> {
    let due = app.clock.now() + interval;
    let all: Vec<_> = meters.iter().map(|meter| (meter, due)).collect();
    Ok(store::meters::put_off(&app.db, &all).await?)
}

/// Writes down what was read, of the machines that nobody else has taken meanwhile.
async fn write(
    app: &App,
    read: &[(&Meter, Booking)],
    read_at: DateTime<Utc>,
    interval: TimeDelta,
) -> anyhow::Result<()> {
    if read.is_empty() {
        return Ok(());
    }
    let catalogue = catalog::snapshot(app)
        .await
        .map_err(|status: Status| anyhow::anyhow!("the catalogue: {}", status.message()))?;
    let mut tx = app.db.begin().await?;
    let all: Vec<(&Meter, &Booking)> = read.iter().map(|(m, b)| (*m, b)).collect();
    let due: Vec<DateTime<Utc>> = all
        .iter()
        .map(|(meter, _)| meter.next(read_at, interval))
        .collect();
    let held: HashSet<InstanceId> = store::meters::advance(&mut tx, &all, &due, read_at)
        .await?
        .into_iter()
        .collect();
    let ours: Vec<(&Meter, &Booking)> = all
        .into_iter()
        .filter(|(meter, _)| held.contains(&meter.instance))
        .collect();
    for (step, resolution) in [
        (Step::Minute, Resolution::Minute),
        (Step::FiveMinutes, Resolution::FiveMinutes),
    ] {
        let samples = samples_of(&ours, step);
        store::metrics::insert(&mut tx, resolution, &samples).await?;
    }
    for (into, keeps) in [
        (Resolution::FiveMinutes, Resolution::Minute),
        (Resolution::Hour, Resolution::FiveMinutes),
    ] {
        let over = ended(&ours, into, keeps);
        store::metrics::average(&mut tx, into, &over).await?;
    }
    let plan_of = |meter: &Meter| {
        let plan = catalogue.plan(meter.plan);
        plan.and_then(|plan| included(plan.transfer_gib))
    };
    let (added, noted) = bytes_of(&ours, plan_of, read_at);
    store::traffic::add(&mut tx, &added).await?;
    store::traffic::note(&mut tx, &noted).await?;
    tx.commit().await?;
    Ok(())
}

fn samples_of(read: &[(&Meter, &Booking)], step: Step) -> Vec<((AccountId, InstanceId), Sample)> {
    let of_step = read.iter().filter(|(_, booking)| booking.step == step);
    of_step
        .flat_map(|(meter, booking)| {
            let machine = (meter.account, meter.instance);
            booking.samples.iter().map(move |sample| (machine, *sample))
        })
        .collect()
}

/// The spans that are over since each machine was last read, of a resolution whose finer samples are kept for so long.
fn ended(read: &[(&Meter, &Booking)], into: Resolution, keeps: Resolution) -> Vec<Over> {
    let over = |meter: &Meter, booking: &Booking| {
        let first = booking.samples.first().map(|sample| sample.at);
        let until = booking.read_until?;
        let began = meter.read_until.or(first)?.max(until - keeps.kept());
        let over = Over {
            machine: (meter.account, meter.instance),
            from: floor(began, into.span()),
            to: floor(until, into.span()),
        };
        (over.from < over.to).then_some(over)
    };
    let all = read.iter();
    all.filter_map(|(meter, booking)| over(meter, booking))
        .collect()
}

/// Bytes to add to months, and those that providers count.
fn bytes_of(
    read: &[(&Meter, &Booking)],
    plan_of: impl Fn(&Meter) -> Option<i64>,
    read_at: DateTime<Utc>,
) -> (Vec<Bytes>, Vec<Bytes>) {
    let (mut added, mut noted) = (Vec::new(), Vec::new());
    for (meter, booking) in read {
        let row = |month, received, sent, read_at| Bytes {
            account: meter.account,
            instance: meter.instance,
            month,
            received,
            sent,
            included: plan_of(meter),
            read_at,
        };
        // A series may end before the moment at which it was read.
        let until = booking.read_until.unwrap_or(read_at);
        for (month, (received, sent)) in &booking.moved {
            added.push(row(*month, *received, *sent, until));
        }
        for total in &booking.totals {
            noted.push(row(total.month, total.received, total.sent, read_at));
        }
    }
    (added, noted)
}

/// Forgets some of the samples that are older than they are kept. Returns how much there was to do.
///
/// # Errors
/// Of the database.
pub async fn forget_once(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let machines = store::meters::list_to_forget(&mut tx, now, FORGET).await?;
    if machines.is_empty() {
        return Ok(0);
    }
    let mut gone = 0;
    for resolution in Resolution::ALL {
        let before = now - resolution.kept();
        gone += store::metrics::forget(&mut tx, resolution, &machines, before, EACH).await?;
    }
    // Where there were many there may be more.
    let more = gone >= EACH.unsigned_abs();
    let again_at = if more { now } else { now + FORGET_ROUND };
    store::meters::rest(&mut tx, &machines, again_at).await?;
    tx.commit().await?;
    Ok(machines.len())
}
