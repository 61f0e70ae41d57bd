//! A server of your own behind a real client, in one process and without a port: for tests of what you build on the SDK.
//!
//! Give single methods as closures, or mount whole implementations of the generated traits; both can be mixed.
//!
//! ```
//! use sewa_sdk::fake::Fake;
//! use sewa_sdk::sewa::wallet::v1::{GetWalletRequest, GetWalletResponse, wallet_service_client::WalletServiceClient};
//! use tonic::{Request, Response, Status};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), sewa_sdk::Error> {
//! let client = Fake::default()
//!     .on("sewa.wallet.v1.WalletService/GetWallet", |_: Request<GetWalletRequest>| async {
//!         Err::<Response<GetWalletResponse>, _>(Status::permission_denied("not today"))
//!     })
//!     .client()
//!     .build()?;
//! let refused = client.service(WalletServiceClient::new).get_wallet(GetWalletRequest::default()).await.unwrap_err();
//! assert_eq!(refused.message(), "not today");
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::service::{AxumBody, AxumRouter, Routes};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use crate::client::{Builder, Client, endpoint};

/// Bytes under way in each direction.
const BUFFER: usize = 64 * 1024;

type Answer = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;
type Handler = Arc<dyn Fn(http::Request<AxumBody>) -> Answer + Send + Sync>;

/// A server made of closures.
#[derive(Default, Clone)]
pub struct Fake {
    handlers: HashMap<String, Handler>,
    mounted: Option<Routes>,
}

impl Fake {
    /// Answers a unary method, named as `package.Service/Method`.
    #[must_use]
    pub fn on<Req, Resp, Pending>(
        mut self,
        method: &str,
        answer: impl Fn(Request<Req>) -> Pending + Clone + Send + Sync + 'static,
    ) -> Self
    where
        Req: Message + Default + 'static,
        Resp: Message + Default + 'static,
        Pending: Future<Output = Result<Response<Resp>, Status>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| {
            let answer = answer.clone();
            Box::pin(async move {
                Grpc::new(ProstCodec::<Resp, Req>::default())
                    .unary(service_fn(answer), request)
                    .await
            })
        });
        self.handlers.insert(format!("/{method}"), handler);
        self
    }

    /// Answers a method with a stream.
    #[must_use]
    pub fn on_stream<Req, Resp, Pending, Messages>(
        mut self,
        method: &str,
        answer: impl Fn(Request<Req>) -> Pending + Clone + Send + Sync + 'static,
    ) -> Self
    where
        Req: Message + Default + 'static,
        Resp: Message + Default + 'static,
        Pending: Future<Output = Result<Response<Messages>, Status>> + Send + 'static,
        Messages: Stream<Item = Result<Resp, Status>> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |request| {
            let answer = answer.clone();
            Box::pin(async move {
                Grpc::new(ProstCodec::<Resp, Req>::default())
                    .server_streaming(service_fn(answer), request)
                    .await
            })
        });
        self.handlers.insert(format!("/{method}"), handler);
        self
    }

    /// Answers all other methods with whole services: `Routes::new(WalletServiceServer::new(mine))`.
    #[must_use]
    pub fn mount(mut self, routes: Routes) -> Self {
        self.mounted = Some(routes);
        self
    }

    /// Begins a client of this server.
    pub fn client(self) -> Builder {
        serve(self.into_routes())
    }

    /// The server as routes, to serve it elsewhere.
    pub fn into_routes(self) -> Routes {
        Routes::from(AxumRouter::new().fallback_service(self))
    }
}

impl Service<http::Request<AxumBody>> for Fake {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<AxumBody>) -> Self::Future {
        if let Some(handler) = self.handlers.get(request.uri().path()) {
            let answer = handler(request);
            return Box::pin(async move { Ok(answer.await) });
        }
        let mounted = self.mounted.clone();
        Box::pin(async move {
            match mounted {
                Some(mut routes) => Ok(routes.call(request.map(Body::new)).await?.map(Body::new)),
                None => Ok(Status::unimplemented("the fake has no such method").into_http()),
            }
        })
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fake")
            .field("methods", &self.handlers.keys())
            .finish_non_exhaustive()
    }
}

/// Serves the routes in this process, and begins a client for them. The server ends with the last clone of the client.
pub fn serve(routes: Routes) -> Builder {
    let (connections, accepted) = mpsc::channel::<Result<DuplexStream, std::io::Error>>(8);
    tokio::spawn(async move {
        let served = Server::builder()
            .add_routes(routes)
            .serve_with_incoming(ReceiverStream::new(accepted))
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "the fake server ended");
        }
    });
    let connect = service_fn(move |_: http::Uri| {
        let connections = connections.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(BUFFER);
            let refused = |_| std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            connections.send(Ok(theirs)).await.map_err(refused)?;
            Ok::<_, std::io::Error>(TokioIo::new(ours))
        }
    });
    let endpoint = endpoint("http://fake".into(), Duration::from_secs(5), None)
        .expect("a constant address is usable");
    let channel = endpoint.connect_with_connector_lazy(connect);
    Client::over([channel])
}
