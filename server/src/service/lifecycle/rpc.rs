//! Lifecycle: the wire.

use chrono::Duration;
use sewa_sdk::sewa::lifecycle::v1::lifecycle_service_server::LifecycleService;
use sewa_sdk::sewa::lifecycle::v1::{
    ListPoliciesRequest, ListPoliciesResponse, ListRenewalsRequest, ListRenewalsResponse,
    PreviewRenewalRequest, PreviewRenewalResponse, PreviewScheduleRequest, PreviewScheduleResponse,
    RenewInstanceRequest, RenewInstanceResponse, SetAccountPolicyRequest, SetAccountPolicyResponse,
    SetAutoRenewRequest, SetAutoRenewResponse, renewal,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, InstanceId};
use crate::base::page::Page;
use crate::base::status;
use crate::base::writes::{self, Claim, Write};
use crate::service::lifecycle::error::Error;
use crate::service::lifecycle::model::{self, POLICIES};
use crate::service::lifecycle::{self, clock, convert, preview, store};
use crate::service::{instance, wallet};

/// Subscriptions a schedule is made of at most.
const MAX_SUBSCRIPTIONS: i64 = 5000;

/// Serves `LifecycleService`.
pub struct Lifecycle {
    /// The parts.
    pub app: App,
}

#[tonic::async_trait]
impl LifecycleService for Lifecycle {
    async fn preview_schedule(
        &self,
        request: Request<PreviewScheduleRequest>,
    ) -> Result<Response<PreviewScheduleResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account_or(&request.account_id)?;
        let days = if request.days == 0 { 30 } else { request.days };
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &["schedule", &account.to_string(), &days.to_string()],
        )?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let (now, _) = clock::now(&self.app, &mut connection, account)
            .await
            .map_err(|e| status::database(&e))?;
        drop(connection);
        let until = now + Duration::days(i64::from(days));
        let subscriptions = store::list_due(&self.app.db, account, until, MAX_SUBSCRIPTIONS)
            .await
            .map_err(|e| status::database(&e))?;
        let balance = wallet::store::get_balance(&self.app.db, account)
            .await
            .map_err(|e| status::database(&e))?;
        let available = balance.map_or(crate::base::money::Rupiah::ZERO, |(b, _)| b.available);
        let skip = page.after_as::<usize>()?.unwrap_or(0);
        let take = usize::try_from(page.limit()).unwrap_or(usize::MAX);
        let mut steps: Vec<_> = preview::schedule(subscriptions, available, until)
            .into_iter()
            .skip(skip)
            .take(take)
            .collect();
        let next_page_token = page.finish(&mut steps, |_| (skip + take - 1).to_string());
        Ok(Response::new(PreviewScheduleResponse {
            steps: steps.iter().map(convert::planned).collect(),
            next_page_token,
        }))
    }

    async fn set_auto_renew(
        &self,
        request: Request<SetAutoRenewRequest>,
    ) -> Result<Response<SetAutoRenewResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let instance = InstanceId::parse("instance_id", &request.instance_id)?;
        let account = call.caller.account()?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        keep_before(&mut write, account, instance).await?;
        let outcome =
            lifecycle::set_auto_renew(&mut write.tx, account, instance, request.auto_renew).await;
        write
            .finish(
                outcome
                    .map(|s| SetAutoRenewResponse {
                        subscription: Some(convert::subscription(&s)),
                    })
                    .map_err(Status::from),
            )
            .await
    }

    async fn preview_renewal(
        &self,
        request: Request<PreviewRenewalRequest>,
    ) -> Result<Response<PreviewRenewalResponse>, Status> {
        let call = Call::of(&request)?;
        let instance = InstanceId::parse("instance_id", &request.get_ref().instance_id)?;
        let holding = instance::store::account_of(&self.app.db, instance);
        let account = call.caller.account_holding(holding).await?;
        let account = account.ok_or(Error::InstanceNotFound)?;
        let found = store::get(&self.app.db, account, instance)
            .await
            .map_err(|e| status::database(&e))?;
        let subscription = found.ok_or(Error::InstanceNotFound)?;
        let mut connection = self
            .app
            .db
            .acquire()
            .await
            .map_err(|e| status::database(&e))?;
        let (now, _) = clock::now(&self.app, &mut connection, account)
            .await
            .map_err(|e| status::database(&e))?;
        let charge = lifecycle::price_renewal(&subscription, now)?;
        Ok(Response::new(PreviewRenewalResponse {
            renewal: Some(convert::charge(instance, &charge, renewal::State::Preview)),
        }))
    }

    async fn renew_instance(
        &self,
        request: Request<RenewInstanceRequest>,
    ) -> Result<Response<RenewInstanceResponse>, Status> {
        let call = Call::of(&request)?;
        let instance = InstanceId::parse("instance_id", &request.get_ref().instance_id)?;
        let account = call.caller.account()?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        keep_before(&mut write, account, instance).await?;
        let outcome = lifecycle::renew(&self.app, &mut write.tx, account, instance).await;
        let reply = write
            .finish(
                outcome
                    .map(|r| RenewInstanceResponse {
                        renewal: Some(convert::renewal(&r)),
                    })
                    .map_err(Status::from),
            )
            .await;
        self.app.tail.wake();
        reply
    }

    async fn list_renewals(
        &self,
        request: Request<ListRenewalsRequest>,
    ) -> Result<Response<ListRenewalsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = call.caller.account_or(&request.account_id)?;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &["renewals", &account.to_string(), &request.instance_id],
        )?;
        let instance = if request.instance_id.is_empty() {
            None
        } else {
            Some(InstanceId::parse("instance_id", &request.instance_id)?.0)
        };
        let mut listed = store::list_renewals(
            &self.app.db,
            account,
            page.after_as::<Uuid>()?,
            instance,
            page.limit(),
        )
        .await
        .map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |r| r.id.to_string());
        Ok(Response::new(ListRenewalsResponse {
            renewals: listed.iter().map(convert::renewal).collect(),
            next_page_token,
        }))
    }

    async fn list_policies(
        &self,
        _: Request<ListPoliciesRequest>,
    ) -> Result<Response<ListPoliciesResponse>, Status> {
        Ok(Response::new(ListPoliciesResponse {
            policies: POLICIES.iter().map(convert::policy).collect(),
            next_page_token: String::new(),
        }))
    }

    async fn set_account_policy(
        &self,
        request: Request<SetAccountPolicyRequest>,
    ) -> Result<Response<SetAccountPolicyResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account = AccountId::parse("account_id", &request.account_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        write.about(account);
        let before = store::get_policy(&mut write.tx, account)
            .await
            .map_err(|e| status::database(&e))?;
        if let Some(policy) = before {
            write.keep_before(&SetAccountPolicyResponse { policy });
        }
        let outcome = match model::policy(&request.policy) {
            None => Err(Error::PolicyNotFound),
            Some(policy) => match store::set_policy(&mut write.tx, account, policy.code).await {
                Ok(true) => Ok(SetAccountPolicyResponse {
                    policy: policy.code.to_owned(),
                }),
                Ok(false) => Err(Error::AccountNotFound),
                Err(error) => Err(error.into()),
            },
        };
        write.finish(outcome.map_err(Status::from)).await
    }
}

/// Keeps a subscription as it is for the audit trail, and nobody changes it meanwhile.
async fn keep_before(
    write: &mut Write<'_>,
    account: AccountId,
    instance: InstanceId,
) -> Result<(), Status> {
    let found = store::get_for_update(&mut write.tx, account, instance)
        .await
        .map_err(|e| status::database(&e))?;
    if let Some(subscription) = found {
        write.keep_before(&convert::subscription(&subscription));
    }
    Ok(())
}
