//! Backups at Vultr: the last two, on a schedule that is set apart from the switch. They cost 20 % of the machine.

use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Backups, Copy, HOUR, Shown, moment, unreadable};
use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::text;
use crate::provider::compute::line::Ask;
use crate::provider::compute::vultr::{Vultr, path};

fn copy(backup: &Value) -> Option<Copy> {
    Some(Copy {
        backup_ref: text(backup, "/id")?.to_owned(),
        taken_at: moment(text(backup, "/date_created")?)?,
    })
}

#[async_trait]
impl Backups for Vultr {
    /// They count as on only once the schedule is ours, so that a call that did half is made again.
    async fn read(&self, machine: &str) -> Result<Shown, ProviderError> {
        let path = path(machine)?;
        let schedule = self
            .ask(&Ask::get(format!("{path}/backup-schedule")))
            .await?;
        let enabled = schedule.pointer("/backup_schedule/enabled");
        let enabled = enabled.and_then(Value::as_bool).ok_or_else(unreadable)?;
        let daily = text(&schedule, "/backup_schedule/type") == Some("daily");
        let query = format!("&instance_id={machine}");
        let mut listed = self.pages("backups", &query).await?;
        listed.retain(|b| text(b, "/status") == Some("complete"));
        let copies = listed.iter().map(|b| copy(b).ok_or_else(unreadable));
        Ok(Shown {
            on: enabled && daily,
            copies: copies.collect::<Result<_, _>>()?,
        })
    }

    async fn switch(&self, machine: &str, on: bool) -> Result<(), ProviderError> {
        let path = path(machine)?;
        let state = if on { "enabled" } else { "disabled" };
        let patch = Ask {
            method: Method::PATCH,
            ..Ask::post(path.clone(), json!({"backups": state}))
        };
        self.ask(&patch).await?;
        if !on {
            return Ok(());
        }
        let body = json!({"type": "daily", "hour": HOUR});
        let schedule = Ask::post(format!("{path}/backup-schedule"), body);
        self.ask(&schedule).await.map(drop)
    }

    async fn restore(&self, machine: &str, backup_ref: &str) -> Result<(), ProviderError> {
        let backup = Uuid::try_parse(backup_ref).map_err(|_| ProviderError::NotFound)?;
        let path = format!("{}/restore", path(machine)?);
        self.ask(&Ask::post(path, json!({"backup_id": backup})))
            .await
            .map(drop)
    }
}
