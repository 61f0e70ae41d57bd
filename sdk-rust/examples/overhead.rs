//! What the runtime costs on top of a bare stub: the same no-op call, over the same kind of connection, in turns. The stub runs once as it is and once with the
//! headers any call needs, set by hand. Prints lower quartiles, because what other work on the machine adds is no cost of ours.
//!
//! `cargo run --release -p sewa-sdk --features server --example overhead`

use std::time::{Duration, Instant};

use sewa_sdk::fake::Fake;
use sewa_sdk::sewa::order::v1::order_service_client::OrderServiceClient;
use sewa_sdk::sewa::order::v1::{PlaceOrderRequest, PlaceOrderResponse};
use sewa_sdk::{Client, Credentials};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response};

const ROUNDS: usize = 1000;
const CALLS: u32 = 20;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let method = "sewa.order.v1.OrderService/PlaceOrder";
    let fake = Fake::default().on(method, |_: Request<PlaceOrderRequest>| async {
        Ok(Response::new(PlaceOrderResponse::default()))
    });
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    let address = format!("http://{}", incoming.local_addr()?);
    let server = Server::builder().add_routes(fake.into_routes());
    tokio::spawn(server.serve_with_incoming(incoming));

    let channel = Channel::from_shared(address.clone())?.tcp_nodelay(true);
    let mut bare = OrderServiceClient::new(channel.connect_lazy());
    let mut dressed = OrderServiceClient::new(channel.connect_lazy());
    let credentials = Credentials::api_key("sk_0123456789");
    let client = Client::builder(address)
        .connections(1)
        .credentials(credentials)
        .build()?;
    let mut full = client.service(OrderServiceClient::new);

    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        let started = Instant::now();
        for _ in 0..CALLS {
            bare.place_order(PlaceOrderRequest::default()).await?;
        }
        times[0].push(started.elapsed() / CALLS);
        let started = Instant::now();
        for _ in 0..CALLS {
            dressed.place_order(with_headers()?).await?;
        }
        times[1].push(started.elapsed() / CALLS);
        let started = Instant::now();
        for _ in 0..CALLS {
            full.place_order(PlaceOrderRequest::default()).await?;
        }
        times[2].push(started.elapsed() / CALLS);
    }
    let [bare, dressed, full] = times.map(lower_quartile);
    let ratio = |base: Duration| full.as_secs_f64() / base.as_secs_f64();
    println!(
        "rust overhead of the runtime over the bare stub: {:.3} ({full:?} against {bare:?})",
        ratio(bare)
    );
    println!(
        "rust overhead of the runtime over a stub with the same deadline and headers: {:.3} ({dressed:?})",
        ratio(dressed)
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
