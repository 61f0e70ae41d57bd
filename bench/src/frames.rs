//! As much HTTP/2 (RFC 9113) as a load generator needs: frames out as bytes, frames in as events. The peer is told to keep no compression table (RFC 7541 §4.2), so
//! a header block can be read by itself and the ones that do not end a call are skipped.

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use fluke_hpack::Decoder;

/// How a call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// A gRPC frame, posted.
    Grpc,
    /// JSON, posted; a GET without a body if the message is empty.
    Rest,
}

/// What arrives.
pub(crate) enum Frame {
    /// So many bytes of replies.
    Data(u32),
    /// We may send so many bytes more.
    Window(i64),
    /// To be sent back as it is.
    Echo(Vec<u8>),
    /// A REST reply begins with this status.
    Begin(String),
    /// A call ended; with this status if it is a gRPC call.
    End(u32, Option<String>),
    /// Nothing of interest.
    Other,
}

/// What may be sent on a connection before the peer says more.
pub(crate) const FIRST_WINDOW: i64 = 65_535;
/// After so many bytes received the peer is given them back.
pub(crate) const REFILL: u32 = 1 << 24;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

fn header(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// What a client says first: no compression table, no pushes, all the windows it can give.
pub(crate) fn hello() -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    let settings: [(u16, u32); 3] = [(1, 0), (2, 0), (4, i32::MAX.unsigned_abs())];
    header(&mut out, settings.len() * 6, SETTINGS, 0, 0);
    for (name, value) in settings {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
    out.extend_from_slice(&window(1 << 30));
    out
}

/// Gives the peer more to send on the connection.
pub(crate) fn window(more: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + 4);
    header(&mut out, 4, WINDOW_UPDATE, 0, 0);
    out.extend_from_slice(&more.to_be_bytes());
    out
}

/// The headers that all calls of a connection share.
pub(crate) fn head(style: Style, port: u16, path: &str, empty: bool) -> Vec<u8> {
    // Static table: 2 is `:method: GET`, 3 `:method: POST`, 6 `:scheme: http`.
    let method = if style != Style::Grpc && empty { 2 } else { 3 };
    let mut block = vec![0x80 | method, 0x80 | 6];
    literal(&mut block, ":path", path);
    literal(&mut block, ":authority", &format!("127.0.0.1:{port}"));
    if style == Style::Grpc {
        literal(&mut block, "content-type", "application/grpc");
        literal(&mut block, "te", "trailers");
    } else if !empty {
        literal(&mut block, "content-type", "application/json");
    }
    block
}

/// A header that enters no table, in plain letters.
fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        // Seven bits hold a length below 127; a longer one goes on in bytes of seven bits.
        if text.len() < 127 {
            block.extend(u8::try_from(text.len()));
        } else {
            block.push(127);
            let mut rest = text.len() - 127;
            while rest >= 128 {
                block.extend(u8::try_from(rest % 128 + 128));
                rest /= 128;
            }
            block.extend(u8::try_from(rest));
        }
        block.extend_from_slice(text.as_bytes());
    }
}

/// Writes a unary call, and returns how much of the peer's window it takes.
pub(crate) fn request(
    style: Style,
    out: &mut Vec<u8>,
    stream: u32,
    head: &[u8],
    bearer: Option<&str>,
    key: Option<&str>,
    message: &[u8],
) -> i64 {
    let start = out.len();
    header(out, 0, HEADERS, END_HEADERS, stream);
    out.extend_from_slice(head);
    if let Some(bearer) = bearer {
        literal(out, "authorization", &format!("Bearer {bearer}"));
    }
    if let Some(key) = key {
        literal(out, "idempotency-key", key);
    }
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    out[start..start + 3].copy_from_slice(&length.to_be_bytes()[1..]);
    let prefix = match style {
        Style::Grpc => 5,
        Style::Rest if message.is_empty() => {
            out[start + 4] |= END_STREAM;
            return 0;
        }
        Style::Rest => 0,
    };
    header(out, prefix + message.len(), DATA, END_STREAM, stream);
    if style == Style::Grpc {
        out.push(0);
        out.extend_from_slice(
            &u32::try_from(message.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
    }
    out.extend_from_slice(message);
    i64::try_from(prefix + message.len()).unwrap_or(i64::MAX)
}

/// Reads header blocks. Taking one apart costs more than all else a call costs here, and nearly all end a good call with the same bytes, so those are remembered.
pub(crate) struct Statuses {
    decoder: Decoder<'static>,
    /// A block without `grpc-message` that said this status. As the peer keeps no table, the same bytes say the same again.
    last: (Vec<u8>, String),
}

impl Statuses {
    pub(crate) fn new() -> Self {
        Self {
            decoder: Decoder::new(),
            last: Default::default(),
        }
    }

    /// The status in a header block, with gRPC's message if there is one.
    fn read(&mut self, block: &[u8], name: &[u8]) -> anyhow::Result<String> {
        // Static table: 8 is `:status: 200`, and a block begins with its pseudo-header.
        if name == b":status" && block.first() == Some(&(0x80 | 8)) {
            return Ok("200".to_owned());
        }
        if self.last.0 == block {
            return Ok(self.last.1.clone());
        }
        let headers = self
            .decoder
            .decode(block)
            .map_err(|e| anyhow::anyhow!("a header block: {e:?}"))?;
        let text = |name: &[u8]| {
            let found = headers.iter().find(|(n, _)| n == name)?;
            Some(String::from_utf8_lossy(&found.1).into_owned())
        };
        let status = text(name).context("a reply without a status")?;
        if let Some(message) = text(b"grpc-message") {
            return Ok(format!("{status}: {message}"));
        }
        self.last = (block.to_vec(), status.clone());
        Ok(status)
    }
}

/// Takes the next whole frame from what was received.
///
/// # Errors
/// If the peer breaks off a call or the connection.
pub(crate) fn next(
    style: Style,
    input: &mut BytesMut,
    statuses: &mut Statuses,
) -> anyhow::Result<Option<Frame>> {
    let Some((head, rest)) = input.split_at_checked(HEADER) else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]]))?;
    let (kind, flags) = (head[3], head[4]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & i32::MAX.unsigned_abs();
    let Some(payload) = rest.get(..length) else {
        return Ok(None);
    };
    let frame = match kind {
        // A REST reply ends with its body: its last bytes are not counted against the window, which is wide enough for that.
        DATA if flags & END_STREAM != 0 => Frame::End(stream, None),
        DATA => Frame::Data(u32::try_from(length)?),
        HEADERS if flags & END_HEADERS == 0 => bail!("a header block in several frames"),
        HEADERS if flags & END_STREAM != 0 => {
            Frame::End(stream, Some(statuses.read(payload, b"grpc-status")?))
        }
        HEADERS if style == Style::Rest => Frame::Begin(statuses.read(payload, b":status")?),
        RESET => bail!("a call was reset: {payload:?}"),
        GO_AWAY => bail!("the server says goodbye: {payload:?}"),
        SETTINGS if flags & ACK == 0 => {
            let mut answer = Vec::with_capacity(HEADER);
            header(&mut answer, 0, SETTINGS, ACK, 0);
            Frame::Echo(answer)
        }
        PING if flags & ACK == 0 => {
            let mut answer = Vec::with_capacity(HEADER + length);
            header(&mut answer, length, PING, ACK, 0);
            answer.extend_from_slice(payload);
            Frame::Echo(answer)
        }
        WINDOW_UPDATE if stream == 0 => {
            Frame::Window(i64::from(u32::from_be_bytes(payload.try_into()?)))
        }
        _ => Frame::Other,
    };
    input.advance(HEADER + length);
    Ok(Some(frame))
}
