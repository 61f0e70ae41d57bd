//! The guard: proves all books again and again, a few accounts at a time, and freezes the money of an account in which something differs. Others go on.
//!
//! It looks at everything each time, because a row that was changed by hand keeps no trace of when. So that this is never felt, it works for a fourth of the time
//! at most; how long a round takes grows with the journals.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::app::App;
use crate::base::walk;
use crate::prove::{self, Scope};
use crate::service::wallet;

/// Accounts looked at in one step.
const ACCOUNTS: i64 = 200;
/// The longest rest after a step.
const REST: Duration = Duration::from_secs(5);

/// Looks at the next accounts, and returns how many there were: 0 while another replica does, or between two rounds.
///
/// # Errors
/// Of the database; the same accounts come again then.
pub async fn step(app: &App) -> Result<usize, sqlx::Error> {
    let now = app.clock.now();
    let rest = chrono::Duration::seconds(i64::from(app.config.proof_rest_seconds));
    if rest.is_zero() {
        return Ok(0);
    }
    let Some(mut turn) = walk::turn(&app.db, "prove books", now).await? else {
        return Ok(0);
    };
    let accounts = wallet::store::accounts_after(&mut turn.tx, turn.after, ACCOUNTS).await?;
    let is_last = accounts.len() < usize::try_from(ACCOUNTS).unwrap_or_default();
    // Rows of accounts that do not exist lie between those that do, before the first and after the last.
    let scope = Scope {
        first: match turn.after.is_nil() {
            true => Uuid::nil(),
            false => Uuid::from_u128(turn.after.as_u128().saturating_add(1)),
        },
        last: accounts
            .last()
            .copied()
            .filter(|_| !is_last)
            .unwrap_or(Uuid::max()),
    };
    let began = Instant::now();
    let found = prove::look(&app.db, scope).await?;
    let took = began.elapsed();
    let mut named = HashSet::new();
    for finding in &found {
        let Some(account) = finding.account.filter(|account| named.insert(*account)) else {
            continue;
        };
        if wallet::freeze(app, account, &finding.rule, &finding.row()).await? {
            metrics::counter!("sewa_wallets_frozen", "rule" => finding.rule.clone()).increment(1);
            tracing::error!(%account, rule = finding.rule, row = finding.row(), detail = finding.detail, "something differs in the books; the wallet is frozen");
        }
    }
    turn.end(
        accounts.last().copied().filter(|_| !is_last),
        app.clock.now() + rest,
    )
    .await?;
    tokio::select! {
        () = tokio::time::sleep((took * 3).min(REST)) => {}
        () = app.stop.cancelled() => {}
    }
    Ok(usize::from(!is_last))
}
