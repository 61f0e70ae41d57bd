//! Lifecycle: the wire.

use chrono::{DateTime, Duration, Utc};
use sewa_sdk::sewa::lifecycle::v1::lifecycle_service_server::LifecycleService;
use sewa_sdk::sewa::lifecycle::v1::{
    ChangePeriodRequest, ChangePeriodResponse, ChangePlanRequest, ChangePlanResponse,
    ListPoliciesRequest, ListPoliciesResponse, ListRenewalsRequest, ListRenewalsResponse,
    PreviewPeriodChangeRequest, PreviewPeriodChangeResponse, PreviewPlanChangeRequest,
    PreviewPlanChangeResponse, PreviewRenewalRequest, PreviewRenewalResponse,
    PreviewScheduleRequest, PreviewScheduleResponse, RenewInstanceRequest, RenewInstanceResponse,
    SetAccountPolicyRequest, SetAccountPolicyResponse, SetAutoRenewRequest, SetAutoRenewResponse,
    renewal,
};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, InstanceId, PlanId};
use crate::base::money::Rupiah;
use crate::base::page::Page;
use crate::base::status;
use crate::base::writes::{self, Claim, Write};
use crate::service::instance::model::Instance;
use crate::service::lifecycle::error::Error;
use crate::service::lifecycle::model::{self, POLICIES, Subscription};
use crate::service::lifecycle::{self, change, clock, convert, preview, store};
use crate::service::{catalog, instance, operation};

/// Subscriptions a schedule is made of at most.
const MAX_SUBSCRIPTIONS: i64 = 5000;

/// Serves `LifecycleService`.
pub struct Lifecycle {
    /// The parts.
    pub app: App,
}

/// A subscription and its machine, as they are now by their account's clock.
struct Looked {
    subscription: Subscription,
    instance: Instance,
    now: DateTime<Utc>,
}

impl Lifecycle {
    /// Looks at the instance of that id, for its owner or for staff.
    async fn look(&self, call: &Call, instance_id: &str) -> Result<Looked, Status> {
        let id = InstanceId::parse("instance_id", instance_id)?;
        let holding = instance::store::account_of(&self.app.db, id);
        let account = call.caller.account_holding(holding).await?;
        let account = account.ok_or(Error::InstanceNotFound)?;
        let look = async {
            let subscription = store::get(&self.app.db, account, id).await?;
            let instance = instance::store::get(&self.app.db, account, id).await?;
            let mut connection = self.app.db.acquire().await?;
            let (now, _) = clock::now(&self.app, &mut connection, account).await?;
            Ok((subscription, instance, now))
        };
        let found: Result<_, sqlx::Error> = look.await;
        let (subscription, instance, now) = found.map_err(|e| status::database(&e))?;
        let both = subscription.zip(instance);
        let (subscription, instance) = both.ok_or(Error::InstanceNotFound)?;
        Ok(Looked {
            subscription,
            instance,
            now,
        })
    }
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
        let balance = self.app.reads.balances.get(account).await?;
        // Renewals spend promo credit first.
        let available = balance.and_then(|(b, _)| b.promo.checked_add(b.available));
        let available = available.unwrap_or_default();
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

    async fn preview_plan_change(
        &self,
        request: Request<PreviewPlanChangeRequest>,
    ) -> Result<Response<PreviewPlanChangeResponse>, Status> {
        let call = Call::of(&request)?;
        let plan = PlanId::parse("plan_id", &request.get_ref().plan_id)?;
        let catalogue = catalog::snapshot(&self.app).await?;
        let looked = self.look(&call, &request.get_ref().instance_id).await?;
        let (subscription, machine, now) = (&looked.subscription, &looked.instance, looked.now);
        let priced = change::price_plan(&self.app, &catalogue, subscription, machine, plan, now)?;
        Ok(Response::new(PreviewPlanChangeResponse {
            plan_change: Some(convert::plan_change(&priced)),
        }))
    }

    async fn change_plan(
        &self,
        request: Request<ChangePlanRequest>,
    ) -> Result<Response<ChangePlanResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let instance = InstanceId::parse("instance_id", &request.instance_id)?;
        let plan = PlanId::parse("plan_id", &request.plan_id)?;
        let expected = request.expected_total.as_ref();
        let expected = expected
            .map(|total| Rupiah::from_proto("expected_total", total))
            .transpose()?;
        let account = call.caller.account()?;
        let catalogue = catalog::snapshot(&self.app).await?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        keep_before(&mut write, account, instance).await?;
        let key = (account, instance);
        let begun = change::begin(&self.app, &mut write.tx, &catalogue, key, plan, expected).await;
        let outcome = begun.map(|(priced, operation)| ChangePlanResponse {
            plan_change: Some(convert::plan_change(&priced)),
            operation: Some(operation::convert::new_to_proto(&operation)),
        });
        let reply = write.finish(outcome.map_err(Status::from)).await;
        self.app.tail.wake();
        reply
    }

    async fn preview_period_change(
        &self,
        request: Request<PreviewPeriodChangeRequest>,
    ) -> Result<Response<PreviewPeriodChangeResponse>, Status> {
        let call = Call::of(&request)?;
        let period = request.get_ref().period();
        let catalogue = catalog::snapshot(&self.app).await?;
        let looked = self.look(&call, &request.get_ref().instance_id).await?;
        let (machine, now) = (&looked.instance, looked.now);
        let subscription = looked.subscription;
        let (_, charge) =
            change::price_period(&self.app, &catalogue, subscription, machine, period, now)?;
        let state = renewal::State::Preview;
        Ok(Response::new(PreviewPeriodChangeResponse {
            renewal: Some(convert::charge(machine.id, &charge, state)),
        }))
    }

    async fn change_period(
        &self,
        request: Request<ChangePeriodRequest>,
    ) -> Result<Response<ChangePeriodResponse>, Status> {
        let call = Call::of(&request)?;
        let period = request.get_ref().period();
        let instance = InstanceId::parse("instance_id", &request.get_ref().instance_id)?;
        let account = call.caller.account()?;
        let catalogue = catalog::snapshot(&self.app).await?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        keep_before(&mut write, account, instance).await?;
        let key = (account, instance);
        let changed = change::set_period(&self.app, &mut write.tx, &catalogue, key, period).await;
        let outcome = changed.map(|subscription| ChangePeriodResponse {
            subscription: Some(convert::subscription(&subscription)),
        });
        write.finish(outcome.map_err(Status::from)).await
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
