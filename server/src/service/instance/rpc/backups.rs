//! Backups: the wire.

use sewa_sdk::sewa::instance::v1::backup_service_server::BackupService;
use sewa_sdk::sewa::instance::v1::{
    BackupStatus, GetBackupStatusRequest, GetBackupStatusResponse, ListBackupsRequest,
    ListBackupsResponse, RestoreBackupRequest, RestoreBackupResponse,
};
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::BackupId;
use crate::base::page::Page;
use crate::base::writes::{self, Claim};
use crate::base::{status, time};
use crate::service::instance::{backup, convert, store};
use crate::service::{catalog, operation};

/// Serves `BackupService`.
pub struct BackupCalls {
    /// The parts.
    pub app: App,
}

#[tonic::async_trait]
impl BackupService for BackupCalls {
    async fn get_backup_status(
        &self,
        request: Request<GetBackupStatusRequest>,
    ) -> Result<Response<GetBackupStatusResponse>, Status> {
        let call = Call::of(&request)?;
        let instance = super::visible(&self.app, &call, &request.get_ref().instance_id).await?;
        let catalogue = catalog::snapshot(&self.app).await?;
        let seen = store::backups::status(&self.app.db, instance.account, instance.id)
            .await
            .map_err(|e| status::database(&e))?;
        Ok(Response::new(GetBackupStatusResponse {
            status: Some(BackupStatus {
                included: catalogue.plan(instance.plan).is_some_and(|p| p.backups),
                enabled: seen.enabled,
                last_backup_time: seen.last_taken_at.map(time::to_proto),
                check_time: seen.checked_at.map(time::to_proto),
            }),
        }))
    }

    async fn list_backups(
        &self,
        request: Request<ListBackupsRequest>,
    ) -> Result<Response<ListBackupsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let instance = super::visible(&self.app, &call, &request.instance_id).await?;
        let id = instance.id.to_string();
        let page = Page::read(request.page_size, &request.page_token, &["backups", &id])?;
        let (before, limit) = (page.after_as()?, page.limit());
        let (account, id) = (instance.account, instance.id);
        let mut listed = store::backups::list(&self.app.db, account, id, before, limit)
            .await
            .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |backup| backup.id.to_string());
        Ok(Response::new(ListBackupsResponse {
            backups: listed.iter().map(convert::backup).collect(),
            next_page_token,
        }))
    }

    async fn restore_backup(
        &self,
        request: Request<RestoreBackupRequest>,
    ) -> Result<Response<RestoreBackupResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account()?;
        let id = BackupId::parse("backup_id", &request.get_ref().backup_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let asked = backup::restore(&mut write.tx, account, id, self.app.clock.now()).await;
        let recorded = |operation| RestoreBackupResponse {
            operation: Some(operation::convert::new_to_proto(&operation)),
        };
        let reply = write
            .finish(asked.map(recorded).map_err(Status::from))
            .await;
        self.app.tail.wake();
        reply
    }
}
