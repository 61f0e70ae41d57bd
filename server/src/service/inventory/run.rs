//! One run: look, decide, write down, put right.

use std::collections::HashMap;

use sewa_sdk::sewa::inventory::v1::inventory_finding::Outcome;

use crate::app::App;
use crate::service::inventory::model::{Finding, Policy, USUAL, decide};
use crate::service::inventory::store::Leased;
use crate::service::inventory::{repair, store};
use crate::service::provider;
use crate::service::provider::compare::Difference;
use crate::service::provider::survey::survey;

/// Carries a run out. Why it failed, if the provider could not be asked. Repeats safely: what an earlier attempt of it has begun stays written down.
///
/// # Errors
/// Of the database.
pub async fn carry_out(app: &App, run: &Leased) -> Result<Option<String>, sqlx::Error> {
    let mut connection = app.db.acquire().await?;
    let account = provider::store::get(&mut connection, run.account).await?;
    let policy = store::get_policy(&mut connection, run.account)
        .await?
        .unwrap_or(USUAL);
    drop(connection);
    let Some(account) = account else {
        return Ok(Some("there is no such provider account".to_owned()));
    };
    let survey = match survey(app, &account).await {
        Ok(survey) => survey,
        Err(provider::error::Error::Database(error)) => return Err(error),
        Err(error) => return Ok(Some(error.to_string())),
    };
    let mut tx = app.db.begin().await?;
    let seen: HashMap<_, _> = store::list_seen(&mut tx, run.account)
        .await?
        .into_iter()
        .map(|seen| {
            (
                (seen.reason, seen.machine, seen.instance),
                seen.first_seen_at,
            )
        })
        .collect();
    let first_seen = |d: &Difference| {
        let machine = d.machine.clone().unwrap_or_default().0;
        seen.get(&(d.reason as i16, machine, d.instance)).copied()
    };
    let now = app.clock.now();
    // An earlier attempt of this run may have destroyed some.
    let destroyed = store::count_destroyed(&mut tx, run.id).await?;
    let policy = Policy {
        destroy_limit: policy.destroy_limit.saturating_sub(destroyed),
        ..policy
    };
    let findings = decide(survey.differences, survey.sold, &policy, now, first_seen);
    let machines = i32::try_from(survey.machines).unwrap_or(i32::MAX);
    if !store::keep(&mut tx, run, machines, &findings).await? {
        return Ok(None);
    }
    tx.commit().await?;
    if run.dry_run {
        return Ok(None);
    }
    let planned = |finding: &&Finding| finding.outcome == Outcome::Planned;
    for finding in findings.iter().filter(planned) {
        if !store::begin_repair(&app.db, run, finding.id, app.clock.now()).await? {
            return Ok(None);
        }
        let (outcome, words) = repair::put_right(app, &account, finding).await?;
        tracing::info!(provider_account = %account.id, run = %run.id, finding = %finding.id, outcome = outcome.as_str_name(), words, "a repair ended");
        store::end_repair(&app.db, finding.id, outcome, &words).await?;
    }
    app.tail.wake();
    Ok(None)
}
