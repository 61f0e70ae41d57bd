//! Firewalls of the simulated cloud: a column of the machine, which goes with it. A fault ANSWER_LOST loses the answer after the effect.

use async_trait::async_trait;
use sewa_sdk::sewa::sandbox::v1::fault::Kind;
use sqlx::types::Json;
use uuid::Uuid;

use crate::base::id::InstanceId;
use crate::provider::compute::ProviderError;
use crate::provider::compute::firewalls::{Firewalls, Found, Rule, State};
use crate::provider::compute::simulator::{Simulator, store, told_to_fail};

impl Simulator {
    async fn set_firewall(
        &self,
        machine: &str,
        rules: Option<&[Rule]>,
    ) -> Result<(), ProviderError> {
        let id = super::id_of(machine)?;
        let mut tx = self.db.begin().await?;
        let row = store::get_for_update(&mut tx, id)
            .await?
            .ok_or(ProviderError::NotFound)?;
        let mut faults = store::faults_for_update(&mut tx, row.account).await?;
        let outcome = if faults.take(Kind::Error) {
            Err(told_to_fail())
        } else if row.seen(self.clock.now()).is_none() {
            Err(ProviderError::NotFound)
        } else {
            sqlx::query!(
                "update sim_machines set firewall = $2 where id = $1",
                id,
                rules.map(Json) as _,
            )
            .execute(&mut *tx)
            .await?;
            Ok(())
        };
        let lost = outcome.is_ok() && faults.take(Kind::AnswerLost);
        store::count(&mut tx, row.account, &faults).await?;
        tx.commit().await?;
        if lost {
            Err(ProviderError::Unknown)
        } else {
            outcome
        }
    }

    /// What a machine's firewall lets in; `None` if it has none.
    async fn firewall_of(&self, id: Uuid) -> Result<Option<Vec<Rule>>, ProviderError> {
        let mut connection = self.db.acquire().await?;
        let Some(row) = store::get(&mut connection, id).await? else {
            return Ok(None);
        };
        self.admit(&mut connection, row.account).await?;
        if row.seen(self.clock.now()).is_none() {
            return Ok(None);
        }
        let found = sqlx::query_scalar!(
            r#"select firewall as "firewall: Json<Vec<Rule>>" from sim_machines where id = $1"#,
            id
        )
        .fetch_optional(&mut *connection)
        .await?;
        Ok(found.flatten().map(|Json(rules)| rules))
    }
}

#[async_trait]
impl Firewalls for Simulator {
    async fn find(
        &self,
        machine: &str,
        _instance: InstanceId,
        rules: &[Rule],
    ) -> Result<Vec<Found>, ProviderError> {
        let Ok(id) = super::id_of(machine) else {
            return Ok(Vec::new());
        };
        let found = self.firewall_of(id).await?.map(|shown| Found {
            firewall_ref: machine.to_owned(),
            state: if shown == rules {
                State::Applied
            } else {
                State::Other
            },
        });
        Ok(found.into_iter().collect())
    }

    async fn create(
        &self,
        machine: &str,
        _instance: InstanceId,
        rules: &[Rule],
    ) -> Result<(), ProviderError> {
        self.set_firewall(machine, Some(rules)).await
    }

    async fn change(
        &self,
        machine: &str,
        _instance: InstanceId,
        _firewall_ref: &str,
        rules: &[Rule],
    ) -> Result<(), ProviderError> {
        self.set_firewall(machine, Some(rules)).await
    }

    async fn delete(&self, machine: &str, _firewall_ref: &str) -> Result<(), ProviderError> {
        self.set_firewall(machine, None).await
    }
}
