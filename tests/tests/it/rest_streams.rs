//! Events as they come, over HTTP: lines of JSON, and what browsers call server-sent events. [C3 N2, R47]

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use sewa_tests::World;
use sewa_tests::http::Http;

/// A body as it comes.
struct Lines {
    body: Incoming,
    read: BytesMut,
}

impl Lines {
    async fn open(http: &Http, path: &str, accept: &str, last_event_id: &str) -> Self {
        let mut headers = vec![("accept", accept)];
        if !last_event_id.is_empty() {
            headers.push(("last-event-id", last_event_id));
        }
        let response = http
            .open(Method::GET, path, &headers, Bytes::new())
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), 200);
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            kind.starts_with(if accept.is_empty() {
                "application/"
            } else {
                accept
            }),
            "{kind}"
        );
        Self {
            body: response.into_body(),
            read: BytesMut::new(),
        }
    }

    async fn next(&mut self) -> String {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line = self.read.split_to(end);
                self.read.advance(1);
                return String::from_utf8(line.to_vec()).unwrap();
            }
            let frame = tokio::time::timeout(sewa_tests::patience::PATIENCE, self.body.frame())
                .await
                .expect("a line in time");
            let frame = frame.expect("the stream goes on").unwrap();
            self.read
                .extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }
}

#[tokio::test]
async fn events_stream_as_json_lines() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let mut lines = Lines::open(
        &http,
        "/v1/events:watch?types=EVENT_TYPE_DEPOSIT_PAID",
        "application/x-ndjson",
        "",
    )
    .await;
    let deposit = budi.deposit(20_000).await;
    let line: Value = serde_json::from_str(&lines.next().await).unwrap();
    let event = line.get("result").unwrap_or(&line)["event"].clone();
    assert_eq!(
        (&event["type"], &event["subjectId"]),
        (&json!("EVENT_TYPE_DEPOSIT_PAID"), &json!(deposit.id))
    );
    assert_eq!(event["wallet"]["amount"]["units"], "20000");
    assert!(
        event["occurTime"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z')),
        "RFC 3339"
    );
}

/// The contract says that a watch ends at its deadline, and not that this is an error.
#[tokio::test]
async fn a_quiet_watch_ends_at_its_deadline_without_an_error() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let http = world.http().bearer(&budi.tokens.access_token);
    for accept in ["application/x-ndjson", "text/event-stream"] {
        let headers = [("accept", accept), ("grpc-timeout", "200m")];
        for _ in 0..10 {
            let ended = http
                .send(Method::GET, "/v1/events:watch", &headers, None)
                .await;
            assert_eq!((ended.status.as_u16(), ended.text().as_str()), (200, ""));
        }
    }
}

/// The `id:` and `data:` of the next event.
async fn server_sent(lines: &mut Lines) -> (String, Value) {
    let (mut id, mut data) = (String::new(), Value::Null);
    loop {
        let line = lines.next().await;
        match line
            .split_once(':')
            .map(|(field, rest)| (field, rest.trim()))
        {
            Some(("id", rest)) => rest.clone_into(&mut id),
            Some(("data", rest)) => data = serde_json::from_str(rest).unwrap(),
            _ if line.trim().is_empty() && data != Value::Null => return (id, data),
            _ => {}
        }
    }
}

#[tokio::test]
async fn events_stream_to_a_browser_and_resume_by_their_id() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let http = world.http().bearer(&budi.tokens.access_token);
    let mut lines = Lines::open(&http, "/v1/events:watch", "text/event-stream", "").await;
    let deposit = budi.deposit(20_000).await;
    let (cursor, created) = server_sent(&mut lines).await;
    assert_eq!(
        (
            created["event"]["type"].as_str(),
            created["cursor"].as_str()
        ),
        (Some("EVENT_TYPE_DEPOSIT_CREATED"), Some(&*cursor))
    );
    drop(lines);
    budi.deposit(30_000).await;
    let mut lines = Lines::open(&http, "/v1/events:watch", "text/event-stream", &cursor).await;
    for expected in [
        "EVENT_TYPE_DEPOSIT_PAID",
        "EVENT_TYPE_DEPOSIT_CREATED",
        "EVENT_TYPE_DEPOSIT_PAID",
    ] {
        let (_, message) = server_sent(&mut lines).await;
        assert_eq!(message["event"]["type"], expected);
    }
    assert_ne!(deposit.id, "");
    // One that is no cursor, and one that is ahead of the log: the server gives it time to come, but answers before the call ends.
    for cursor in ["nonsense", "c7fffffffffffff00"] {
        let refused = http
            .send(
                Method::GET,
                "/v1/events:watch",
                &[
                    ("accept", "text/event-stream"),
                    ("last-event-id", cursor),
                    ("grpc-timeout", "1S"),
                ],
                None,
            )
            .await;
        assert_eq!(
            (refused.status.as_u16(), refused.reason().as_str()),
            (400, "CURSOR_EXPIRED"),
            "{cursor}"
        );
    }
}
