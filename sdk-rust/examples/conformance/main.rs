//! Runner of the conformance suite in `tests/sdk-conformance`: a case a line on stdin, an answer a line on stdout.

#![expect(
    clippy::print_stdout,
    reason = "the driver reads the answers from stdout"
)]

mod answer;
mod hooks;
mod steps;

use std::io::BufRead;

use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let notices = hooks::notices();
    for line in std::io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        notices.take();
        let mut answer = if request["transport"] == "grpc" {
            steps::run(&request).await?
        } else {
            json!({"unsupported": "the Rust SDK speaks gRPC over HTTP/2 only"})
        };
        answer["case"] = request["case"].clone();
        answer["notices"] = json!(notices.take());
        println!("{answer}");
    }
    Ok(())
}
