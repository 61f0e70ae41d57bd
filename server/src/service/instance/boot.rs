//! What a machine is given when it first boots: a password, public keys, and what its owner wrote for cloud-init.
//!
//! All of it is sealed while it waits. The password is made by us before the provider is asked, so that it is known whatever becomes of the answer; its owner is shown it
//! once. Keys and user data are forgotten when the machine has them.

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sewa_sdk::sewa::api::v1::operation::Kind;
use sqlx::PgConnection;

use crate::app::App;
use crate::base::db::PgPool;
use crate::base::id::{AccountId, InstanceId, OperationId, SshKeyId};
use crate::base::vault::{Sealed, Vault};
use crate::provider::compute::Boot;
use crate::service::instance::model::Instance;
use crate::service::instance::{password, store};
use crate::service::operation;
use crate::service::operation::model::Leased;

/// How long a first password waits for its owner.
pub const PASSWORD_KEPT: TimeDelta = TimeDelta::days(7);
/// First passwords forgotten in one step.
const CHUNK: i64 = 500;

/// What an owner asks for. Debug shows the keys alone.
#[derive(Clone, Default)]
pub struct Asked {
    /// Public keys of the account.
    pub keys: Vec<SshKeyId>,
    /// For cloud-init; empty for none.
    pub user_data: String,
}

impl Asked {
    /// Whether it asks for nothing.
    pub fn is_nothing(&self) -> bool {
        self.keys.is_empty() && self.user_data.is_empty()
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

/// What an owner wants a machine to be given, with the keys as they were when it was asked for. Debug shows how much of it there is.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Public keys.
    pub ssh_keys: Vec<String>,
    /// For cloud-init; empty for none.
    pub user_data: String,
}

impl std::fmt::Debug for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wish")
            .field("ssh_keys", &self.ssh_keys.len())
            .finish_non_exhaustive()
    }
}

/// What a rebuilt machine is given, as its operation keeps it.
#[derive(Serialize, Deserialize)]
struct Fresh {
    password: String,
    wish: Wish,
}

/// Reads the keys that an owner chose, as they are now.
///
/// # Errors
/// The outer one of the database; the inner one names a key that the account does not have.
pub async fn choose(
    connection: &mut PgConnection,
    account: AccountId,
    asked: &Asked,
) -> Result<Result<Wish, SshKeyId>, sqlx::Error> {
    let mut ssh_keys = Vec::with_capacity(asked.keys.len());
    for id in &asked.keys {
        match store::ssh_keys::get(&mut *connection, account, *id).await? {
            Some(key) => ssh_keys.push(key.public_key),
            None => return Ok(Err(*id)),
        }
    }
    Ok(Ok(Wish {
        ssh_keys,
        user_data: asked.user_data.clone(),
    }))
}

/// Keeps a wish until the machine of an order is made. One that wants nothing leaves no trace.
///
/// # Errors
/// Of the database, or the vault.
pub async fn keep(
    app: &App,
    connection: &mut PgConnection,
    account: AccountId,
    id: InstanceId,
    wish: &Wish,
) -> anyhow::Result<()> {
    if *wish == Wish::default() {
        return Ok(());
    }
    let sealed = app
        .lines
        .vault()
        .seal(&serde_json::to_vec(wish)?, &wish_context(id))?;
    store::boot::keep_wish(connection, account, id, &sealed, app.clock.now()).await?;
    Ok(())
}

/// What the call of an operation may give to the machine: for a rebuilt one all of it, else the password that its owner was shown.
///
/// # Errors
/// If a seal does not open.
pub(super) fn of_operation(
    app: &App,
    leased: &Leased,
    instance: &Instance,
) -> anyhow::Result<Boot> {
    let sealed = leased.secret.as_deref();
    match sealed.filter(|_| leased.kind == Kind::ResetPassword) {
        None => open_fresh(app, instance, leased.id, sealed),
        Some(sealed) => {
            let opened = app
                .master
                .open(sealed, &operation::secret_context(leased.id))?;
            let password = String::from_utf8(opened).context("a password that is no text")?;
            Ok(Boot {
                password: SecretString::from(password),
                ..open_fresh(app, instance, leased.id, None)?
            })
        }
    }
}

/// Makes a password and seals it.
///
/// # Errors
/// Of the vault.
pub fn new_password(vault: &Vault, id: InstanceId) -> anyhow::Result<Sealed> {
    vault.seal(password::make().as_bytes(), &password_context(id))
}

/// Opens what a new machine is given.
///
/// # Errors
/// If a seal does not open.
pub fn open(
    vault: &Vault,
    instance: &Instance,
    claimed: &store::boot::Claimed,
) -> anyhow::Result<Boot> {
    let wish = match &claimed.wish {
        None => Wish::default(),
        Some(sealed) => serde_json::from_slice(&vault.open(sealed, &wish_context(instance.id))?)?,
    };
    let password = open_password(vault, instance.id, &claimed.password)?;
    Ok(boot(instance, password, wish))
}

/// Opens a first password.
///
/// # Errors
/// If the seal does not open.
pub fn open_password(vault: &Vault, id: InstanceId, sealed: &Sealed) -> anyhow::Result<String> {
    String::from_utf8(vault.open(sealed, &password_context(id))?)
        .context("a password that is no text")
}

fn boot(instance: &Instance, password: String, wish: Wish) -> Boot {
    Boot {
        hostname: instance.hostname.clone(),
        password: SecretString::from(password),
        ssh_keys: wish.ssh_keys,
        user_data: Some(wish.user_data)
            .filter(|text| !text.is_empty())
            .map(SecretString::from),
    }
}

/// Makes a password for a machine that is to be rebuilt, and seals it with the wish for its operation.
///
/// # Errors
/// Never in practice; see [`crate::base::crypto::MasterKey::seal`].
pub fn seal_fresh(app: &App, operation: OperationId, wish: Wish) -> anyhow::Result<Vec<u8>> {
    let fresh = Fresh {
        password: password::make(),
        wish,
    };
    app.master.seal(
        &serde_json::to_vec(&fresh)?,
        &operation::secret_context(operation),
    )
}

/// What a machine is given that is rebuilt. An operation that brings nothing is for a provider that takes nothing, and gets a password that nobody is told.
///
/// # Errors
/// If the seal does not open.
pub fn open_fresh(
    app: &App,
    instance: &Instance,
    operation: OperationId,
    sealed: Option<&[u8]>,
) -> anyhow::Result<Boot> {
    let Some(sealed) = sealed else {
        return Ok(boot(instance, password::make(), Wish::default()));
    };
    let fresh = unseal_fresh(app, operation, sealed)?;
    Ok(boot(instance, fresh.password, fresh.wish))
}

fn unseal_fresh(app: &App, operation: OperationId, sealed: &[u8]) -> anyhow::Result<Fresh> {
    let context = operation::secret_context(operation);
    Ok(serde_json::from_slice(&app.master.open(sealed, &context)?)?)
}

/// The password of a rebuilt machine is its first one now.
///
/// # Errors
/// Of the database, or a seal that does not open.
pub async fn keep_fresh(
    app: &App,
    connection: &mut PgConnection,
    instance: &Instance,
    operation: OperationId,
    sealed: &[u8],
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let fresh = unseal_fresh(app, operation, sealed)?;
    let password = app
        .lines
        .vault()
        .seal(fresh.password.as_bytes(), &password_context(instance.id))?;
    let until = now + PASSWORD_KEPT;
    store::boot::keep_password(connection, instance.account, instance.id, &password, until).await?;
    Ok(())
}

/// Forgets first passwords that nobody asked for in time, and returns how many.
///
/// # Errors
/// Of the database.
pub async fn forget_passwords(app: &App) -> Result<usize, sqlx::Error> {
    store::boot::forget_old_passwords(&app.db, app.clock.now(), CHUNK).await
}

/// Seals everything that is not under the vault's current key anew, all or none; returns how much there was.
///
/// # Errors
/// If something does not open, which is named; the database.
pub async fn reseal(pool: &PgPool, vault: &Vault) -> anyhow::Result<usize> {
    let mut tx = pool.begin().await?;
    let passwords =
        store::boot::list_passwords_sealed_otherwise_for_update(&mut tx, vault.current()).await?;
    for (account, id, sealed) in &passwords {
        let context = password_context(*id);
        let fresh = vault.seal(&vault.open(sealed, &context)?, &context)?;
        store::boot::reseal_password(&mut tx, *account, *id, &fresh).await?;
    }
    let wishes =
        store::boot::list_wishes_sealed_otherwise_for_update(&mut tx, vault.current()).await?;
    for (account, id, sealed) in &wishes {
        let context = wish_context(*id);
        let fresh = vault.seal(&vault.open(sealed, &context)?, &context)?;
        store::boot::reseal_wish(&mut tx, *account, *id, &fresh).await?;
    }
    tx.commit().await?;
    Ok(passwords.len() + wishes.len())
}

fn password_context(id: InstanceId) -> String {
    format!("instances/{id}/first_password")
}

fn wish_context(id: InstanceId) -> String {
    format!("first_boots/{id}")
}
