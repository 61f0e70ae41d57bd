//! Backups at DigitalOcean: images of the operator's team, kept for a week, that go with their droplet. They cost 30 % of it.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Backups, Copy, HOUR, Shown, moment, unreadable};
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::text;
use crate::provider::compute::digitalocean::{DigitalOcean, number};
use crate::provider::compute::line::Ask;

fn copy(image: &Value) -> Option<Copy> {
    Some(Copy {
        backup_ref: image.get("id")?.as_u64()?.to_string(),
        taken_at: moment(text(image, "/created_at")?)?,
    })
}

#[async_trait]
impl Backups for DigitalOcean {
    async fn read(&self, machine: &str) -> Result<Shown, ProviderError> {
        let id = number(machine)?;
        let path = format!("/v2/droplets/{id}/backups");
        let policy = self.ask(&Ask::get(format!("{path}/policy"))).await?;
        let on = policy.pointer("/policy/backup_enabled");
        let on = on.and_then(Value::as_bool).ok_or_else(unreadable)?;
        let images = self.pages(&path, "backups", "").await?;
        let copies = images.iter().map(|i| copy(i).ok_or_else(unreadable));
        Ok(Shown {
            on,
            copies: copies.collect::<Result<_, _>>()?,
        })
    }

    async fn switch(&self, machine: &str, on: bool) -> Result<(), ProviderError> {
        let action = if on {
            json!({"type": "enable_backups", "backup_policy": {"plan": "daily", "hour": HOUR}})
        } else {
            json!({"type": "disable_backups"})
        };
        self.act(machine, action).await
    }

    async fn restore(&self, machine: &str, backup_ref: &str) -> Result<(), ProviderError> {
        let image = number(backup_ref)?;
        self.act(machine, json!({"type": "restore", "image": image}))
            .await
    }
}
