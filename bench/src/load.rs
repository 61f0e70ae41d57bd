//! The load: unary calls in a closed loop with a fixed number in flight. The generator shares the machine with what it measures, so it is as cheap as one can
//! be: one thread, frames written by hand ([`crate::frames`]), no header compression.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::frames::{self, Frame, Statuses, Style};
use crate::http1;

/// One kind of call: where, as whom, and with what.
#[derive(Clone)]
pub(crate) struct Shot {
    /// gRPC or REST.
    pub(crate) style: Style,
    /// What carries it.
    pub(crate) over: Over,
    /// `/package.Service/Method`, or the path of the REST binding.
    pub(crate) path: &'static str,
    /// Bearers, used in turn.
    pub(crate) bearers: Arc<Vec<String>>,
    /// Messages, used in turn.
    pub(crate) messages: Arc<Vec<Vec<u8>>>,
    /// Which idempotency keys are sent.
    pub(crate) keys: Keys,
}

/// What carries calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// HTTP/2, with many calls on each of a few connections.
    Shared,
    /// HTTP/2, with a connection for each call in flight, as clients have who do not know of each other.
    Alone,
    /// HTTP/1.1, which knows nothing but a connection for each call in flight; see [`crate::http1`].
    Http1,
}

/// Which idempotency keys are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// None.
    None,
    /// A new one with each call.
    Fresh,
    /// Always the same for each of the calls in flight, because two calls with one key at once are refused.
    Same,
}

/// What a run gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Calls a second.
    pub(crate) rate: f64,
    /// Calls that ended while the run was counted.
    pub(crate) calls: usize,
    /// Median.
    pub(crate) p50: Duration,
    /// 99th percentile.
    pub(crate) p99: Duration,
}

/// Calls in flight on one connection at most.
const STREAMS: usize = 32;
/// Time at the start that is not counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// Keeps `in_flight` calls under way for `seconds`. Any call that fails spoils the run.
///
/// # Errors
/// If a call is refused or a connection breaks.
pub(crate) async fn run(
    port: u16,
    shot: Shot,
    in_flight: usize,
    seconds: u64,
) -> anyhow::Result<Outcome> {
    let mut latencies = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(connections(port, &shot, in_flight, seconds))
    })
    .await??;
    latencies.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (latencies.len() as f64 * share) as usize;
        let last = latencies.len().saturating_sub(1);
        Duration::from_micros(u64::from(
            latencies.get(index.min(last)).copied().unwrap_or(0),
        ))
    };
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = latencies.len() as f64 / (Duration::from_secs(seconds) - WARM_UP).as_secs_f64();
    Ok(Outcome {
        rate,
        calls: latencies.len(),
        p50: at(0.5),
        p99: at(0.99),
    })
}

/// Makes one call.
///
/// # Errors
/// If it is refused, or nobody answers.
pub(crate) async fn once(port: u16, shot: &Shot) -> anyhow::Result<()> {
    let now = Instant::now();
    connection(port, shot, 0, 1, 1, now, now).await.map(drop)
}

async fn connections(
    port: u16,
    shot: &Shot,
    in_flight: usize,
    seconds: u64,
) -> anyhow::Result<Vec<u32>> {
    let begin = Instant::now();
    let (count_from, end) = (begin + WARM_UP, begin + Duration::from_secs(seconds));
    let count = match shot.over {
        Over::Http1 => {
            let all = (0..in_flight)
                .map(|number| http1::connection(port, shot, number, in_flight, count_from, end));
            return Ok(futures_util::future::try_join_all(all).await?.concat());
        }
        Over::Alone => in_flight,
        Over::Shared => in_flight.div_ceil(STREAMS).max(2).min(in_flight),
    };
    let mut all = Vec::new();
    for number in 0..count {
        let streams = in_flight / count + usize::from(number < in_flight % count);
        all.push(connection(
            port, shot, number, count, streams, count_from, end,
        ));
    }
    Ok(futures_util::future::try_join_all(all).await?.concat())
}

/// Calls over one connection until `end`, and the times of those that ended after `count_from`, in microseconds.
async fn connection(
    port: u16,
    shot: &Shot,
    number: usize,
    of: usize,
    streams: usize,
    count_from: Instant,
    end: Instant,
) -> anyhow::Result<Vec<u32>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let empty = shot.messages.iter().all(Vec::is_empty);
    let head = frames::head(shot.style, port, shot.path, empty);
    // Keys are new in each run: the run is told by its own identifier.
    let run = uuid::Uuid::now_v7().simple().to_string();
    let mut calls = 0;
    let mut begin = |out: &mut Vec<u8>, id: u32, slot: usize| {
        let pick = number + calls * of;
        calls += 1;
        let bearer = (!shot.bearers.is_empty()).then(|| &*shot.bearers[pick % shot.bearers.len()]);
        let key = match shot.keys {
            Keys::None => None,
            Keys::Fresh => Some(format!("{run}-{id:x}")),
            Keys::Same => Some(format!("same-{number}-{slot}")),
        };
        let message = &shot.messages[pick % shot.messages.len()];
        frames::request(shot.style, out, id, &head, bearer, key.as_deref(), message)
    };
    let mut out = frames::hello();
    let mut window = frames::FIRST_WINDOW;
    let mut next = 1;
    let mut open: HashMap<u32, (Instant, usize)> = HashMap::with_capacity(streams);
    for slot in 0..streams {
        window -= begin(&mut out, next, slot);
        open.insert(next, (Instant::now(), slot));
        next += 2;
    }
    stream.write_all(&out).await?;
    let (mut input, mut latencies) = (bytes::BytesMut::with_capacity(1 << 16), Vec::new());
    let mut received = 0;
    let mut statuses = Statuses::new();
    while !open.is_empty() {
        if stream.read_buf(&mut input).await? == 0 {
            bail!("the server closed a connection with calls on it");
        }
        out.clear();
        let now = Instant::now();
        while let Some(frame) = frames::next(shot.style, &mut input, &mut statuses)? {
            match frame {
                Frame::Data(length) => received += length,
                Frame::Window(more) => window += more,
                Frame::Echo(answer) => out.extend_from_slice(&answer),
                Frame::Other => {}
                Frame::Begin(status) if status.starts_with('2') => {}
                Frame::Begin(status) => bail!("a call was refused: status {status}"),
                Frame::End(_, Some(status)) if status != "0" => {
                    bail!("a call was refused: status {status}")
                }
                Frame::End(id, _) => {
                    let (since, slot) = open.remove(&id).context("a reply to no call")?;
                    if now >= end {
                        continue;
                    }
                    if now >= count_from {
                        latencies.push(u32::try_from((now - since).as_micros())?);
                    }
                    window -= begin(&mut out, next, slot);
                    open.insert(next, (now, slot));
                    next += 2;
                }
            }
        }
        anyhow::ensure!(window > 0, "the server's window is too small for the load");
        if received > frames::REFILL {
            out.extend_from_slice(&frames::window(received));
            received = 0;
        }
        stream.write_all(&out).await?;
    }
    Ok(latencies)
}
