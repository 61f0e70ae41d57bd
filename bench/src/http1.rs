//! As much HTTP/1.1 (RFC 9112) as a load generator needs: one call at a time on each connection.

use std::time::Instant;

use anyhow::{Context, bail};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::load::{Keys, Shot};

/// Headers of an answer at most.
const HEADERS: usize = 48;

/// Calls over one connection until `end`, and the times of those that ended after `count_from`, in microseconds.
///
/// # Errors
/// If a call is refused or the connection breaks.
pub(crate) async fn connection(
    port: u16,
    shot: &Shot,
    number: usize,
    of: usize,
    count_from: Instant,
    end: Instant,
) -> anyhow::Result<Vec<u32>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let run = uuid::Uuid::now_v7().simple().to_string();
    let (mut out, mut input) = (Vec::new(), BytesMut::with_capacity(1 << 14));
    let mut latencies = Vec::new();
    for call in 0.. {
        let since = Instant::now();
        if since >= end {
            break;
        }
        let pick = number + call * of;
        let key = match shot.keys {
            Keys::None => None,
            Keys::Fresh => Some(format!("{run}-{call:x}")),
            Keys::Same => Some(format!("same-{number}")),
        };
        let bearer = (!shot.bearers.is_empty()).then(|| &*shot.bearers[pick % shot.bearers.len()]);
        let message = &shot.messages[pick % shot.messages.len()];
        out.clear();
        request(&mut out, port, shot.path, bearer, key.as_deref(), message);
        stream.write_all(&out).await?;
        while !answered(&mut input)? {
            if stream.read_buf(&mut input).await? == 0 {
                bail!("the server closed a connection with a call on it");
            }
        }
        let now = Instant::now();
        if now >= count_from && now < end {
            latencies.push(u32::try_from((now - since).as_micros())?);
        }
    }
    Ok(latencies)
}

fn request(
    out: &mut Vec<u8>,
    port: u16,
    path: &str,
    bearer: Option<&str>,
    key: Option<&str>,
    message: &[u8],
) {
    let method = if message.is_empty() { "GET" } else { "POST" };
    let mut line = |name: &str, value: &str| {
        for part in [name, value, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    };
    line(method, &format!(" {path} HTTP/1.1"));
    line("host: 127.0.0.1:", &port.to_string());
    if let Some(bearer) = bearer {
        line("authorization: Bearer ", bearer);
    }
    if let Some(key) = key {
        line("idempotency-key: ", key);
    }
    if !message.is_empty() {
        line("content-type: ", "application/json");
        line("content-length: ", &message.len().to_string());
    }
    line("", "");
    out.extend_from_slice(message);
}

/// Takes an answer from what was received, if all of it is there.
fn answered(input: &mut BytesMut) -> anyhow::Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = answer.parse(input)? else {
        return Ok(false);
    };
    let status = answer.code.context("an answer without a status")?;
    let length = answer
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .context("an answer without a length")?;
    let length: usize = std::str::from_utf8(length.value)?.parse()?;
    if input.len() < head + length {
        return Ok(false);
    }
    anyhow::ensure!(
        (200..300).contains(&status),
        "a call was refused: status {status}"
    );
    input.advance(head + length);
    Ok(true)
}
