//! Promotions: the wire.

use sewa_sdk::sewa::promotion::v1 as proto;
use sewa_sdk::sewa::promotion::v1::promotion_service_server::PromotionService;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::app::App;
use crate::base::call::Call;
use crate::base::id::{CouponId, PromotionId};
use crate::base::page::Page;
use crate::base::writes::{self, Claim};
use crate::base::{mask, status};
use crate::service::promotion::error::Error;
use crate::service::promotion::model::Promotion;
use crate::service::promotion::store::coupons;
use crate::service::promotion::{self as slice, Changes, convert, store};

/// What UpdatePromotion and UpdateCoupon can change.
const FIELDS: &[&str] = &[
    "display_name",
    "enabled",
    "end_time",
    "total_limit",
    "account_limit",
];

/// Serves `PromotionService`.
pub struct Promotions {
    /// The parts.
    pub app: App,
}

impl Promotions {
    async fn show(&self, promotions: &[Promotion]) -> Result<Vec<proto::Promotion>, Status> {
        let statistics = store::statistics(&self.app.db, promotions).await;
        let statistics = statistics.map_err(|e| status::database(&e))?;
        let shown = promotions.iter().zip(statistics);
        Ok(shown.map(|(p, s)| convert::promotion(p, s)).collect())
    }
}

#[tonic::async_trait]
impl PromotionService for Promotions {
    async fn create_promotion(
        &self,
        request: Request<proto::CreatePromotionRequest>,
    ) -> Result<Response<proto::CreatePromotionResponse>, Status> {
        let call = Call::of(&request)?;
        let promotion = convert::new_promotion(request.into_inner(), call.now)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = slice::create(&mut write.tx, &promotion).await;
        let shown = convert::promotion(&promotion, store::Statistics::default());
        let reply = outcome.map(|()| proto::CreatePromotionResponse {
            promotion: Some(shown),
        });
        write.finish(reply.map_err(Status::from)).await
    }

    async fn update_promotion(
        &self,
        request: Request<proto::UpdatePromotionRequest>,
    ) -> Result<Response<proto::UpdatePromotionResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let new = request.promotion.unwrap_or_default();
        let id = PromotionId::parse("promotion.id", &new.id)?;
        let populated = |field: &str| match field {
            "display_name" => !new.display_name.is_empty(),
            "enabled" => new.enabled,
            "end_time" => new.end_time.is_some(),
            "total_limit" => new.total_limit != 0,
            _ => new.account_limit != 0,
        };
        let fields = mask::fields(request.update_mask.as_ref(), FIELDS, populated)
            .map_err(|path| Error::FieldNotWritable { path })?;
        let changes = Changes {
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
            let found = store::get_for_update(&mut write.tx, id).await?;
            let before = found.ok_or(Error::PromotionNotFound)?;
            write.keep_before(&convert::promotion(&before, store::Statistics::default()));
            slice::update(&mut write.tx, before, changes).await
        }
        .await;
        let after = match outcome {
            Ok(after) => after,
            Err(refused) => return write.finish(Err(refused.into())).await,
        };
        let shown = self.show(std::slice::from_ref(&after)).await?;
        let reply = proto::UpdatePromotionResponse {
            promotion: shown.into_iter().next(),
        };
        write.finish(Ok(reply)).await
    }

    async fn get_promotion(
        &self,
        request: Request<proto::GetPromotionRequest>,
    ) -> Result<Response<proto::GetPromotionResponse>, Status> {
        Call::of(&request)?;
        let id = PromotionId::parse("promotion_id", &request.get_ref().promotion_id)?;
        let found = store::get(&self.app.db, id).await;
        let found = found.map_err(|e| status::database(&e))?;
        let promotion = found.ok_or(Error::PromotionNotFound)?;
        let shown = self.show(std::slice::from_ref(&promotion)).await?;
        Ok(Response::new(proto::GetPromotionResponse {
            promotion: shown.into_iter().next(),
        }))
    }

    async fn list_promotions(
        &self,
        request: Request<proto::ListPromotionsRequest>,
    ) -> Result<Response<proto::ListPromotionsResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let page = Page::read(request.page_size, &request.page_token, &["promotions"])?;
        let before = page.after_as::<Uuid>()?;
        let listed = store::list(&self.app.db, before, page.limit()).await;
        let mut listed = listed.map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |p| p.id.to_string());
        Ok(Response::new(proto::ListPromotionsResponse {
            promotions: self.show(&listed).await?,
            next_page_token,
        }))
    }

    async fn create_coupon(
        &self,
        request: Request<proto::CreateCouponRequest>,
    ) -> Result<Response<proto::CreateCouponResponse>, Status> {
        let call = Call::of(&request)?;
        let coupon = convert::new_coupon(request.into_inner(), call.now)?;
        let mut write = match writes::begin(&self.app.db, &call).await? {
            Claim::Fresh(write) => write,
            Claim::Repeat(stored) => return stored.reply(&call),
        };
        let outcome = slice::create_coupon(&mut write.tx, &coupon).await;
        let reply = outcome.map(|()| proto::CreateCouponResponse {
            coupon: Some(convert::coupon(&coupon)),
        });
        write.finish(reply.map_err(Status::from)).await
    }

    async fn update_coupon(
        &self,
        request: Request<proto::UpdateCouponRequest>,
    ) -> Result<Response<proto::UpdateCouponResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let new = request.coupon.unwrap_or_default();
        let id = CouponId::parse("coupon.id", &new.id)?;
        let populated = |field: &str| match field {
            "display_name" => !new.display_name.is_empty(),
            "enabled" => new.enabled,
            "end_time" => new.end_time.is_some(),
            "total_limit" => new.total_limit != 0,
            _ => new.account_limit != 0,
        };
        let fields = mask::fields(request.update_mask.as_ref(), FIELDS, populated)
            .map_err(|path| Error::FieldNotWritable { path })?;
        let changes = Changes {
            fields: &fields,
            ends_at: convert::moment("coupon.end_time", new.end_time.as_ref())?,
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
            let found = coupons::get_for_update(&mut write.tx, id).await?;
            let before = found.ok_or(Error::CouponNotFound)?;
            write.keep_before(&convert::coupon(&before));
            slice::update_coupon(&mut write.tx, before, changes).await
        }
        .await;
        let reply = outcome.map(|after| proto::UpdateCouponResponse {
            coupon: Some(convert::coupon(&after)),
        });
        write.finish(reply.map_err(Status::from)).await
    }

    async fn list_coupons(
        &self,
        request: Request<proto::ListCouponsRequest>,
    ) -> Result<Response<proto::ListCouponsResponse>, Status> {
        Call::of(&request)?;
        let request = request.into_inner();
        let page = Page::read(request.page_size, &request.page_token, &["coupons"])?;
        let before = page.after_as::<Uuid>()?;
        let listed = coupons::list(&self.app.db, before, page.limit()).await;
        let mut listed = listed.map_err(|e| status::database(&e))?;
        let next_page_token = page.finish(&mut listed, |c| c.id.to_string());
        Ok(Response::new(proto::ListCouponsResponse {
            coupons: listed.iter().map(convert::coupon).collect(),
            next_page_token,
        }))
    }

    async fn get_referral(
        &self,
        request: Request<proto::GetReferralRequest>,
    ) -> Result<Response<proto::GetReferralResponse>, Status> {
        let call = Call::of(&request)?;
        let account = call.caller.account_or(&request.get_ref().account_id)?;
        let found = store::referral(&self.app.db, account).await;
        let found = found.map_err(|e| status::database(&e))?;
        let referral = found.ok_or(Error::ReferralNotFound)?;
        Ok(Response::new(proto::GetReferralResponse {
            referral: Some(convert::referral(referral)),
        }))
    }
}
