//! Cases 56 and 57, and the streaming half of 44 and 54.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use crate::world::{Reply, Script, World, request};

fn events(count: usize) -> Vec<serde_json::Value> {
    (1..=count)
        .map(|n| json!({"event": {"id": format!("e{n}"), "displayName": "two\nlines", "cursor": format!("c{n}")}}))
        .collect()
}

async fn watch(world: &World, path: &str, accept: &str) -> Reply {
    let mut request = request(&format!("GET {path}"), None);
    request
        .headers_mut()
        .insert("accept", accept.parse().unwrap());
    world.send(request).await
}

/// Case 56.
#[tokio::test]
async fn json_lines() {
    let world = World::new();
    for count in [0, 1, 3] {
        world.script(Script {
            messages: Some(events(count)),
            ..Script::default()
        });
        let reply = watch(&world, "/v1/watch/t", "*/*").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), "application/x-ndjson");
        assert_eq!(reply.text.matches('\n').count(), count);
        for (n, line) in (1..).zip(reply.text.lines()) {
            let message: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(message["event"]["id"], format!("e{n}"));
        }
        // Case 44.
        let inner = watch(&world, "/v1/events/t", "").await;
        assert!(inner.text.lines().all(|line| line.starts_with("{\"id\":")));
    }
}

/// Case 56: before the first message an error is a status, after it a last line.
#[tokio::test]
async fn errors_on_streams() {
    let world = World::new();
    let failing = |messages| Script {
        messages: Some(messages),
        status: Some(tonic::Status::out_of_range("cursor expired")),
        ..Script::default()
    };
    for trailers_only in [true, false] {
        world.script(Script {
            trailers_only,
            ..failing(Vec::new())
        });
        let reply = watch(&world, "/v1/watch/t", "text/event-stream").await;
        assert_eq!(reply.status, 400);
        assert_eq!(reply.json()["error"]["status"], "OUT_OF_RANGE");
    }
    world.script(failing(events(1)));
    let reply = watch(&world, "/v1/watch/t", "application/x-ndjson").await;
    assert_eq!(reply.status, 200);
    let last: serde_json::Value = serde_json::from_str(reply.text.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["message"], "cursor expired");
    assert_eq!(reply.text.lines().count(), 2);

    let reply = watch(&world, "/v1/watch/t", "text/event-stream").await;
    assert!(reply.text.ends_with("}\n\n"), "{}", reply.text);
    assert!(
        reply
            .text
            .contains("\n\nevent: error\ndata: {\"error\":{\"code\":400,"),
        "{}",
        reply.text
    );
}

/// Case 56: each message leaves on its own.
#[tokio::test(start_paused = true)]
async fn messages_are_flushed_one_by_one() {
    let world = World::in_process();
    world.script(Script {
        messages: Some(events(2)),
        delay: Duration::from_secs(10),
        ..Script::default()
    });
    let start = tokio::time::Instant::now();
    let response = world
        .service
        .clone()
        .oneshot(request("GET /v1/watch/t", None))
        .await
        .unwrap();
    assert_eq!(
        start.elapsed(),
        Duration::from_secs(1),
        "the head does not wait for the first message"
    );
    let mut body = response.into_body();
    let mut arrivals = Vec::new();
    while let Some(frame) = body.frame().await {
        assert_eq!(frame.unwrap().into_data().unwrap().last(), Some(&b'\n'));
        arrivals.push(start.elapsed().as_secs());
    }
    assert_eq!(arrivals, [10, 20]);
}

/// Case 57.
#[tokio::test]
async fn server_sent_events() {
    let world = World::new();
    world.script(Script {
        messages: Some(events(2)),
        ..Script::default()
    });
    for path in ["/v1/watch/t", "/v1/events/t"] {
        let reply = watch(&world, path, "text/event-stream").await;
        assert_eq!(reply.header("content-type"), "text/event-stream");
        assert_eq!(reply.header("cache-control"), "no-cache");
        let blocks: Vec<Vec<&str>> = reply
            .text
            .split_terminator("\n\n")
            .map(|block| block.lines().collect())
            .collect();
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[1][0], "id: c2");
        assert!(blocks[1][1].starts_with("data: {"));
        assert!(blocks[1][1].contains("two\\nlines"));
        assert_eq!(blocks[1].len(), 2);
    }
    // A cursor that would break the framing is left out.
    world.script(Script {
        messages: Some(vec![json!({"event": {"cursor": "a\ndata: x"}})]),
        ..Script::default()
    });
    let reply = watch(&world, "/v1/watch/t", "text/event-stream").await;
    assert!(reply.text.starts_with("data: "), "{}", reply.text);
}

/// Case 57: resuming.
#[tokio::test]
async fn last_event_id_resumes() {
    let world = World::new();
    let mut resume = request("GET /v1/watch/t?resumeCursor=old", None);
    resume
        .headers_mut()
        .insert("last-event-id", "c5".parse().unwrap());
    resume
        .headers_mut()
        .insert("accept", "text/event-stream".parse().unwrap());
    assert_eq!(world.send(resume).await.status, 200);
    assert_eq!(
        world.seen().message,
        json!({"topic": "t", "resumeCursor": "c5"})
    );
}

/// Case 57: silence is filled with comments.
#[tokio::test(start_paused = true)]
async fn heartbeats() {
    let world = World::in_process();
    world.script(Script {
        messages: Some(events(1)),
        delay: Duration::from_secs(40),
        ..Script::default()
    });
    let reply = watch(&world, "/v1/watch/t", "text/event-stream").await;
    // With the head after 1 s, then each 15 s of silence until the event at 40 s, then again until the end at 80 s.
    let comment = ": heartbeat\n\n";
    let (before, after) = reply.text.split_once("id: c1\n").unwrap();
    assert_eq!(before, comment.repeat(3));
    assert!(
        after.ends_with(&["\n\n", comment, comment].concat()),
        "{after}"
    );
    let lines = watch(&world, "/v1/watch/t", "").await;
    assert_eq!(lines.text.lines().count(), 1);
}

/// Case 54: a client that leaves cancels the handler; a deadline ends the stream.
#[tokio::test(start_paused = true)]
async fn leaving_cancels_the_call() {
    let world = World::in_process();
    world.script(Script {
        messages: Some(events(3)),
        delay: Duration::from_secs(10),
        ..Script::default()
    });
    let response = world
        .service
        .clone()
        .oneshot(request("GET /v1/watch/t", None))
        .await
        .unwrap();
    let baseline = Arc::strong_count(&world.backend.alive);
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(Arc::strong_count(&world.backend.alive), baseline - 1);

    let mut limited = request("GET /v1/watch/t", None);
    limited
        .headers_mut()
        .insert("grpc-timeout", "15S".parse().unwrap());
    let reply = world.send(limited).await;
    assert_eq!(reply.text.lines().count(), 2);
    assert!(
        reply
            .text
            .lines()
            .last()
            .unwrap()
            .contains("DEADLINE_EXCEEDED")
    );

    // A service that ends its stream at the deadline has the last word, although it began to count later.
    world.script(Script {
        messages: Some(Vec::new()),
        delay: Duration::from_millis(15_010),
        ..Script::default()
    });
    let mut limited = request("GET /v1/watch/t", None);
    limited
        .headers_mut()
        .insert("grpc-timeout", "15S".parse().unwrap());
    let reply = world.send(limited).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, ""));
}

#[tokio::test]
async fn head_of_a_stream_opens_nothing() {
    let world = World::new();
    let reply = world.call("HEAD /v1/watch/t").await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, "application/x-ndjson")
    );
    assert_eq!(world.calls(), 0);
}
