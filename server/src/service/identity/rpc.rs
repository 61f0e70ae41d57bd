//! Identity on the wire.

use sewa_sdk::sewa::identity::v1 as proto;
use sewa_sdk::sewa::identity::v1::identity_service_server::IdentityService;
use tonic::{Request, Response, Status, async_trait};

use crate::app::App;
use crate::base::call::{Call, Caller, CallerKind};
use crate::base::id::{AccountId, ApiKeyId};
use crate::base::mask;
use crate::base::page::Page;
use crate::base::status::{self, Invalid};
use crate::base::time;
use crate::base::writes::{self, Claim};
use crate::edge::permissions;
use crate::service::identity::error::Error;
use crate::service::identity::factor::Proof;
use crate::service::identity::model::{AccountKind, PROFILE_FIELDS, Person};
use crate::service::identity::profile::Changes;
use crate::service::identity::session::SignIn;
use crate::service::identity::{
    self as slice, NewAccount, NewKey, audit, convert, factor, password, profile, session, store,
};

/// The service.
pub struct Identity {
    /// What the server holds.
    pub app: App,
}

#[async_trait]
impl IdentityService for Identity {
    async fn register(
        &self,
        request: Request<proto::RegisterRequest>,
    ) -> Result<Response<proto::RegisterResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let kind = AccountKind::from_number(request.account_kind).ok_or_else(|| {
            status::invalid(Invalid::new(
                "account_kind",
                "ENUM_DEFINED_ONLY",
                "must be a kind of account",
            ))
        })?;
        // Before the transaction: a hash takes a while, and open transactions are few.
        let password_hash = password::hash(request.password)
            .await
            .map_err(Error::from)?;
        let new = NewAccount {
            email: request.email,
            password_hash,
            user_name: request.name,
            account_name: request.account_name,
            kind,
            sandbox: request.sandbox,
            referral_code: request.referral_code,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            let (account, user) = slice::register(&mut write.tx, &new, call.now).await?;
            let person = store::get_person(&mut write.tx, user)
                .await?
                .ok_or(Error::ProfileNotFound)?;
            let tokens = session::open(&self.app.signer, &mut write.tx, &person, call.now).await?;
            Ok(proto::RegisterResponse {
                account_id: account.to_string(),
                user_id: user.to_string(),
                tokens: Some(convert::tokens(tokens)),
            })
        }
        .await
        .map_err(|error: Error| Status::from(error));
        write.finish(outcome).await
    }

    async fn login(
        &self,
        request: Request<proto::LoginRequest>,
    ) -> Result<Response<proto::LoginResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (tokens, person) = session::login(
            &self.app.db,
            &self.app.signer,
            &self.app.master,
            SignIn {
                email: request.email,
                password: request.password,
                code: request.code,
            },
            call.now,
        )
        .await?;
        let caller = convert::caller(&signed_in(&person));
        Ok(Response::new(proto::LoginResponse {
            tokens: Some(convert::tokens(tokens)),
            caller: Some(caller),
        }))
    }

    async fn refresh_token(
        &self,
        request: Request<proto::RefreshTokenRequest>,
    ) -> Result<Response<proto::RefreshTokenResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let tokens = session::refresh(
            &self.app.db,
            &self.app.signer,
            &request.refresh_token,
            call.now,
        )
        .await?;
        Ok(Response::new(proto::RefreshTokenResponse {
            tokens: Some(convert::tokens(tokens)),
        }))
    }

    async fn logout(
        &self,
        request: Request<proto::LogoutRequest>,
    ) -> Result<Response<proto::LogoutResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        session::logout(
            &self.app.db,
            &self.app.signer,
            &request.refresh_token,
            call.now,
        )
        .await?;
        Ok(Response::new(proto::LogoutResponse {}))
    }

    async fn get_caller(
        &self,
        request: Request<proto::GetCallerRequest>,
    ) -> Result<Response<proto::GetCallerResponse>, Status> {
        let call = Call::of(&request)?;
        Ok(Response::new(proto::GetCallerResponse {
            caller: Some(convert::caller(&call.caller)),
        }))
    }

    async fn get_profile(
        &self,
        request: Request<proto::GetProfileRequest>,
    ) -> Result<Response<proto::GetProfileResponse>, Status> {
        let call = Call::of(&request)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let profile = profile::get(&mut connection, &call.caller).await?;
        Ok(Response::new(proto::GetProfileResponse {
            profile: Some(convert::profile(profile)),
        }))
    }

    async fn update_profile(
        &self,
        request: Request<proto::UpdateProfileRequest>,
    ) -> Result<Response<proto::UpdateProfileResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let new = request.profile.unwrap_or_default();
        let fields = mask::fields(
            request.update_mask.as_ref(),
            PROFILE_FIELDS,
            |field| match field {
                "name" => !new.name.is_empty(),
                "phone" => !new.phone.is_empty(),
                _ => !new.language.is_empty(),
            },
        )
        .map_err(|path| Error::FieldNotWritable { path })?;
        let changes = Changes {
            fields: &fields,
            name: new.name,
            phone: new.phone,
            language: new.language,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            let before = profile::get_for_update(&mut write.tx, &call.caller).await?;
            write.keep_before(&convert::profile(before.clone()));
            let after = profile::update(&mut write.tx, before, changes).await?;
            Ok(proto::UpdateProfileResponse {
                profile: Some(convert::profile(after)),
            })
        }
        .await
        .map_err(|error: Error| Status::from(error));
        write.finish(outcome).await
    }

    async fn step_up(
        &self,
        request: Request<proto::StepUpRequest>,
    ) -> Result<Response<proto::StepUpResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let proof = if request.code.is_empty() {
            Proof::Password(request.password)
        } else {
            Proof::Code(request.code)
        };
        let (access_token, ends) =
            factor::step_up(&self.app, &call.caller, proof, call.now).await?;
        let seconds = i64::from(self.app.config.step_up_seconds);
        Ok(Response::new(proto::StepUpResponse {
            access_token,
            access_expire_time: Some(time::to_proto(ends)),
            confirm_expire_time: Some(time::to_proto(
                call.now + chrono::Duration::seconds(seconds),
            )),
        }))
    }

    async fn get_second_factor(
        &self,
        request: Request<proto::GetSecondFactorRequest>,
    ) -> Result<Response<proto::GetSecondFactorResponse>, Status> {
        let call = Call::of(&request)?;
        let user = factor::person(&call.caller)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let factor = store::factor::get(&mut connection, user)
            .await
            .map_err(Error::from)?;
        Ok(Response::new(proto::GetSecondFactorResponse {
            second_factor: Some(convert::second_factor(factor)),
        }))
    }

    async fn create_second_factor(
        &self,
        request: Request<proto::CreateSecondFactorRequest>,
    ) -> Result<Response<proto::CreateSecondFactorResponse>, Status> {
        let call = Call::of(&request)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = factor::begin(&mut write.tx, &self.app.master, &call.caller, call.now)
            .await
            .map(|made| proto::CreateSecondFactorResponse {
                secret: made.base32,
                otpauth_uri: made.uri,
            })
            .map_err(Status::from);
        write.finish(outcome).await
    }

    async fn confirm_second_factor(
        &self,
        request: Request<proto::ConfirmSecondFactorRequest>,
    ) -> Result<Response<proto::ConfirmSecondFactorResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            let (master, code) = (&self.app.master, request.code.as_str());
            let recovery_codes =
                factor::confirm(&mut write.tx, master, &call.caller, code, call.now).await?;
            let user = factor::person(&call.caller)?;
            let after = store::factor::get(&mut write.tx, user).await?;
            Ok(proto::ConfirmSecondFactorResponse {
                second_factor: Some(convert::second_factor(after)),
                recovery_codes,
            })
        }
        .await
        .map_err(|error: Error| Status::from(error));
        write.finish(outcome).await
    }

    async fn reset_recovery_codes(
        &self,
        request: Request<proto::ResetRecoveryCodesRequest>,
    ) -> Result<Response<proto::ResetRecoveryCodesResponse>, Status> {
        let call = Call::of(&request)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = factor::reset_codes(&mut write.tx, &self.app.master, &call.caller)
            .await
            .map(|recovery_codes| proto::ResetRecoveryCodesResponse { recovery_codes })
            .map_err(Status::from);
        write.finish(outcome).await
    }

    async fn delete_second_factor(
        &self,
        request: Request<proto::DeleteSecondFactorRequest>,
    ) -> Result<Response<proto::DeleteSecondFactorResponse>, Status> {
        let call = Call::of(&request)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            let user = factor::person(&call.caller)?;
            let before = store::factor::get(&mut write.tx, user).await?;
            write.keep_before(&convert::second_factor(before));
            store::factor::delete(&mut write.tx, user).await?;
            Ok(proto::DeleteSecondFactorResponse {})
        }
        .await
        .map_err(|error: Error| Status::from(error));
        write.finish(outcome).await
    }

    async fn create_api_key(
        &self,
        request: Request<proto::CreateApiKeyRequest>,
    ) -> Result<Response<proto::CreateApiKeyResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let new = NewKey {
            account: call.caller.account()?,
            created_by: call.caller.principal,
            role: call.caller.role,
            display_name: request.display_name,
            scopes: request.scopes,
            lifetime_days: request.lifetime_days,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = slice::create_key(&mut write.tx, new, &call.caller.permissions, call.now)
            .await
            .map(|(key, secret)| proto::CreateApiKeyResponse {
                api_key: Some(convert::api_key(key)),
                secret,
            })
            .map_err(Status::from);
        write.finish(outcome).await
    }

    async fn list_api_keys(
        &self,
        request: Request<proto::ListApiKeysRequest>,
    ) -> Result<Response<proto::ListApiKeysResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account()?;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &[&call.method.name, &account.to_string()],
        )?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let mut keys =
            slice::list_keys(&mut connection, account, page.after_as()?, page.limit()).await?;
        let next_page_token = page.finish(&mut keys, |key| key.id.to_string());
        Ok(Response::new(proto::ListApiKeysResponse {
            api_keys: keys.into_iter().map(convert::api_key).collect(),
            next_page_token,
        }))
    }

    async fn delete_api_key(
        &self,
        request: Request<proto::DeleteApiKeyRequest>,
    ) -> Result<Response<proto::DeleteApiKeyResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let (account, id) = (
            call.caller.account()?,
            ApiKeyId::parse("api_key_id", &request.api_key_id)?,
        );
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = slice::revoke_key(&mut write.tx, account, id, call.now)
            .await
            .map(|()| proto::DeleteApiKeyResponse {})
            .map_err(Status::from);
        write.finish(outcome).await
    }

    async fn get_jwks(
        &self,
        request: Request<proto::GetJwksRequest>,
    ) -> Result<Response<proto::GetJwksResponse>, Status> {
        let call = Call::of(&request)?;
        let keys = self.app.signer.public_keys(call.now).await;
        Ok(Response::new(proto::GetJwksResponse {
            keys: keys.into_iter().map(convert::jwk).collect(),
        }))
    }

    async fn list_audit_entries(
        &self,
        request: Request<proto::ListAuditEntriesRequest>,
    ) -> Result<Response<proto::ListAuditEntriesResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = match call.caller.account {
            Some(own) => Some(own),
            None if request.account_id.is_empty() => None,
            None => Some(AccountId::parse("account_id", &request.account_id)?),
        };
        let filter = store::audit::Filter {
            account,
            with_staff: call.caller.account.is_none(),
            method: request.method,
        };
        let (entries, next_page_token) = audit::list(
            &self.app.db,
            &self.app.clock,
            &filter,
            request.page_size,
            &request.page_token,
            call.now,
        )
        .await?;
        Ok(Response::new(proto::ListAuditEntriesResponse {
            audit_entries: entries,
            next_page_token,
        }))
    }
}

/// The caller that a person who just signed in will be.
fn signed_in(person: &Person) -> Caller {
    let role = person.role().unwrap_or("anonymous");
    Caller {
        account: person.account_id,
        principal: person.id.0,
        session: None,
        kind: CallerKind::User,
        role,
        permissions: permissions::of_role(role),
        sandbox: person.sandbox,
        until: None,
    }
}
