//! Compares two versions of the contract and reports what breaks callers although `buf breaking` sees nothing wrong: it knows types and names, not what the
//! contract's options promise. Everything buf reports (removed fields, changed types, names and numbers) is left to buf.

mod comment;
mod field;
mod load;
mod method;
#[cfg(test)]
mod mutation_tests;
mod reason;
mod rules;

use std::collections::HashSet;

use prost_reflect::{DescriptorPool, FileDescriptor, Kind, MessageDescriptor};
use serde::Serialize;

pub use load::load;

/// One thing that breaks callers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule that is broken, stable and upper case.
    pub rule: &'static str,
    /// Full name of the method, field or enum value.
    pub place: String,
    /// File and line of it, in the newer version where it is still there.
    pub position: String,
    /// What changed, for people.
    pub message: String,
}

/// Findings while they are collected.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, rule: &'static str, at: &Place, message: String) {
        self.list.push(Finding {
            rule,
            place: at.name.clone(),
            position: at.position.clone(),
            message,
        });
    }
}

/// Where something is declared.
struct Place {
    name: String,
    position: String,
}

impl Place {
    fn new(name: &str, file: &FileDescriptor, path: &[i32]) -> Self {
        let info = file.file_descriptor_proto().source_code_info.as_ref();
        let location =
            info.and_then(|info| info.location.iter().find(|location| location.path == path));
        let line = location.and_then(|location| location.span.first());
        Self {
            name: name.to_owned(),
            position: match line {
                Some(line) => format!("{}:{}", file.name(), line + 1),
                None => file.name().to_owned(),
            },
        }
    }
}

/// Reports everything in `new` that breaks callers of `old`, in the order of their places.
pub fn compare(old: &DescriptorPool, new: &DescriptorPool) -> Vec<Finding> {
    let mut findings = Findings::default();
    for service in ours(old.services(), |service| service.full_name().to_owned()) {
        let Some(newer) = new.get_service_by_name(service.full_name()) else {
            continue;
        };
        for method in service.methods() {
            if let Some(newer) = newer.methods().find(|newer| newer.name() == method.name()) {
                method::compare(&method, &newer, &mut findings);
            }
        }
    }
    let sent: HashSet<String> = sent(old).union(&sent(new)).cloned().collect();
    for message in ours(old.all_messages(), |message| message.full_name().to_owned()) {
        if let Some(newer) = new.get_message_by_name(message.full_name()) {
            field::compare(
                &message,
                &newer,
                sent.contains(message.full_name()),
                &mut findings,
            );
        }
    }
    for catalogue in ours(old.all_enums(), |catalogue| {
        catalogue.full_name().to_owned()
    }) {
        if let Some(newer) = new.get_enum_by_name(catalogue.full_name()) {
            reason::compare(&catalogue, &newer, &mut findings);
        }
    }
    let mut list = findings.list;
    list.sort_by(|a, b| (&a.place, a.rule, &a.message).cmp(&(&b.place, b.rule, &b.message)));
    list
}

fn ours<T>(all: impl Iterator<Item = T>, name: impl Fn(&T) -> String) -> impl Iterator<Item = T> {
    all.filter(move |one| name(one).starts_with("sewa."))
}

/// Messages that clients send.
fn sent(pool: &DescriptorPool) -> HashSet<String> {
    fn add(set: &mut HashSet<String>, message: &MessageDescriptor) {
        if set.insert(message.full_name().to_owned()) {
            for field in message.fields() {
                if let Kind::Message(inner) = field.kind() {
                    add(set, &inner);
                }
            }
        }
    }
    let mut set = HashSet::new();
    for service in ours(pool.services(), |service| service.full_name().to_owned()) {
        service
            .methods()
            .for_each(|method| add(&mut set, &method.input()));
    }
    set
}
