//! Backups at Linode: of the last day, of up to a week and of up to two weeks ago, taken at an hour that Linode chooses. A disk is put back with all there is on the machine deleted
//! before, or it would stand beside the present one.

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Backups, Copy, Shown, moment, unreadable};
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::{list, text};
use crate::provider::compute::line::Ask;
use crate::provider::compute::linode::{Linode, path};

/// A backup that is whole. One that is being taken, or failed, is none.
fn copy(backup: &Value) -> Result<Option<Copy>, ProviderError> {
    let whole = text(backup, "/status") == Some("successful");
    let available = backup.get("available").and_then(Value::as_bool);
    if !whole || available == Some(false) {
        return Ok(None);
    }
    let read = || {
        Some(Copy {
            backup_ref: backup.get("id")?.as_u64()?.to_string(),
            taken_at: moment(text(backup, "/created")?)?,
        })
    };
    read().map(Some).ok_or_else(unreadable)
}

#[async_trait]
impl Backups for Linode {
    async fn read(&self, machine: &str) -> Result<Shown, ProviderError> {
        let path = path(machine)?;
        let shown = self.ask(&Ask::get(path.clone())).await?;
        let on = shown.pointer("/backups/enabled").and_then(Value::as_bool);
        let on = on.ok_or_else(unreadable)?;
        if !on {
            return Ok(Shown::default());
        }
        let listed = self.ask(&Ask::get(format!("{path}/backups"))).await?;
        let copies = list(&listed, "/automatic")?.iter().map(copy);
        let copies = copies.filter_map(Result::transpose);
        Ok(Shown {
            on,
            copies: copies.collect::<Result<_, _>>()?,
        })
    }

    async fn switch(&self, machine: &str, on: bool) -> Result<(), ProviderError> {
        let verb = if on { "enable" } else { "cancel" };
        let path = format!("{}/backups/{verb}", path(machine)?);
        self.ask(&Ask::post(path, json!({}))).await.map(drop)
    }

    async fn restore(&self, machine: &str, backup_ref: &str) -> Result<(), ProviderError> {
        let id: u64 = machine.parse().map_err(|_| ProviderError::NotFound)?;
        let backup: u64 = backup_ref.parse().map_err(|_| ProviderError::NotFound)?;
        let path = format!("{}/backups/{backup}/restore", path(machine)?);
        let body = json!({"linode_id": id, "overwrite": true});
        self.ask(&Ask::post(path, body)).await.map(drop)
    }
}
