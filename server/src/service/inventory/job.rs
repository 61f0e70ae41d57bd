//! Makes runs by themselves, and carries out those that wait.

use chrono::TimeDelta;

use crate::app::App;
use crate::base::id::InventoryRunId;
use crate::service::inventory::model::{Run, USUAL};
use crate::service::inventory::{run, store};

/// How long one run may take. Longer than a step of a job may.
const LEASE: TimeDelta = TimeDelta::minutes(4);
/// Attempts after which a run is given up.
const PATIENCE: i32 = 3;
/// How long findings are kept that nothing was done about.
const KEPT: TimeDelta = TimeDelta::days(90);

/// Carries out the next run, if one waits, and returns how many there were.
///
/// # Errors
/// Of the database; the run is tried again when its lease is over.
pub async fn step(app: &App) -> anyhow::Result<usize> {
    let now = app.clock.now();
    let Some(leased) = store::lease(&app.db, now, now + LEASE).await? else {
        return Ok(0);
    };
    let failure = if leased.fence > PATIENCE {
        Some("it was begun several times and never ended".to_owned())
    } else {
        run::carry_out(app, &leased).await?
    };
    if let Some(words) = &failure {
        tracing::warn!(provider_account = %leased.account, run = %leased.id, words, "a run of the inventory failed");
    }
    let ended = app.clock.now();
    store::finish(&app.db, &leased, failure.as_deref(), ended).await?;
    store::forget(&app.db, leased.account, ended - KEPT).await?;
    Ok(1)
}

/// Asks for the runs whose time has come, and returns how many there were.
///
/// # Errors
/// Of the database.
pub async fn ask(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let due = store::list_due(&app.db, now, USUAL.interval_minutes).await?;
    let mut asked = 0;
    for account in due {
        let mut connection = app.db.acquire().await?;
        let new = Run {
            id: InventoryRunId::new(),
            account,
            dry_run: false,
            state: "PENDING".to_owned(),
            requested_by: None,
            machines: 0,
            findings: 0,
            daily_cost: 0,
            failure: String::new(),
            created_at: now,
            finished_at: None,
        };
        asked += usize::from(store::insert(&mut connection, &new).await?);
    }
    Ok(asked)
}
