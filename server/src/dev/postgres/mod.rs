//! The PostgreSQL of `sewa dev` and of the tests: the real server, run from a folder.
//!
//! It listens on a unix socket alone, so it lives beside whatever else the machine runs, and
//! only its own user can reach it. The folder belongs to one process at a time. How that
//! process ends does not matter: a watchdog stops the server when its owner is gone, and a
//! start that comes even before that stops the orphan first. Nothing is ever killed in a way
//! that PostgreSQL does not recover from by itself.

mod binaries;
mod place;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection, PgConnection};

use binaries::Binaries;
use place::Place;

/// The superuser that initdb creates. There is no other and no password: the socket's folder
/// is closed to everyone else.
const SUPERUSER: &str = "sewa";

/// Crash recovery replays at most `max_wal_size`; a slow disk needs a while for it.
const START_TIMEOUT: Duration = Duration::from_secs(300);
/// A fast shutdown writes one checkpoint. After this long the server is told to just stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);
/// How long processes of a server that was killed may take to learn of it, and how often it is looked whether they have. No other starts in its folder before.
const REMAINS_TIMEOUT: Duration = Duration::from_secs(30);
const REMAINS_POLL: Duration = Duration::from_millis(100);

/// Good for a developer's machine and for a small installation on one.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "port=5432",
    "unix_socket_permissions=0700",
    "max_connections=100",
    "shared_buffers=512MB",
    "max_wal_size=2GB",
    "checkpoint_timeout=5min",
    // Compiling a plan costs more than any statement of ours runs.
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "lc_messages=C",
];

/// A crash may lose everything; in return nothing waits for the disk.
const THROWAWAY_SETTINGS: &[&str] = &[
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "autovacuum_naptime=10s",
];

/// What to start and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// A folder for this alone; made when missing. Run by root, it goes to user `nobody`, and
    /// when that user cannot get to it, a folder under /var/tmp takes its place (and is logged).
    pub data_dir: PathBuf,
    /// `true`: a commit survives a power cut. `false`: for data that nobody will miss.
    pub durable: bool,
    /// The folder with `initdb` and `postgres`; without it PATH and Debian's folders are searched.
    pub bin_dir: Option<PathBuf>,
}

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct Postgres {
    server: Child,
    // Held for its standard input: the pipe closes when this process ends, however it ends.
    watchdog: Child,
    place: Place,
    durable: bool,
    stopped: bool,
}

impl Postgres {
    /// Starts the server of `options.data_dir` and returns once it takes connections.
    /// A new folder is initialised first; data of an earlier run is kept.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        tokio::task::spawn_blocking(move || Self::start_blocking(&options)).await?
    }

    fn start_blocking(options: &Options) -> anyhow::Result<Self> {
        let place = Place::claim(&options.data_dir)?;
        place.sweep_unfinished()?;
        stop_orphan(&place.cluster())?;
        let binaries =
            Binaries::find(options.bin_dir.as_deref(), made_by_major(&place.cluster())?)?;
        if !place.cluster().exists() {
            init(&place, &binaries, options.durable)?;
        }
        let (server, watchdog) = launch(&place, &binaries, options.durable)?;
        let mut postgres = Self {
            server,
            watchdog,
            place,
            durable: options.durable,
            stopped: false,
        };
        let patience = Instant::now() + REMAINS_TIMEOUT;
        while let Err(error) = postgres.wait_until_ready() {
            if !postgres.is_kept_out_by_remains() || Instant::now() > patience {
                return Err(error);
            }
            std::thread::sleep(REMAINS_POLL);
            postgres.watchdog.kill()?;
            postgres.watchdog.wait()?;
            (postgres.server, postgres.watchdog) =
                launch(&postgres.place, &binaries, options.durable)?;
        }
        Ok(postgres)
    }

    /// A URL for sqlx, and for `psql`, of one of the databases.
    pub fn url(&self, database: &str) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let socket_dir = self.place.socket_dir().to_string_lossy();
        format!(
            "postgresql:///{}?host={}&port=5432&user={SUPERUSER}",
            encode(database),
            encode(&socket_dir)
        )
    }

    /// Makes an empty database; one that exists stays as it is.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<()> {
        self.create(name, "template1").await
    }

    /// Makes a database with everything that is in `template`, to which nobody may be connected.
    /// Takes tens of milliseconds, so every test can have one of its own.
    pub async fn copy_database(&self, template: &str, name: &str) -> anyhow::Result<()> {
        self.create(name, template).await
    }

    async fn create(&self, name: &str, template: &str) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.url("postgres")).await?;
        let statement = format!(
            "create database {} template {}",
            quote(name),
            quote(template)
        );
        let result = sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
            .execute(&mut connection)
            .await;
        let exists = |error: &sqlx::Error| {
            error
                .as_database_error()
                .and_then(|error| error.code())
                .as_deref()
                == Some("42P04")
        };
        match result {
            Err(error) if !exists(&error) => {
                Err(error).with_context(|| format!("cannot create database {name}"))
            }
            _ => Ok(()),
        }
    }

    /// Ends every connection, writes everything down and stops.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || self.halt(Signal::INT)).await?
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !is_ready(&self.place.cluster(), self.server.id()) {
            if let Some(status) = self.server.try_wait()? {
                bail!("postgres ended with {status}: {}", self.last_words());
            }
            if Instant::now() > deadline {
                bail!("postgres is not ready yet: {}", self.last_words());
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Whether the server found processes of one before it, which was killed.
    fn is_kept_out_by_remains(&self) -> bool {
        self.last_words()
            .contains("pre-existing shared memory block")
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(self.place.log_file()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn halt(&mut self, first: Signal) -> anyhow::Result<()> {
        // The watchdog goes first: from here on we do its work ourselves.
        self.watchdog.kill()?;
        self.watchdog.wait()?;
        let server = &mut self.server;
        // Whether it runs is asked first: the pid of a server that is gone may be another's.
        if server.try_wait()?.is_none() {
            signal(server, first)?;
        }
        if !wait_until(|| Ok(server.try_wait()?.is_some()))? {
            signal(server, Signal::QUIT)?;
            server.wait()?;
        }
        self.stopped = true;
        self.place.release(self.durable);
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.stopped {
            return;
        }
        // An immediate stop makes the next start recover; data nobody misses can afford that.
        let first = if self.durable {
            Signal::INT
        } else {
            Signal::QUIT
        };
        if let Err(error) = self.halt(first) {
            tracing::warn!(%error, "PostgreSQL was not stopped cleanly");
        }
    }
}

/// initdb works in a folder of its own that is renamed at the end, so a half-made cluster is
/// never taken for a whole one.
fn init(place: &Place, binaries: &Binaries, durable: bool) -> anyhow::Result<()> {
    let unfinished = place.cluster_in_the_making();
    let mut initdb = place.command(binaries.program("initdb"));
    initdb
        .arg("--pgdata")
        .arg(&unfinished)
        .args(["--username", SUPERUSER, "--auth", "trust"])
        .args(["--encoding", "UTF8", "--locale", "C.UTF-8"])
        .arg("--no-instructions");
    if !durable {
        initdb.arg("--no-sync");
    }
    let output = initdb.output().context("cannot run initdb")?;
    ensure!(
        output.status.success(),
        "initdb ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    std::fs::rename(&unfinished, place.cluster()).context("cannot put the new cluster in place")
}

/// Starts the server and its watchdog.
fn launch(place: &Place, binaries: &Binaries, durable: bool) -> anyhow::Result<(Child, Child)> {
    let log = File::create(place.log_file())
        .with_context(|| format!("cannot write {}", place.log_file().display()))?;
    let server = serve_command(place, binaries, durable)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot run postgres")?;
    match watch(place, &server) {
        Ok(watchdog) => Ok((server, watchdog)),
        Err(error) => {
            // Nobody would stop it any more, so it must not stay.
            signal(&server, Signal::QUIT)?;
            Err(error)
        }
    }
}

fn serve_command(place: &Place, binaries: &Binaries, durable: bool) -> Command {
    let mut command = place.command(binaries.program("postgres"));
    command.arg("-D").arg(place.cluster());
    // The value is a list of quoted names: a comma in a path does not end it.
    let socket_dir = quote(&place.socket_dir().to_string_lossy());
    command.args(["-c", &format!("unix_socket_directories={socket_dir}")]);
    command.args(["-c", wal_compression(place, binaries)]);
    let extra = if durable { &[] } else { THROWAWAY_SETTINGS };
    for setting in SETTINGS.iter().chain(extra) {
        command.args(["-c", setting]);
    }
    command
}

/// The pages that the log keeps whole after a checkpoint are its larger half. LZ4 costs a fraction of the processor time that PostgreSQL's own method does, but
/// not every build has it, and a server refuses to start with a setting it does not know; so the program is asked first.
fn wal_compression(place: &Place, binaries: &Binaries) -> &'static str {
    const LZ4: &str = "wal_compression=lz4";
    let known = place
        .command(binaries.program("postgres"))
        .arg("-D")
        .arg(place.cluster())
        .args(["-C", "wal_compression", "-c", LZ4])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if known { LZ4 } else { "wal_compression=on" }
}

/// Starts a shell that waits for our end of its input to close, which the kernel does however
/// we end, and then stops the server. A parent-death signal would do the same on Linux alone,
/// and fires when the *thread* that started the child ends, which a runtime's threads do.
fn watch(place: &Place, server: &Child) -> anyhow::Result<Child> {
    const SCRIPT: &str = r#"
        read -r _
        read -r owner < "$1" && [ "$owner" = "$2" ] && kill -INT "$2"
    "#;
    place
        .command("/bin/sh")
        .args(["-c", SCRIPT, "sewa-watchdog"])
        .arg(pid_file(&place.cluster()))
        .arg(server.id().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run /bin/sh")
}

/// Stops the server that an owner left behind by dying. We hold the folder's lock, so no living
/// process minds. A pid that meanwhile belongs to another program only leaves a file to remove.
fn stop_orphan(cluster: &Path) -> anyhow::Result<()> {
    let Some(pid) = read_pid(cluster) else {
        return Ok(());
    };
    if !works_in(pid, cluster) {
        return std::fs::remove_file(pid_file(cluster)).context("cannot remove a stale pid file");
    }
    tracing::info!(
        pid = pid.as_raw_nonzero().get(),
        "stopping the PostgreSQL of an earlier run"
    );
    for next in [Signal::INT, Signal::QUIT] {
        // It may end by itself at any moment: not finding it is success.
        let _ = kill_process(pid, next);
        if wait_until(|| Ok(!works_in(pid, cluster)))? {
            return Ok(());
        }
    }
    bail!("the PostgreSQL of an earlier run does not stop")
}

/// Every process of a server works in its cluster's folder. A zombie works nowhere.
fn works_in(pid: Pid, cluster: &Path) -> bool {
    std::fs::read_link(format!("/proc/{}/cwd", pid.as_raw_nonzero()))
        .is_ok_and(|dir| dir == cluster)
}

fn wait_until(mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let deadline = Instant::now() + STOP_TIMEOUT;
    while !done()? {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
    Ok(true)
}

fn signal(child: &Child, signal: Signal) -> anyhow::Result<()> {
    kill_process(Pid::from_child(child), signal).context("cannot signal postgres")
}

fn pid_file(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

fn read_pid(cluster: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(pid_file(cluster)).ok()?;
    Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
}

/// The server writes its state into the last line of its pid file; ours is the file with our pid.
fn is_ready(cluster: &Path, pid: u32) -> bool {
    let text = std::fs::read_to_string(pid_file(cluster)).unwrap_or_default();
    let mut lines = text.lines();
    lines.next() == Some(pid.to_string().as_str()) && lines.last().map(str::trim) == Some("ready")
}

fn made_by_major(cluster: &Path) -> anyhow::Result<Option<u32>> {
    if !cluster.exists() {
        return Ok(None);
    }
    let file = cluster.join("PG_VERSION");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let major = text.trim().parse().context("PG_VERSION is not a number")?;
    Ok(Some(major))
}

/// An identifier, whatever characters it has.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests;
