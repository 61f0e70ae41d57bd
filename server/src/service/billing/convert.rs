//! Billing: model to contract.

use sewa_sdk::sewa::billing::v1 as proto;

use crate::base::id::AccountId;
use crate::base::time;
use crate::service::billing::model::BillingProfile;

/// The profile of an account.
pub fn profile(account: AccountId, profile: BillingProfile) -> proto::BillingProfile {
    proto::BillingProfile {
        account_id: account.to_string(),
        complete: profile.is_complete(),
        tax_number_kind: profile.tax_number_kind as i32,
        name: profile.name,
        tax_number: profile.tax_number,
        branch: profile.branch,
        address: profile.address,
        city: profile.city,
        province: profile.province,
        postal_code: profile.postal_code,
        email: profile.email,
        language: profile.language,
        update_time: profile.updated_at.map(time::to_proto),
    }
}
