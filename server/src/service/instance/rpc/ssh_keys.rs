//! Public keys: the wire.

use sewa_sdk::sewa::instance::v1::ssh_key_service_server::SshKeyService;
use sewa_sdk::sewa::instance::v1::{
    CreateSshKeyRequest, CreateSshKeyResponse, DeleteSshKeyRequest, DeleteSshKeyResponse,
    GetSshKeyRequest, GetSshKeyResponse, ListSshKeysRequest, ListSshKeysResponse,
};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, SshKeyId};
use crate::base::page::Page;
use crate::base::status;
use crate::base::writes::{self, Claim};
use crate::service::instance::error::Error;
use crate::service::instance::model::{SshKey, ssh_key};
use crate::service::instance::{convert, store};

/// Serves `SshKeyService`.
pub struct SshKeys {
    /// The parts.
    pub app: App,
}

async fn create(
    connection: &mut PgConnection,
    call: &Call,
    account: AccountId,
    request: CreateSshKeyRequest,
) -> Result<SshKey, Error> {
    let (public_key, fingerprint) =
        ssh_key::read(&request.public_key).map_err(Error::SshKeyInvalid)?;
    let count = store::ssh_keys::count_for_update(&mut *connection, account).await?;
    if let Some(same) = store::ssh_keys::find(&mut *connection, account, &fingerprint).await? {
        return Err(Error::SshKeyExists(same));
    }
    if count >= ssh_key::LIMIT {
        return Err(Error::SshKeyLimit);
    }
    let key = SshKey {
        id: SshKeyId::new(),
        display_name: request.display_name,
        public_key,
        fingerprint,
        created_at: call.now,
    };
    store::ssh_keys::insert(connection, account, &key).await?;
    Ok(key)
}

#[tonic::async_trait]
impl SshKeyService for SshKeys {
    async fn create_ssh_key(
        &self,
        request: Request<CreateSshKeyRequest>,
    ) -> Result<Response<CreateSshKeyResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account()?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = create(&mut write.tx, &call, account, request.into_inner()).await;
        let outcome = outcome
            .map(|key| CreateSshKeyResponse {
                ssh_key: Some(convert::ssh_key(&key)),
            })
            .map_err(Status::from);
        write.finish(outcome).await
    }

    async fn get_ssh_key(
        &self,
        request: Request<GetSshKeyRequest>,
    ) -> Result<Response<GetSshKeyResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account()?;
        let id = SshKeyId::parse("ssh_key_id", &request.get_ref().ssh_key_id)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let found = store::ssh_keys::get(&mut connection, account, id)
            .await
            .map_err(|e| status::database(&e))?
            .ok_or(Error::SshKeyNotFound(id))?;
        Ok(Response::new(GetSshKeyResponse {
            ssh_key: Some(convert::ssh_key(&found)),
        }))
    }

    async fn list_ssh_keys(
        &self,
        request: Request<ListSshKeysRequest>,
    ) -> Result<Response<ListSshKeysResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account()?;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &["ssh_keys", &account.to_string()],
        )?;
        let mut listed =
            store::ssh_keys::list(&self.app.db, account, page.after_as()?, page.limit())
                .await
                .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |key| key.id.to_string());
        Ok(Response::new(ListSshKeysResponse {
            ssh_keys: listed.iter().map(convert::ssh_key).collect(),
            next_page_token,
        }))
    }

    async fn delete_ssh_key(
        &self,
        request: Request<DeleteSshKeyRequest>,
    ) -> Result<Response<DeleteSshKeyResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account()?;
        let id = SshKeyId::parse("ssh_key_id", &request.get_ref().ssh_key_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = match store::ssh_keys::delete(&mut write.tx, account, id).await {
            Ok(Some(was)) => {
                write.keep_before(&convert::ssh_key(&was));
                Ok(DeleteSshKeyResponse {})
            }
            Ok(None) => Err(Error::SshKeyNotFound(id).into()),
            Err(error) => Err(status::database(&error)),
        };
        write.finish(outcome).await
    }
}
