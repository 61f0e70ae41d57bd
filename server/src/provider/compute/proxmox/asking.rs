//! What all verbs are made of: asking, following tasks, looking at guests, and single steps.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;

use crate::provider::compute::ProviderError;
use crate::provider::compute::cloud::{escaped, list, text};
use crate::provider::compute::cluster::{Entry, Size};
use crate::provider::compute::line::{Ask, Line, Reply};
use crate::provider::compute::proxmox::failure::{Meaning, failed, meaning, refused, said};
use crate::provider::compute::proxmox::guest::{BootDisk, Seen, boot_disk, form};
use crate::provider::compute::proxmox::{DIALECT, Proxmox};
use crate::provider::compute::vendor::Access;

/// How long any other task is followed. Shorter than a call may take.
pub(super) const FOLLOWED: Duration = Duration::from_millis(1500);
/// Between two looks at a task.
const PAUSE: Duration = Duration::from_millis(100);
/// Tasks that somebody who looks at a screen has open. They keep nobody out.
const SCREENS: [&str; 5] = [
    "vncproxy",
    "vncshell",
    "termproxy",
    "spiceproxy",
    "spiceshell",
];

pub(in crate::provider::compute) fn number(provider_ref: &str) -> Result<u32, ProviderError> {
    provider_ref.parse().map_err(|_| ProviderError::NotFound)
}

pub(in crate::provider::compute) fn unreadable(what: &str) -> ProviderError {
    ProviderError::Unavailable(format!("{what} cannot be read"))
}

impl Proxmox {
    /// A line to the cluster, by any of its nodes.
    ///
    /// # Errors
    /// If TLS cannot be set up.
    pub fn new(access: &Access) -> anyhow::Result<Self> {
        let line = Line::new(access, "", DIALECT)?;
        Ok(Self { line })
    }

    pub(in crate::provider::compute) fn line(&self) -> &Line {
        &self.line
    }

    pub(in crate::provider::compute) async fn read(
        &self,
        path: String,
    ) -> Result<Value, ProviderError> {
        let reply = self.line.ask(&Ask::get(path)).await?;
        if !reply.status.is_success() {
            return Err(refused(&reply, true));
        }
        reply
            .body
            .get("data")
            .cloned()
            .ok_or_else(|| unreadable("a reply"))
    }

    /// Sends a change, and returns its data: the number of a task, or nothing.
    pub(in crate::provider::compute) async fn change(
        &self,
        method: Method,
        path: String,
        fields: &[(&str, String)],
    ) -> Result<Value, ProviderError> {
        self.say(method, path, fields)
            .await?
            .map_err(|reply| refused(&reply, false))
    }

    /// The same, for whoever knows what a refusal means.
    pub(super) async fn say(
        &self,
        method: Method,
        path: String,
        fields: &[(&str, String)],
    ) -> Result<Result<Value, Reply>, ProviderError> {
        let ask = Ask {
            method,
            form: (!fields.is_empty()).then(|| form(fields)),
            ..Ask::get(path)
        };
        let mut reply = self.line.ask(&ask).await?;
        if reply.status.is_success() {
            Ok(Ok(reply.body["data"].take()))
        } else {
            Ok(Err(reply))
        }
    }

    /// Follows a task for a while. True if it ended well, false if it is still under way, as far as is known.
    pub(super) async fn follow(
        &self,
        task: &Value,
        patience: Duration,
    ) -> Result<bool, ProviderError> {
        // A change that is done at once answers with nothing.
        let Some(upid) = task.as_str().filter(|t| t.starts_with("UPID:")) else {
            return Ok(true);
        };
        let node = upid.split(':').nth(1).unwrap_or_default();
        let path = format!("/nodes/{}/tasks/{}/status", escaped(node), escaped(upid));
        let began = Instant::now();
        loop {
            let Ok(status) = self.read(path.clone()).await else {
                return Ok(false);
            };
            if text(&status, "/status") == Some("stopped") {
                let end = text(&status, "/exitstatus").unwrap_or_default();
                return if end == "OK" || end.starts_with("WARNINGS") {
                    Ok(true)
                } else {
                    Err(failed(end))
                };
            }
            if began.elapsed() + PAUSE >= patience {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(in crate::provider::compute) async fn resources(
        &self,
        kind: &str,
    ) -> Result<Vec<Value>, ProviderError> {
        let data = self.read(format!("/cluster/resources{kind}")).await?;
        Ok(list(&data, "")?.to_vec())
    }

    pub(super) async fn entries(&self) -> Result<Vec<Entry>, ProviderError> {
        let resources = self.resources("?type=vm").await?;
        Ok(resources.iter().filter_map(Entry::read).collect())
    }

    /// A guest as it is now; `None` if there is none of that number. Guests move between nodes, so it is looked for each time.
    pub(in crate::provider::compute) async fn see(
        &self,
        vmid: u32,
    ) -> Result<Option<Seen>, ProviderError> {
        for _ in 0..2 {
            let entries = self.entries().await?;
            let Some(entry) = entries.iter().find(|e| e.vmid == vmid && e.machine) else {
                self.may_see(vmid).await?;
                return Ok(None);
            };
            match self.see_at(&entry.node, vmid).await {
                // It was destroyed, or moved, in between.
                Err(ProviderError::NotFound) => {}
                seen => return seen.map(Some),
            }
        }
        Err(ProviderError::Unavailable(format!(
            "guest {vmid} is listed and not where it is listed"
        )))
    }

    pub(super) async fn see_at(&self, node: &str, vmid: u32) -> Result<Seen, ProviderError> {
        let path = format!("/nodes/{}", escaped(node));
        let (status, config, tasks) = tokio::try_join!(
            self.read(format!("{path}/qemu/{vmid}/status/current")),
            self.read(format!("{path}/qemu/{vmid}/config")),
            self.read(format!("{path}/tasks?source=active&vmid={vmid}")),
        )?;
        let at_work = list(&tasks, "")?.iter().any(|task| {
            let kind = text(task, "/type").unwrap_or_default();
            task.get("endtime").is_none() && !SCREENS.contains(&kind)
        });
        Ok(Seen::new(node, vmid, &status, &config, at_work))
    }

    /// A list shows only what the token may see. A machine that is hidden must not count as gone.
    pub(super) async fn may_see(&self, vmid: u32) -> Result<(), ProviderError> {
        let path = format!("/vms/{vmid}");
        let held = self
            .read(format!("/access/permissions?path={}", escaped(&path)))
            .await?;
        let audit = held.get(&path).and_then(|p| p.get("VM.Audit"));
        if audit.is_some_and(|v| !v.is_null()) {
            Ok(())
        } else {
            Err(ProviderError::Unauthorized(
                "the token lacks VM.Audit on the machines".to_owned(),
            ))
        }
    }

    /// A guest that is ours, is there, and nobody works on.
    pub(super) async fn idle(&self, provider_ref: &str) -> Result<Seen, ProviderError> {
        let vmid = number(provider_ref)?;
        let seen = self.see(vmid).await?.ok_or(ProviderError::NotFound)?;
        if !seen.is_ours() {
            return Err(ProviderError::Refused(format!(
                "guest {vmid} does not carry our reference"
            )));
        }
        if seen.machine.busy {
            return Err(ProviderError::Busy);
        }
        Ok(seen)
    }

    /// Takes one of the verbs of power on. What a guest is already is done.
    pub(super) async fn power(&self, seen: &Seen, verb: &str) -> Result<bool, ProviderError> {
        let path = format!("{}/status/{verb}", path_of(seen));
        let task = match self.say(Method::POST, path, &[]).await? {
            Ok(task) => task,
            Err(reply) if meaning(&said(&reply)) == Meaning::Already => return Ok(true),
            Err(reply) => return Err(refused(&reply, false)),
        };
        match self.follow(&task, FOLLOWED).await {
            Err(ProviderError::Unavailable(words)) if meaning(&words) == Meaning::Already => {
                Ok(true)
            }
            ended => ended,
        }
    }

    pub(super) async fn configure(
        &self,
        seen: &Seen,
        fields: &[(&str, String)],
    ) -> Result<(), ProviderError> {
        let path = format!("{}/config", path_of(seen));
        self.change(Method::PUT, path, fields).await.map(drop)
    }

    /// Makes the disk as large as `gib`, if it is smaller. `Busy` while that takes its time.
    pub(super) async fn grow(
        &self,
        seen: &Seen,
        disk: &BootDisk,
        gib: u32,
    ) -> Result<(), ProviderError> {
        if disk.gib >= gib {
            return Ok(());
        }
        let fields = [("disk", disk.key.clone()), ("size", format!("{gib}G"))];
        let path = format!("{}/resize", path_of(seen));
        let task = self.change(Method::PUT, path, &fields).await?;
        done(self.follow(&task, FOLLOWED).await?)
    }

    /// Finishes a rebuild: the new disk becomes as large as the size says, then the old one goes.
    pub(super) async fn tidy(&self, seen: &Seen) -> Result<(), ProviderError> {
        let unused = seen.unused();
        if unused.is_empty() || seen.is_raw() {
            return Ok(());
        }
        let size = Size::parse(&seen.machine.size)?;
        self.grow(seen, &disk_of(&seen.config)?, size.disk_gib)
            .await?;
        let fields = [("delete", unused.join(","))];
        self.configure(seen, &fields).await
    }

    /// The template of that name on a node, with its configuration.
    pub(super) async fn template(
        &self,
        name: &str,
        node: &str,
    ) -> Result<(u32, Value), ProviderError> {
        let entries = self.entries().await?;
        let found = entries
            .iter()
            .find(|e| e.template && e.machine && e.node == node && e.name.as_deref() == Some(name));
        let vmid = found.map(|e| e.vmid).ok_or_else(|| {
            ProviderError::Unavailable(format!("node {node} has no template {name}"))
        })?;
        let config = self
            .read(format!("/nodes/{}/qemu/{vmid}/config", escaped(node)))
            .await?;
        Ok((vmid, config))
    }
}

pub(in crate::provider::compute) fn path_of(seen: &Seen) -> String {
    format!("/nodes/{}/qemu/{}", escaped(&seen.node), seen.vmid)
}

/// `Busy` unless it is done: whoever asked comes again, and the next step follows.
pub(super) fn done(is_done: bool) -> Result<(), ProviderError> {
    if is_done {
        Ok(())
    } else {
        Err(ProviderError::Busy)
    }
}

pub(super) fn disk_of(config: &Value) -> Result<BootDisk, ProviderError> {
    boot_disk(config).ok_or_else(|| ProviderError::Refused("there is no boot disk".to_owned()))
}
