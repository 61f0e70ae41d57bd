//! Plays one line to one call.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::Value;
use sewa_sdk::Rules;
use tokio::time::sleep;
use tonic::body::Body;

use crate::case::{Line, Refusal, Then};
use crate::seen::Attempt;
use crate::server::{Mark, Stage};
use crate::wire;

/// How long a stream stays up after its last message before it is cut.
const BEFORE_A_CUT: Duration = Duration::from_millis(600);

/// Marks its attempt as given up, unless the line was played to its end.
struct Watch {
    stage: Arc<Stage>,
    mark: Mark,
    played: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.played {
            self.stage.abandon(&self.mark);
        }
    }
}

/// Answers one call. A mistake in the script becomes an INTERNAL error that says so.
pub(crate) async fn answer(stage: Arc<Stage>, request: Request<Body>) -> Response<Body> {
    match perform(stage, request).await {
        Ok(response) => response,
        Err(error) => {
            let refusal = Refusal {
                code: "INTERNAL".to_owned(),
                message: format!("the script cannot be played: {error:#}").replace('\n', " "),
                ..Refusal::default()
            };
            closed(refusal.trailers().unwrap_or_default())
        }
    }
}

async fn perform(stage: Arc<Stage>, request: Request<Body>) -> anyhow::Result<Response<Body>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let name = path.trim_start_matches('/');
    let body = body.collect().await?.to_bytes();
    let decoded = wire::method(name)
        .and_then(|method| wire::decode(method.input(), wire::unframe(&body)?))
        .unwrap_or(Value::Null);
    let mark = stage.note(
        name,
        Attempt {
            headers: texts(&head.headers),
            request: decoded,
            at: Instant::now(),
            abandoned: false,
        },
    );
    let mut watch = Watch {
        stage: Arc::clone(&stage),
        mark,
        played: false,
    };
    if !admitted(&stage, &path, &head.headers) {
        watch.played = true;
        return Ok(closed(
            Refusal::new("UNAUTHENTICATED", "TOKEN_EXPIRED").trailers()?,
        ));
    }
    let Some(line) = stage.next(name) else {
        watch.played = true;
        return Ok(closed(
            Refusal::new("UNIMPLEMENTED", "UNIMPLEMENTED").trailers()?,
        ));
    };
    let method = wire::method(name)?;
    sleep(Duration::from_millis(line.late_ms)).await;
    if line.never {
        std::future::pending::<()>().await;
    }
    let mut response = if let Some(status) = line.http_status {
        watch.played = true;
        let mut response = Response::new(Body::new("no gRPC here".to_owned()));
        *response.status_mut() = http::StatusCode::from_u16(status)?;
        response
    } else if let Some(refusal) = &line.status {
        watch.played = true;
        closed(refusal.trailers()?)
    } else {
        let messages = encode(&method, &line)?;
        open(StreamBody::new(frames(messages, line.then.clone(), watch)))
    };
    for (name, value) in &line.headers {
        response
            .headers_mut()
            .append(HeaderName::try_from(name)?, HeaderValue::from_str(value)?);
    }
    Ok(response)
}

/// Whether the script lets this caller in.
fn admitted(stage: &Stage, path: &str, headers: &HeaderMap) -> bool {
    let Some(tokens) = &stage.script.tokens else {
        return true;
    };
    let sent = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let known = |text: &str| tokens.iter().any(|token| text == format!("Bearer {token}"));
    sent.is_some_and(known)
        || Rules::contract()
            .method(path)
            .is_some_and(|rule| rule.public)
}

fn encode(method: &prost_reflect::MethodDescriptor, line: &Line) -> anyhow::Result<Vec<Vec<u8>>> {
    let Some(reply) = &line.reply else {
        let messages = line.messages.iter().flatten();
        return messages
            .map(|json| wire::encode(method.output(), json))
            .collect();
    };
    let mut message = wire::encode(method.output(), reply)?;
    if let Some(extra) = &line.extra_hex {
        message.extend(wire::hex(extra)?);
    }
    if let Some(size) = line.padded_to {
        wire::pad(&mut message, size);
    }
    Ok(vec![message])
}

fn frames(
    messages: Vec<Vec<u8>>,
    then: Then,
    mut watch: Watch,
) -> impl Stream<Item = Result<Frame<Bytes>, std::io::Error>> {
    async_stream::stream! {
        for message in messages {
            yield Ok(Frame::data(wire::frame(&message)));
        }
        match then {
            Then::Hang => std::future::pending::<()>().await,
            Then::Cut => {
                // A reset overtakes what is queued for sending, so a cut right behind a message would be a cut before it.
                sleep(BEFORE_A_CUT).await;
                watch.played = true;
                yield Err(std::io::Error::other("cut by the script"));
            }
            Then::End => {
                watch.played = true;
                yield Ok(Frame::trailers(wire::fine()));
            }
            Then::Refuse(refusal) => {
                watch.played = true;
                yield refusal.trailers().map(Frame::trailers).map_err(std::io::Error::other);
            }
        }
        drop(watch);
    }
}

/// An answer with messages.
fn open<B>(body: B) -> Response<Body>
where
    B: http_body::Body<Data = Bytes, Error = std::io::Error> + Send + 'static,
{
    let mut response = Response::new(Body::new(body));
    grpc(&mut response);
    response
}

/// An answer that is a status alone.
fn closed(trailers: HeaderMap) -> Response<Body> {
    let empty = http_body_util::Empty::<Bytes>::new().map_err(|never: Infallible| match never {});
    let mut response = Response::new(Body::new(empty));
    *response.headers_mut() = trailers;
    grpc(&mut response);
    response
}

fn grpc(response: &mut Response<Body>) {
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect()
}
