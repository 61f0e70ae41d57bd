//! Server streams as JSON lines, server-sent events, or the bytes of `HttpBody` messages.
//!
//! Each message is flushed on its own. A failure before the first message is an HTTP status; after it, the status line is gone,
//! so the failure becomes a terminal line or event, or breaks the connection where the body is raw bytes. Dropping the response
//! body drops the call, which cancels the handler.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::time::Instant;
use tonic::body::Body;

use super::accept::StreamFormat;
use super::failure::Failure;
use super::frames::Frames;
use super::{headers, unary};
use crate::gateway::Core;
use crate::json::wire::{self, Malformed};
use crate::route::{FieldRef, Route};

/// One thing that happened on a stream.
enum Step {
    Message(Bytes),
    /// Nothing came for a while.
    Idle,
    End(Result<HeaderMap, Failure>),
}

/// How a stream is to be sent.
pub(crate) struct Plan {
    pub(crate) format: StreamFormat,
    pub(crate) deadline: Option<(Instant, Duration)>,
    pub(crate) request_id: Option<String>,
    pub(crate) wants_trailers: bool,
}

/// A failure before the status line was sent, with the metadata that came with it.
pub(crate) struct Unstarted {
    pub(crate) failure: Failure,
    pub(crate) metadata: HeaderMap,
}

struct Source {
    frames: Frames,
    deadline: Option<(Instant, Duration)>,
}

impl Source {
    /// The next step, or `Idle` if nothing comes within `patience`.
    async fn step(&mut self, patience: Option<Duration>) -> Step {
        let idle_at = patience.map(|patience| Instant::now() + patience);
        let wake = match (idle_at, self.deadline) {
            (Some(idle), Some((deadline, _))) => Some(idle.min(deadline)),
            (idle, deadline) => idle.or(deadline.map(|(deadline, _)| deadline)),
        };
        let next = self.frames.next();
        let next = match wake {
            Some(wake) => match tokio::time::timeout_at(wake, next).await {
                Ok(next) => next,
                Err(_) => {
                    return match self.deadline {
                        Some((deadline, allowed)) if Instant::now() >= deadline => {
                            Step::End(Err(unary::timed_out(allowed)))
                        }
                        _ => Step::Idle,
                    };
                }
            },
            None => next.await,
        };
        match next {
            Ok(Some(message)) => Step::Message(message),
            Ok(None) => Step::End(self.status()),
            Err(failure) => Step::End(Err(failure)),
        }
    }

    fn status(&mut self) -> Result<HeaderMap, Failure> {
        let trailers = self.frames.trailers().unwrap_or_default();
        match Failure::from_headers(&trailers) {
            Some(Ok(())) => Ok(trailers),
            Some(Err(failure)) => Err(failure),
            None => Err(Failure::internal("the stream ended without a status")),
        }
    }
}

/// Starts the HTTP response of a server stream.
pub(crate) async fn respond(
    core: Arc<Core>,
    route_index: usize,
    response: Response<Body>,
    mut plan: Plan,
) -> Result<Response<Body>, Unstarted> {
    let head = unary::check_head(&response);
    let headers_only = response.headers().contains_key("grpc-status");
    let (parts, body) = response.into_parts();
    if let Err(failure) = head {
        return Err(Unstarted {
            failure,
            metadata: parts.headers,
        });
    }
    let mut source = Source {
        frames: Frames::new(body, core.config.limits.response_message_bytes),
        deadline: plan.deadline,
    };
    let route = &core.routes.list[route_index];
    let raw = unary::returns_http_body(&core.schemas.main, route);
    // Raw bytes need the first message for their content type; JSON can start without.
    let patience = (!raw).then_some(core.config.first_message_wait);
    let first = if headers_only {
        Step::End(Ok(HeaderMap::new()))
    } else {
        source.step(patience).await
    };
    let content_type = match &first {
        Step::End(Err(failure)) => {
            return Err(Unstarted {
                failure: failure.clone(),
                metadata: parts.headers,
            });
        }
        Step::Message(bytes) if raw => raw_content_type(&core, route, bytes),
        _ => json_content_type(plan.format),
    };
    if let Some(id) = headers::request_id(&parts.headers) {
        plan.request_id = Some(id.to_owned());
    }
    let mut out = Response::new(Body::empty());
    headers::copy_returned(&parts.headers, &core.config, out.headers_mut());
    if let Some(content_type) = content_type {
        out.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    let no_cache = HeaderValue::from_static("no-cache");
    out.headers_mut().insert(header::CACHE_CONTROL, no_cache);
    // Proxies that buffer would hold events back; this is how the common ones are told not to.
    let no_buffer = HeaderValue::from_static("no");
    out.headers_mut().insert("x-accel-buffering", no_buffer);
    *out.body_mut() = if raw {
        raw_body(core, route_index, source, first)
    } else {
        json_body(core, route_index, source, first, plan)
    };
    Ok(out)
}

/// The content type of JSON streams.
pub(crate) fn json_content_type(format: StreamFormat) -> Option<HeaderValue> {
    Some(HeaderValue::from_static(match format {
        StreamFormat::Ndjson => "application/x-ndjson",
        StreamFormat::Sse => "text/event-stream",
    }))
}

fn raw_content_type(core: &Core, route: &Route, bytes: &Bytes) -> Option<HeaderValue> {
    let schema = &core.schemas.main;
    let content_type = unary::http_body(schema, route, bytes).ok()?.content_type?;
    HeaderValue::from_str(&content_type).ok()
}

fn json_body(
    core: Arc<Core>,
    route_index: usize,
    mut source: Source,
    first: Step,
    plan: Plan,
) -> Body {
    let patience = (plan.format == StreamFormat::Sse).then_some(core.config.heartbeat);
    let frames = async_stream::stream! {
        let mut step = first;
        loop {
            let failure = match step {
                Step::Message(bytes) => match event(&core, route_index, &bytes, plan.format) {
                    Ok(chunk) => {
                        yield Ok::<_, tonic::Status>(Frame::data(chunk));
                        None
                    }
                    Err(failure) => Some(failure),
                },
                Step::Idle => {
                    if plan.format == StreamFormat::Sse {
                        yield Ok(Frame::data(Bytes::from_static(b": heartbeat\n\n")));
                    }
                    None
                }
                Step::End(Ok(metadata)) => {
                    let mut trailers = HeaderMap::new();
                    headers::copy_returned(&metadata, &core.config, &mut trailers);
                    if plan.wants_trailers && !trailers.is_empty() {
                        yield Ok(Frame::trailers(trailers));
                    }
                    break;
                }
                Step::End(Err(failure)) => Some(failure),
            };
            if let Some(mut failure) = failure {
                failure.complete(&core.config.domain, plan.request_id.as_deref());
                yield Ok(Frame::data(terminal(&core, &failure, plan.format)));
                break;
            }
            step = source.step(patience).await;
        }
    };
    Body::new(StreamBody::new(frames))
}

fn raw_body(core: Arc<Core>, route_index: usize, mut source: Source, first: Step) -> Body {
    let frames = async_stream::stream! {
        let mut step = first;
        loop {
            match step {
                Step::Message(bytes) => {
                    let schema = &core.schemas.main;
                    let route = &core.routes.list[route_index];
                    match unary::payload(schema, route, &bytes) {
                        Ok(payload) => yield Ok(Frame::data(payload.bytes)),
                        Err(failure) => {
                            yield Err(tonic::Status::new(failure.code, failure.message));
                            break;
                        }
                    }
                }
                Step::Idle => {}
                Step::End(Ok(_)) => break,
                Step::End(Err(failure)) => {
                    // A short body must not look complete: this resets the stream or cuts the connection.
                    yield Err(tonic::Status::new(failure.code, failure.message));
                    break;
                }
            }
            step = source.step(None).await;
        }
    };
    Body::new(StreamBody::new(frames))
}

/// One message as a line or as an event.
fn event(
    core: &Core,
    route_index: usize,
    bytes: &Bytes,
    format: StreamFormat,
) -> Result<Bytes, Failure> {
    let schema = &core.schemas.main;
    let route = &core.routes.list[route_index];
    let mut out = Vec::with_capacity(bytes.len() * 3 + 64);
    if format == StreamFormat::Sse {
        if let Some(cursor) = cursor(core, route, bytes).map_err(unary::unreadable)? {
            out.extend_from_slice(b"id: ");
            out.extend_from_slice(cursor.as_bytes());
            out.push(b'\n');
        }
        out.extend_from_slice(b"data: ");
    }
    // JSON escapes control characters, so a message is one line whatever its strings hold.
    unary::write_json(schema, route, bytes, &mut out)?;
    out.extend_from_slice(line_end(format));
    Ok(out.into())
}

fn terminal(core: &Core, failure: &Failure, format: StreamFormat) -> Bytes {
    let envelope = failure.envelope(&core.schemas);
    let lead: &[u8] = match format {
        StreamFormat::Ndjson => b"",
        StreamFormat::Sse => b"event: error\ndata: ",
    };
    [lead, &envelope, line_end(format)].concat().into()
}

fn line_end(format: StreamFormat) -> &'static [u8] {
    match format {
        StreamFormat::Ndjson => b"\n",
        StreamFormat::Sse => b"\n\n",
    }
}

/// The cursor of a message, if it has one that fits on a line.
fn cursor(core: &Core, route: &Route, bytes: &[u8]) -> Result<Option<String>, Malformed> {
    let Some((last, outer)) = route.cursor_field.as_deref().and_then(<[_]>::split_last) else {
        return Ok(None);
    };
    let number = |field: &FieldRef| field.get(&core.schemas.main).desc.number();
    let mut holder = Cow::Borrowed(bytes);
    for step in outer {
        holder = Cow::Owned(wire::submessage(&holder, number(step))?.into_owned());
    }
    let text = wire::last(&holder, number(last))?.map_or(Ok(""), wire::text)?;
    let fits = !text.is_empty() && !text.contains(['\n', '\r', '\0']);
    Ok(fits.then(|| text.to_owned()))
}
