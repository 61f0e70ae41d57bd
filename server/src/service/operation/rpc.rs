//! Operations: the wire.

use std::time::Duration;

use sewa_sdk::sewa::event::v1::EventType;
use sewa_sdk::sewa::operation::v1::operation_service_server::OperationService;
use sewa_sdk::sewa::operation::v1::{
    CancelOperationRequest, CancelOperationResponse, GetOperationRequest, GetOperationResponse,
    ListOperationsRequest, ListOperationsResponse, WaitOperationRequest, WaitOperationResponse,
};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, InstanceId, OperationId};
use crate::base::page::Page;
use crate::base::status;
use crate::base::writes::{self, Claim};
use crate::service::operation::error::Error;
use crate::service::operation::model::Operation;
use crate::service::operation::{self, convert, store};

/// How long to wait where the caller does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(30);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How often a waiter reads again even if no event says so. Events are for speed; the row is the truth.
const REREAD: Duration = Duration::from_secs(5);

/// Serves `OperationService`.
pub struct Operations {
    /// The parts.
    pub app: App,
}

impl Operations {
    /// The account to look for an operation in.
    async fn account_of(&self, call: &Call, id: OperationId) -> Result<AccountId, Status> {
        let holding = store::account_of(&self.app.db, id);
        let account = call.caller.account_holding(holding).await?;
        Ok(account.ok_or(Error::OperationNotFound)?)
    }

    async fn read(&self, account: AccountId, id: OperationId) -> Result<Operation, Status> {
        let found = self.app.reads.operations.get((account, id)).await?;
        Ok(found.ok_or(Error::OperationNotFound)?)
    }

    /// The operation once it is final, or as it is when the time is over.
    pub(in crate::service) async fn wait(
        &self,
        account: AccountId,
        id: OperationId,
        timeout: Duration,
    ) -> Result<Operation, Status> {
        let until = Instant::now() + timeout;
        // Listening begins before the first look, so that an end between the two is not missed.
        let mut events = self.app.tail.subscribe();
        loop {
            let found = self.read(account, id).await?;
            if found.state.is_final() || Instant::now() >= until {
                return Ok(found);
            }
            let look_again = until.min(Instant::now() + REREAD);
            loop {
                match tokio::time::timeout_at(look_again, events.recv()).await {
                    Ok(Ok(event))
                        if event.subject != id.0
                            || event.kind != EventType::OperationFinished as i16 => {}
                    Ok(Ok(_) | Err(RecvError::Lagged(_))) | Err(_) => break,
                    Ok(Err(RecvError::Closed)) => {
                        tokio::time::sleep_until(look_again).await;
                        break;
                    }
                }
            }
        }
    }
}

#[tonic::async_trait]
impl OperationService for Operations {
    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<GetOperationResponse>, Status> {
        let call = Call::of(&request)?;
        let id = OperationId::parse("operation_id", &request.get_ref().operation_id)?;
        let account = self.account_of(&call, id).await?;
        let found = self.read(account, id).await?;
        Ok(Response::new(GetOperationResponse {
            operation: Some(convert::operation(&found)),
        }))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<WaitOperationResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = OperationId::parse("operation_id", &request.operation_id)?;
        let timeout = request.timeout.map_or(DEFAULT_WAIT, |t| {
            Duration::try_from(t)
                .unwrap_or(Duration::ZERO)
                .min(MAX_WAIT)
        });
        let account = self.account_of(&call, id).await?;
        let found = self.wait(account, id, timeout).await?;
        Ok(Response::new(WaitOperationResponse {
            operation: Some(convert::operation(&found)),
        }))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account_or(&request.account_id)?;
        let instance = if request.instance_id.is_empty() {
            None
        } else {
            Some(InstanceId::parse("instance_id", &request.instance_id)?)
        };
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &["operations", &account.to_string(), &request.instance_id],
        )?;
        let before = page.after_as::<Uuid>()?;
        let mut listed = store::list(&self.app.db, account, instance, before, page.limit())
            .await
            .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |o| o.id.to_string());
        Ok(Response::new(ListOperationsResponse {
            operations: listed.iter().map(convert::operation).collect(),
            next_page_token,
        }))
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<CancelOperationResponse>, Status> {
        let call = Call::of(&request)?;
        let id = OperationId::parse("operation_id", &request.get_ref().operation_id)?;
        let account = call.caller.account()?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = operation::cancel(&mut write.tx, account, id, self.app.clock.now()).await;
        let outcome = outcome
            .map(|o| CancelOperationResponse {
                operation: Some(convert::operation(&o)),
            })
            .map_err(Status::from);
        let reply = write.finish(outcome).await;
        self.app.tail.wake();
        reply
    }
}
