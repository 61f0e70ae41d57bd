//! Backups of the simulated cloud: a machine that has them switched on has its disk copied once a day, when somebody looks, and copies are kept for a week.

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use sewa_sdk::sewa::sandbox::v1::fault::Kind;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::provider::compute::ProviderError;
use crate::provider::compute::backups::{Backups, Copy, Shown};
use crate::provider::compute::simulator::model::{Action, Faults, Row};
use crate::provider::compute::simulator::snapshots::begin;
use crate::provider::compute::simulator::{Simulator, store, told_to_fail};

/// How long a copy is kept.
const KEPT: TimeDelta = TimeDelta::days(7);

/// A machine that is there, locked, with the faults of its account.
async fn locked(
    connection: &mut PgConnection,
    machine: &str,
) -> Result<(Row, Faults), ProviderError> {
    let id = super::id_of(machine)?;
    let row = store::get_for_update(connection, id).await?;
    let row = row.ok_or(ProviderError::NotFound)?;
    let faults = store::faults_for_update(connection, row.account).await?;
    Ok((row, faults))
}

#[async_trait]
impl Backups for Simulator {
    async fn read(&self, machine: &str) -> Result<Shown, ProviderError> {
        let mut tx = self.db.begin().await?;
        let (row, mut faults) = locked(&mut tx, machine).await?;
        let now = self.clock.now();
        let outcome = match row.seen(now) {
            _ if faults.take(Kind::Error) => Err(told_to_fail()),
            None => Err(ProviderError::NotFound),
            Some(machine) => Ok(machine),
        };
        store::count(&mut tx, row.account, &faults).await?;
        let shown = match outcome {
            Ok(seen) => {
                let on =
                    sqlx::query_scalar!("select backups from sim_machines where id = $1", row.id)
                        .fetch_one(&mut *tx)
                        .await?;
                if on && !seen.busy {
                    take(&mut tx, row.id, now).await?;
                }
                let copies = list(&mut tx, row.id).await?;
                Ok(Shown { on, copies })
            }
            Err(error) => Err(error),
        };
        tx.commit().await?;
        shown
    }

    async fn switch(&self, machine: &str, on: bool) -> Result<(), ProviderError> {
        let mut tx = self.db.begin().await?;
        let (row, mut faults) = locked(&mut tx, machine).await?;
        let outcome = match row.seen(self.clock.now()) {
            _ if faults.take(Kind::Error) => Err(told_to_fail()),
            None => Err(ProviderError::NotFound),
            Some(_) => Ok(()),
        };
        if outcome.is_ok() {
            sqlx::query!(
                "update sim_machines set backups = $2 where id = $1",
                row.id,
                on
            )
            .execute(&mut *tx)
            .await?;
            if !on {
                sqlx::query!("delete from sim_backups where machine_id = $1", row.id)
                    .execute(&mut *tx)
                    .await?;
            }
        }
        let lost = outcome.is_ok() && faults.take(Kind::AnswerLost);
        store::count(&mut tx, row.account, &faults).await?;
        tx.commit().await?;
        if lost {
            Err(ProviderError::Unknown)
        } else {
            outcome
        }
    }

    async fn restore(&self, machine: &str, backup_ref: &str) -> Result<(), ProviderError> {
        let backup = super::id_of(backup_ref)?;
        let mut tx = self.db.begin().await?;
        let (row, mut faults) = locked(&mut tx, machine).await?;
        let now = self.clock.now();
        let outcome = if faults.take(Kind::Error) {
            Err(told_to_fail())
        } else {
            row.begin(Action::Restore, now)
        };
        if let Ok(Some(powered_on)) = outcome {
            let until = now + self.pace(faults.take(Kind::Slow)).of(Action::Restore);
            begin(&mut tx, &row, Action::Restore, powered_on, (now, until)).await?;
            if !put_back(&mut tx, row.id, backup).await? {
                return Err(ProviderError::Refused("no such backup".to_owned()));
            }
        }
        let lost = outcome.is_ok() && faults.take(Kind::AnswerLost);
        store::count(&mut tx, row.account, &faults).await?;
        tx.commit().await?;
        if lost {
            Err(ProviderError::Unknown)
        } else {
            outcome.map(|_| ())
        }
    }
}

/// Copies a disk unless that was done today, and forgets what is older than a week.
async fn take(
    connection: &mut PgConnection,
    machine: Uuid,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into sim_backups (id, machine_id, image, password_digest, ssh_keys, user_data_digest, taken_at)
        select $2, id, image, password_digest, ssh_keys, user_data_digest, $3 from sim_machines
        where id = $1 and not exists (select from sim_backups where machine_id = $1 and taken_at > $4)",
        machine,
        Uuid::now_v7(),
        now,
        now - TimeDelta::days(1),
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "delete from sim_backups where machine_id = $1 and taken_at <= $2",
        machine,
        now - KEPT
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn list(connection: &mut PgConnection, machine: Uuid) -> Result<Vec<Copy>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, taken_at from sim_backups where machine_id = $1",
        machine
    )
    .fetch_all(connection)
    .await?;
    let copies = rows.into_iter().map(|row| Copy {
        backup_ref: row.id.to_string(),
        taken_at: row.taken_at,
    });
    Ok(copies.collect())
}

/// Puts a copy back. False if there is no such copy of this machine's disk.
async fn put_back(
    connection: &mut PgConnection,
    machine: Uuid,
    backup: Uuid,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update sim_machines m set image = b.image, password_digest = b.password_digest, ssh_keys = b.ssh_keys, user_data_digest = b.user_data_digest
        from sim_backups b where m.id = $1 and b.id = $2 and b.machine_id = m.id",
        machine,
        backup,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
