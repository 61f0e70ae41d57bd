//! Accounts at real clouds, and the lines to them.
//!
//! Owns: `provider_accounts`. Calls: catalog, for the prices of plans. Emits: nothing. Reads `instances` of instance and `operations` of operation for what machines an account has.
//!
//! Staff connect accounts; their tokens are sealed at rest and never shown. Each new machine of a plan whose provider is a real cloud is given an account that
//! serves its plan and region (`model::choose`); the machine stays with it. A line to an account is kept by each replica, and made anew when staff change the
//! account. A job asks every account now and then how it is.

pub mod compare;
pub mod convert;
pub mod error;
pub mod job;
pub mod lines;
pub mod model;
pub mod rpc;
pub mod store;
pub mod survey;

use crate::app::App;
use crate::base::db::PgPool;
use crate::base::id::ProviderAccountId;
use crate::base::vault::Vault;
use crate::provider::compute::ProviderError;

pub use self::lines::Lines;
use self::model::Finding;

/// Notes that an account's credentials were refused while it was worked with, so that it is given no more machines until it is accepted again.
///
/// # Errors
/// Of the database.
pub async fn note_refused(
    app: &App,
    id: ProviderAccountId,
    error: &ProviderError,
) -> sqlx::Result<()> {
    let mut connection = app.db.acquire().await?;
    let Some(account) = store::get(&mut connection, id).await? else {
        return Ok(());
    };
    let finding = Finding::of(Err(error.clone()));
    store::note(
        &mut connection,
        id,
        account.revision,
        &finding,
        app.clock.now(),
    )
    .await
}

/// Seals every token that is not under the vault's current key anew, all or none; returns how many there were.
///
/// # Errors
/// If one does not open, which is named; the database.
pub async fn reseal(pool: &PgPool, vault: &Vault) -> anyhow::Result<usize> {
    let mut tx = pool.begin().await?;
    let due = store::list_sealed_otherwise_for_update(&mut tx, vault.current()).await?;
    for (id, sealed) in &due {
        let context = lines::context(*id);
        let fresh = vault.seal(&vault.open(sealed, &context)?, &context)?;
        store::reseal(&mut tx, *id, &fresh).await?;
    }
    tx.commit().await?;
    Ok(due.len())
}
