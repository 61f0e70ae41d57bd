//! Hypervisors of our own: the wire.

use std::net::Ipv4Addr;

use sewa_sdk::sewa::hypervisor::v1 as proto;
use sewa_sdk::sewa::hypervisor::v1::hypervisor_service_server::HypervisorService;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::ProviderAccountId;
use crate::base::page::Page;
use crate::base::status::{self, Invalid};
use crate::base::writes::{self, Claim};
use crate::base::{db, mask};
use crate::provider::compute::cluster::Cluster;
use crate::service::hypervisor::error::Error;
use crate::service::hypervisor::model::{Network, Pool, WRITABLE, committed};
use crate::service::hypervisor::store::Known;
use crate::service::hypervisor::{convert, is_own, store, taken};
use crate::service::provider;

/// Serves `HypervisorService`.
pub struct Hypervisors {
    /// The parts.
    pub app: App,
}

/// How long an address rests if staff do not say: a day.
const QUARANTINE: i32 = 86_400;

fn pool_id(text: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(text).map_err(|_| {
        status::invalid(Invalid::new(
            "address_pool_id",
            "STRING_UUID",
            "must be a UUID",
        ))
    })
}

fn seconds(sent: Option<&prost_types::Duration>, usual: i32) -> i32 {
    sent.map_or(usual, |d| i32::try_from(d.seconds).unwrap_or(usual))
}

async fn shown(
    connection: &mut sqlx::PgConnection,
    pool: &Pool,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<proto::AddressPool, Error> {
    let counts = store::count(connection, &[pool.id], now).await?;
    let counts = counts.get(&pool.id).copied().unwrap_or_default();
    Ok(convert::pool(pool, counts))
}

/// A new pool as a request asks for it.
fn requested(
    request: &proto::CreateAddressPoolRequest,
    id: ProviderAccountId,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Pool, Error> {
    let network = Network::parse(&request.cidr).ok_or(Error::Invalid(
        "cidr",
        "NETWORK",
        "must be an IPv4 network of 8 to 30 bits, with no bits set beyond them",
    ))?;
    let gateway = convert::parse("gateway", &request.gateway)?;
    if !network.is_host(gateway) {
        return Err(Error::Invalid(
            "gateway",
            "OF_NETWORK",
            "must be an address of the network, neither its first nor its last",
        ));
    }
    let pool = Pool {
        id: Uuid::now_v7(),
        provider_account: id,
        display_name: request.display_name.clone(),
        region: request.region_code.clone(),
        network,
        gateway,
        bridge: request.bridge.clone(),
        vlan: request.vlan,
        nameservers: convert::parse_all("nameservers", &request.nameservers)?,
        reserved: convert::ranges("reserved_ranges", &request.reserved_ranges)?,
        quarantine_seconds: seconds(request.quarantine.as_ref(), QUARANTINE),
        enabled: true,
        next: network.first_host(),
        created_at: now,
        updated_at: now,
    };
    within(&pool)?;
    Ok(pool)
}

fn within(pool: &Pool) -> Result<(), Error> {
    let outside = |(first, last): &(Ipv4Addr, Ipv4Addr)| {
        !pool.network.contains(*first) || !pool.network.contains(*last)
    };
    if pool.reserved.iter().any(outside) {
        return Err(Error::Invalid(
            "reserved_ranges",
            "OF_NETWORK",
            "must be of the network",
        ));
    }
    Ok(())
}

/// Writes the named fields of `sent` into a pool.
fn apply(pool: &mut Pool, sent: &proto::AddressPool, fields: &[&str]) -> Result<(), Error> {
    for field in fields {
        match *field {
            "display_name" if sent.display_name.trim().is_empty() => {
                return Err(Error::Invalid(
                    "address_pool.display_name",
                    "STRING_MIN_LEN",
                    "must have at least 1 character",
                ));
            }
            "display_name" => pool.display_name.clone_from(&sent.display_name),
            "region_code" => pool.region.clone_from(&sent.region_code),
            "nameservers" => {
                pool.nameservers = convert::parse_all("nameservers", &sent.nameservers)?;
            }
            "reserved_ranges" => {
                pool.reserved = convert::ranges("reserved_ranges", &sent.reserved_ranges)?;
                // What was passed because it was reserved may be free now. Rows say what was given out.
                pool.next = pool.network.first_host();
            }
            "quarantine" => pool.quarantine_seconds = seconds(sent.quarantine.as_ref(), 0),
            _ => pool.enabled = sent.enabled,
        }
    }
    within(pool)
}

impl Hypervisors {
    async fn connection(&self) -> Result<db::Connection, Status> {
        self.app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))
    }

    /// The account of a cluster of our own.
    async fn account(&self, id: ProviderAccountId) -> Result<provider::model::Account, Status> {
        let mut connection = self.connection().await?;
        let account = provider::store::get(&mut connection, id)
            .await
            .map_err(Error::Database)?
            .ok_or(Error::Account(provider::error::Error::NotFound))?;
        if is_own(&account) {
            Ok(account)
        } else {
            Err(Error::Invalid(
                "provider_account_id",
                "OWN_HYPERVISORS",
                "must be an account of hypervisors of our own",
            )
            .into())
        }
    }

    /// Asks a cluster how it is. No transaction is open.
    async fn cluster(&self, id: ProviderAccountId) -> Result<Cluster, Status> {
        let account = self.account(id).await?;
        let unheard = |words: String| {
            Status::from(Error::Account(provider::error::Error::DoesNotAnswer(words)))
        };
        let line = self
            .app
            .lines
            .to(&account)
            .map_err(|_| unheard("the token does not open".to_owned()))?;
        line.cluster().await.map_err(|e| unheard(e.to_string()))
    }

    async fn nodes(
        &self,
        connection: &mut sqlx::PgConnection,
        id: ProviderAccountId,
        cluster: &Cluster,
    ) -> Result<Vec<proto::Node>, Error> {
        let maintenance = store::list_maintenance(connection, id).await?;
        let sums = committed(cluster, &taken(connection, id).await?);
        let nodes = cluster.nodes.iter().map(|node| {
            let given = sums.get(&node.name).copied().unwrap_or_default();
            convert::node(node, given, maintenance.contains(&node.name))
        });
        Ok(nodes.collect())
    }

    /// Begins or ends the maintenance of a node.
    async fn maintain<R: prost::Message + Default>(
        &self,
        call: &Call,
        id: &str,
        name: &str,
        on: bool,
        reply: fn(proto::Node) -> R,
    ) -> Result<Response<R>, Status> {
        let id = ProviderAccountId::parse("provider_account_id", id)?;
        let cluster = self.cluster(id).await?;
        let mut write = match writes::begin(&self.app.db, call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(call),
        };
        let outcome = async {
            if !cluster.nodes.iter().any(|node| node.name == name) {
                return Err(Error::NodeNotFound);
            }
            let now = self.app.clock.now();
            store::set_maintenance(&mut write.tx, id, name, on, now).await?;
            let nodes = self.nodes(&mut write.tx, id, &cluster).await?;
            let node = nodes.into_iter().find(|node| node.name == name);
            node.ok_or(Error::NodeNotFound)
        }
        .await;
        write.finish(outcome.map(reply).map_err(Status::from)).await
    }

    /// Writes an address that no machine holds.
    async fn write_address<R: prost::Message + Default>(
        &self,
        call: &Call,
        pool: &str,
        address: &str,
        change: impl FnOnce(Option<Known>, Ipv4Addr) -> Known,
        reply: fn(proto::PoolAddress) -> R,
    ) -> Result<Response<R>, Status> {
        let id = pool_id(pool)?;
        let address = convert::parse("address", address)?;
        let mut write = match writes::begin(&self.app.db, call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(call),
        };
        let outcome = async {
            let pool = store::get_for_update(&mut write.tx, id)
                .await?
                .ok_or(Error::PoolNotFound)?;
            if !pool.network.contains(address) {
                return Err(Error::Invalid(
                    "address",
                    "OF_NETWORK",
                    "must be of the pool's network",
                ));
            }
            let known = store::get_known(&mut write.tx, id, address).await?;
            if let Some(known) = known.as_ref().filter(|known| known.state == "HELD") {
                return Err(Error::Held(known.instance.ok_or(Error::PoolNotFound)?));
            }
            let changed = change(known, address);
            store::put(&mut write.tx, id, &changed).await?;
            Ok(convert::address(&changed, self.app.clock.now()))
        }
        .await;
        write.finish(outcome.map(reply).map_err(Status::from)).await
    }
}

#[tonic::async_trait]
impl HypervisorService for Hypervisors {
    async fn list_address_pools(
        &self,
        request: Request<proto::ListAddressPoolsRequest>,
    ) -> Result<Response<proto::ListAddressPoolsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let page = Page::read(request.page_size, &request.page_token, &[&call.method.name])?;
        let mut pools = store::list(&self.app.db, page.after_as()?, page.limit())
            .await
            .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut pools, |pool| pool.id.to_string());
        let ids: Vec<Uuid> = pools.iter().map(|pool| pool.id).collect();
        let mut connection = self.connection().await?;
        let counts = store::count(&mut connection, &ids, self.app.clock.now())
            .await
            .map_err(|e| status::database(&e))?;
        let shown = pools
            .iter()
            .map(|pool| convert::pool(pool, counts.get(&pool.id).copied().unwrap_or_default()));
        Ok(Response::new(proto::ListAddressPoolsResponse {
            address_pools: shown.collect(),
            next_page_token,
        }))
    }

    async fn create_address_pool(
        &self,
        request: Request<proto::CreateAddressPoolRequest>,
    ) -> Result<Response<proto::CreateAddressPoolResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = ProviderAccountId::parse("provider_account_id", &request.provider_account_id)?;
        let account = self.account(id).await?;
        convert::check_vlan(request.vlan, account.vendor)?;
        let pool = requested(&request, id, self.app.clock.now())?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = store::insert(&mut write.tx, &pool).await;
        let reply = |()| proto::CreateAddressPoolResponse {
            address_pool: Some(convert::pool(&pool, (0, 0))),
        };
        write.finish(outcome.map(reply).map_err(Status::from)).await
    }

    async fn update_address_pool(
        &self,
        request: Request<proto::UpdateAddressPoolRequest>,
    ) -> Result<Response<proto::UpdateAddressPoolResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let sent = request.address_pool.unwrap_or_default();
        let id = pool_id(&sent.id)?;
        let fields = mask::fields(
            request.update_mask.as_ref(),
            WRITABLE,
            |field| match field {
                "display_name" => !sent.display_name.is_empty(),
                "region_code" => !sent.region_code.is_empty(),
                "nameservers" => !sent.nameservers.is_empty(),
                "reserved_ranges" => !sent.reserved_ranges.is_empty(),
                "quarantine" => sent.quarantine.is_some(),
                _ => sent.enabled,
            },
        )
        .map_err(Error::FieldNotWritable)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let now = self.app.clock.now();
        let outcome = async {
            let mut pool = store::get_for_update(&mut write.tx, id)
                .await?
                .ok_or(Error::PoolNotFound)?;
            let before = shown(&mut write.tx, &pool, now).await?;
            write.keep_before(&before);
            apply(&mut pool, &sent, &fields)?;
            pool.updated_at = now;
            store::update(&mut write.tx, &pool).await?;
            shown(&mut write.tx, &pool, now).await
        }
        .await;
        let reply = |pool| proto::UpdateAddressPoolResponse {
            address_pool: Some(pool),
        };
        write.finish(outcome.map(reply).map_err(Status::from)).await
    }

    async fn list_pool_addresses(
        &self,
        request: Request<proto::ListPoolAddressesRequest>,
    ) -> Result<Response<proto::ListPoolAddressesResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = pool_id(&request.address_pool_id)?;
        let binding = [call.method.name.as_str(), &request.address_pool_id];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let mut connection = self.connection().await?;
        store::get(&mut connection, id)
            .await
            .map_err(Error::Database)?
            .ok_or(Error::PoolNotFound)?;
        drop(connection);
        let now = self.app.clock.now();
        let after: Option<Ipv4Addr> = page.after_as()?;
        let mut known = store::list_known(&self.app.db, id, after, now, page.limit())
            .await
            .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut known, |known| known.address.to_string());
        Ok(Response::new(proto::ListPoolAddressesResponse {
            addresses: known.iter().map(|k| convert::address(k, now)).collect(),
            next_page_token,
        }))
    }

    async fn reserve_address(
        &self,
        request: Request<proto::ReserveAddressRequest>,
    ) -> Result<Response<proto::ReserveAddressResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (now, note) = (self.app.clock.now(), request.note);
        self.write_address(
            &call,
            &request.address_pool_id,
            &request.address,
            |known, address| Known {
                address,
                state: "RESERVED".to_owned(),
                instance: known.and_then(|k| k.instance),
                note,
                free_at: None,
                updated_at: now,
            },
            |address| proto::ReserveAddressResponse {
                pool_address: Some(address),
            },
        )
        .await
    }

    async fn free_address(
        &self,
        request: Request<proto::FreeAddressRequest>,
    ) -> Result<Response<proto::FreeAddressResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let now = self.app.clock.now();
        self.write_address(
            &call,
            &request.address_pool_id,
            &request.address,
            |known, address| Known {
                address,
                state: "FREE".to_owned(),
                instance: known.and_then(|k| k.instance),
                note: String::new(),
                free_at: Some(now),
                updated_at: now,
            },
            |address| proto::FreeAddressResponse {
                pool_address: Some(address),
            },
        )
        .await
    }

    async fn list_nodes(
        &self,
        request: Request<proto::ListNodesRequest>,
    ) -> Result<Response<proto::ListNodesResponse>, Status> {
        let id = &request.into_inner().provider_account_id;
        let id = ProviderAccountId::parse("provider_account_id", id)?;
        let cluster = self.cluster(id).await?;
        let mut connection = self.connection().await?;
        let nodes = self.nodes(&mut connection, id, &cluster).await?;
        Ok(Response::new(proto::ListNodesResponse { nodes }))
    }

    async fn start_node_maintenance(
        &self,
        request: Request<proto::StartNodeMaintenanceRequest>,
    ) -> Result<Response<proto::StartNodeMaintenanceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (id, node) = (&request.provider_account_id, &request.node);
        self.maintain(&call, id, node, true, |node| {
            proto::StartNodeMaintenanceResponse { node: Some(node) }
        })
        .await
    }

    async fn end_node_maintenance(
        &self,
        request: Request<proto::EndNodeMaintenanceRequest>,
    ) -> Result<Response<proto::EndNodeMaintenanceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (id, node) = (&request.provider_account_id, &request.node);
        self.maintain(&call, id, node, false, |node| {
            proto::EndNodeMaintenanceResponse { node: Some(node) }
        })
        .await
    }

    async fn list_templates(
        &self,
        request: Request<proto::ListTemplatesRequest>,
    ) -> Result<Response<proto::ListTemplatesResponse>, Status> {
        let id = &request.into_inner().provider_account_id;
        let id = ProviderAccountId::parse("provider_account_id", id)?;
        let account = self.account(id).await?;
        let cluster = self.cluster(id).await?;
        let catalogue = self
            .app
            .catalog
            .snapshot(&self.app.db)
            .await
            .map_err(|e| status::database(&e))?;
        let templates = cluster.templates.iter();
        Ok(Response::new(proto::ListTemplatesResponse {
            templates: templates
                .map(|t| convert::template(t, &catalogue, account.vendor.name()))
                .collect(),
        }))
    }
}
