//! What the runtime costs on top of a stub, over the same kind of connection, in turns: on a call that does nothing and needs nothing, over the bare stub; and on an
//! order, over a stub whose caller sets the deadline, the credentials and the key by hand. Prints lower quartiles, because what other work on the machine adds is no
//! cost of ours.
//!
//! `cargo run --release -p sewa-sdk --features server --example overhead`

use std::time::{Duration, Instant};

use sewa_sdk::fake::Fake;
use sewa_sdk::sewa::meta::v1::meta_service_client::MetaServiceClient;
use sewa_sdk::sewa::meta::v1::{GetServerInfoRequest, GetServerInfoResponse};
use sewa_sdk::sewa::order::v1::order_service_client::OrderServiceClient;
use sewa_sdk::sewa::order::v1::{PlaceOrderRequest, PlaceOrderResponse};
use sewa_sdk::{Client, Credentials};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response};

const ROUNDS: usize = 1000;
const CALLS: u32 = 20;

/// Adds the time of some calls, one after the other, to `times`.
macro_rules! timed {
    ($times:expr, $call:expr) => {{
        let started = Instant::now();
        for _ in 0..CALLS {
            $call.await?;
        }
        $times.push(started.elapsed() / CALLS);
    }};
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let fake = Fake::default()
        .on(
            "sewa.meta.v1.MetaService/GetServerInfo",
            |_: Request<GetServerInfoRequest>| async {
                Ok(Response::new(GetServerInfoResponse::default()))
            },
        )
        .on(
            "sewa.order.v1.OrderService/PlaceOrder",
            |_: Request<PlaceOrderRequest>| async {
                Ok(Response::new(PlaceOrderResponse::default()))
            },
        );
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    let address = format!("http://{}", incoming.local_addr()?);
    let server = Server::builder().add_routes(fake.into_routes());
    tokio::spawn(server.serve_with_incoming(incoming));

    let channel = Channel::from_shared(address.clone())?.tcp_nodelay(true);
    let channel = channel.connect_lazy();
    let mut bare = MetaServiceClient::new(channel.clone());
    let mut dressed = OrderServiceClient::new(channel);
    let anonymous = Client::builder(address.clone()).connections(1).build()?;
    let mut ours = anonymous.service(MetaServiceClient::new);
    let reseller = Client::builder(address)
        .connections(1)
        .credentials(Credentials::api_key("sk_0123456789"))
        .build()?;
    let mut orders = reseller.service(OrderServiceClient::new);

    let mut times = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        timed!(times[0], bare.get_server_info(GetServerInfoRequest {}));
        timed!(times[1], ours.get_server_info(GetServerInfoRequest {}));
        timed!(times[2], dressed.place_order(with_headers()?));
        timed!(times[3], orders.place_order(PlaceOrderRequest::default()));
    }
    let [bare, ours, dressed, orders] = times.map(lower_quartile);
    println!(
        "rust overhead of the runtime over the bare stub: {:.3} ({ours:?} against {bare:?})",
        ours.as_secs_f64() / bare.as_secs_f64()
    );
    println!(
        "rust overhead of an order over a stub with deadline, credentials and key set by hand: {:.3} ({orders:?} against {dressed:?})",
        orders.as_secs_f64() / dressed.as_secs_f64()
    );
    Ok(())
}

fn with_headers() -> Result<Request<PlaceOrderRequest>, Box<dyn std::error::Error>> {
    let mut request = Request::new(PlaceOrderRequest::default());
    request.set_timeout(Duration::from_secs(10));
    let headers = request.metadata_mut();
    headers.insert("authorization", "Bearer sk_0123456789".parse()?);
    headers.insert("x-request-id", uuid::Uuid::now_v7().to_string().parse()?);
    headers.insert("idempotency-key", uuid::Uuid::now_v7().to_string().parse()?);
    Ok(request)
}

fn lower_quartile(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 4]
}
