//! Case 35: what one request may cost.

use std::io::Write as _;

use sewa_gateway::GatewayConfig;

use crate::world::{World, request};

fn nested(depth: usize) -> String {
    let open = r#"{"deep":{"child":"#.repeat(depth / 2);
    format!(r#"{{"child":{open}{{}}{}}}"#, "}}".repeat(depth / 2))
}

/// Case 35.
#[tokio::test]
async fn size_and_depth() {
    let world = World::new();
    assert_eq!(
        world
            .call_with("POST /v1/everything", nested(32))
            .await
            .status,
        200
    );
    assert_eq!(
        world
            .call_with("POST /v1/everything", nested(100))
            .await
            .status,
        400
    );
    let brackets = "[".repeat(500_000);
    assert_eq!(
        world.call_with("POST /v1/value", brackets).await.status,
        400
    );

    let entries: Vec<String> = (0..2000)
        .map(|n| format!("\"key{n}\":\"{n:0>10}\""))
        .collect();
    let big = format!("{{\"object\":{{{}}}}}", entries.join(","));
    assert!(big.len() > 40_000);
    assert_eq!(
        world.call_with("POST /v1/everything", big).await.status,
        200
    );

    let over = format!("{{\"text\":\"{}\"}}", "a".repeat(1 << 20));
    let reply = world.call_with("POST /v1/everything", over.clone()).await;
    assert_eq!(reply.status, 413);
    assert_eq!(reply.detail("ErrorInfo")["reason"], "BODY_TOO_LARGE");

    for (text, status) in [("{\"text\":\"small\"}".to_owned(), 200), (over, 413)] {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text.as_bytes()).unwrap();
        let compressed = encoder.finish().unwrap();
        let mut request = request("POST /v1/everything", Some(compressed.into()));
        request
            .headers_mut()
            .insert("content-encoding", "gzip".parse().unwrap());
        assert_eq!(world.send(request).await.status, status);
    }
}

/// Case 35: every limit is a setting, and each has a status and a reason of its own.
#[tokio::test]
async fn limits_are_settings() {
    let mut config = GatewayConfig::default();
    config.limits.body_bytes = 100;
    config.limits.json_depth = 4;
    config.limits.query_keys = 2;
    config.limits.path_bytes = 40;
    config.limits.header_bytes = 300;
    let world = World::with(config);
    let refused = async |line: &str, body: Option<String>| {
        let reply = world.send(request(line, body.map(Into::into))).await;
        let reason = reply.detail("ErrorInfo")["reason"].clone();
        (reply.status, reason.as_str().unwrap().to_owned())
    };
    let long = format!("{{\"text\":\"{}\"}}", "a".repeat(100));
    for (line, body, status, reason) in [
        ("POST /v1/everything", Some(long), 413, "BODY_TOO_LARGE"),
        ("POST /v1/everything", Some(nested(8)), 400, "INVALID_JSON"),
        (
            "GET /v1/everything?words=a&words=b&words=c",
            None,
            400,
            "TOO_MANY_QUERY_KEYS",
        ),
        (
            &format!("GET /v1/everything/{}", "a".repeat(30)),
            None,
            414,
            "PATH_TOO_LONG",
        ),
        (
            &format!("GET /v1/everything?text={}", "a".repeat(300)),
            None,
            431,
            "HEADERS_TOO_LARGE",
        ),
    ] {
        assert_eq!(
            refused(line, body).await,
            (status, reason.to_owned()),
            "{line}"
        );
    }
    assert_eq!(world.calls(), 0);
}

/// Case 35: a bomb of 64 MB is refused at the limit, whatever it would have become.
#[tokio::test]
async fn a_compressed_bomb_and_unknown_codings() {
    let world = World::new();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![b' '; 1 << 20];
    for _ in 0..64 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20);
    for (coding, body, status) in [
        ("gzip", bomb, 413),
        ("br", b"{}".to_vec(), 415),
        ("deflate", b"{}".to_vec(), 415),
        ("gzip, gzip", b"{}".to_vec(), 415),
        ("gzip", b"{}".to_vec(), 400),
    ] {
        let mut request = request("POST /v1/everything", Some(body.into()));
        request
            .headers_mut()
            .insert("content-encoding", coding.parse().unwrap());
        assert_eq!(world.send(request).await.status, status, "{coding}");
    }
    assert_eq!(world.calls(), 0);
}
