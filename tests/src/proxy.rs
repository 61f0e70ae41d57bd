//! A network that fails on demand: stands between a server and PostgreSQL or Redis, passes bytes on, and cuts, stalls or refuses when a test says so.
//!
//! Between a server and PostgreSQL it follows the messages, so that it can cut exactly the reply that says a transaction is committed: whoever waits for it
//! does not learn what became of its work, and the work is done.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;

use crate::postgres_wire::{self, Direction, Seen, Talk};
use crate::random::Random;

/// Bytes passed on at once.
const CHUNK: usize = 16 << 10;
/// Statements remembered at most.
const KEPT: usize = 10_000;

/// What the network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    Stall,
    Swallow,
    Refuse,
}

/// A connection that is to stand still at a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hold {
    Nobody,
    At(String),
    Reached,
    Lose,
}

#[derive(Debug, Clone)]
enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

#[derive(Debug)]
struct Shared {
    upstream: Place,
    postgres: bool,
    mode: watch::Sender<Mode>,
    cuts: watch::Sender<u64>,
    hold: watch::Sender<Hold>,
    chance: Mutex<(Random, u64)>,
    conflicts: Mutex<(Random, u64)>,
    conflicts_made: AtomicU64,
    replies_cut: AtomicU64,
    statements: Mutex<Vec<String>>,
}

/// A way to a server that a test can break. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    folder: Option<tempfile::TempDir>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut_all();
    }
}

impl Proxy {
    /// A way to the PostgreSQL of the tests. It is reached by [`Proxy::postgres_url`].
    pub async fn to_postgres() -> anyhow::Result<Self> {
        Self::to_postgres_at(&crate::database::given_url()).await
    }

    /// A way to the PostgreSQL of a URL.
    pub async fn to_postgres_at(url: &str) -> anyhow::Result<Self> {
        let options = sqlx::postgres::PgConnectOptions::from_str(url)?;
        let upstream = match options.get_socket() {
            Some(folder) => Place::Unix(folder.join(format!(".s.PGSQL.{}", options.get_port()))),
            None => {
                let named = (options.get_host(), options.get_port());
                let mut found = tokio::net::lookup_host(named).await?;
                Place::Tcp(found.next().context("the host of DATABASE_URL")?)
            }
        };
        let folder = tempfile::tempdir()?;
        let place = Place::Unix(folder.path().join(".s.PGSQL.5432"));
        Self::start(upstream, true, place, Some(folder)).await
    }

    /// A way to a TCP server. It is reached at [`Proxy::address`].
    pub async fn to_tcp(address: SocketAddr) -> anyhow::Result<Self> {
        let place = Place::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        Self::start(Place::Tcp(address), false, place, None).await
    }

    async fn start(
        upstream: Place,
        postgres: bool,
        mut place: Place,
        folder: Option<tempfile::TempDir>,
    ) -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            upstream,
            postgres,
            mode: watch::Sender::new(Mode::Pass),
            cuts: watch::Sender::new(0),
            hold: watch::Sender::new(Hold::Nobody),
            chance: Mutex::new((Random::from_seed(0), 0)),
            conflicts: Mutex::new((Random::from_seed(0), 0)),
            conflicts_made: AtomicU64::new(0),
            replies_cut: AtomicU64::new(0),
            statements: Mutex::default(),
        });
        let listener = Listener::bind(&place).await?;
        let mut address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        if let Listener::Tcp(listener) = &listener {
            address = listener.local_addr()?;
            place = Place::Tcp(address);
        }
        let accepting = tokio::spawn(accept(Arc::clone(&shared), listener, place));
        Ok(Self {
            shared,
            address,
            folder,
            accepting,
        })
    }

    /// Where to find what is behind it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a database by this way. Of what is said twice in a URL, the last counts.
    pub fn postgres_url(&self, direct: &str) -> String {
        let folder = self.folder.as_ref().expect("a way to PostgreSQL");
        let joint = if direct.contains('?') { '&' } else { '?' };
        format!("{direct}{joint}host={}&port=5432", folder.path().display())
    }

    /// Everything passes, also what was stalled.
    pub fn pass(&self) {
        self.shared.mode.send_replace(Mode::Pass);
    }

    /// Nothing passes, and nobody is told: connections stay open and are silent.
    pub fn stall(&self) {
        self.shared.mode.send_replace(Mode::Stall);
    }

    /// Whatever is sent from now on is lost, and nobody is told. Connections that lost something never hear of each other again, though they stay open at both ends;
    /// [`Proxy::pass`] helps new ones only.
    pub fn swallow(&self) {
        self.shared.mode.send_replace(Mode::Swallow);
    }

    /// Open connections are cut, new ones are refused.
    pub fn refuse(&self) {
        self.shared.mode.send_replace(Mode::Refuse);
    }

    /// Cuts the connections that are open now.
    pub fn cut_all(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// From now on so many of a thousand replies to a commit are cut: the transaction is done, its owner loses the connection instead of hearing so.
    pub fn cut_replies_to_commits(&self, seed: u64, of_a_thousand: u64) {
        *lock(&self.shared.chance) = (Random::from_seed(seed), of_a_thousand);
    }

    /// How many were cut.
    pub fn replies_cut(&self) -> u64 {
        self.shared.replies_cut.load(Ordering::Relaxed)
    }

    /// From now on so many of a thousand statements that lock, write or commit are not run, and fail instead as PostgreSQL fails them when transactions get into each
    /// other's way: half by 40001, a serialization failure, half by 40P01, a deadlock.
    pub fn make_conflicts(&self, seed: u64, of_a_thousand: u64) {
        *lock(&self.shared.conflicts) = (Random::from_seed(seed), of_a_thousand);
    }

    /// How many failed so.
    pub fn conflicts_made(&self) -> u64 {
        self.shared.conflicts_made.load(Ordering::Relaxed)
    }

    /// The statements that were run since it was asked last, in the order in which they came by.
    pub fn statements(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.shared.statements))
    }

    /// The next connection to run a statement that holds this text stands still before the statement is passed on, until [`Proxy::let_go`].
    pub fn hold_at(&self, text: &str) {
        self.shared.hold.send_replace(Hold::At(text.to_owned()));
    }

    /// Waits until a connection stands still.
    pub async fn reached(&self) {
        let mut hold = self.shared.hold.subscribe();
        let waiting = hold.wait_for(|hold| *hold == Hold::Reached);
        let reached = crate::patience::soon("the statement to stand still at", waiting).await;
        reached.expect("the proxy lives");
    }

    /// Lets it go on.
    pub fn let_go(&self) {
        self.shared.hold.send_replace(Hold::Nobody);
    }

    /// Lets it go on, and loses the answer and whatever else is said on this connection, which stays open.
    pub fn let_go_and_lose(&self) {
        self.shared.hold.send_replace(Hold::Lose);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn bind(place: &Place) -> std::io::Result<Self> {
        match place {
            Place::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Place::Unix(path) => {
                // A listener that was closed leaves its name behind.
                let _ = std::fs::remove_file(path);
                UnixListener::bind(path).map(Self::Unix)
            }
        }
    }

    async fn accept(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

async fn accept(shared: Arc<Shared>, first: Listener, place: Place) {
    let mut mode = shared.mode.subscribe();
    let mut listener = Some(first);
    loop {
        if mode.wait_for(|mode| *mode != Mode::Refuse).await.is_err() {
            return;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => Listener::bind(&place).await.expect("the old place is free"),
        };
        loop {
            tokio::select! {
                accepted = open.accept() => if let Ok(client) = accepted {
                    tokio::spawn(carry(Arc::clone(&shared), client));
                },
                _ = mode.wait_for(|mode| *mode == Mode::Refuse) => break,
            }
        }
    }
}

/// Carries one connection until either end closes it or the network does.
async fn carry(shared: Arc<Shared>, client: Box<dyn Stream>) {
    let (mut cuts, mut mode) = (shared.cuts.subscribe(), shared.mode.subscribe());
    cuts.mark_unchanged();
    let passing = async {
        let server: Box<dyn Stream> = match &shared.upstream {
            Place::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Place::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        let (talk, lost) = (Mutex::new(Talk::default()), AtomicBool::new(false));
        let (client_reads, client_writes) = tokio::io::split(client);
        let (server_reads, server_writes) = tokio::io::split(server);
        let (up, down) = (Direction::ToServer, Direction::ToClient);
        tokio::select! {
            ended = forward(&shared, &talk, &lost, up, client_reads, server_writes) => ended,
            ended = forward(&shared, &talk, &lost, down, server_reads, client_writes) => ended,
        }
    };
    tokio::select! {
        // Both ends see the connection close, and find their own words for it.
        _ended = passing => {}
        _ = cuts.changed() => {}
        _ = mode.wait_for(|mode| *mode == Mode::Refuse) => {}
    }
}

async fn forward(
    shared: &Shared,
    talk: &Mutex<Talk>,
    lost: &AtomicBool,
    direction: Direction,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> std::io::Result<()> {
    let mut mode = shared.mode.subscribe();
    let mut hold = shared.hold.subscribe();
    let mut chunk = vec![0; CHUNK];
    // The rest of what a client says in one go around a statement that is made to fail.
    let mut leave_out = false;
    loop {
        let read = from.read(&mut chunk).await;
        if *mode.borrow() == Mode::Swallow {
            lost.store(true, Ordering::Relaxed);
        }
        if lost.load(Ordering::Relaxed) {
            match read {
                Ok(1..) => continue,
                // That one end closes is lost as well.
                _ => return std::future::pending().await,
            }
        }
        let read = read?;
        if read == 0 {
            return Ok(());
        }
        // An error means that the proxy is gone, and the test with it.
        let _ = mode.wait_for(|mode| *mode != Mode::Stall).await;
        if !shared.postgres {
            to.write_all(&chunk[..read]).await?;
            continue;
        }
        lock(talk).take(direction, &chunk[..read]);
        loop {
            let next = lock(talk).next(direction);
            let Some((message, seen)) = next else { break };
            shared.keep(&seen);
            if leave_out {
                leave_out = !postgres_wire::ends(&message);
                continue;
            }
            if let Some(code) = shared.conflict(&seen) {
                to.write_all(&postgres_wire::conflict(code)).await?;
                leave_out = !postgres_wire::ends(&message);
                continue;
            }
            match seen {
                Seen::Committed if shared.cuts_this_reply() => return Ok(()),
                Seen::Runs(statement) if shared.holds_at(&statement) => {
                    let goes_on = |hold: &Hold| matches!(hold, Hold::Nobody | Hold::Lose);
                    let lose = hold
                        .wait_for(goes_on)
                        .await
                        .is_ok_and(|hold| *hold == Hold::Lose);
                    if lose {
                        lost.store(true, Ordering::Relaxed);
                        shared.hold.send_replace(Hold::Nobody);
                    }
                }
                _ => {}
            }
            to.write_all(&message).await?;
        }
    }
}

impl Shared {
    fn keep(&self, seen: &Seen) {
        if let Seen::Runs(statement) = seen {
            let mut statements = lock(&self.statements);
            // Most tests never ask.
            if statements.len() == KEPT {
                statements.clear();
            }
            statements.push(statement.clone());
        }
    }

    fn cuts_this_reply(&self) -> bool {
        let mut chance = lock(&self.chance);
        let cut = chance.1 > 0 && chance.0.below(1000) < chance.1;
        if cut {
            self.replies_cut.fetch_add(1, Ordering::Relaxed);
        }
        cut
    }

    /// How a statement is to fail, if it is.
    fn conflict(&self, seen: &Seen) -> Option<&'static str> {
        let Seen::Runs(statement) = seen else {
            return None;
        };
        if !postgres_wire::may_conflict(statement) {
            return None;
        }
        let mut conflicts = lock(&self.conflicts);
        if conflicts.1 == 0 || conflicts.0.below(1000) >= conflicts.1 {
            return None;
        }
        self.conflicts_made.fetch_add(1, Ordering::Relaxed);
        Some(if conflicts.0.below(2) == 0 {
            "40001"
        } else {
            "40P01"
        })
    }

    fn holds_at(&self, statement: &str) -> bool {
        self.hold.send_if_modified(|hold| match hold {
            Hold::At(text) if statement.contains(text.as_str()) => {
                *hold = Hold::Reached;
                true
            }
            _ => false,
        })
    }
}
