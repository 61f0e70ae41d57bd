//! The catalogue on the wire. Reads are answered from memory.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::catalog::v1 as proto;
use sewa_sdk::sewa::catalog::v1::catalog_service_server::CatalogService;
use tonic::{Request, Response, Status, async_trait};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{PlanId, PlanPromotionId};
use crate::base::mask;
use crate::base::money::Rupiah;
use crate::base::page::Page;
use crate::base::writes::{self, Claim};
use crate::service::catalog::error::Error;
use crate::service::catalog::model::{PLAN_FIELDS, Plan, Rank, Snapshot, Version};
use crate::service::catalog::store::promotions;
use crate::service::catalog::{self as slice, Changes, convert, promotion};

/// The service.
pub struct Catalog {
    /// What the server holds.
    pub app: App,
}

impl Catalog {
    /// A plan with what promotions offer now.
    fn offered(
        &self,
        plan: &Plan,
        catalogue: &Snapshot,
        sandbox: bool,
        now: DateTime<Utc>,
    ) -> proto::Plan {
        convert::offered(plan, catalogue, &self.app.providers, sandbox, now)
    }
}

#[async_trait]
impl CatalogService for Catalog {
    async fn list_plans(
        &self,
        request: Request<proto::ListPlansRequest>,
    ) -> Result<Response<proto::ListPlansResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let all = request.include_unavailable;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &[
                &call.method.name,
                &all.to_string(),
                &request.sandbox.to_string(),
            ],
        )?;
        let after: Option<Rank> = page.after_as()?;
        let catalogue = slice::snapshot(&self.app).await?;
        let mut plans: Vec<_> = catalogue
            .plans_by_rank(call.now)
            .into_iter()
            .filter(|(rank, plan)| {
                after.as_ref().is_none_or(|after| rank > after)
                    && (all || catalogue.sells(plan, call.now))
            })
            .collect();
        let next_page_token = page.finish(&mut plans, |(rank, _)| rank.to_string());
        let plans = plans
            .into_iter()
            .map(|(_, plan)| self.offered(plan, &catalogue, request.sandbox, call.now))
            .collect();
        Ok(Response::new(proto::ListPlansResponse {
            plans,
            next_page_token,
        }))
    }

    async fn get_plan(
        &self,
        request: Request<proto::GetPlanRequest>,
    ) -> Result<Response<proto::GetPlanResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = PlanId::parse("plan_id", &request.plan_id)?;
        let catalogue = slice::snapshot(&self.app).await?;
        let plan = catalogue.plan(id).ok_or(Error::PlanNotFound)?;
        Ok(Response::new(proto::GetPlanResponse {
            plan: Some(self.offered(plan, &catalogue, request.sandbox, call.now)),
        }))
    }

    async fn list_plan_prices(
        &self,
        request: Request<proto::ListPlanPricesRequest>,
    ) -> Result<Response<proto::ListPlanPricesResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let id = PlanId::parse("plan_id", &request.plan_id)?;
        let page = Page::read(
            request.page_size,
            &request.page_token,
            &[&call.method.name, &id.to_string()],
        )?;
        let catalogue = slice::snapshot(&self.app).await?;
        catalogue.plan(id).ok_or(Error::PlanNotFound)?;
        let key = |version: &Version| {
            format!(
                "{:020} {}",
                version.effective_at.timestamp_micros(),
                version.period as i32
            )
        };
        let mut versions: Vec<_> = catalogue
            .versions(id)
            .iter()
            .rev()
            .filter(|v| page.after.as_ref().is_none_or(|after| key(v) < *after))
            .collect();
        let next_page_token = page.finish(&mut versions, |version| key(version));
        Ok(Response::new(proto::ListPlanPricesResponse {
            prices: versions.into_iter().map(convert::price).collect(),
            next_page_token,
        }))
    }

    async fn list_images(
        &self,
        request: Request<proto::ListImagesRequest>,
    ) -> Result<Response<proto::ListImagesResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let page = Page::read(request.page_size, &request.page_token, &[&call.method.name])?;
        let catalogue = slice::snapshot(&self.app).await?;
        let mut images = catalogue.images();
        images.retain(|image| page.after.as_ref().is_none_or(|after| image.code > *after));
        let next_page_token = page.finish(&mut images, |image| image.code.clone());
        Ok(Response::new(proto::ListImagesResponse {
            images: images.into_iter().map(convert::image).collect(),
            next_page_token,
        }))
    }

    async fn list_regions(
        &self,
        request: Request<proto::ListRegionsRequest>,
    ) -> Result<Response<proto::ListRegionsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let page = Page::read(request.page_size, &request.page_token, &[&call.method.name])?;
        let catalogue = slice::snapshot(&self.app).await?;
        let mut regions = catalogue.regions();
        regions.retain(|region| page.after.as_ref().is_none_or(|after| region.code > *after));
        let next_page_token = page.finish(&mut regions, |region| region.code.clone());
        Ok(Response::new(proto::ListRegionsResponse {
            regions: regions.into_iter().map(convert::region).collect(),
            next_page_token,
        }))
    }

    async fn create_plan(
        &self,
        request: Request<proto::CreatePlanRequest>,
    ) -> Result<Response<proto::CreatePlanResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let plan = Plan {
            id: PlanId::new(),
            code: request.code,
            display_name: request.display_name,
            vcpus: request.vcpus,
            memory_mib: request.memory_mib,
            disk_gib: request.disk_gib,
            transfer_gib: request.transfer_gib,
            backups: request.backups,
            provider: request.provider,
            provider_size: request.provider_size,
            available: true,
            archived: false,
            created_at: call.now,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = slice::create_plan(&mut write.tx, &self.app.providers, &plan)
            .await
            .map(|()| proto::CreatePlanResponse {
                plan: Some(convert::plan(&plan, &[], &self.app.providers, call.now)),
            })
            .map_err(Status::from);
        let reply = write.finish(outcome).await;
        self.app.catalog.forget();
        reply
    }

    async fn update_plan(
        &self,
        request: Request<proto::UpdatePlanRequest>,
    ) -> Result<Response<proto::UpdatePlanResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let new = request.plan.unwrap_or_default();
        let id = PlanId::parse("plan.id", &new.id)?;
        let fields = mask::fields(
            request.update_mask.as_ref(),
            PLAN_FIELDS,
            |field| match field {
                "display_name" => !new.display_name.is_empty(),
                _ => new.available,
            },
        )
        .map_err(|path| Error::FieldNotWritable { path })?;
        let changes = Changes {
            fields: &fields,
            display_name: new.display_name,
            available: new.available,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            let (before, versions) = slice::get_plan_for_update(&mut write.tx, id).await?;
            write.keep_before(&convert::plan(
                &before,
                &versions,
                &self.app.providers,
                call.now,
            ));
            let after = slice::update_plan(&mut write.tx, before, changes).await?;
            Ok(proto::UpdatePlanResponse {
                plan: Some(convert::plan(
                    &after,
                    &versions,
                    &self.app.providers,
                    call.now,
                )),
            })
        }
        .await
        .map_err(|error: Error| Status::from(error));
        let reply = write.finish(outcome).await;
        self.app.catalog.forget();
        reply
    }

    async fn archive_plan(
        &self,
        request: Request<proto::ArchivePlanRequest>,
    ) -> Result<Response<proto::ArchivePlanResponse>, Status> {
        let call = Call::of(&request)?;
        let id = PlanId::parse("plan_id", &request.into_inner().plan_id)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            let (before, versions) = slice::get_plan_for_update(&mut write.tx, id).await?;
            write.keep_before(&convert::plan(
                &before,
                &versions,
                &self.app.providers,
                call.now,
            ));
            let after = slice::archive_plan(&mut write.tx, before, call.now).await?;
            Ok(proto::ArchivePlanResponse {
                plan: Some(convert::plan(
                    &after,
                    &versions,
                    &self.app.providers,
                    call.now,
                )),
            })
        }
        .await
        .map_err(|error: Error| Status::from(error));
        let reply = write.finish(outcome).await;
        self.app.catalog.forget();
        reply
    }

    async fn set_plan_price(
        &self,
        request: Request<proto::SetPlanPriceRequest>,
    ) -> Result<Response<proto::SetPlanPriceResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let effective_at = convert::moment("effective_time", request.effective_time.as_ref())?;
        let version = Version {
            plan: PlanId::parse("plan_id", &request.plan_id)?,
            period: request.period(),
            amount: Rupiah::from_proto("amount", &request.amount.unwrap_or_default())?,
            available: request.available,
            effective_at: effective_at.unwrap_or(call.now),
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = slice::set_price(&mut write.tx, &version, call.now)
            .await
            .map(|()| proto::SetPlanPriceResponse {
                price: Some(convert::price(&version)),
            })
            .map_err(Status::from);
        let reply = write.finish(outcome).await;
        self.app.catalog.forget();
        reply
    }

    async fn create_plan_promotion(
        &self,
        request: Request<proto::CreatePlanPromotionRequest>,
    ) -> Result<Response<proto::CreatePlanPromotionResponse>, Status> {
        let call = Call::of(&request)?;
        let new = convert::new_promotion(request.into_inner(), call.now)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = promotion::create(&mut write.tx, &new).await;
        let outcome = outcome.map(|()| proto::CreatePlanPromotionResponse {
            promotion: Some(convert::promotion(&new)),
        });
        let reply = write.finish(outcome.map_err(Status::from)).await;
        self.app.catalog.forget();
        reply
    }

    async fn update_plan_promotion(
        &self,
        request: Request<proto::UpdatePlanPromotionRequest>,
    ) -> Result<Response<proto::UpdatePlanPromotionResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let new = request.promotion.unwrap_or_default();
        let id = PlanPromotionId::parse("promotion.id", &new.id)?;
        let populated = |field: &str| match field {
            "display_name" => !new.display_name.is_empty(),
            "enabled" => new.enabled,
            "end_time" => new.end_time.is_some(),
            "total_limit" => new.total_limit != 0,
            _ => new.account_limit != 0,
        };
        let fields = mask::fields(request.update_mask.as_ref(), promotion::FIELDS, populated)
            .map_err(|path| Error::FieldNotWritable { path })?;
        let changes = promotion::Changes {
            fields: &fields,
            ends_at: convert::moment("promotion.end_time", new.end_time.as_ref())?,
            display_name: new.display_name,
            enabled: new.enabled,
            total_limit: new.total_limit,
            account_limit: new.account_limit,
        };
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = async {
            let found = promotions::get_for_update(&mut write.tx, id).await?;
            let before = found.ok_or(Error::PlanPromotionNotFound)?;
            write.keep_before(&convert::promotion(&before));
            promotion::update(&mut write.tx, before, changes).await
        }
        .await;
        let outcome = outcome.map(|after| proto::UpdatePlanPromotionResponse {
            promotion: Some(convert::promotion(&after)),
        });
        let reply = write.finish(outcome.map_err(Status::from)).await;
        self.app.catalog.forget();
        reply
    }

    async fn list_plan_promotions(
        &self,
        request: Request<proto::ListPlanPromotionsRequest>,
    ) -> Result<Response<proto::ListPlanPromotionsResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let page = Page::read(request.page_size, &request.page_token, &[&call.method.name])?;
        let before = page.after_as::<Uuid>()?;
        let listed = promotions::list(&self.app.db, before, page.limit()).await;
        let mut listed = listed.map_err(Error::from)?;
        let next_page_token = page.finish(&mut listed, |p| p.id.to_string());
        Ok(Response::new(proto::ListPlanPromotionsResponse {
            promotions: listed.iter().map(convert::promotion).collect(),
            next_page_token,
        }))
    }
}
