//! Asks every account now and then how it is.

use chrono::TimeDelta;
use futures_util::StreamExt;

use crate::app::App;
use crate::base::id::ProviderAccountId;
use crate::service::provider::model::{Account, Finding};
use crate::service::provider::store;

/// How often an account is asked for.
const ROUND: TimeDelta = TimeDelta::minutes(5);
/// Accounts asked for at once.
const CONCURRENT: usize = 4;

/// Asks the accounts whose turn it is, and returns how many there were. Repeats safely.
///
/// # Errors
/// Of the database, when choosing. What goes wrong with single accounts is logged; their turn comes again.
pub async fn check_once(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let due = store::take_to_check(&app.db, now, now - ROUND).await?;
    let count = due.len();
    futures_util::stream::iter(due)
        .for_each_concurrent(CONCURRENT, |id| async move {
            if let Err(error) = check(app, id).await {
                tracing::warn!(provider_account = %id, %error, "an account could not be checked");
            }
        })
        .await;
    Ok(count)
}

async fn check(app: &App, id: ProviderAccountId) -> Result<(), sqlx::Error> {
    let mut connection = app.db.acquire().await?;
    let Some(account) = store::get(&mut connection, id).await? else {
        return Ok(());
    };
    drop(connection);
    let finding = ask(app, &account).await;
    if finding.health != account.health {
        tracing::warn!(provider_account = %id, health = ?finding.health, message = finding.message, "the health of a provider account changed");
    }
    let mut connection = app.db.acquire().await?;
    store::note(
        &mut connection,
        id,
        account.revision,
        &finding,
        app.clock.now(),
    )
    .await
}

/// Asks the provider who we are.
pub async fn ask(app: &App, account: &Account) -> Finding {
    match app.lines.to(account) {
        Ok(line) => Finding::of(line.standing().await),
        Err(error) => {
            tracing::error!(provider_account = %account.id, error = format!("{error:#}"), "the token of an account does not open");
            Finding {
                health: crate::service::provider::model::Health::Unauthorized,
                message: "the token cannot be decrypted; set it again".to_owned(),
                standing: None,
            }
        }
    }
}
