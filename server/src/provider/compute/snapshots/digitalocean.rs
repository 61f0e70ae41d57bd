//! Snapshots at DigitalOcean. They are images of the operator's team. While one is taken the droplet is locked, and it shows in no list before it is whole. Going back to one is a
//! rebuild from it; `restore` takes backups only.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Found, Snapshots, name_of};
use crate::base::id::SnapshotId;
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::text;
use crate::provider::compute::digitalocean::{DigitalOcean, number};
use crate::provider::compute::line::Ask;

/// A snapshot's number. One list has numbers and the other texts.
fn id_of(snapshot: &Value) -> Option<u64> {
    let id = snapshot.get("id")?;
    id.as_u64().or_else(|| id.as_str()?.parse().ok())
}

#[async_trait]
impl Snapshots for DigitalOcean {
    async fn create(&self, machine: &str, snapshot: SnapshotId) -> Result<(), ProviderError> {
        self.act(
            machine,
            json!({"type": "snapshot", "name": name_of(snapshot)}),
        )
        .await
    }

    /// Those of the droplet; those of the whole team once it is gone.
    async fn find(&self, machine: &str, snapshot: SnapshotId) -> Result<Vec<Found>, ProviderError> {
        let of_machine = match number(machine) {
            Ok(id) => {
                let path = format!("/v2/droplets/{id}/snapshots");
                self.pages(&path, "snapshots", "").await
            }
            Err(error) => Err(error),
        };
        let listed = match of_machine {
            Err(ProviderError::NotFound) => {
                let query = "&resource_type=droplet";
                self.pages("/v2/snapshots", "snapshots", query).await?
            }
            listed => listed?,
        };
        let name = name_of(snapshot);
        let mut ids = listed
            .iter()
            .filter(|s| text(s, "/name") == Some(&name))
            .map(|s| {
                id_of(s).ok_or_else(|| {
                    ProviderError::Unavailable("a snapshot cannot be read".to_owned())
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        ids.sort_unstable();
        let found = |id: u64| Found {
            snapshot_ref: id.to_string(),
            ready: true,
        };
        Ok(ids.into_iter().map(found).collect())
    }

    async fn restore(&self, machine: &str, snapshot_ref: &str) -> Result<(), ProviderError> {
        let image = number(snapshot_ref)?;
        self.act(machine, json!({"type": "rebuild", "image": image}))
            .await
    }

    async fn delete(&self, _machine: &str, snapshot_ref: &str) -> Result<(), ProviderError> {
        let id = number(snapshot_ref)?;
        self.ask(&Ask::delete(format!("/v2/snapshots/{id}")))
            .await
            .map(drop)
    }
}
