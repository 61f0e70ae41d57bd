//! Reverse DNS of the simulated cloud: a column for each of a machine's two addresses. Names under `.invalid`, to which no forward record can point (RFC 6761), are refused, for trying out
//! what a refusal looks like. A fault ANSWER_LOST loses the answer after the effect.

use std::net::IpAddr;

use async_trait::async_trait;
use sewa_sdk::sewa::sandbox::v1::fault::Kind;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::provider::compute::reverse_dns::ReverseDns;
use crate::provider::compute::simulator::{Simulator, store, told_to_fail};
use crate::provider::compute::{Machine, ProviderError};

/// Whether an address is the machine's. It has no others.
fn owns(machine: &Machine, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => machine.ipv4 == Some(ip),
        IpAddr::V6(ip) => machine.ipv6 == Some(ip),
    }
}

#[async_trait]
impl ReverseDns for Simulator {
    async fn set(
        &self,
        machine: &str,
        address: IpAddr,
        name: Option<&str>,
    ) -> Result<(), ProviderError> {
        let id = super::id_of(machine)?;
        let mut tx = self.db.begin().await?;
        let row = store::get_for_update(&mut tx, id)
            .await?
            .ok_or(ProviderError::NotFound)?;
        let mut faults = store::faults_for_update(&mut tx, row.account).await?;
        let seen = row.seen(self.clock.now());
        let outcome = if faults.take(Kind::Error) {
            Err(told_to_fail())
        } else if !seen.is_some_and(|m| owns(&m, address)) {
            Err(ProviderError::NotFound)
        } else if let Some(name) = name.filter(|name| name.ends_with(".invalid")) {
            Err(ProviderError::Refused(format!(
                "400: no forward record of {name} points to {address}"
            )))
        } else {
            keep(&mut tx, id, address, name).await?;
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

    async fn get(&self, machine: &str, address: IpAddr) -> Result<Option<String>, ProviderError> {
        let id = super::id_of(machine)?;
        let mut connection = self.db.acquire().await?;
        let row = store::get(&mut connection, id)
            .await?
            .ok_or(ProviderError::NotFound)?;
        self.admit(&mut connection, row.account).await?;
        let found = sqlx::query!(
            "select reverse_ipv4, reverse_ipv6 from sim_machines where id = $1",
            id
        )
        .fetch_optional(&mut *connection)
        .await?
        .ok_or(ProviderError::NotFound)?;
        Ok(match address {
            IpAddr::V4(_) => found.reverse_ipv4,
            IpAddr::V6(_) => found.reverse_ipv6,
        })
    }
}

async fn keep(
    connection: &mut PgConnection,
    machine: Uuid,
    address: IpAddr,
    name: Option<&str>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update sim_machines set reverse_ipv4 = case when $3 then $2 else reverse_ipv4 end, reverse_ipv6 = case when $3 then reverse_ipv6 else $2 end where id = $1",
        machine,
        name,
        address.is_ipv4(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
