//! What passes between who looks at a console and its screen, and when that ends.
//!
//! Nothing is looked at and nothing is kept beyond a buffer in each direction. What ends it is asked every few seconds: that the replica still speaks for the console in the
//! database is also how it learns that the instance was stopped, suspended or deleted.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::app::App;
use crate::provider::compute::consoles::BUFFER;
use crate::service::instance::model::console::{Console, LEASE};
use crate::service::instance::{console, store};

/// How often it is asked whether a console may go on. Several times within its lease.
const CHECK: Duration = Duration::from_secs(3);

/// Why a console ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Who looked left.
    Viewer,
    /// The screen went dark.
    Screen,
    /// Nothing was said for too long.
    Idle,
    /// It lasted as long as any may.
    TooLong,
    /// The instance does not run any more, or is suspended; or the key that opened it was revoked.
    NotAllowed,
    /// The server stops.
    Stopping,
}

impl End {
    /// In a word, for logs and for who looked.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "the viewer left",
            Self::Screen => "the screen went dark",
            Self::Idle => "idle for too long",
            Self::TooLong => "open for too long",
            Self::NotAllowed => "not allowed any more",
            Self::Stopping => "the server stops",
        }
    }
}

/// Bytes that passed, and when the last one did.
struct Moved {
    bytes: u64,
    last: Instant,
}

/// Relays until it ends. Returns why it did, and how many bytes passed.
pub async fn relay(
    app: &App,
    console: &Console,
    viewer: &mut DuplexStream,
    screen: &mut DuplexStream,
) -> (End, u64) {
    let limits = app.config.console;
    let idle = Duration::from_secs(u64::from(limits.idle_seconds));
    let longest = Duration::from_secs(u64::from(limits.longest_seconds));
    let moved = Mutex::new(Moved {
        bytes: 0,
        last: Instant::now(),
    });
    let (mut from_viewer, mut to_viewer) = tokio::io::split(viewer);
    let (mut from_screen, mut to_screen) = tokio::io::split(screen);
    let end = tokio::select! {
        end = pump(&mut from_viewer, &mut to_screen, &moved, (End::Viewer, End::Screen)) => end,
        end = pump(&mut from_screen, &mut to_viewer, &moved, (End::Screen, End::Viewer)) => end,
        () = idleness(&moved, idle) => End::Idle,
        () = sleep(longest) => End::TooLong,
        () = no_longer_allowed(app, console) => End::NotAllowed,
        () = app.stop.cancelled() => End::Stopping,
    };
    let bytes = moved.lock().unwrap_or_else(PoisonError::into_inner).bytes;
    (end, bytes)
}

/// Passes bytes on until either side is gone; says which.
async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    moved: &Mutex<Moved>,
    (reading, writing): (End, End),
) -> End {
    let mut buffer = vec![0; BUFFER / 4];
    loop {
        let count = match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return reading,
            Ok(count) => count,
        };
        if pass(to, buffer.get(..count).unwrap_or_default())
            .await
            .is_err()
        {
            return writing;
        }
        let mut moved = moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.bytes += u64::try_from(count).unwrap_or_default();
        moved.last = Instant::now();
    }
}

async fn pass(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes).await?;
    to.flush().await
}

/// Returns when nothing has passed for that long. A side that does not read counts as silent.
async fn idleness(moved: &Mutex<Moved>, idle: Duration) {
    loop {
        let last = moved.lock().unwrap_or_else(PoisonError::into_inner).last;
        if last.elapsed() >= idle {
            return;
        }
        sleep_until(last + idle).await;
    }
}

/// Returns when a console may not go on, or nobody could say for as long as it may count without being spoken for.
async fn no_longer_allowed(app: &App, console: &Console) {
    let patience = LEASE.to_std().unwrap_or_default();
    let mut allowed = Instant::now();
    loop {
        sleep(CHECK).await;
        if !console::is_trusted(app, console).await {
            return;
        }
        match store::consoles::keep(&app.db, console, app.clock.now() + LEASE).await {
            Ok(true) => allowed = Instant::now(),
            Ok(false) => return,
            Err(error) if allowed.elapsed() > patience => {
                tracing::warn!(console = %console.id, %error, "a console ends because nobody can say whether it may go on");
                return;
            }
            Err(_) => {}
        }
    }
}
