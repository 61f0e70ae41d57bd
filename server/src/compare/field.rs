//! Fields: what a client must send, may send and gets back.

use prost_protovalidate::{Error, Validator};
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, OneofDescriptor};

use super::{Findings, Place, comment, rules};

/// `google.api.FieldBehavior`.
const REQUIRED: i32 = 2;
const CLOSED_TO_CLIENTS: [(i32, &str); 2] = [(3, "OUTPUT_ONLY"), (5, "IMMUTABLE")];

pub(super) fn compare(
    old: &MessageDescriptor,
    new: &MessageDescriptor,
    sent: bool,
    findings: &mut Findings,
) {
    for field in new.fields() {
        let place = Place::new(field.full_name(), &new.parent_file(), field.path());
        match old.get_field(field.number()) {
            Some(before) => {
                secret(&before, &field, &place, findings);
                if sent {
                    tightened(&before, &field, &place, findings);
                }
            }
            None if sent
                && (behaviors(&field).contains(&REQUIRED) || refuses_unset(new, &field)) =>
            {
                findings.add(
                    "NEW_REQUIRED",
                    &place,
                    "a new field that callers must set".to_owned(),
                );
            }
            None => {}
        }
    }
    if sent {
        let place = Place::new(new.full_name(), &new.parent_file(), new.path());
        for difference in rules::tightened(&rules::of_message(old), &rules::of_message(new)) {
            findings.add("RULE_TIGHTENED", &place, difference);
        }
        for oneof in new
            .oneofs()
            .filter(|oneof| !oneof.is_synthetic() && must_be_set(oneof))
        {
            let before = old.oneofs().find(|before| before.name() == oneof.name());
            if before.is_some_and(|before| !must_be_set(&before)) {
                findings.add(
                    "NEW_REQUIRED",
                    &place,
                    format!("one of {} must be set", oneof.name()),
                );
            }
        }
    }
}

fn secret(old: &FieldDescriptor, new: &FieldDescriptor, place: &Place, findings: &mut Findings) {
    let flag = |field: &FieldDescriptor| {
        let extension = field
            .parent_message()
            .parent_pool()
            .get_extension_by_name("sewa.api.v1.secret");
        extension
            .and_then(|extension| field.options().get_extension(&extension).as_enum_number())
            .unwrap_or_default()
    };
    if flag(old) != flag(new) {
        findings.add(
            "SECRET_CHANGED",
            place,
            "whether and when this secret is shown changed".to_owned(),
        );
    }
}

fn tightened(old: &FieldDescriptor, new: &FieldDescriptor, place: &Place, findings: &mut Findings) {
    let (was, is) = (behaviors(old), behaviors(new));
    if is.contains(&REQUIRED) && !was.contains(&REQUIRED) {
        findings.add(
            "NEW_REQUIRED",
            place,
            "callers must set it, which they need not before".to_owned(),
        );
    }
    for (number, name) in CLOSED_TO_CLIENTS {
        if is.contains(&number) && !was.contains(&number) {
            findings.add("FIELD_NOT_WRITABLE", place, format!("it became {name}"));
        }
    }
    for difference in rules::tightened(&rules::of_field(old), &rules::of_field(new)) {
        findings.add("RULE_TIGHTENED", place, difference);
    }
    let (was, is) = (comment::of(old), comment::of(new));
    if let (Some(was), Some(is)) = (was.cap, is.cap)
        && is < was
    {
        let rule = if new.name() == "page_size" {
            "PAGE_CAP_LOWERED"
        } else {
            "CAP_LOWERED"
        };
        findings.add(
            rule,
            place,
            format!("its comment said at most {was} and says {is}"),
        );
    }
    if let Some(default) = was.default
        && is.default != Some(default)
    {
        let now = is
            .default
            .map_or_else(|| "nothing".to_owned(), |now| now.to_string());
        findings.add(
            "DEFAULT_CHANGED",
            place,
            format!("its comment said {default} if unset and says {now}"),
        );
    }
}

fn behaviors(field: &FieldDescriptor) -> Vec<i32> {
    let extension = field
        .parent_message()
        .parent_pool()
        .get_extension_by_name("google.api.field_behavior");
    let options = field.options();
    let list = extension.map(|extension| options.get_extension(&extension).into_owned());
    let numbers = list
        .as_ref()
        .and_then(|list| list.as_list())
        .unwrap_or_default();
    numbers
        .iter()
        .filter_map(|number| number.as_enum_number())
        .collect()
}

/// Whether the rules refuse a message in which the field is not set.
fn refuses_unset(message: &MessageDescriptor, field: &FieldDescriptor) -> bool {
    match Validator::new().validate(&DynamicMessage::new(message.clone())) {
        Err(Error::Validation(broken)) => broken
            .violations()
            .iter()
            .any(|violation| violation.field_path() == field.name()),
        _ => false,
    }
}

fn must_be_set(oneof: &OneofDescriptor) -> bool {
    let pool = oneof.parent_message().parent_pool().clone();
    let options = oneof.options();
    pool.get_extension_by_name("buf.validate.oneof")
        .is_some_and(|extension| {
            let rule = options.get_extension(&extension);
            rule.as_message()
                .and_then(|rule| rule.get_field_by_name("required")?.as_bool())
                == Some(true)
        })
}
