//! The load: unary gRPC calls over plain HTTP/2, in a closed loop with a fixed number in flight. Frames are encoded beforehand, because the generator shares the
//! machine with what it measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use tokio::net::TcpStream;

/// One kind of call: where, as whom, and with what.
#[derive(Clone)]
pub(crate) struct Shot {
    /// `/package.Service/Method`.
    pub(crate) path: &'static str,
    /// Bearers, used in turn.
    pub(crate) bearers: Arc<Vec<String>>,
    /// Messages, used in turn.
    pub(crate) messages: Arc<Vec<Vec<u8>>>,
    /// True to send a new idempotency key with each call.
    pub(crate) keyed: bool,
}

/// What a run gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Calls a second.
    pub(crate) rate: f64,
    /// Calls counted.
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
pub(crate) async fn run(
    port: u16,
    shot: Shot,
    in_flight: usize,
    seconds: u64,
) -> anyhow::Result<Outcome> {
    let connections = in_flight.div_ceil(STREAMS).max(2).min(in_flight);
    let counter = Arc::new(AtomicU64::new(
        u64::from(std::process::id()) << 40 | u64::from(Instant::now().elapsed().subsec_nanos()),
    ));
    let begin = Instant::now();
    let (count_from, end) = (begin + WARM_UP, begin + Duration::from_secs(seconds));
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..connections {
        let sender = connect(port).await?;
        let streams = in_flight / connections + usize::from(connection < in_flight % connections);
        for _ in 0..streams {
            tasks.spawn(stream(
                sender.clone(),
                port,
                shot.clone(),
                Arc::clone(&counter),
                count_from,
                end,
            ));
        }
    }
    let mut latencies = Vec::new();
    while let Some(finished) = tasks.join_next().await {
        latencies.extend(finished??);
    }
    latencies.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index =
            ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
        Duration::from_micros(u64::from(latencies.get(index).copied().unwrap_or(0)))
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

async fn connect(port: u16) -> anyhow::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .handshake(stream)
        .await?;
    tokio::spawn(async move {
        // An error shows in the calls of the connection.
        let _ = connection.await;
    });
    Ok(sender)
}

async fn stream(
    sender: SendRequest<Bytes>,
    port: u16,
    shot: Shot,
    counter: Arc<AtomicU64>,
    count_from: Instant,
    end: Instant,
) -> anyhow::Result<Vec<u32>> {
    let mut latencies = Vec::with_capacity(4096);
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(latencies);
        }
        call(
            sender.clone(),
            port,
            &shot,
            counter.fetch_add(1, Ordering::Relaxed),
        )
        .await?;
        if now >= count_from {
            latencies.push(u32::try_from(now.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
}

async fn call(
    sender: SendRequest<Bytes>,
    port: u16,
    shot: &Shot,
    number: u64,
) -> anyhow::Result<()> {
    let pick = usize::try_from(number).unwrap_or(0);
    let message = &shot.messages[pick % shot.messages.len()];
    let mut request = http::Request::post(format!("http://127.0.0.1:{port}{}", shot.path))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if !shot.bearers.is_empty() {
        request = request.header(
            "authorization",
            format!("Bearer {}", shot.bearers[pick % shot.bearers.len()]),
        );
    }
    if shot.keyed {
        request = request.header(
            "idempotency-key",
            format!("bench-{number:x}-{}", uuid::Uuid::now_v7().simple()),
        );
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len())?);
    frame.extend_from_slice(message);
    let mut sender = sender.ready().await?;
    let (response, mut body) = sender.send_request(request.body(())?, false)?;
    body.send_data(frame.freeze(), true)?;
    let response = response.await?;
    if let Some(status) = response.headers().get("grpc-status") {
        return accepted(status, response.headers());
    }
    let mut stream = response.into_body();
    while let Some(chunk) = stream.data().await {
        let length = chunk?.len();
        stream.flow_control().release_capacity(length)?;
    }
    let trailers = stream
        .trailers()
        .await?
        .context("a reply without trailers")?;
    accepted(
        trailers
            .get("grpc-status")
            .context("a reply without a status")?,
        &trailers,
    )
}

fn accepted(status: &http::HeaderValue, headers: &http::HeaderMap) -> anyhow::Result<()> {
    if status == "0" {
        return Ok(());
    }
    bail!(
        "a call was refused: status {status:?}, {:?}",
        headers.get("grpc-message")
    )
}
