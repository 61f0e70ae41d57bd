//! Model to wire.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::catalog::v1 as proto;

use crate::base::time;
use crate::provider::compute::Providers;
use crate::service::catalog::model::{self, Image, Plan, Region, Version};

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
    }
}

/// A price version.
pub fn price(version: &Version) -> proto::PlanPrice {
    proto::PlanPrice {
        period: version.period as i32,
        amount: Some(version.amount.to_proto()),
        effective_time: Some(time::to_proto(version.effective_at)),
        available: version.available,
    }
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
