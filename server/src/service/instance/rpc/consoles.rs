//! Consoles: the wire.

use secrecy::ExposeSecret;
use sewa_sdk::sewa::instance::v1::console_service_server::ConsoleService;
use sewa_sdk::sewa::instance::v1::open_console_response::Way as Shown;
use sewa_sdk::sewa::instance::v1::{OpenConsoleRequest, OpenConsoleResponse};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::InstanceId;
use crate::base::time;
use crate::base::writes::{self, Claim};
use crate::provider::compute::consoles::Way;
use crate::service::instance::ask::Target;
use crate::service::instance::console;
use crate::service::instance::error::Error;
use crate::service::instance::model::console::PATH;

/// Serves `ConsoleService`.
pub struct Consoles {
    /// The parts.
    pub app: App,
}

#[tonic::async_trait]
impl ConsoleService for Consoles {
    async fn open_console(
        &self,
        request: Request<OpenConsoleRequest>,
    ) -> Result<Response<OpenConsoleResponse>, Status> {
        let call = Call::of(&request)?;
        let target = Target {
            account: call.caller.account()?,
            id: InstanceId::parse("instance_id", &request.get_ref().instance_id)?,
            etag: "",
        };
        let way = console::way(&self.app, target).await?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let opened = open(&mut write.tx, &call, target, way, self.app.clock.now()).await;
        write.finish(opened.map_err(Status::from)).await
    }
}

async fn open(
    connection: &mut sqlx::PgConnection,
    call: &Call,
    target: Target<'_>,
    way: Way,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<OpenConsoleResponse, Error> {
    let (way, expire_time) = match way {
        Way::Through => {
            let issued = console::issue(connection, &call.caller, target, now).await?;
            let (ticket, until) = issued;
            let path = Shown::WebsocketPath(format!("{PATH}{ticket}"));
            (path, Some(time::to_proto(until)))
        }
        Way::Page(address) => {
            let address = console::hand_on(connection, target, address).await?;
            (Shown::ProviderUrl(address.expose_secret().to_owned()), None)
        }
    };
    Ok(OpenConsoleResponse {
        way: Some(way),
        expire_time,
    })
}
