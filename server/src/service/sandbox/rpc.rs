//! Sandbox: the wire.

use sewa_sdk::sewa::sandbox::v1::sandbox_service_server::SandboxService;
use sewa_sdk::sewa::sandbox::v1::{
    AdvanceTestClockRequest, AdvanceTestClockResponse, ClearFaultsRequest, ClearFaultsResponse,
    CreateTestClockRequest, CreateTestClockResponse, GetTestClockRequest, GetTestClockResponse,
    InjectFaultRequest, InjectFaultResponse, ListFaultsRequest, ListFaultsResponse,
    SettleDepositRequest, SettleDepositResponse,
};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::DepositId;
use crate::base::status::{self, Invalid};
use crate::base::writes::{self, Claim};
use crate::provider::compute::simulator::faults;
use crate::service::lifecycle::store::clocks;
use crate::service::sandbox::error::Error;
use crate::service::sandbox::{self, convert};

/// Serves `SandboxService`.
pub struct Sandbox {
    /// The parts.
    pub app: App,
}

#[tonic::async_trait]
impl SandboxService for Sandbox {
    async fn settle_deposit(
        &self,
        request: Request<SettleDepositRequest>,
    ) -> Result<Response<SettleDepositResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = sandbox::account(&call.caller)?;
        let id = DepositId::parse("deposit_id", &request.deposit_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = sandbox::settle_deposit(
            &self.app,
            &mut write.tx,
            account,
            id,
            convert::outcome(request.outcome()),
        )
        .await;
        let reply = write
            .finish(
                outcome
                    .map(|()| SettleDepositResponse {
                        deposit_id: id.to_string(),
                    })
                    .map_err(Status::from),
            )
            .await;
        self.app.tail.wake();
        reply
    }

    async fn inject_fault(
        &self,
        request: Request<InjectFaultRequest>,
    ) -> Result<Response<InjectFaultResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = sandbox::account(&call.caller)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = faults::inject(&mut write.tx, account, request.kind(), request.times).await;
        write
            .finish(
                outcome
                    .map(|fault| InjectFaultResponse { fault: Some(fault) })
                    .map_err(|e| status::database(&e)),
            )
            .await
    }

    async fn list_faults(
        &self,
        request: Request<ListFaultsRequest>,
    ) -> Result<Response<ListFaultsResponse>, Status> {
        let call = Call::of(&request)?;
        let account = sandbox::account(&call.caller)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let faults = faults::list(&mut connection, account)
            .await
            .map_err(|e| status::database(&e))?;
        Ok(Response::new(ListFaultsResponse {
            faults,
            next_page_token: String::new(),
        }))
    }

    async fn clear_faults(
        &self,
        request: Request<ClearFaultsRequest>,
    ) -> Result<Response<ClearFaultsResponse>, Status> {
        let call = Call::of(&request)?;
        let account = sandbox::account(&call.caller)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = faults::clear(&mut write.tx, account).await;
        write
            .finish(
                outcome
                    .map(|()| ClearFaultsResponse {})
                    .map_err(|e| status::database(&e)),
            )
            .await
    }

    async fn create_test_clock(
        &self,
        request: Request<CreateTestClockRequest>,
    ) -> Result<Response<CreateTestClockResponse>, Status> {
        let call = Call::of(&request)?;
        let account = sandbox::account(&call.caller)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = sandbox::create_clock(&self.app, &mut write.tx, account).await;
        write
            .finish(
                outcome
                    .map(|c| CreateTestClockResponse {
                        clock: Some(convert::clock(&c)),
                    })
                    .map_err(Status::from),
            )
            .await
    }

    async fn get_test_clock(
        &self,
        request: Request<GetTestClockRequest>,
    ) -> Result<Response<GetTestClockResponse>, Status> {
        let call = Call::of(&request)?;
        let account = sandbox::account(&call.caller)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let clock = clocks::get(&mut connection, account)
            .await
            .map_err(|e| status::database(&e))?
            .ok_or(Error::ClockNotFound)?;
        Ok(Response::new(GetTestClockResponse {
            clock: Some(convert::clock(&clock)),
        }))
    }

    async fn advance_test_clock(
        &self,
        request: Request<AdvanceTestClockRequest>,
    ) -> Result<Response<AdvanceTestClockResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = sandbox::account(&call.caller)?;
        let by = request
            .duration
            .and_then(|d| std::time::Duration::try_from(d).ok())
            .and_then(|d| chrono::Duration::from_std(d).ok());
        let by = by.ok_or_else(|| {
            status::invalid(Invalid::new(
                "duration",
                "DURATION_GT",
                "must be more than zero",
            ))
        })?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = sandbox::advance_clock(&mut write.tx, account, by).await;
        let reply = write
            .finish(
                outcome
                    .map(|c| AdvanceTestClockResponse {
                        clock: Some(convert::clock(&c)),
                    })
                    .map_err(Status::from),
            )
            .await;
        self.app.tail.wake();
        reply
    }
}
