//! Snapshots of the simulated cloud: what is on a disk, kept under a name. A machine is busy while one is taken of it, and one that is not ready shows in no list.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sewa_sdk::sewa::sandbox::v1::fault::Kind;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::base::id::{AccountId, SnapshotId};
use crate::provider::compute::ProviderError;
use crate::provider::compute::simulator::model::{Action, Row};
use crate::provider::compute::simulator::store::{self, Change};
use crate::provider::compute::simulator::{Simulator, told_to_fail};
use crate::provider::compute::snapshots::{Found, Snapshots, name_of};

#[async_trait]
impl Snapshots for Simulator {
    async fn create(&self, machine: &str, snapshot: SnapshotId) -> Result<(), ProviderError> {
        let id = super::id_of(machine)?;
        let mut tx = self.db.begin().await?;
        let row = store::get_for_update(&mut tx, id)
            .await?
            .ok_or(ProviderError::NotFound)?;
        let mut faults = store::faults_for_update(&mut tx, row.account).await?;
        let now = self.clock.now();
        let outcome = if faults.take(Kind::Error) {
            Err(told_to_fail())
        } else {
            row.begin(Action::Snapshot, now)
        };
        if let Ok(Some(powered_on)) = outcome {
            let ready_at = now + self.pace(faults.take(Kind::Slow)).of(Action::Snapshot);
            begin(&mut tx, &row, Action::Snapshot, powered_on, (now, ready_at)).await?;
            keep(&mut tx, id, snapshot, ready_at).await?;
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

    async fn find(
        &self,
        _machine: &str,
        snapshot: SnapshotId,
    ) -> Result<Vec<Found>, ProviderError> {
        let mut connection = self.db.acquire().await?;
        let rows = sqlx::query!(
            "select id, account_id from sim_snapshots where name = $1 and ready_at <= $2 order by id",
            name_of(snapshot),
            self.clock.now()
        )
        .fetch_all(&mut *connection)
        .await?;
        if let Some(first) = rows.first() {
            let account = AccountId(first.account_id);
            self.admit(&mut connection, account).await?;
        }
        let found = |id: Uuid| Found {
            snapshot_ref: id.to_string(),
            ready: true,
        };
        Ok(rows.into_iter().map(|r| found(r.id)).collect())
    }

    async fn restore(&self, machine: &str, snapshot_ref: &str) -> Result<(), ProviderError> {
        let (id, snapshot) = (super::id_of(machine)?, super::id_of(snapshot_ref)?);
        let mut tx = self.db.begin().await?;
        let row = store::get_for_update(&mut tx, id)
            .await?
            .ok_or(ProviderError::NotFound)?;
        let mut faults = store::faults_for_update(&mut tx, row.account).await?;
        let now = self.clock.now();
        let outcome = if faults.take(Kind::Error) {
            Err(told_to_fail())
        } else {
            row.begin(Action::Restore, now)
        };
        if let Ok(Some(powered_on)) = outcome {
            let until = now + self.pace(faults.take(Kind::Slow)).of(Action::Restore);
            begin(&mut tx, &row, Action::Restore, powered_on, (now, until)).await?;
            if !put_back(&mut tx, id, snapshot).await? {
                return Err(ProviderError::Refused("no such snapshot".to_owned()));
            }
        }
        store::count(&mut tx, row.account, &faults).await?;
        tx.commit().await?;
        outcome.map(|_| ())
    }

    async fn delete(&self, _machine: &str, snapshot_ref: &str) -> Result<(), ProviderError> {
        let id = super::id_of(snapshot_ref)?;
        let mut tx = self.db.begin().await?;
        let deleted = sqlx::query_scalar!(
            "delete from sim_snapshots where id = $1 returning account_id",
            id
        )
        .fetch_optional(&mut *tx)
        .await?;
        let account = AccountId(deleted.ok_or(ProviderError::NotFound)?);
        let mut faults = store::faults_for_update(&mut tx, account).await?;
        if faults.take(Kind::Error) {
            tx.rollback().await?;
            let mut connection = self.db.acquire().await?;
            store::count(&mut connection, account, &faults).await?;
            return Err(told_to_fail());
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Records the work of a machine.
pub(super) async fn begin(
    connection: &mut PgConnection,
    row: &Row,
    action: Action,
    powered_on: bool,
    (began_at, settles_at): (DateTime<Utc>, DateTime<Utc>),
) -> Result<(), sqlx::Error> {
    let change = Change {
        action,
        powered_on,
        began_at,
        settles_at,
        image: None,
        size: None,
        password_digest: None,
        boot: None,
    };
    store::begin(connection, row.id, &change).await
}

/// Copies what is on a disk.
async fn keep(
    connection: &mut PgConnection,
    machine: Uuid,
    snapshot: SnapshotId,
    ready_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into sim_snapshots (id, account_id, machine_id, name, image, password_digest, ssh_keys, user_data_digest, ready_at)
        select $2, account_id, id, $3, image, password_digest, ssh_keys, user_data_digest, $4 from sim_machines where id = $1",
        machine,
        Uuid::now_v7(),
        name_of(snapshot),
        ready_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts it back. False if there is no such copy of this machine's disk.
async fn put_back(
    connection: &mut PgConnection,
    machine: Uuid,
    snapshot: Uuid,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "update sim_machines m set image = s.image, password_digest = s.password_digest, ssh_keys = s.ssh_keys, user_data_digest = s.user_data_digest
        from sim_snapshots s where m.id = $1 and s.id = $2 and s.machine_id = m.id",
        machine,
        snapshot,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}
