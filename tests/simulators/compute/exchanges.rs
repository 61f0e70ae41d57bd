//! What was asked and answered, written down for `make vendor-specs`, which holds it against what vendors publish. Only where `SEWA_EXCHANGES` names a folder.

use std::io::Write;

use http::Response;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{Asked, Dialect};

/// Writes an exchange down, in one line.
pub(super) async fn record(dialect: Dialect, asked: &Asked, reply: &Response<Full<Bytes>>) {
    let Ok(folder) = std::env::var("SEWA_EXCHANGES") else {
        return;
    };
    let body = reply.body().clone().collect().await.expect("a whole body");
    // What is no JSON is a fault of the cloud, and no reply that a vendor describes.
    let bytes = body.to_bytes();
    let said: Value = match serde_json::from_slice(&bytes) {
        Ok(said) => said,
        Err(_) if bytes.is_empty() => Value::Null,
        Err(_) => return,
    };
    let line = json!({
        "method": asked.method.as_str(),
        "path": asked.path,
        "query": asked.query,
        "filter": asked.filter,
        "body": asked.body,
        "status": reply.status().as_u16(),
        "reply": said,
    });
    let path = std::path::Path::new(&folder).join(format!("{}.jsonl", dialect.provider()));
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .expect("the folder of SEWA_EXCHANGES");
    // In one piece: several tests write here.
    file.write_all(format!("{line}\n").as_bytes())
        .expect("the exchange is written");
}
