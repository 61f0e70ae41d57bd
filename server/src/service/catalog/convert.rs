//! Model to wire.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::catalog::v1 as proto;
use tonic::Status;

use crate::base::id::{PlanId, PlanPromotionId};
use crate::base::money::{Rupiah, Value};
use crate::base::status::{self, Invalid};
use crate::base::time;
use crate::provider::compute::Providers;
use crate::service::catalog::model::{self, Image, Plan, Region, Snapshot, Version};
use crate::service::catalog::promotion::{Goods, Offer, PlanPromotion};

/// A plan with the prices in force at a moment.
pub fn plan(
    plan: &Plan,
    versions: &[Version],
    providers: &Providers,
    at: DateTime<Utc>,
) -> proto::Plan {
    proto::Plan {
        id: plan.id.to_string(),
        code: plan.code.clone(),
        display_name: plan.display_name.clone(),
        vcpus: plan.vcpus,
        memory_mib: plan.memory_mib,
        disk_gib: plan.disk_gib,
        transfer_gib: plan.transfer_gib,
        provider: plan.provider.clone(),
        provider_size: plan.provider_size.clone(),
        available: plan.available,
        archived: plan.archived,
        prices: model::in_force(versions, at)
            .into_iter()
            .map(price)
            .collect(),
        create_time: Some(time::to_proto(plan.created_at)),
        capabilities: providers.capabilities(&plan.provider),
        backups: plan.backups,
    }
}

/// A price version.
pub fn price(version: &Version) -> proto::PlanPrice {
    proto::PlanPrice {
        period: version.period as i32,
        amount: Some(version.amount.to_proto()),
        effective_time: Some(time::to_proto(version.effective_at)),
        available: version.available,
        offers: Vec::new(),
    }
}

/// A plan with what promotions offer at a moment for its prices.
pub fn offered(
    plan: &Plan,
    catalogue: &Snapshot,
    providers: &Providers,
    sandbox: bool,
    at: DateTime<Utc>,
) -> proto::Plan {
    let versions = catalogue.versions(plan.id);
    let mut shown = self::plan(plan, versions, providers, at);
    // Both are the prices in force, in the same order.
    for (price, version) in shown.prices.iter_mut().zip(model::in_force(versions, at)) {
        let goods = Goods {
            plan: plan.id,
            period: version.period,
            price: version.amount,
        };
        let offers = catalogue.offers(&goods, sandbox, at).into_iter();
        price.offers = offers.map(|offer| self::offer(&goods, offer)).collect();
    }
    shown
}

fn offer(goods: &Goods, offer: Offer) -> proto::PlanOffer {
    let reduction = offer.reduction;
    proto::PlanOffer {
        promotion_id: reduction.promotion.to_string(),
        display_name: reduction.display_name,
        amount: Some(Rupiah(goods.price.0 - reduction.amount.0).to_proto()),
        renewals: reduction.renews,
        new_customers_only: offer.new_customers_only,
        end_time: offer.ends_at.map(time::to_proto),
    }
}

/// A promotion of plans.
pub fn promotion(p: &PlanPromotion) -> proto::PlanPromotion {
    use proto::plan_promotion::Value as ValueProto;
    let value = match p.value {
        Value::Fixed(fixed) => ValueProto::Fixed(fixed.to_proto()),
        Value::Percent { basis_points, cap } => ValueProto::Percent(proto::PlanPromotionPercent {
            basis_points,
            cap: cap.map(Rupiah::to_proto),
        }),
    };
    proto::PlanPromotion {
        id: p.id.to_string(),
        display_name: p.display_name.clone(),
        value: Some(value),
        plan_ids: p.plans.iter().map(ToString::to_string).collect(),
        periods: p.periods.iter().copied().map(i32::from).collect(),
        renewals: p.renewals,
        new_customers_only: p.new_customers_only,
        total_limit: p.total_limit,
        account_limit: p.account_limit,
        start_time: Some(time::to_proto(p.starts_at)),
        end_time: p.ends_at.map(time::to_proto),
        enabled: p.enabled,
        sandbox: p.sandbox,
        uses: p.uses,
        create_time: Some(time::to_proto(p.created_at)),
    }
}

/// The promotion a request asks for.
///
/// # Errors
/// INVALID_REQUEST for what the edge does not look at.
pub fn new_promotion(
    request: proto::CreatePlanPromotionRequest,
    now: DateTime<Utc>,
) -> Result<PlanPromotion, Status> {
    use proto::create_plan_promotion_request::Value as ValueProto;
    let value = match &request.value {
        Some(ValueProto::Fixed(fixed)) => Value::Fixed(Rupiah::from_proto("fixed", fixed)?),
        Some(ValueProto::Percent(part)) => Value::Percent {
            basis_points: part.basis_points,
            cap: part
                .cap
                .as_ref()
                .map(|cap| Rupiah::from_proto("percent.cap", cap))
                .transpose()?,
        },
        None => {
            return Err(status::invalid(Invalid::new(
                "value",
                "REQUIRED",
                "must be set",
            )));
        }
    };
    // Each once: they are counted when the promotion is made.
    let mut plans = request
        .plan_ids
        .iter()
        .map(|id| PlanId::parse("plan_ids", id))
        .collect::<Result<Vec<_>, _>>()?;
    plans.sort_unstable();
    plans.dedup();
    let periods = request.periods.iter();
    let starts_at = moment("start_time", request.start_time.as_ref())?;
    Ok(PlanPromotion {
        id: PlanPromotionId::new(),
        value,
        plans,
        periods: periods.filter_map(|p| i16::try_from(*p).ok()).collect(),
        renewals: request.renewals,
        new_customers_only: request.new_customers_only,
        total_limit: request.total_limit,
        account_limit: request.account_limit,
        starts_at: starts_at.unwrap_or(now),
        ends_at: moment("end_time", request.end_time.as_ref())?,
        enabled: request.enabled,
        sandbox: request.sandbox,
        uses: 0,
        created_at: now,
        display_name: request.display_name,
    })
}

/// A point in time of a request.
///
/// # Errors
/// INVALID_REQUEST naming `field`, if it is out of range.
pub fn moment(
    field: &'static str,
    at: Option<&prost_types::Timestamp>,
) -> Result<Option<DateTime<Utc>>, Status> {
    let Some(at) = at else {
        return Ok(None);
    };
    time::from_proto(at).map(Some).ok_or_else(|| {
        status::invalid(Invalid::new(
            field,
            "TIMESTAMP_RANGE",
            "must be within the years 1970 to 9999",
        ))
    })
}

/// An image.
pub fn image(image: &Image) -> proto::Image {
    proto::Image {
        id: image.id.to_string(),
        code: image.code.clone(),
        display_name: image.display_name.clone(),
        kind: i32::from(image.kind),
        distribution: image.distribution.clone(),
        min_disk_gib: image.min_disk_gib,
    }
}

/// A region.
pub fn region(region: &Region) -> proto::Region {
    proto::Region {
        id: region.id.to_string(),
        code: region.code.clone(),
        display_name: region.display_name.clone(),
        country_code: region.country_code.clone(),
        available: region.available,
    }
}
