//! A PostgreSQL of a test's own, which it may stop, kill and start again.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection};

use crate::patience::{PATIENCE, eventually};

/// As [`crate::server`] does it: what was started ends when the pipe closes, however the test ends, and how it ends is said by a word before.
const SCRIPT: &str = r#"
    log=$1; shift
    exec 2>/dev/null
    "$@" </dev/null >>"$log" 2>&1 &
    echo $!
    exec >&-
    read -r word
    case $word in
        fast) kill -INT $! ;;
        kill) kill -KILL $! ;;
        *) kill -QUIT $! ;;
    esac
    wait $!
"#;

/// Commits are written to the log before they are told, as in production. That a power cut would lose what the disk has not yet is nothing a process can be
/// tested for, so the disk is not waited for.
const SETTINGS: [&str; 9] = [
    "listen_addresses=",
    "port=5432",
    "timezone=UTC",
    "fsync=off",
    "synchronous_commit=on",
    "full_page_writes=off",
    "shared_buffers=64MB",
    "superuser_reserved_connections=3",
    "wal_keep_size=512MB",
];

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Sessions are ended, everything is written down.
    Fast,
    /// Sessions are told to quit, nothing is written down; the next start recovers.
    Immediate,
    /// `kill -9` of the postmaster; its children notice by themselves.
    Kill,
}

/// A PostgreSQL; gone when dropped.
#[derive(Debug)]
pub struct Cluster {
    shell: Option<Child>,
    folder: tempfile::TempDir,
    connections: u32,
}

impl Cluster {
    /// A new, running one with an empty database and places for so many connections.
    pub async fn start(connections: u32) -> anyhow::Result<Self> {
        let mut cluster = Self {
            shell: None,
            folder: folder()?,
            connections,
        };
        let mut initdb = cluster.command("initdb")?;
        initdb.args([
            "-U",
            "sewa",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ]);
        let output = initdb.args(["--no-sync", "--no-instructions"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "initdb: {said}");
        cluster.start_again().await?;
        let mut session = PgConnection::connect(&cluster.url_of("postgres")).await?;
        sqlx::raw_sql("create database sewa")
            .execute(&mut session)
            .await?;
        Ok(cluster)
    }

    /// The URL of its database, as a superuser.
    pub fn url(&self) -> String {
        self.url_of("sewa")
    }

    fn url_of(&self, database: &str) -> String {
        let folder = self.folder.path().display();
        format!("postgresql:///{database}?host={folder}&port=5432&user=sewa")
    }

    /// Ends it, and waits until its postmaster is gone.
    pub fn end(&mut self, how: End) -> anyhow::Result<()> {
        let mut shell = self.shell.take().context("it does not run")?;
        let word: &[u8] = match how {
            End::Fast => b"fast\n",
            End::Immediate => b"immediate\n",
            End::Kill => b"kill\n",
        };
        shell.stdin.take().context("an input")?.write_all(word)?;
        shell.wait()?;
        Ok(())
    }

    /// Starts it again, and waits until it serves. The children of a postmaster that was killed may keep it from starting for a moment.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.shell.is_none(), "it runs already");
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            let process = self.spawn()?;
            let url = self.url_of("postgres");
            // Ready, or ended by itself.
            let serves = eventually("PostgreSQL serves", || async {
                match PgConnection::connect(&url).await {
                    Ok(session) => session.close().await.map(|()| true),
                    Err(_) if !crate::server::runs(process) => Ok(false),
                    Err(error) => Err(error),
                }
            })
            .await;
            if serves {
                return Ok(());
            }
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            ensure!(
                std::time::Instant::now() < deadline,
                "PostgreSQL does not start:\n{log}"
            );
            let mut shell = self.shell.take().context("it was started")?;
            drop(shell.stdin.take());
            shell.wait()?;
        }
    }

    /// Copies it while it runs, as operators do every night.
    pub fn back_up(&self) -> anyhow::Result<Backup> {
        let folder = folder()?;
        let copy = folder.path().join("data");
        let mut copying = self.program("pg_basebackup")?;
        copying
            .arg("-D")
            .arg(&copy)
            .arg("-d")
            .arg(self.url_of("postgres"));
        copying.args(["--wal-method=none", "--checkpoint=fast", "--no-sync"]);
        let output = copying.output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pg_basebackup: {said}");
        Ok(Backup { folder })
    }

    /// Another one, as this one was at a moment since a backup: the copy, and what this one's log says happened up to then. An archive of the log would serve as well;
    /// here it is read where it is written.
    pub async fn as_it_was(&self, backup: Backup, moment: &str) -> anyhow::Result<Self> {
        let mut session = PgConnection::connect(&self.url_of("postgres")).await?;
        sqlx::raw_sql("select pg_switch_wal()")
            .execute(&mut session)
            .await?;
        let data = backup.folder.path().join("data");
        let log = self.folder.path().join("data/pg_wal");
        let mut settings = std::fs::OpenOptions::new()
            .append(true)
            .open(data.join("postgresql.auto.conf"))?;
        writeln!(
            settings,
            "restore_command = 'cp {}/%f %p'\nrecovery_target_time = '{moment}'\nrecovery_target_action = 'promote'",
            log.display()
        )?;
        std::fs::write(data.join("recovery.signal"), "")?;
        let mut restored = Self {
            shell: None,
            folder: backup.folder,
            connections: self.connections,
        };
        restored.start_again().await?;
        let url = restored.url();
        eventually("it is as it was", || async {
            let mut session = PgConnection::connect(&url)
                .await
                .map_err(|e| e.to_string())?;
            let recovers = sqlx::query_scalar("select pg_is_in_recovery()");
            match recovers.fetch_one(&mut session).await {
                Ok(false) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        Ok(restored)
    }

    fn spawn(&mut self) -> anyhow::Result<u32> {
        let folder = self.folder.path();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "sh"]).arg(folder.join("log"));
        let postgres = self.command("postgres")?;
        command
            .arg(postgres.get_program())
            .args(postgres.get_args());
        let sockets = format!("unix_socket_directories={}", folder.display());
        let connections = format!("max_connections={}", self.connections);
        for setting in SETTINGS.into_iter().chain([&*sockets, &*connections]) {
            command.args(["-c", setting]);
        }
        command.current_dir(folder);
        let mut shell = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut id = String::new();
        let output = shell.stdout.take().context("the shell has an output")?;
        BufReader::new(output).read_line(&mut id)?;
        self.shell = Some(shell);
        id.trim().parse().context("the shell says the process id")
    }

    /// One of PostgreSQL's programs on this cluster's data.
    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = self.program(program)?;
        command.arg("-D").arg(self.folder.path().join("data"));
        Ok(command)
    }

    /// One of PostgreSQL's programs. They refuse to run as root.
    fn program(&self, program: &str) -> anyhow::Result<Command> {
        let bin = std::env::var_os("SEWA_PG_BIN_DIR").context("SEWA_PG_BIN_DIR is not set")?;
        let program = PathBuf::from(bin).join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"])
                .arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path());
        Ok(command)
    }
}

/// A copy of a cluster.
#[derive(Debug)]
pub struct Backup {
    folder: tempfile::TempDir,
}

/// A folder that belongs to whoever runs PostgreSQL.
fn folder() -> anyhow::Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new()
        .prefix("sewa-pg.")
        .tempdir_in("/tmp")?;
    if is_root() {
        let mut chown = Command::new("chown");
        let given = chown.arg("nobody").arg(folder.path()).status()?;
        ensure!(given.success(), "{chown:?}: {given}");
    }
    Ok(folder)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // At once: nothing of this is worth writing down.
        if self.shell.is_some()
            && let Err(error) = self.end(End::Immediate)
        {
            eprintln!("a PostgreSQL was left behind: {error:#}");
        }
    }
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    // Real, effective, saved, of the file system.
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}
