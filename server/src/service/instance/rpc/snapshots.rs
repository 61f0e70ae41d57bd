//! Snapshots: the wire.

use sewa_sdk::sewa::instance::v1::snapshot_service_server::SnapshotService;
use sewa_sdk::sewa::instance::v1::{
    CreateSnapshotRequest, CreateSnapshotResponse, DeleteSnapshotRequest, DeleteSnapshotResponse,
    GetSnapshotRequest, GetSnapshotResponse, ListSnapshotsRequest, ListSnapshotsResponse,
    RestoreSnapshotRequest, RestoreSnapshotResponse,
};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{InstanceId, SnapshotId};
use crate::base::page::Page;
use crate::base::status;
use crate::base::writes::{self, Claim};
use crate::service::instance::ask::Target;
use crate::service::instance::error::Error;
use crate::service::instance::{convert, snapshot, store};
use crate::service::operation;

/// Serves `SnapshotService`.
pub struct SnapshotCalls {
    /// The parts.
    pub app: App,
}

#[tonic::async_trait]
impl SnapshotService for SnapshotCalls {
    async fn create_snapshot(
        &self,
        request: Request<CreateSnapshotRequest>,
    ) -> Result<Response<CreateSnapshotResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let target = Target {
            account: call.caller.account()?,
            id: InstanceId::parse("instance_id", &request.instance_id)?,
            etag: "",
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let (providers, now) = (&self.app.providers, self.app.clock.now());
        let asked =
            snapshot::create(providers, &mut write.tx, target, request.display_name, now).await;
        let recorded = |(snapshot, operation)| CreateSnapshotResponse {
            snapshot: Some(convert::snapshot(&snapshot)),
            operation: Some(operation::convert::new_to_proto(&operation)),
        };
        let reply = write
            .finish(asked.map(recorded).map_err(Status::from))
            .await;
        self.app.tail.wake();
        reply
    }

    async fn get_snapshot(
        &self,
        request: Request<GetSnapshotRequest>,
    ) -> Result<Response<GetSnapshotResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account()?;
        let id = SnapshotId::parse("snapshot_id", &request.get_ref().snapshot_id)?;
        let connection = self.app.db.acquire().await;
        let mut connection = connection.map_err(|e| status::database(&e))?;
        let found = store::snapshots::get(&mut connection, account, id)
            .await
            .map_err(|e| status::database(&e))?
            .ok_or(Error::SnapshotNotFound)?;
        Ok(Response::new(GetSnapshotResponse {
            snapshot: Some(convert::snapshot(&found)),
        }))
    }

    async fn list_snapshots(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Result<Response<ListSnapshotsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account()?;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &["snapshots", &account.to_string(), &request.instance_id],
        )?;
        let instance = if request.instance_id.is_empty() {
            None
        } else {
            Some(InstanceId::parse("instance_id", &request.instance_id)?)
        };
        let (before, limit) = (page.after_as()?, page.limit());
        let mut listed = store::snapshots::list(&self.app.db, account, instance, before, limit)
            .await
            .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |snapshot| snapshot.id.to_string());
        Ok(Response::new(ListSnapshotsResponse {
            snapshots: listed.iter().map(convert::snapshot).collect(),
            next_page_token,
        }))
    }

    async fn restore_snapshot(
        &self,
        request: Request<RestoreSnapshotRequest>,
    ) -> Result<Response<RestoreSnapshotResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account()?;
        let id = SnapshotId::parse("snapshot_id", &request.get_ref().snapshot_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let asked = snapshot::restore(&mut write.tx, account, id, self.app.clock.now()).await;
        let recorded = |operation| RestoreSnapshotResponse {
            operation: Some(operation::convert::new_to_proto(&operation)),
        };
        let reply = write
            .finish(asked.map(recorded).map_err(Status::from))
            .await;
        self.app.tail.wake();
        reply
    }

    async fn delete_snapshot(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Result<Response<DeleteSnapshotResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account()?;
        let id = SnapshotId::parse("snapshot_id", &request.get_ref().snapshot_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let asked = async {
            if let Some(was) = store::snapshots::get(&mut write.tx, account, id).await? {
                write.keep_before(&convert::snapshot(&was));
            }
            snapshot::delete(&mut write.tx, account, id, self.app.clock.now()).await
        }
        .await;
        let recorded = |operation| DeleteSnapshotResponse {
            operation: Some(operation::convert::new_to_proto(&operation)),
        };
        let reply = write
            .finish(asked.map(recorded).map_err(Status::from))
            .await;
        self.app.tail.wake();
        reply
    }
}
