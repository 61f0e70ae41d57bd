//! Reverse DNS: the wire.

use sewa_sdk::sewa::instance::v1::reverse_dns_service_server::ReverseDnsService;
use sewa_sdk::sewa::instance::v1::{
    GetReverseDnsRequest, GetReverseDnsResponse, SetReverseDnsRequest, SetReverseDnsResponse,
};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::InstanceId;
use crate::base::status;
use crate::base::writes::{self, Claim};
use crate::service::instance::ask::Target;
use crate::service::instance::{convert, reverse_dns};
use crate::service::operation;

/// Serves `ReverseDnsService`.
pub struct Names {
    /// The parts.
    pub app: App,
}

#[tonic::async_trait]
impl ReverseDnsService for Names {
    async fn get_reverse_dns(
        &self,
        request: Request<GetReverseDnsRequest>,
    ) -> Result<Response<GetReverseDnsResponse>, Status> {
        let call = Call::of(&request)?;
        let instance = super::visible(&self.app, &call, &request.get_ref().instance_id).await?;
        let connection = self.app.db.acquire().await;
        let mut connection = connection.map_err(|e| status::database(&e))?;
        let records = reverse_dns::get(&self.app.providers, &mut connection, &instance).await?;
        Ok(Response::new(GetReverseDnsResponse {
            records: records.iter().map(convert::reverse_dns).collect(),
        }))
    }

    async fn set_reverse_dns(
        &self,
        request: Request<SetReverseDnsRequest>,
    ) -> Result<Response<SetReverseDnsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let target = Target {
            account: call.caller.account()?,
            id: InstanceId::parse("instance_id", &request.instance_id)?,
            etag: &request.etag,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let (providers, now) = (&self.app.providers, self.app.clock.now());
        let (address, hostname) = (&request.address, &request.hostname);
        let asked =
            reverse_dns::set(providers, &mut write.tx, target, address, hostname, now).await;
        let recorded = |operation| SetReverseDnsResponse {
            operation: Some(operation::convert::new_to_proto(&operation)),
        };
        let reply = write
            .finish(asked.map(recorded).map_err(Status::from))
            .await;
        self.app.tail.wake();
        reply
    }
}
