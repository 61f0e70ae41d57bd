//! Snapshots at Vultr. They do not say whose disk they are of, so all that is ours is in their description. One shows at once and says when it is whole.

use async_trait::async_trait;
use serde_json::json;
use uuid::Uuid;

use super::{Found, Snapshots, name_of};
use crate::base::id::SnapshotId;
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::text;
use crate::provider::compute::line::Ask;
use crate::provider::compute::vultr::{Vultr, path};

/// Their ids are UUIDs; anything else would make another path.
fn id_of(snapshot_ref: &str) -> Result<Uuid, ProviderError> {
    Uuid::try_parse(snapshot_ref).map_err(|_| ProviderError::NotFound)
}

#[async_trait]
impl Snapshots for Vultr {
    async fn create(&self, machine: &str, snapshot: SnapshotId) -> Result<(), ProviderError> {
        let machine = Uuid::try_parse(machine).map_err(|_| ProviderError::NotFound)?;
        let body = json!({"instance_id": machine, "description": name_of(snapshot)});
        self.ask(&Ask::post("/snapshots", body)).await.map(drop)
    }

    async fn find(
        &self,
        _machine: &str,
        snapshot: SnapshotId,
    ) -> Result<Vec<Found>, ProviderError> {
        let name = name_of(snapshot);
        let query = format!("&description={name}");
        let mut listed = self.pages("snapshots", &query).await?;
        listed.retain(|s| {
            text(s, "/description") == Some(&name) && text(s, "/status") != Some("deleted")
        });
        listed.sort_by(|a, b| text(a, "/date_created").cmp(&text(b, "/date_created")));
        let found = |s: &serde_json::Value| {
            Some(Found {
                snapshot_ref: text(s, "/id")?.to_owned(),
                ready: text(s, "/status")? == "complete",
            })
        };
        let unreadable = || ProviderError::Unavailable("a snapshot cannot be read".to_owned());
        listed
            .iter()
            .map(|s| found(s).ok_or_else(unreadable))
            .collect()
    }

    async fn restore(&self, machine: &str, snapshot_ref: &str) -> Result<(), ProviderError> {
        let body = json!({"snapshot_id": id_of(snapshot_ref)?});
        let path = format!("{}/restore", path(machine)?);
        self.ask(&Ask::post(path, body)).await.map(drop)
    }

    async fn delete(&self, _machine: &str, snapshot_ref: &str) -> Result<(), ProviderError> {
        let id = id_of(snapshot_ref)?;
        self.ask(&Ask::delete(format!("/snapshots/{id}")))
            .await
            .map(drop)
    }
}
