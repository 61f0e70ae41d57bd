//! What is done by itself: figures of days that are over are kept, yesterday is proved, and proofs that were asked for are run.

use chrono::TimeDelta;

use crate::app::App;
use crate::base::time;
use crate::base::walk;
use crate::service::report::model::Range;
use crate::service::report::{reconcile, store};

/// How long after midnight a day is kept. Money that moves is written down with the time at which its transaction began.
const SETTLED: TimeDelta = TimeDelta::minutes(10);
/// How long after midnight a day is proved. Gateways need a while, and so do callbacks that were lost.
const PROVABLE: TimeDelta = TimeDelta::hours(1);
/// How long a day with open orders stays kept as it is.
const STALE: TimeDelta = TimeDelta::hours(1);
/// Pause between looks for days that are not kept.
const REST: TimeDelta = TimeDelta::minutes(1);
/// How long one proof may take.
const LEASE: TimeDelta = TimeDelta::minutes(30);
/// Attempts after which a proof is given up.
const PATIENCE: i32 = 5;

/// Keeps the figures of one day that is over. Returns how many were kept.
///
/// # Errors
/// Of the database.
pub async fn keep(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let Some(mut turn) = walk::turn(&app.db, "keep figures", now).await? else {
        return Ok(0);
    };
    let began = store::began(&mut turn.tx).await?;
    let last = time::day_of(now - SETTLED).pred_opt();
    let due = match (began.map(time::day_of), last) {
        (Some(start), Some(last)) => {
            store::first_due(&mut turn.tx, start, last, now - STALE).await?
        }
        _ => None,
    };
    let Some(day) = due else {
        turn.end(None, now + REST).await?;
        return Ok(0);
    };
    let figures = store::sums(&mut turn.tx, Range::of(day)).await?;
    store::keep(&mut turn.tx, day, &figures, now).await?;
    turn.end(None, now).await?;
    Ok(1)
}

/// Runs the next proof, if one waits. Returns how many were run.
///
/// # Errors
/// Of the database; the run is tried again when its lease is over.
pub async fn prove(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let Some(run) = store::runs::lease(&app.db, now, now + LEASE).await? else {
        return Ok(0);
    };
    if run.fence > PATIENCE {
        let why = "it was begun several times and never ended";
        store::runs::fail(&app.db, &run, why, now).await?;
        return Ok(1);
    }
    let most = LEASE.to_std().unwrap_or_default() / 2;
    let Ok(outcome) = tokio::time::timeout(most, reconcile::run(app, run.day)).await else {
        let why = "it took too long";
        store::runs::fail(&app.db, &run, why, app.clock.now()).await?;
        return Ok(1);
    };
    let outcome = outcome?;
    let mut tx = app.db.begin().await?;
    let done = store::runs::finish(&mut tx, &run, &outcome, app.clock.now()).await?;
    tx.commit().await?;
    let (found, complete) = (outcome.differences.len(), outcome.complete);
    if done && (found > 0 || !complete) {
        tracing::error!(day = %run.day, reconciliation = %run.id, differences = found, complete, "the proof of a day is not clean");
    }
    Ok(1)
}

/// Asks for the proof of yesterday, and again each hour until every gateway answered. Returns how many were asked for.
///
/// # Errors
/// Of the database.
pub async fn ask(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let Some(day) = time::day_of(now - PROVABLE).pred_opt() else {
        return Ok(0);
    };
    if store::runs::is_settled(&app.db, day, now - PROVABLE).await? {
        return Ok(0);
    }
    let mut tx = app.db.begin().await?;
    let began = store::began(&mut tx).await?;
    if began.is_none_or(|began| time::day_of(began) > day) {
        return Ok(0);
    }
    store::runs::request(&mut tx, day, None, now).await?;
    tx.commit().await?;
    Ok(1)
}
