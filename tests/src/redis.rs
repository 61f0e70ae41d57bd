//! A Redis of one's own: on a free port, empty, forgetful, and gone with its test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(5);

/// The shell stops the server when the pipe on its input closes. The kernel closes it however the
/// test ends, so an aborted run leaves nothing behind.
const SCRIPT: &str = r#"
    redis-server "$@" >/dev/null 2>&1 </dev/null &
    read -r _
    kill -KILL $! && wait $!
"#;

/// A running Redis; stops when dropped.
#[derive(Debug)]
pub struct Redis {
    shell: Option<Child>,
    port: u16,
    // Ours alone knows it, so another server on the port is never mistaken for ours.
    password: String,
}

impl Redis {
    /// Starts an empty server.
    pub fn start() -> anyhow::Result<Self> {
        let mut last = None;
        // Between finding a free port and using it, somebody else may take it.
        for _ in 0..3 {
            let mut redis = Self {
                shell: None,
                port: free_port()?,
                password: uuid::Uuid::new_v4().simple().to_string(),
            };
            match redis.start_again() {
                Ok(()) => return Ok(redis),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("three attempts were made and failed"))
    }

    /// Where the server is.
    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.password, self.port)
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The URL of the server by another way.
    pub fn url_through(&self, way: SocketAddr) -> String {
        format!("redis://:{}@{way}/0", self.password)
    }

    /// Forgets everything, as an operator may have it do.
    pub fn flush(&self) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(START_TIMEOUT))?;
        write!(stream, "AUTH {}\r\nFLUSHALL\r\nQUIT\r\n", self.password)?;
        let mut replies = String::new();
        stream.read_to_string(&mut replies)?;
        ensure!(replies == "+OK\r\n+OK\r\n+OK\r\n", "Redis says {replies}");
        Ok(())
    }

    /// Stops the server as a crash would; everything in it is lost.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            shell.wait().context("waiting for redis-server")?;
        }
        Ok(())
    }

    /// Starts an empty server in the place of one that was stopped.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.shell.is_none(), "Redis runs already");
        let shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "redis"])
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--requirepass", &self.password])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot run /bin/sh")?;
        self.shell = Some(shell);
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            match self.authenticate() {
                Ok(reply) if reply == "+OK\r\n" => return Ok(()),
                Ok(reply) => bail!("port {} belongs to another server: {reply}", self.port),
                Err(error) if Instant::now() > deadline => {
                    return Err(error).context("redis-server does not start; is it installed?");
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    fn authenticate(&self) -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let mut stream = TcpStream::connect_timeout(&address, POLL * 20)?;
        stream.set_read_timeout(Some(START_TIMEOUT))?;
        write!(stream, "AUTH {}\r\n", self.password)?;
        let mut reply = [0; 128];
        let read = stream.read(&mut reply)?;
        Ok(String::from_utf8_lossy(&reply[..read]).into_owned())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("Redis was not stopped: {error}");
        }
    }
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_server_is_gone_and_comes_back_in_its_place() {
        let mut redis = Redis::start().unwrap();
        let url = redis.url();
        redis.stop().unwrap();
        assert!(redis.authenticate().is_err());
        redis.start_again().unwrap();
        assert_eq!(redis.url(), url);
        assert_eq!(redis.authenticate().unwrap(), "+OK\r\n");
    }

    #[test]
    fn another_server_is_not_mistaken_for_ours() {
        let ours = Redis::start().unwrap();
        let mut theirs = Redis::start().unwrap();
        theirs.stop().unwrap();
        theirs.port = ours.port;
        let error = theirs.start_again().unwrap_err().to_string();
        assert!(error.contains("belongs to another server"), "{error}");
    }
}
