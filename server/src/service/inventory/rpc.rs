//! The inventory: the wire.

use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::inventory::v1 as proto;
use sewa_sdk::sewa::inventory::v1::inventory_service_server::InventoryService;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{AccountId, ImageId, InventoryRunId, PlanId, ProviderAccountId, RegionId};
use crate::base::money::Rupiah;
use crate::base::page::Page;
use crate::base::status;
use crate::base::time;
use crate::base::writes::{self, Claim};
use crate::service::inventory::adopt::{self, Adoption};
use crate::service::inventory::error::Error;
use crate::service::inventory::model::{Policy, Run, USUAL};
use crate::service::inventory::{convert, store};
use crate::service::provider::model::Account;
use crate::service::{catalog, provider};

/// Serves `InventoryService`.
pub struct Inventory {
    /// The parts.
    pub app: App,
}

impl Inventory {
    async fn account(&self, id: ProviderAccountId) -> Result<Account, Error> {
        let mut connection = self.app.db.acquire().await?;
        let found = provider::store::get(&mut connection, id).await?;
        Ok(found.ok_or(provider::error::Error::NotFound)?)
    }

    async fn run(&self, id: &str) -> Result<Run, Status> {
        let id = InventoryRunId::parse("run_id", id)?;
        let found = store::get(&self.app.db, id)
            .await
            .map_err(Error::Database)?;
        Ok(found.ok_or(Error::RunNotFound)?)
    }
}

/// The account of a filter; `None` for all.
fn named(id: &str) -> Result<Option<ProviderAccountId>, Status> {
    (!id.is_empty())
        .then(|| ProviderAccountId::parse("provider_account_id", id))
        .transpose()
}

/// What a request says of a machine.
fn adoption(request: &proto::AdoptMachineRequest) -> Result<Adoption, Status> {
    let price = request
        .price
        .as_ref()
        .map(|price| Rupiah::from_proto("price", price))
        .transpose()?;
    if price.is_some_and(|price| price.0 < 0) {
        return Err(status::invalid(status::Invalid::new(
            "price",
            "NOT_NEGATIVE",
            "must not be negative",
        )));
    }
    let paid_until = request.paid_until.as_ref().and_then(time::from_proto);
    Ok(Adoption {
        machine: request.provider_machine.clone(),
        account: AccountId::parse("account_id", &request.account_id)?,
        plan: PlanId::parse("plan_id", &request.plan_id)?,
        region: RegionId::parse("region_id", &request.region_id)?,
        image: ImageId::parse("image_id", &request.image_id)?,
        hostname: request.hostname.clone(),
        period: BillingPeriod::try_from(request.period).unwrap_or_default(),
        price,
        paid_until: paid_until.ok_or(Error::PaidUntil)?,
        auto_renew: request.auto_renew,
    })
}

#[tonic::async_trait]
impl InventoryService for Inventory {
    async fn run_inventory(
        &self,
        request: Request<proto::RunInventoryRequest>,
    ) -> Result<Response<proto::RunInventoryResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let account =
            ProviderAccountId::parse("provider_account_id", &request.provider_account_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            provider::store::get(&mut write.tx, account)
                .await?
                .ok_or(provider::error::Error::NotFound)?;
            let new = Run {
                id: InventoryRunId::new(),
                account,
                dry_run: request.dry_run,
                state: "PENDING".to_owned(),
                requested_by: Some(call.caller.principal),
                machines: 0,
                findings: 0,
                daily_cost: 0,
                failure: String::new(),
                created_at: self.app.clock.now(),
                finished_at: None,
            };
            while !store::insert(&mut write.tx, &new).await? {
                // One that ended meanwhile is in nobody's way.
                if let Some(open) = store::get_open(&mut write.tx, account).await? {
                    return Err(Error::RunInProgress(open.id));
                }
            }
            Ok(new)
        }
        .await;
        let reply = outcome.map(|run| proto::RunInventoryResponse {
            run: Some(convert::run(&run)),
        });
        write.finish(reply.map_err(Status::from)).await
    }

    async fn get_inventory_run(
        &self,
        request: Request<proto::GetInventoryRunRequest>,
    ) -> Result<Response<proto::GetInventoryRunResponse>, Status> {
        let run = self.run(&request.into_inner().run_id).await?;
        Ok(Response::new(proto::GetInventoryRunResponse {
            run: Some(convert::run(&run)),
        }))
    }

    async fn list_inventory_runs(
        &self,
        request: Request<proto::ListInventoryRunsRequest>,
    ) -> Result<Response<proto::ListInventoryRunsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let binding = [
            call.method.name.as_str(),
            request.provider_account_id.as_str(),
        ];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let account = named(&request.provider_account_id)?;
        let mut runs = store::list(&self.app.db, account, page.after_as()?, page.limit())
            .await
            .map_err(Error::Database)?;
        let next_page_token = page.finish(&mut runs, |run| run.id.to_string());
        Ok(Response::new(proto::ListInventoryRunsResponse {
            runs: runs.iter().map(convert::run).collect(),
            next_page_token,
        }))
    }

    async fn list_inventory_findings(
        &self,
        request: Request<proto::ListInventoryFindingsRequest>,
    ) -> Result<Response<proto::ListInventoryFindingsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let binding = [call.method.name.as_str(), request.run_id.as_str()];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let run = self.run(&request.run_id).await?;
        let mut found = store::list_findings(&self.app.db, run.id, page.after_as()?, page.limit())
            .await
            .map_err(Error::Database)?;
        let next_page_token = page.finish(&mut found, |finding| finding.id.to_string());
        Ok(Response::new(proto::ListInventoryFindingsResponse {
            findings: found.iter().map(convert::finding).collect(),
            next_page_token,
        }))
    }

    async fn list_inventory_repairs(
        &self,
        request: Request<proto::ListInventoryRepairsRequest>,
    ) -> Result<Response<proto::ListInventoryRepairsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let binding = [
            call.method.name.as_str(),
            request.provider_account_id.as_str(),
        ];
        let page = Page::read(request.page_size, &request.page_token, &binding)?;
        let account = named(&request.provider_account_id)?;
        let mut repairs =
            store::list_repairs(&self.app.db, account, page.after_as()?, page.limit())
                .await
                .map_err(Error::Database)?;
        let next_page_token = page.finish(&mut repairs, |finding| finding.id.to_string());
        Ok(Response::new(proto::ListInventoryRepairsResponse {
            repairs: repairs.iter().map(convert::finding).collect(),
            next_page_token,
        }))
    }

    async fn get_inventory_policy(
        &self,
        request: Request<proto::GetInventoryPolicyRequest>,
    ) -> Result<Response<proto::GetInventoryPolicyResponse>, Status> {
        let id = &request.into_inner().provider_account_id;
        let id = ProviderAccountId::parse("provider_account_id", id)?;
        let account = self.account(id).await?;
        let mut connection = self.app.db.acquire().await.map_err(Error::Database)?;
        let policy = store::get_policy(&mut connection, account.id)
            .await
            .map_err(Error::Database)?;
        Ok(Response::new(proto::GetInventoryPolicyResponse {
            policy: Some(convert::policy(account.id, &policy.unwrap_or(USUAL))),
        }))
    }

    async fn set_inventory_policy(
        &self,
        request: Request<proto::SetInventoryPolicyRequest>,
    ) -> Result<Response<proto::SetInventoryPolicyResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = ProviderAccountId::parse("provider_account_id", &request.provider_account_id)?;
        let policy = Policy {
            interval_minutes: request.interval_minutes,
            destroy_after_minutes: request.destroy_after_minutes,
            look_after_minutes: request.look_after_minutes,
            destroy_limit: request.destroy_limit,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            provider::store::get_for_update(&mut write.tx, id)
                .await?
                .ok_or(provider::error::Error::NotFound)?;
            let before = store::get_policy(&mut write.tx, id).await?.unwrap_or(USUAL);
            write.keep_before(&convert::policy(id, &before));
            store::set_policy(&mut write.tx, id, &policy).await?;
            Ok::<_, Error>(proto::SetInventoryPolicyResponse {
                policy: Some(convert::policy(id, &policy)),
            })
        }
        .await;
        write.finish(outcome.map_err(Status::from)).await
    }

    async fn adopt_machine(
        &self,
        request: Request<proto::AdoptMachineRequest>,
    ) -> Result<Response<proto::AdoptMachineResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = ProviderAccountId::parse("provider_account_id", &request.provider_account_id)?;
        let adoption = adoption(&request)?;
        let catalogue = catalog::snapshot(&self.app).await?;
        // The provider is asked while no transaction is open.
        let seen = async {
            let account = self.account(id).await?;
            let machine = adopt::look(&self.app, &account, &adoption.machine).await?;
            Ok::<_, Error>((account, machine))
        }
        .await;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        write.about(adoption.account);
        let outcome = async {
            let (account, machine) = seen?;
            let now = self.app.clock.now();
            let new = adopt::fit(&catalogue, &account, &adoption, &machine, now)?;
            let reply = proto::AdoptMachineResponse {
                instance_id: new.id.to_string(),
                paid_until: Some(time::to_proto(adoption.paid_until)),
                price: Some(new.price.to_proto()),
            };
            adopt::adopt(&mut write.tx, &account, &adoption, &machine, new).await?;
            Ok::<_, Error>(reply)
        }
        .await;
        let done = write.finish(outcome.map_err(Status::from)).await;
        self.app.tail.wake();
        done
    }
}
