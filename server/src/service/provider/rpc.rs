//! Provider accounts: the wire.

use sewa_sdk::sewa::provider::v1 as proto;
use sewa_sdk::sewa::provider::v1::provider_service_server::ProviderService;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::ProviderAccountId;
use crate::base::page::Page;
use crate::base::vault::Sealed;
use crate::base::writes::{self, Claim};
use crate::base::{mask, status};
use crate::provider::compute::line::trust::Trust;
use crate::provider::compute::vendor::{Vendor, is_safe_base};
use crate::service::provider::error::Error;
use crate::service::provider::model::{Account, Finding, Health, WRITABLE};
use crate::service::provider::{convert, job, lines, store, survey};

/// Serves `ProviderService`.
pub struct ProviderAccounts {
    /// The parts.
    pub app: App,
}

impl ProviderAccounts {
    fn seal(&self, id: ProviderAccountId, token: &str) -> Result<Sealed, Error> {
        self.app
            .lines
            .vault()
            .seal(token.as_bytes(), &lines::context(id))
            .map_err(Error::Secret)
    }

    /// Changes an account within a write.
    async fn change<R: prost::Message + Default>(
        &self,
        call: &Call,
        id: &str,
        change: impl FnOnce(&mut Account) -> Result<(), Error>,
        reply: fn(proto::ProviderAccount) -> R,
    ) -> Result<Response<R>, Status> {
        let id = ProviderAccountId::parse("provider_account_id", id)?;
        let mut write = match writes::begin(&self.app.db, call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(call),
        };
        let outcome = async {
            let mut account = store::get_for_update(&mut write.tx, id)
                .await?
                .ok_or(Error::NotFound)?;
            let before = shown(&mut write.tx, &account).await?;
            write.keep_before(&before);
            change(&mut account)?;
            account.updated_at = self.app.clock.now();
            store::update(&mut write.tx, &account).await?;
            shown(&mut write.tx, &account).await
        }
        .await;
        write.finish(outcome.map(reply).map_err(Status::from)).await
    }
}

async fn shown(
    connection: &mut sqlx::PgConnection,
    account: &Account,
) -> Result<proto::ProviderAccount, Error> {
    let machines = store::count_machines(connection, &[account.id]).await?;
    let count = machines.get(&account.id).copied().unwrap_or(0);
    Ok(convert::account(account, count))
}

/// A new account as a request asks for it, without its token.
fn requested(
    request: &proto::CreateProviderAccountRequest,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<Account, Status> {
    let vendor = Vendor::parse(&request.provider)
        .ok_or_else(|| Error::UnknownProvider(request.provider.clone()))?;
    // Hypervisors of our own have no address that everybody knows.
    let needed = vendor.is_own() || !request.base_url.is_empty();
    if needed && !is_safe_base(&request.base_url) {
        return Err(Error::UnsafeBase.into());
    }
    if !vendor.takes(&request.token) {
        return Err(Error::NoUserAndPassword.into());
    }
    let trust = Trust {
        authorities: request.certificate_authorities.clone(),
        fingerprint: request.certificate_fingerprint.clone(),
    };
    trusted(&trust)?;
    Ok(Account {
        id: ProviderAccountId::new(),
        vendor,
        display_name: request.display_name.clone(),
        base_url: request.base_url.clone(),
        trust,
        token: Sealed {
            key_id: String::new(),
            bytes: Vec::new(),
        },
        region_codes: request.region_codes.clone(),
        plan_ids: convert::plan_ids(&request.plan_ids)?,
        weight: request.weight,
        machine_limit: request.machine_limit,
        call_limit: request.call_limit,
        enabled: true,
        revision: 1,
        health: Health::Unknown,
        health_message: String::new(),
        checked_at: None,
        provider_machine_limit: None,
        provider_balance: String::new(),
        created_at: now,
        updated_at: now,
    })
}

/// Writes the named fields of `sent` into an account.
fn apply(
    account: &mut Account,
    sent: &proto::ProviderAccount,
    plans: Vec<Uuid>,
    fields: &[&str],
) -> Result<(), Error> {
    for field in fields {
        match *field {
            "display_name" if sent.display_name.trim().is_empty() => return Err(Error::EmptyName),
            "display_name" => account.display_name.clone_from(&sent.display_name),
            "region_codes" => account.region_codes.clone_from(&sent.region_codes),
            "plan_ids" => account.plan_ids.clone_from(&plans),
            "weight" => account.weight = sent.weight,
            "machine_limit" => account.machine_limit = sent.machine_limit,
            "certificate_authorities" => account
                .trust
                .authorities
                .clone_from(&sent.certificate_authorities),
            "certificate_fingerprint" => account
                .trust
                .fingerprint
                .clone_from(&sent.certificate_fingerprint),
            _ => account.call_limit = sent.call_limit,
        }
    }
    trusted(&account.trust)
}

fn trusted(trust: &Trust) -> Result<(), Error> {
    trust
        .check()
        .map_err(|(field, message)| Error::Untrusted(field, message))
}

#[tonic::async_trait]
impl ProviderService for ProviderAccounts {
    async fn list_provider_accounts(
        &self,
        request: Request<proto::ListProviderAccountsRequest>,
    ) -> Result<Response<proto::ListProviderAccountsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let page = Page::read(request.page_size, &request.page_token, &[&call.method.name])?;
        let mut accounts = store::list(&self.app.db, page.after_as()?, page.limit())
            .await
            .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut accounts, |account| account.id.to_string());
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let ids: Vec<ProviderAccountId> = accounts.iter().map(|a| a.id).collect();
        let machines = store::count_machines(&mut connection, &ids)
            .await
            .map_err(|e| status::database(&e))?;
        let shown = accounts
            .iter()
            .map(|a| convert::account(a, machines.get(&a.id).copied().unwrap_or(0)));
        Ok(Response::new(proto::ListProviderAccountsResponse {
            provider_accounts: shown.collect(),
            next_page_token,
        }))
    }

    async fn get_provider_account(
        &self,
        request: Request<proto::GetProviderAccountRequest>,
    ) -> Result<Response<proto::GetProviderAccountResponse>, Status> {
        let id = &request.into_inner().provider_account_id;
        let id = ProviderAccountId::parse("provider_account_id", id)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let account = store::get(&mut connection, id)
            .await
            .map_err(Error::Database)?
            .ok_or(Error::NotFound)?;
        let shown = shown(&mut connection, &account).await?;
        Ok(Response::new(proto::GetProviderAccountResponse {
            provider_account: Some(shown),
        }))
    }

    async fn create_provider_account(
        &self,
        request: Request<proto::CreateProviderAccountRequest>,
    ) -> Result<Response<proto::CreateProviderAccountResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let mut account = requested(&request, self.app.clock.now())?;
        account.token = self.seal(account.id, &request.token)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = store::insert(&mut write.tx, &account).await;
        write
            .finish(
                outcome
                    .map(|()| proto::CreateProviderAccountResponse {
                        provider_account: Some(convert::account(&account, 0)),
                    })
                    .map_err(Status::from),
            )
            .await
    }

    async fn update_provider_account(
        &self,
        request: Request<proto::UpdateProviderAccountRequest>,
    ) -> Result<Response<proto::UpdateProviderAccountResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let sent = request.provider_account.unwrap_or_default();
        let fields = mask::fields(
            request.update_mask.as_ref(),
            WRITABLE,
            |field| match field {
                "display_name" => !sent.display_name.is_empty(),
                "region_codes" => !sent.region_codes.is_empty(),
                "plan_ids" => !sent.plan_ids.is_empty(),
                "weight" => sent.weight != 0,
                "machine_limit" => sent.machine_limit != 0,
                "certificate_authorities" => !sent.certificate_authorities.is_empty(),
                "certificate_fingerprint" => !sent.certificate_fingerprint.is_empty(),
                _ => sent.call_limit != 0,
            },
        )
        .map_err(Error::FieldNotWritable)?;
        let plans = convert::plan_ids(&sent.plan_ids)?;
        self.change(
            &call,
            &sent.id,
            |account| apply(account, &sent, plans, &fields),
            |account| proto::UpdateProviderAccountResponse {
                provider_account: Some(account),
            },
        )
        .await
    }

    async fn set_provider_credentials(
        &self,
        request: Request<proto::SetProviderCredentialsRequest>,
    ) -> Result<Response<proto::SetProviderCredentialsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        self.change(
            &call,
            &request.provider_account_id,
            |account| {
                if !account.vendor.takes(&request.token) {
                    return Err(Error::NoUserAndPassword);
                }
                account.token = self.seal(account.id, &request.token)?;
                // What was found with the old token says nothing about the new one.
                account.health = Health::Unknown;
                account.health_message.clear();
                Ok(())
            },
            |account| proto::SetProviderCredentialsResponse {
                provider_account: Some(account),
            },
        )
        .await
    }

    async fn test_provider_account(
        &self,
        request: Request<proto::TestProviderAccountRequest>,
    ) -> Result<Response<proto::TestProviderAccountResponse>, Status> {
        let call = Call::of(&request)?;
        let id = &request.into_inner().provider_account_id;
        let id = ProviderAccountId::parse("provider_account_id", id)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let found = store::get(&mut connection, id)
            .await
            .map_err(|e| status::database(&e))?;
        drop(connection);
        // The provider is asked while no transaction is open.
        let finding: Option<(i64, Finding)> = match &found {
            Some(account) => Some((account.revision, job::ask(&self.app, account).await)),
            None => None,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            let (revision, finding) = finding.ok_or(Error::NotFound)?;
            store::note(&mut write.tx, id, revision, &finding, self.app.clock.now()).await?;
            let account = store::get(&mut write.tx, id)
                .await?
                .ok_or(Error::NotFound)?;
            shown(&mut write.tx, &account).await
        }
        .await;
        write
            .finish(
                outcome
                    .map(|account| proto::TestProviderAccountResponse {
                        provider_account: Some(account),
                    })
                    .map_err(Status::from),
            )
            .await
    }

    async fn disable_provider_account(
        &self,
        request: Request<proto::DisableProviderAccountRequest>,
    ) -> Result<Response<proto::DisableProviderAccountResponse>, Status> {
        let call = Call::of(&request)?;
        self.change(
            &call,
            &request.into_inner().provider_account_id,
            |account| {
                account.enabled = false;
                Ok(())
            },
            |account| proto::DisableProviderAccountResponse {
                provider_account: Some(account),
            },
        )
        .await
    }

    async fn enable_provider_account(
        &self,
        request: Request<proto::EnableProviderAccountRequest>,
    ) -> Result<Response<proto::EnableProviderAccountResponse>, Status> {
        let call = Call::of(&request)?;
        self.change(
            &call,
            &request.into_inner().provider_account_id,
            |account| {
                account.enabled = true;
                Ok(())
            },
            |account| proto::EnableProviderAccountResponse {
                provider_account: Some(account),
            },
        )
        .await
    }

    async fn compare_provider_account(
        &self,
        request: Request<proto::CompareProviderAccountRequest>,
    ) -> Result<Response<proto::CompareProviderAccountResponse>, Status> {
        let id = &request.into_inner().provider_account_id;
        let id = ProviderAccountId::parse("provider_account_id", id)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let account = store::get(&mut connection, id)
            .await
            .map_err(Error::Database)?
            .ok_or(Error::NotFound)?;
        drop(connection);
        let survey = survey::survey(&self.app, &account).await?;
        Ok(Response::new(proto::CompareProviderAccountResponse {
            differences: survey.differences.iter().map(convert::difference).collect(),
            machines: i32::try_from(survey.machines).unwrap_or(i32::MAX),
        }))
    }
}
