//! The demonstration: the SDK's example `journey`, played against this server over a socket, as any reseller would.

use std::time::Duration;

use anyhow::bail;

#[allow(
    dead_code,
    unreachable_pub,
    reason = "the same file is an example of the SDK, with a main of its own"
)]
#[path = "../../../sdk-rust/examples/journey/main.rs"]
mod journey;

/// How long the server may take to become ready.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the server answers.
///
/// # Errors
/// If it does not in time.
pub async fn until_ready(url: &str) -> anyhow::Result<()> {
    let client = sewa_sdk::Client::builder(url).build()?;
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let asked = client
            .service(sewa_sdk::sewa::meta::v1::meta_service_client::MetaServiceClient::new)
            .get_server_info(sewa_sdk::sewa::meta::v1::GetServerInfoRequest {})
            .await;
        match asked {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > end => {
                bail!("the server did not become ready: {error}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Plays it.
///
/// # Errors
/// The first step that was not observed.
pub async fn play(url: &str) -> anyhow::Result<()> {
    println!("\nThe demonstration: a reseller's day.");
    Ok(journey::play(url).await?)
}
