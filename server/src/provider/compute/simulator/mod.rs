//! The built-in cloud, for development, demonstrations and sandbox accounts.
//!
//! It behaves like the real ones where it hurts: creating twice makes two machines, addresses come late, work takes time and a machine at work refuses more, and
//! an account may have it lose answers, fail, dawdle, run full or lose machines. It lives in tables of its own, so that it survives restarts and is one cloud
//! for all replicas; its calls use connections of their own, never a transaction of the platform.

mod backups;
pub mod console;
pub mod faults;
mod firewall;
mod load;
mod metrics;
pub mod model;
mod reverse_dns;
pub mod screen;
pub mod snapshots;
pub mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use sewa_sdk::sewa::sandbox::v1::fault::Kind;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::base::clock::Clock;
use crate::base::crypto;
use crate::base::db::PgPool;
use crate::base::id::AccountId;
use crate::provider::compute::backups::Backups;
use crate::provider::compute::consoles::Consoles;
use crate::provider::compute::firewalls::Firewalls;
use crate::provider::compute::metrics::Metrics;
use crate::provider::compute::reverse_dns::ReverseDns;
use crate::provider::compute::simulator::model::{Action, Pace, Row};
use crate::provider::compute::simulator::store::{Change, Times};
use crate::provider::compute::snapshots::Snapshots;
use crate::provider::compute::{
    Boot, Capabilities, Compute, CreateMachine, Machine, ProviderError, Reference,
};

/// Its name in the catalogue.
pub const NAME: &str = "simulator";
/// The same cloud under another name, which can do less: it sets no passwords on machines that exist, makes them no larger, takes no snapshots and no backups, shows no consoles, names
/// no addresses and measures nothing.
pub const BASIC: &str = "simulator-basic";
/// Both names.
pub const NAMES: [&str; 2] = [NAME, BASIC];

/// What an action gives to a machine.
#[derive(Clone, Copy, Default)]
struct Given<'g> {
    image: Option<&'g str>,
    size: Option<&'g str>,
    password: Option<&'g SecretString>,
    boot: Option<&'g Boot>,
}

/// The built-in cloud.
pub struct Simulator {
    db: PgPool,
    clock: Clock,
    boot: TimeDelta,
    basic: bool,
}

/// Both clouds by their names, whose machines boot in `boot_ms`.
pub fn clouds(
    db: &PgPool,
    clock: &Clock,
    boot_ms: u64,
) -> impl Iterator<Item = (String, Arc<dyn Compute>)> {
    NAMES.into_iter().map(move |name| {
        let mut cloud = Simulator::new(db.clone(), clock.clone(), boot_ms);
        cloud.basic = name == BASIC;
        (name.to_owned(), Arc::new(cloud) as Arc<dyn Compute>)
    })
}

impl Simulator {
    /// A cloud whose machines boot in `boot_ms`.
    pub fn new(db: PgPool, clock: Clock, boot_ms: u64) -> Self {
        // A day is more than anybody waits for a simulation, and keeps the arithmetic of times within bounds.
        let boot =
            TimeDelta::milliseconds(i64::try_from(boot_ms).unwrap_or(i64::MAX).min(86_400_000));
        Self {
            db,
            clock,
            boot,
            basic: false,
        }
    }

    fn pace(&self, slow: bool) -> Pace {
        Pace {
            boot: self.boot,
            slow,
        }
    }

    /// Shows a machine, unless the account's calls fail; ends one that vanishes when seen running.
    async fn show(
        &self,
        connection: &mut PgConnection,
        row: &Row,
    ) -> Result<Option<Machine>, ProviderError> {
        let now = self.clock.now();
        let seen = row.seen(now);
        if row.vanishes_after(now) {
            store::end(connection, row.id, now).await?;
        }
        Ok(seen)
    }

    /// Fails if the account's calls do. Costs one read where nobody asked for faults.
    async fn admit(
        &self,
        connection: &mut PgConnection,
        account: AccountId,
    ) -> Result<(), ProviderError> {
        if !store::has_fault(connection, account, Kind::Error).await? {
            return Ok(());
        }
        let mut tx = connection.begin().await?;
        let mut faults = store::faults_for_update(&mut tx, account).await?;
        let fails = faults.take(Kind::Error);
        store::count(&mut tx, account, &faults).await?;
        tx.commit().await?;
        if fails { Err(told_to_fail()) } else { Ok(()) }
    }

    async fn act(
        &self,
        provider_ref: &str,
        action: Action,
        given: Given<'_>,
    ) -> Result<(), ProviderError> {
        let id = id_of(provider_ref)?;
        let mut tx = self.db.begin().await?;
        let row = store::get_for_update(&mut tx, id)
            .await?
            .ok_or(ProviderError::NotFound)?;
        let mut faults = store::faults_for_update(&mut tx, row.account).await?;
        let now = self.clock.now();
        let outcome = if faults.take(Kind::Error) {
            Err(told_to_fail())
        } else if action == Action::Resize && faults.take(Kind::NoCapacity) {
            Err(ProviderError::NoCapacity)
        } else {
            row.begin(action, now)
        };
        if let Ok(Some(powered_on)) = outcome {
            let settles_at = now + self.pace(faults.take(Kind::Slow)).of(action);
            let password_digest = given.password.map(digest);
            let change = Change {
                action,
                powered_on,
                began_at: now,
                settles_at,
                image: given.image,
                size: given.size,
                password_digest: password_digest.as_ref().map(<[u8; 32]>::as_slice),
                boot: given.boot,
            };
            store::begin(&mut tx, id, &change).await?;
        }
        store::count(&mut tx, row.account, &faults).await?;
        tx.commit().await?;
        outcome.map(|_| ())
    }
}

#[async_trait]
impl Compute for Simulator {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            graceful_shutdown: true,
            reset_password: !self.basic,
            reset_password_off: false,
            user_data: true,
            rebuild: true,
            rebuild_credentials: !self.basic,
            resize: !self.basic,
            resize_disk: !self.basic,
            resize_down: !self.basic,
            resize_off: true,
            console: !self.basic,
        }
    }

    fn lookup_delay(&self) -> TimeDelta {
        TimeDelta::zero()
    }

    async fn create(&self, wish: &CreateMachine) -> Result<Machine, ProviderError> {
        let account = wish.reference.account;
        let mut tx = self.db.begin().await?;
        let mut faults = store::faults_for_update(&mut tx, account).await?;
        let refusal = if faults.take(Kind::Error) {
            Some(told_to_fail())
        } else if faults.take(Kind::NoCapacity) {
            Some(ProviderError::NoCapacity)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            store::count(&mut tx, account, &faults).await?;
            tx.commit().await?;
            return Err(refusal);
        }
        let lost = faults.take(Kind::AnswerLost);
        let now = self.clock.now();
        let boot = self.pace(faults.take(Kind::Slow)).of(Action::Create);
        let times = Times {
            now,
            address_at: now + boot / 2,
            settles_at: now + boot,
        };
        let vanishes = faults.take(Kind::Vanish);
        store::count(&mut tx, account, &faults).await?;
        let Some(row) = store::insert(
            &mut tx,
            wish,
            &digest(&wish.boot.password),
            &times,
            vanishes,
        )
        .await?
        else {
            return Err(ProviderError::NoCapacity);
        };
        tx.commit().await?;
        if lost {
            Err(ProviderError::Unknown)
        } else {
            row.seen(now).ok_or(ProviderError::Unknown)
        }
    }

    async fn find(&self, reference: Reference) -> Result<Vec<Machine>, ProviderError> {
        let mut connection = self.db.acquire().await?;
        self.admit(&mut connection, reference.account).await?;
        let mut machines = Vec::new();
        for row in store::find(&mut connection, &reference.instance.to_string()).await? {
            machines.extend(self.show(&mut connection, &row).await?);
        }
        Ok(machines)
    }

    async fn get(&self, provider_ref: &str) -> Result<Option<Machine>, ProviderError> {
        let Ok(id) = Uuid::try_parse(provider_ref) else {
            return Ok(None);
        };
        let mut connection = self.db.acquire().await?;
        let Some(row) = store::get(&mut connection, id).await? else {
            return Ok(None);
        };
        self.admit(&mut connection, row.account).await?;
        self.show(&mut connection, &row).await
    }

    async fn power_on(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, Action::PowerOn, Given::default())
            .await
    }

    async fn power_off(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, Action::PowerOff, Given::default())
            .await
    }

    async fn shutdown(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, Action::Shutdown, Given::default())
            .await
    }

    async fn reboot(&self, provider_ref: &str) -> Result<(), ProviderError> {
        self.act(provider_ref, Action::Reboot, Given::default())
            .await
    }

    async fn rebuild(
        &self,
        provider_ref: &str,
        image: &str,
        boot: &Boot,
    ) -> Result<(), ProviderError> {
        let fresh = !self.basic;
        let given = Given {
            image: Some(image),
            password: fresh.then_some(&boot.password),
            boot: fresh.then_some(boot),
            ..Given::default()
        };
        self.act(provider_ref, Action::Rebuild, given).await
    }

    async fn reset_password(
        &self,
        provider_ref: &str,
        password: &SecretString,
    ) -> Result<(), ProviderError> {
        let given = Given {
            password: Some(password),
            ..Given::default()
        };
        self.act(provider_ref, Action::ResetPassword, given).await
    }

    async fn resize(
        &self,
        provider_ref: &str,
        size: &str,
        _disk_grows: bool,
    ) -> Result<(), ProviderError> {
        let given = Given {
            size: Some(size),
            ..Given::default()
        };
        self.act(provider_ref, Action::Resize, given).await
    }

    async fn delete(&self, provider_ref: &str) -> Result<(), ProviderError> {
        let id = id_of(provider_ref)?;
        let mut tx = self.db.begin().await?;
        let row = store::get_for_update(&mut tx, id)
            .await?
            .ok_or(ProviderError::NotFound)?;
        let mut faults = store::faults_for_update(&mut tx, row.account).await?;
        let now = self.clock.now();
        let outcome = if faults.take(Kind::Error) {
            Err(told_to_fail())
        } else {
            match row.seen(now) {
                None => Err(ProviderError::NotFound),
                Some(machine) if machine.busy && row.gone_at.is_none() => Err(ProviderError::Busy),
                Some(_) => Ok(()),
            }
        };
        if outcome.is_ok() {
            store::end(
                &mut tx,
                id,
                now + self.pace(faults.take(Kind::Slow)).of_delete(),
            )
            .await?;
        }
        store::count(&mut tx, row.account, &faults).await?;
        tx.commit().await?;
        outcome
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        (!self.basic).then_some(self)
    }

    fn backups(&self) -> Option<&dyn Backups> {
        (!self.basic).then_some(self)
    }

    fn consoles(&self) -> Option<&dyn Consoles> {
        (!self.basic).then_some(self)
    }

    fn reverse_dns(&self) -> Option<&dyn ReverseDns> {
        (!self.basic).then_some(self)
    }

    fn firewalls(&self) -> Option<&dyn Firewalls> {
        (!self.basic).then_some(self)
    }

    fn metrics(&self) -> Option<&dyn Metrics> {
        (!self.basic).then_some(self)
    }
}

/// What has no name of ours is not there.
fn id_of(name: &str) -> Result<Uuid, ProviderError> {
    Uuid::try_parse(name).map_err(|_| ProviderError::NotFound)
}

fn told_to_fail() -> ProviderError {
    ProviderError::Unavailable("the simulator was told to fail".to_owned())
}

fn digest(password: &SecretString) -> [u8; 32] {
    crypto::digest(password.expose_secret().as_bytes())
}

/// Whether the simulated cloud did its part is not known when its database fails, just as with a real one.
impl From<sqlx::Error> for ProviderError {
    fn from(error: sqlx::Error) -> Self {
        tracing::warn!(%error, "the simulated cloud lost its database");
        Self::Unknown
    }
}
