//! The server: builds the parts, puts the layers in order on one port, and stops gracefully.
//!
//! From outside inwards: health and metrics pages, callbacks of payment gateways, the sandbox's payment page, consoles, CORS, the API's description, REST (`sewa_gateway`), gRPC-Web, the edge, the services in rank order, reflection and health.

pub mod beside;
pub mod callbacks;
pub mod consoles;
pub mod describe;
pub mod pages;
pub mod parts;
pub mod paypage;
pub mod rest_limits;

use std::time::Duration;

use anyhow::Context;
use sewa_gateway::listen::{self, Listen, Tls};
use sewa_gateway::{Gateway, openapi};
use sewa_sdk::sewa::billing::v1::billing_service_server::BillingServiceServer;
use sewa_sdk::sewa::catalog::v1::catalog_service_server::CatalogServiceServer;
use sewa_sdk::sewa::event::v1::event_service_server::EventServiceServer;
use sewa_sdk::sewa::hypervisor::v1::hypervisor_service_server::HypervisorServiceServer;
use sewa_sdk::sewa::identity::v1::identity_service_server::IdentityServiceServer;
use sewa_sdk::sewa::instance::v1::backup_service_server::BackupServiceServer;
use sewa_sdk::sewa::instance::v1::console_service_server::ConsoleServiceServer;
use sewa_sdk::sewa::instance::v1::firewall_service_server::FirewallServiceServer;
use sewa_sdk::sewa::instance::v1::instance_service_server::InstanceServiceServer;
use sewa_sdk::sewa::instance::v1::metrics_service_server::MetricsServiceServer;
use sewa_sdk::sewa::instance::v1::reverse_dns_service_server::ReverseDnsServiceServer;
use sewa_sdk::sewa::instance::v1::snapshot_service_server::SnapshotServiceServer;
use sewa_sdk::sewa::instance::v1::ssh_key_service_server::SshKeyServiceServer;
use sewa_sdk::sewa::inventory::v1::inventory_service_server::InventoryServiceServer;
use sewa_sdk::sewa::invoice::v1::invoice_service_server::InvoiceServiceServer;
use sewa_sdk::sewa::lifecycle::v1::lifecycle_service_server::LifecycleServiceServer;
use sewa_sdk::sewa::meta::v1::meta_service_server::MetaServiceServer;
use sewa_sdk::sewa::operation::v1::operation_service_server::OperationServiceServer;
use sewa_sdk::sewa::order::v1::order_service_server::OrderServiceServer;
use sewa_sdk::sewa::promotion::v1::promotion_service_server::PromotionServiceServer;
use sewa_sdk::sewa::provider::v1::provider_service_server::ProviderServiceServer;
use sewa_sdk::sewa::report::v1::report_service_server::ReportServiceServer;
use sewa_sdk::sewa::sandbox::v1::sandbox_service_server::SandboxServiceServer;
use sewa_sdk::sewa::wallet::v1::wallet_service_server::WalletServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::{Layer, ServiceBuilder};

use crate::app::App;
use crate::base::contract::Contract;
use crate::config::{Config, Role};
use crate::edge::EdgeLayer;
use crate::edge::limit::Limits;
use crate::serve::beside::{Beside, BesideLayer};
use crate::service::{
    billing, catalog, event, hypervisor, identity, instance, inventory, invoice, lifecycle, meta,
    operation, order, promotion, provider, report, sandbox, wallet,
};
use crate::work;

/// How long calls in flight may go on after the server was asked to stop.
const LAST_CALLS: Duration = Duration::from_secs(25);
/// Bytes of a head beyond the limit that are still read, so that the refusal is an answer in the error envelope.
const HEAD_SLACK: usize = 32 << 10;

/// Runs the platform on a listener until `app.stop` is cancelled, then lets calls in flight finish and workers give back what they hold.
///
/// # Errors
/// If the contract has faults, the schema is behind, or a part cannot be started.
pub async fn run(
    config: Config,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (app, limits) = parts::build(config, stop).await?;
    let tls = app.config.tls()?;
    let workers = if app.config.role == Role::Api {
        tokio::spawn(async {})
    } else {
        work::start(app.clone())
    };
    let address = listener.local_addr()?;
    tracing::info!(%address, role = ?app.config.role, tls = tls.is_some(), "serving");
    accept(&app, limits, tls, listener).await?;
    // Workers stop by themselves: what they cannot finish in time is leased, and due again when the lease ends.
    let _ = tokio::time::timeout(LAST_CALLS, workers).await;
    // A connection whose answer never comes must not keep the process.
    let _ = tokio::time::timeout(LAST_CALLS, app.db.close()).await;
    tracing::info!("stopped");
    Ok(())
}

/// A token that is cancelled by the first SIGTERM or SIGINT.
pub fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let cancelled = stop.clone();
    tokio::spawn(async move {
        let mut terminate =
            match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
                Ok(signal) => signal,
                Err(error) => {
                    tracing::error!(%error, "SIGTERM cannot be caught; stop with SIGINT");
                    let _ = tokio::signal::ctrl_c().await;
                    return cancelled.cancel();
                }
            };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("stopping: calls in flight may finish");
        cancelled.cancel();
    });
    stop
}

/// Every service of the contract, in rank order, with reflection and health.
fn routes(app: &App) -> anyhow::Result<Routes> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(sewa_sdk::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // What error details are made of, or grpcurl would show them as bytes.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    let (_reporter, health) = tonic_health::server::health_reporter();
    let mut routes = Routes::builder();
    routes
        .add_service(IdentityServiceServer::new(identity::rpc::Identity {
            app: app.clone(),
        }))
        .add_service(BillingServiceServer::new(billing::rpc::Billing {
            app: app.clone(),
        }))
        .add_service(CatalogServiceServer::new(catalog::rpc::Catalog {
            app: app.clone(),
        }))
        .add_service(PromotionServiceServer::new(promotion::rpc::Promotions {
            app: app.clone(),
        }))
        .add_service(WalletServiceServer::new(wallet::rpc::Wallet {
            app: app.clone(),
        }))
        .add_service(OperationServiceServer::new(operation::rpc::Operations {
            app: app.clone(),
        }))
        .add_service(InstanceServiceServer::new(instance::rpc::Instances {
            app: app.clone(),
        }))
        .add_service(MetricsServiceServer::new(
            instance::rpc::metrics::MetricsCalls { app: app.clone() },
        ))
        .add_service(SnapshotServiceServer::new(
            instance::rpc::snapshots::SnapshotCalls { app: app.clone() },
        ))
        .add_service(BackupServiceServer::new(
            instance::rpc::backups::BackupCalls { app: app.clone() },
        ))
        .add_service(FirewallServiceServer::new(instance::rpc::firewall::Walls {
            app: app.clone(),
        }))
        .add_service(ReverseDnsServiceServer::new(
            instance::rpc::reverse_dns::Names { app: app.clone() },
        ))
        .add_service(ConsoleServiceServer::new(
            instance::rpc::consoles::Consoles { app: app.clone() },
        ))
        .add_service(SshKeyServiceServer::new(instance::rpc::ssh_keys::SshKeys {
            app: app.clone(),
        }))
        .add_service(ProviderServiceServer::new(
            provider::rpc::ProviderAccounts { app: app.clone() },
        ))
        .add_service(HypervisorServiceServer::new(hypervisor::rpc::Hypervisors {
            app: app.clone(),
        }))
        .add_service(LifecycleServiceServer::new(lifecycle::rpc::Lifecycle {
            app: app.clone(),
        }))
        .add_service(InventoryServiceServer::new(inventory::rpc::Inventory {
            app: app.clone(),
        }))
        .add_service(OrderServiceServer::new(order::rpc::Orders {
            app: app.clone(),
        }))
        .add_service(InvoiceServiceServer::new(invoice::rpc::Invoices {
            app: app.clone(),
        }))
        .add_service(ReportServiceServer::new(report::rpc::Reports {
            app: app.clone(),
        }))
        .add_service(EventServiceServer::new(event::rpc::Events {
            app: app.clone(),
        }))
        .add_service(SandboxServiceServer::new(sandbox::rpc::Sandbox {
            app: app.clone(),
        }))
        .add_service(MetaServiceServer::new(meta::rpc::Meta { app: app.clone() }))
        .add_service(health)
        .add_service(reflection().build_v1().context("reflection")?)
        .add_service(reflection().build_v1alpha().context("reflection")?);
    Ok(routes.routes().prepare())
}

async fn accept(
    app: &App,
    limits: Limits,
    tls: Option<Tls>,
    listener: TcpListener,
) -> anyhow::Result<()> {
    let gateway = Gateway::new(sewa_sdk::pool().clone(), app.config.rest.gateway())
        .context("the REST bindings of the contract")?;
    let config = app.config.clone();
    let site = openapi::Site::new(move || {
        let described = describe::settings(Contract::get(), sewa_sdk::pool(), &config);
        openapi::document(sewa_sdk::pool(), &described)
    });
    let grpc = ServiceBuilder::new()
        .layer(tonic_web::GrpcWebLayer::new())
        .layer(EdgeLayer::new(app.clone(), limits))
        .service(routes(app)?);
    let consoles = consoles::Consoles::new(app.clone());
    let beside = Beside {
        pages: pages::Pages::new(app.clone()),
        callbacks: callbacks::Callbacks::new(app.clone()),
        pay_page: paypage::PayPage::new(app.clone()),
        consoles: consoles.clone(),
    };
    let service = ServiceBuilder::new()
        .layer(BesideLayer::from(beside))
        .layer(app.config.cors().map_err(anyhow::Error::msg)?)
        .layer(site.layer())
        .service(gateway.layer().layer(grpc));
    let mut listen = Listen::default();
    listen.head_bytes = app.config.rest.header_bytes + HEAD_SLACK;
    listen.drain = LAST_CALLS;
    listen.tls = tls;
    listen::serve(
        listener,
        service,
        listen,
        app.stop.clone().cancelled_owned(),
    )
    .await;
    // They are no requests any more, and end by themselves when the server stops.
    consoles.ended().await;
    Ok(())
}
