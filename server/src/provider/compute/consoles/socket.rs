//! A WebSocket as a stream of bytes: what comes in binary messages is one stream, however it was cut, and what is sent goes out as it comes. Nothing is kept but what fits into
//! the stream's buffer, so whoever does not read holds up whoever sends.

use std::time::Duration;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf,
};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The subprotocol of consoles.
pub const PROTOCOL: &str = "binary";
/// Bytes that are sent in one message at most.
const PIECE: usize = 16 << 10;
/// Bytes of a message of a viewer at most: keys, the pointer, and what is pasted.
const FROM_VIEWERS: usize = 256 << 10;
/// Bytes of a message of a screen at most.
const FROM_SCREENS: usize = 4 << 20;
/// How long the other end may take to hear that it is over.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the other end is told when the stream of bytes ends.
#[derive(Debug)]
pub struct Farewell(Option<oneshot::Receiver<(CloseCode, &'static str)>>);

impl Farewell {
    /// Nothing in particular.
    pub fn none() -> Self {
        Self(None)
    }

    /// Whatever is sent before the stream is dropped.
    pub fn of(words: oneshot::Receiver<(CloseCode, &'static str)>) -> Self {
        Self(Some(words))
    }

    async fn words(self) -> (CloseCode, &'static str) {
        let said = match self.0 {
            Some(words) => words.await.ok(),
            None => None,
        };
        said.unwrap_or((CloseCode::Normal, ""))
    }
}

fn limits(bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(PIECE)
        // Every message goes out at once.
        .write_buffer_size(0)
        .max_write_buffer_size(4 * PIECE)
        .max_message_size(Some(bytes))
        .max_frame_size(Some(bytes))
}

/// The connection to a screen, whose handshake is done.
pub async fn of_screen<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    WebSocketStream::from_raw_socket(io, Role::Client, Some(limits(FROM_SCREENS))).await
}

/// The connection of a viewer, whose handshake is done.
pub async fn of_viewer<S: AsyncRead + AsyncWrite + Unpin>(io: S) -> WebSocketStream<S> {
    WebSocketStream::from_raw_socket(io, Role::Server, Some(limits(FROM_VIEWERS))).await
}

/// Carries bytes between a WebSocket and a stream until either ends, and then ends the other. With `pings` the other end is asked that often whether it is there, so that nobody in
/// between takes the connection for dead.
pub async fn carry<S>(
    socket: WebSocketStream<S>,
    stream: DuplexStream,
    pings: Option<Duration>,
    farewell: Farewell,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut out, mut incoming) = socket.split();
    let (mut from, mut to) = tokio::io::split(stream);
    let heard = tokio::select! {
        () = send_all(&mut from, &mut out, pings) => None,
        ended = receive_all(&mut incoming, &mut to) => ended.or(Some((CloseCode::Normal, ""))),
    };
    // First of all: who has the words may be waiting for this.
    drop((from, to));
    let (code, reason) = match heard {
        Some(words) => words,
        None => farewell.words().await,
    };
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    let ending = async {
        // It may have said goodbye itself, or be gone.
        let _ = out.send(Message::Close(Some(frame))).await;
        while let Some(Ok(_)) = incoming.next().await {}
    };
    let _ = tokio::time::timeout(LAST_WORDS, ending).await;
}

/// Sends what the stream says until it ends, or nobody takes it.
async fn send_all<S: AsyncRead + AsyncWrite + Unpin>(
    from: &mut ReadHalf<DuplexStream>,
    out: &mut SplitSink<WebSocketStream<S>, Message>,
    pings: Option<Duration>,
) {
    let mut ticks = tokio::time::interval(pings.unwrap_or(Duration::from_secs(3600)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    let mut piece = vec![0; PIECE];
    loop {
        let message = tokio::select! {
            read = from.read(&mut piece) => match read {
                Ok(count) if count > 0 => {
                    Message::Binary(piece.get(..count).unwrap_or_default().to_vec().into())
                }
                _ => return,
            },
            _ = ticks.tick(), if pings.is_some() => Message::Ping(bytes::Bytes::new()),
        };
        if out.send(message).await.is_err() {
            return;
        }
    }
}

/// Passes on what comes until there is no more. What the other end is to be told, if it did wrong.
async fn receive_all<S: AsyncRead + AsyncWrite + Unpin>(
    incoming: &mut SplitStream<WebSocketStream<S>>,
    to: &mut WriteHalf<DuplexStream>,
) -> Option<(CloseCode, &'static str)> {
    while let Some(message) = incoming.next().await {
        match message {
            Ok(Message::Binary(bytes)) => to.write_all(&bytes).await.ok()?,
            Ok(Message::Text(_)) => return Some((CloseCode::Unsupported, "binary messages only")),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(_) | Message::Frame(_)) => return None,
            Err(Error::Capacity(_)) => return Some((CloseCode::Size, "the message is too large")),
            Err(Error::Protocol(_) | Error::Utf8(_)) => {
                return Some((CloseCode::Protocol, "this is no WebSocket"));
            }
            Err(_) => return None,
        }
    }
    None
}
