//! `sewa-gateway`: the gateway as a process of its own, in front of any gRPC server.

mod arguments;
mod proxy;

use anyhow::Context as _;
use clap::Parser;
use prost_reflect::DescriptorPool;
use sewa_gateway::Gateway;
use sewa_gateway::openapi::{self, Site};
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

use crate::arguments::Arguments;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let (gateway, site) = gateway(&arguments)?;
    let channel = Endpoint::from_shared(arguments.upstream.clone())
        .context("--upstream is not an address")?
        .tcp_nodelay(true)
        .connect_lazy();
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    tracing::info!(
        listen = %listener.local_addr()?,
        upstream = arguments.upstream,
        routes = gateway.route_count(),
        "ready"
    );
    proxy::serve(
        listener,
        &gateway,
        &site,
        channel,
        arguments.header_bytes,
        stop_signal(),
    )
    .await;
    Ok(())
}

/// The gateway, and the description of what it answers for.
fn gateway(arguments: &Arguments) -> anyhow::Result<(Gateway, Site)> {
    let path = &arguments.descriptors;
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let pool = DescriptorPool::decode(bytes.as_slice())
        .with_context(|| format!("{} is not a complete descriptor set", path.display()))?;
    let document = openapi::document(&pool, &openapi::Settings::default())?;
    Ok((
        Gateway::new(pool, arguments.config())?,
        Site::new(&document),
    ))
}

/// Resolves on Ctrl-C or SIGTERM.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be caught; only Ctrl-C stops gracefully");
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
