//! Error reasons: what clients switch on.

use prost_reflect::{EnumDescriptor, EnumValueDescriptor};
use sewa_sdk::sewa::api::v1::ErrorRule;

use super::{Findings, Place};

pub(super) fn compare(old: &EnumDescriptor, new: &EnumDescriptor, findings: &mut Findings) {
    for value in old.values() {
        let Some(before) = rule(&value) else {
            continue;
        };
        // protobuf scopes values beside their enum; people look for them in it.
        let name = format!("{}.{}", old.full_name(), value.name());
        let Some(newer) = new.values().find(|newer| newer.name() == value.name()) else {
            let place = Place::new(&name, &old.parent_file(), value.path());
            findings.add(
                "REASON_REMOVED",
                &place,
                format!("the reason {} is gone", value.name()),
            );
            continue;
        };
        let place = Place::new(&name, &new.parent_file(), newer.path());
        let Some(after) = rule(&newer) else {
            findings.add(
                "REASON_REMOVED",
                &place,
                format!("{} is no reason any more: its rule is gone", value.name()),
            );
            continue;
        };
        if before.code != after.code {
            findings.add(
                "REASON_CODE_CHANGED",
                &place,
                format!("its status was {} and is {}", before.code, after.code),
            );
        }
        if before.retry != after.retry {
            let (was, is) = (before.retry().as_str_name(), after.retry().as_str_name());
            findings.add(
                "REASON_RETRY_CHANGED",
                &place,
                format!("what may be repeated was {was} and is {is}"),
            );
        }
        for key in before
            .metadata_keys
            .iter()
            .filter(|key| !after.metadata_keys.contains(key))
        {
            findings.add(
                "REASON_METADATA_REMOVED",
                &place,
                format!("the metadata key {key} is gone"),
            );
        }
    }
}

fn rule(value: &EnumValueDescriptor) -> Option<ErrorRule> {
    let pool = value.parent_enum().parent_pool().clone();
    let extension = pool.get_extension_by_name("sewa.api.v1.error")?;
    let options = value.options();
    if !options.has_extension(&extension) {
        return None;
    }
    options
        .get_extension(&extension)
        .as_message()?
        .transcode_to()
        .ok()
}
