//! Who somebody at a terminal is: an endpoint and the tokens of a session, in a file that only its owner can read.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use sewa_sdk::sewa::identity::v1::Tokens;
use uuid::Uuid;

/// A profile as it is stored.
#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Profile {
    pub(crate) endpoint: String,
    pub(crate) email: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
    pub(crate) access_expire_time: DateTime<Utc>,
}

/// A profile's file. Holds a lock while it lives, because two renewals of one session at a time would end it.
pub(crate) struct Store {
    path: PathBuf,
    _lock: File,
}

impl Profile {
    pub(crate) fn new(endpoint: String, email: String, tokens: Tokens) -> Self {
        let end = tokens.access_expire_time.unwrap_or_default();
        Self {
            endpoint,
            email,
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            access_expire_time: DateTime::from_timestamp(end.seconds, 0).unwrap_or_default(),
        }
    }
}

impl Store {
    /// Opens a profile, new or not. Waits while another process uses it.
    pub(crate) fn open(name: &str) -> anyhow::Result<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        ensure!(
            !name.is_empty() && name.chars().all(plain),
            "a profile is named by letters, digits, - and _"
        );
        let folder = folder()?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("making {}", folder.display()))?;
        let path = folder.join(format!("{name}.json"));
        let lock = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(folder.join(format!("{name}.lock")))
            .with_context(|| format!("opening the lock of {}", path.display()))?;
        lock.lock().context("locking the profile")?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn read(&self) -> anyhow::Result<Option<Profile>> {
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(self.path.display().to_string()),
        };
        let read = serde_json::from_slice(&text);
        Ok(Some(read.with_context(|| {
            format!("{} is damaged; sign in again", self.path.display())
        })?))
    }

    /// Writes the whole file or nothing: a half-written one would lose the session.
    pub(crate) fn write(&self, profile: &Profile) -> anyhow::Result<()> {
        let fresh = self.path.with_extension(format!("{}.new", Uuid::now_v7()));
        let written = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut file| {
                file.write_all(&serde_json::to_vec_pretty(profile)?)?;
                file.sync_all()?;
                std::fs::rename(&fresh, &self.path)
            });
        written.with_context(|| format!("writing {}", self.path.display()))
    }

    pub(crate) fn delete(&self) -> anyhow::Result<()> {
        std::fs::remove_file(&self.path)
            .with_context(|| format!("deleting {}", self.path.display()))
    }
}

/// `$XDG_CONFIG_HOME/sewa`, as the XDG base directories have it.
fn folder() -> anyhow::Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")));
    Ok(base
        .context("neither XDG_CONFIG_HOME nor HOME says where profiles are kept")?
        .join("sewa"))
}
