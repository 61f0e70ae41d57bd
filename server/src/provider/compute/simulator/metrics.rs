//! What machines of the simulated cloud use. Nothing is kept of it: it follows from the machine's row and the time. A fault ERROR fails it, too, and is not counted by it, because
//! nobody asked for it.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sewa_sdk::sewa::sandbox::v1::fault::Kind as Fault;
use uuid::Uuid;

use crate::provider::compute::ProviderError;
use crate::provider::compute::metrics::{Asked, Gives, Kind, Metrics, Reading};
use crate::provider::compute::simulator::model::Row;
use crate::provider::compute::simulator::{Simulator, load, store, told_to_fail};

/// What it tells.
const GIVES: Gives = Gives {
    kinds: &Kind::ALL,
    traffic: true,
    estimated: false,
    minutes: 1,
    an_hour: None,
};

impl Simulator {
    /// The machines of these names, with whether the calls of their accounts fail.
    async fn measured(
        &self,
        asked: &[Asked],
    ) -> Result<HashMap<String, (Row, bool)>, ProviderError> {
        let ids: Vec<Uuid> = asked
            .iter()
            .filter_map(|one| Uuid::try_parse(&one.provider_ref).ok())
            .collect();
        let mut connection = self.db.acquire().await?;
        let (mut accounts, mut rows) = (HashMap::new(), HashMap::new());
        for row in store::list(&mut connection, &ids).await? {
            let fails = match accounts.get(&row.account) {
                Some(fails) => *fails,
                None => store::has_fault(&mut connection, row.account, Fault::Error).await?,
            };
            accounts.insert(row.account, fails);
            rows.insert(row.id.to_string(), (row, fails));
        }
        Ok(rows)
    }
}

fn reading(row: &Row, now: DateTime<Utc>) -> Option<Reading> {
    row.seen(now)?;
    let does = row.on_for(now).map(|on_for| load::now(row.id, on_for, now));
    Some(Reading::Now(does.unwrap_or_default()))
}

#[async_trait]
impl Metrics for Simulator {
    fn gives(&self) -> Gives {
        GIVES
    }

    async fn read(
        &self,
        asked: &[Asked],
        _now: DateTime<Utc>,
    ) -> Vec<Result<Reading, ProviderError>> {
        // The cloud's own time is the one by which its machines were powered on.
        let now = self.clock.now();
        let rows = match self.measured(asked).await {
            Ok(rows) => rows,
            Err(error) => return asked.iter().map(|_| Err(error.clone())).collect(),
        };
        let read = |one: &Asked| match rows.get(&one.provider_ref) {
            Some((_, true)) => Err(told_to_fail()),
            Some((row, false)) => reading(row, now).ok_or(ProviderError::NotFound),
            None => Err(ProviderError::NotFound),
        };
        asked.iter().map(read).collect()
    }
}
