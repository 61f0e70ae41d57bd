//! A server as its operator runs it: the binary, as a process of its own, which a test may kill.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// The shell kills the server when the pipe on its input closes. The kernel closes it however the test ends, so an aborted run leaves nothing behind. The
/// first thing said is the server's process id, so that it can be asked to stop.
const SCRIPT: &str = r#"
    exec 2>/dev/null
    "$0" serve </dev/null >>"$1" 2>&1 &
    echo $!
    exec >&-
    read -r word
    [ "$word" = term ] && kill -TERM $! || kill -KILL $!
    wait $!
"#;

/// Where `cargo` put the binary: beside the folder of the running test.
pub fn binary() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let binary = test
        .parent()
        .and_then(|deps| deps.parent())
        .map(|dir| dir.join("sewa"))
        .unwrap_or_default();
    ensure!(
        binary.exists(),
        "{} is not built: run `cargo build --bin sewa` (make test does)",
        binary.display()
    );
    Ok(binary)
}

/// A subcommand of the binary, with these settings and none of whoever runs the tests.
pub fn sewa(settings: &BTreeMap<String, String>) -> anyhow::Result<Command> {
    let mut command = Command::new(binary()?);
    with_settings(&mut command, settings);
    Ok(command)
}

fn with_settings(command: &mut Command, settings: &BTreeMap<String, String>) {
    let ours = |name: &str| name.starts_with("SEWA_");
    command
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| !ours(name)))
        .envs(settings);
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    shell: Option<Child>,
    process: u32,
    address: SocketAddr,
    settings: BTreeMap<String, String>,
    log: tempfile::NamedTempFile,
}

impl Server {
    /// Starts a server on a free port and waits until it is ready.
    pub fn start(mut settings: BTreeMap<String, String>) -> anyhow::Result<Self> {
        let address = free_address()?;
        settings.insert("SEWA_LISTEN".to_owned(), address.to_string());
        let mut server = Self {
            shell: None,
            process: 0,
            address,
            settings,
            log: tempfile::NamedTempFile::new()?,
        };
        server.start_again()?;
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it as a crash would: `kill -9`, in the middle of whatever it does.
    pub fn kill(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            // The shell ends when the server is gone.
            let _ = shell.wait();
        }
    }

    /// Asks it to stop, and waits until it has; returns how it ended.
    pub fn stop(&mut self) -> anyhow::Result<i32> {
        let mut shell = self.shell.take().context("the server does not run")?;
        shell
            .stdin
            .take()
            .context("the shell has an input")?
            .write_all(b"term\n")?;
        Ok(shell.wait()?.code().unwrap_or(-1))
    }

    /// Stops its process where it is, as a machine does that is put to sleep: it keeps its connections and learns nothing. Killing it works all the same.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    /// Lets a paused process go on as if no time had passed.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        ensure!(self.shell.is_some(), "the server does not run");
        let script = format!("kill {signal} {}", self.process);
        let sent = Command::new("/bin/sh").args(["-c", &script]).status()?;
        ensure!(sent.success(), "{script}: {sent}");
        Ok(())
    }

    /// Memory of its process that is in use, in KiB.
    pub fn memory_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let figure = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(figure.context("VmRSS")?.parse()?)
    }

    /// Whether its process has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.shell.is_some() && !runs(self.process)
    }

    /// Starts it again in its old place, with its old settings.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.start_again_with(&[])
    }

    /// The same with variables that hold for this start only.
    pub fn start_again_with(&mut self, own: &[(&str, String)]) -> anyhow::Result<()> {
        ensure!(self.shell.is_none(), "the server runs already");
        let mut shell = Command::new("/bin/sh");
        with_settings(&mut shell, &self.settings);
        shell.envs(own.iter().map(|(name, value)| (name, value)));
        let mut shell = shell
            .args(["-c", SCRIPT])
            .arg(binary()?)
            .arg(self.log.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run /bin/sh")?;
        let mut id = String::new();
        BufReader::new(shell.stdout.take().context("the shell has an output")?)
            .read_line(&mut id)?;
        let id: u32 = id.trim().parse().context("the shell says the process id")?;
        self.shell = Some(shell);
        self.process = id;
        self.wait_until_ready(id)
    }

    /// The last lines it has logged.
    pub fn last_words(&self) -> String {
        let mut text = String::new();
        let read = File::open(self.log.path()).and_then(|mut log| log.read_to_string(&mut text));
        if let Err(error) = read {
            return format!("the log cannot be read: {error}");
        }
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    fn wait_until_ready(&mut self, id: u32) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            // Behind TLS only those who trust the certificate can ask.
            if self.settings.contains_key("SEWA_TLS_CERTIFICATE") && self.log().contains("serving")
            {
                return Ok(());
            }
            match self.ready() {
                Ok(status) if status.contains(" 200 ") => return Ok(()),
                answer if Instant::now() > deadline => bail!(
                    "the server does not become ready: {answer:?}\n{}",
                    self.last_words()
                ),
                _ if !runs(id) => bail!("the server ended at its start:\n{}", self.last_words()),
                _ => std::thread::sleep(POLL),
            }
        }
    }

    fn ready(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(
            stream,
            "GET /readyz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.address
        )?;
        let mut status = String::new();
        BufReader::new(stream).read_line(&mut status)?;
        Ok(status)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether a process is there and has not ended.
pub(crate) fn runs(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// A port below those the kernel gives to outgoing connections, or a server that was killed might find its place taken by a client when it comes back.
fn free_address() -> anyhow::Result<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: std::ops::Range<u16> = 12_000..32_000;
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..u32::from(PORTS.end - PORTS.start) {
        let next = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(next % u32::from(PORTS.end - PORTS.start))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    bail!("no free port")
}
