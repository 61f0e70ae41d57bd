//! Real sockets: refused, dropped and restored connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sewa_sdk::fake::Fake;
use sewa_sdk::sewa::identity::v1::{
    LoginRequest, LoginResponse, identity_service_client::IdentityServiceClient,
};
use sewa_sdk::sewa::order::v1::{
    PlaceOrderRequest, PlaceOrderResponse, order_service_client::OrderServiceClient,
};
use sewa_sdk::{Attempt, Client, RetryPolicy};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Server;

use crate::script::{Line, Script};

fn fast() -> RetryPolicy {
    RetryPolicy {
        first_delay: Duration::from_millis(5),
        ..RetryPolicy::default()
    }
}

/// A server whose first connections are dropped after the client has spoken.
async fn flaky(fake: Fake, drops: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (good, accepted) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut socket, _) = listener.accept().await?;
            if number < drops {
                let _ = socket.read(&mut [0; 1024]).await?;
            } else if good.send(Ok::<_, std::io::Error>(socket)).await.is_err() {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    });
    tokio::spawn(
        Server::builder()
            .add_routes(fake.into_routes())
            .serve_with_incoming(ReceiverStream::new(accepted)),
    );
    address
}

#[tokio::test]
async fn a_connection_that_dies_is_replaced_and_the_key_kept() {
    let script = Script::new([Line::Answer(PlaceOrderResponse::default())]);
    let fake =
        script.play::<PlaceOrderRequest>(Fake::default(), "sewa.order.v1.OrderService/PlaceOrder");
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&attempts);
    let observer = move |attempt: &Attempt<'_>| {
        counter.fetch_add(1, Ordering::Relaxed);
        assert!(
            attempt.number == 3 || attempt.code == Code::Unavailable,
            "{attempt:?}"
        );
    };
    let client = Client::builder(flaky(fake, 2).await)
        .connections(1)
        .retry(fast())
        .observer(observer)
        .build()
        .unwrap();
    client
        .service(OrderServiceClient::new)
        .place_order(PlaceOrderRequest::default())
        .await
        .unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 3);
    assert_eq!(script.count(), 1);
}

#[tokio::test]
async fn an_unsafe_method_is_repeated_only_if_it_was_never_sent() {
    // Nobody listens on a port that was just given back.
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let attempts = Arc::new(AtomicUsize::new(0));
    let count = |counter: &Arc<AtomicUsize>| {
        let counter = Arc::clone(counter);
        move |_: &Attempt<'_>| {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    };
    let client = Client::builder(format!("http://{free}"))
        .retry(fast())
        .observer(count(&attempts))
        .build()
        .unwrap();
    let error = client
        .service(IdentityServiceClient::new)
        .login(LoginRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), attempts.load(Ordering::Relaxed)),
        (Code::Unavailable, 5)
    );

    let script = Script::new([Line::Answer(LoginResponse::default())]);
    let fake =
        script.play::<LoginRequest>(Fake::default(), "sewa.identity.v1.IdentityService/Login");
    let attempts = Arc::new(AtomicUsize::new(0));
    let client = Client::builder(flaky(fake, 1).await)
        .connections(1)
        .retry(fast())
        .observer(count(&attempts))
        .build()
        .unwrap();
    let error = client
        .service(IdentityServiceClient::new)
        .login(LoginRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), attempts.load(Ordering::Relaxed)),
        (Code::Unavailable, 1)
    );
}

#[tokio::test]
async fn a_bad_endpoint_is_told_at_once() {
    for endpoint in ["", "not a uri", "http://"] {
        assert_eq!(
            Client::builder(endpoint).build().unwrap_err().code(),
            Code::InvalidArgument,
            "{endpoint:?}"
        );
    }
    assert_eq!(
        Client::over([]).build().unwrap_err().code(),
        Code::InvalidArgument
    );
    #[cfg(not(feature = "tls"))]
    assert!(
        Client::builder("https://localhost")
            .build()
            .unwrap_err()
            .message()
            .contains("feature `tls`")
    );
    #[cfg(feature = "tls")]
    Client::builder("https://localhost").build().unwrap();
}
