//! Promotions: contract to model and back.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::promotion::v1 as proto;
use tonic::Status;

use crate::base::id::{CouponId, PlanId, PromotionId};
use crate::base::money::{Rupiah, Value};
use crate::base::status::{self, Invalid};
use crate::base::time;
use crate::service::promotion::coupon::Coupon;
use crate::service::promotion::model::{Kind, Promotion};
use crate::service::promotion::store::{Referral, Statistics};

/// A promotion with what became of it.
pub fn promotion(p: &Promotion, s: Statistics) -> proto::Promotion {
    use proto::promotion::Value as ValueProto;
    let value = match p.value {
        Value::Fixed(fixed) => ValueProto::Fixed(fixed.to_proto()),
        Value::Percent { basis_points, cap } => ValueProto::Percent(proto::PromotionPercent {
            basis_points,
            cap: cap.map(Rupiah::to_proto),
        }),
    };
    proto::Promotion {
        id: p.id.to_string(),
        kind: p.kind as i32,
        display_name: p.display_name.clone(),
        value: Some(value),
        minimum: Some(p.minimum.to_proto()),
        total_limit: p.total_limit,
        account_limit: p.account_limit,
        new_accounts_only: p.new_accounts_only,
        start_time: Some(time::to_proto(p.starts_at)),
        end_time: p.ends_at.map(time::to_proto),
        enabled: p.enabled,
        sandbox: p.sandbox,
        uses: p.uses,
        accounts: i32::try_from(s.accounts).unwrap_or(i32::MAX),
        given: Some(p.given.to_proto()),
        taken_back: Some(Rupiah(s.taken).to_proto()),
        create_time: Some(time::to_proto(p.created_at)),
    }
}

/// The promotion a request asks for.
///
/// # Errors
/// INVALID_REQUEST for what the edge does not look at.
pub fn new_promotion(
    request: proto::CreatePromotionRequest,
    now: DateTime<Utc>,
) -> Result<Promotion, Status> {
    use proto::create_promotion_request::Value as ValueProto;
    let kind = Kind::from_number(request.kind).ok_or_else(|| {
        status::invalid(Invalid::new("kind", "ENUM_DEFINED_ONLY", "must be a kind"))
    })?;
    let value = match request.value {
        Some(ValueProto::Fixed(fixed)) => Value::Fixed(Rupiah::from_proto("fixed", &fixed)?),
        Some(ValueProto::Percent(part)) => percent(&part)?,
        None => return Err(missing_value()),
    };
    let minimum = request.minimum.as_ref();
    let minimum = minimum
        .map(|m| Rupiah::from_proto("minimum", m))
        .transpose()?;
    let starts_at = moment("start_time", request.start_time.as_ref())?;
    Ok(Promotion {
        id: PromotionId::new(),
        kind,
        display_name: request.display_name,
        sandbox: request.sandbox,
        enabled: request.enabled,
        value,
        minimum: minimum.unwrap_or_default(),
        total_limit: request.total_limit,
        account_limit: request.account_limit,
        new_accounts_only: request.new_accounts_only,
        starts_at: starts_at.unwrap_or(now),
        ends_at: moment("end_time", request.end_time.as_ref())?,
        uses: 0,
        given: Rupiah::ZERO,
        created_at: now,
    })
}

fn percent(p: &proto::PromotionPercent) -> Result<Value, Status> {
    let cap = p.cap.as_ref();
    Ok(Value::Percent {
        basis_points: p.basis_points,
        cap: cap
            .map(|m| Rupiah::from_proto("percent.cap", m))
            .transpose()?,
    })
}

fn missing_value() -> Status {
    status::invalid(Invalid::new("value", "REQUIRED", "must be set"))
}

/// A coupon.
pub fn coupon(c: &Coupon) -> proto::Coupon {
    use proto::coupon::Value as ValueProto;
    let value = match c.value {
        Value::Fixed(fixed) => ValueProto::Fixed(fixed.to_proto()),
        Value::Percent { basis_points, cap } => ValueProto::Percent(proto::PromotionPercent {
            basis_points,
            cap: cap.map(Rupiah::to_proto),
        }),
    };
    proto::Coupon {
        id: c.id.to_string(),
        code: c.code.clone(),
        display_name: c.display_name.clone(),
        value: Some(value),
        minimum: Some(c.minimum.to_proto()),
        plan_ids: c.plans.iter().map(ToString::to_string).collect(),
        periods: c.periods.iter().copied().map(i32::from).collect(),
        total_limit: c.total_limit,
        account_limit: c.account_limit,
        start_time: Some(time::to_proto(c.starts_at)),
        end_time: c.ends_at.map(time::to_proto),
        enabled: c.enabled,
        sandbox: c.sandbox,
        uses: c.uses,
        create_time: Some(time::to_proto(c.created_at)),
    }
}

/// The coupon a request asks for.
///
/// # Errors
/// INVALID_REQUEST for what the edge does not look at.
pub fn new_coupon(
    request: proto::CreateCouponRequest,
    now: DateTime<Utc>,
) -> Result<Coupon, Status> {
    use proto::create_coupon_request::Value as ValueProto;
    let value = match &request.value {
        Some(ValueProto::Fixed(fixed)) => Value::Fixed(Rupiah::from_proto("fixed", fixed)?),
        Some(ValueProto::Percent(part)) => percent(part)?,
        None => return Err(missing_value()),
    };
    let minimum = request.minimum.as_ref();
    let minimum = minimum
        .map(|m| Rupiah::from_proto("minimum", m))
        .transpose()?;
    let plans = request.plan_ids.iter();
    let periods = request.periods.iter();
    let starts_at = moment("start_time", request.start_time.as_ref())?;
    Ok(Coupon {
        id: CouponId::new(),
        value,
        minimum: minimum.unwrap_or_default(),
        plans: plans
            .map(|id| PlanId::parse("plan_ids", id))
            .collect::<Result<_, _>>()?,
        periods: periods.filter_map(|p| i16::try_from(*p).ok()).collect(),
        total_limit: request.total_limit,
        account_limit: request.account_limit,
        starts_at: starts_at.unwrap_or(now),
        ends_at: moment("end_time", request.end_time.as_ref())?,
        enabled: request.enabled,
        sandbox: request.sandbox,
        uses: 0,
        created_at: now,
        code: request.code,
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
    let read = time::from_proto(at);
    read.map(Some).ok_or_else(|| {
        let must = "must be within the years 1970 to 9999";
        status::invalid(Invalid::new(field, "TIMESTAMP_RANGE", must))
    })
}

/// A referral code.
pub fn referral(r: Referral) -> proto::Referral {
    proto::Referral {
        code: r.code,
        accounts: i32::try_from(r.accounts).unwrap_or(i32::MAX),
        earned: Some(r.earned.to_proto()),
    }
}
