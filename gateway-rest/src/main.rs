//! `sewa-gateway`: the gateway as a process of its own, in front of any gRPC server.

mod arguments;
mod proxy;
mod reflection;

use anyhow::Context as _;
use clap::Parser;
use prost_reflect::DescriptorPool;
use sewa_gateway::Gateway;
use sewa_gateway::listen;
use sewa_gateway::openapi::{self, Site};
use tokio::net::TcpListener;
use tonic::transport::{Channel, Endpoint};
use tower::Layer as _;

use crate::arguments::Arguments;
use crate::proxy::Upstream;

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
    let listen = arguments.listen().context("TLS")?;
    let cors = arguments.cors().context("--cors-origin")?;
    let channel = Endpoint::from_shared(arguments.upstream.clone())
        .context("--upstream is not an address")?
        .tcp_nodelay(true)
        .connect_lazy();
    let pool = descriptors(&arguments, &channel).await?;
    let described = pool.clone();
    let site = Site::new(move || openapi::document(&described, &openapi::Settings::default()));
    let gateway = Gateway::new(pool, arguments.config())?;
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    tracing::info!(
        listen = %listener.local_addr()?,
        upstream = arguments.upstream,
        routes = gateway.route_count(),
        "ready"
    );
    let grpc = tonic_web::GrpcWebLayer::new().layer(Upstream { channel });
    let service = site.layer().layer(gateway.layer().layer(grpc));
    match cors {
        None => listen::serve(listener, service, listen, stop_signal()).await,
        Some(cors) => listen::serve(listener, cors.layer(service), listen, stop_signal()).await,
    }
    Ok(())
}

/// The descriptors of a file, or of the server itself.
async fn descriptors(arguments: &Arguments, channel: &Channel) -> anyhow::Result<DescriptorPool> {
    if let Some(path) = &arguments.descriptors {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        return DescriptorPool::decode(bytes.as_slice())
            .with_context(|| format!("{} is not a complete descriptor set", path.display()));
    }
    let server = &arguments.upstream;
    let pool = reflection::read(channel).await.with_context(|| {
        format!("cannot read the descriptors of {server} by reflection; --descriptors takes them from a file")
    })?;
    let annotated = pool
        .get_extension_by_name("google.api.http")
        .is_some_and(|http| {
            let mut methods = pool
                .services()
                .flat_map(|service| service.methods().collect::<Vec<_>>());
            methods.any(|method| method.options().has_extension(&http))
        });
    anyhow::ensure!(
        annotated,
        "the descriptors that {server} gives by reflection have no google.api.http annotations; --descriptors takes them from a file"
    );
    Ok(pool)
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
