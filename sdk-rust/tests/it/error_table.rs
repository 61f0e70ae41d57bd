//! `docs/errors.md` is printed from the contract. After a change of an error, run this test with `WRITE_TABLES=1`.

use std::fmt::Write;
use std::path::Path;

use prost_reflect::{DynamicMessage, EnumDescriptor};

const HEAD: &str = "\
# Errors

Printed from the contract; do not edit. Every error carries one reason, and its meaning does not change. A reason that is not listed here comes from a newer
server: judge it by its code.

Repeat: *call* means the same call may be made again, with the same idempotency key; the SDKs do it by themselves as far as time and limits allow. *unit of work*
means: read the state again, then decide anew. *nothing* means a repeat cannot help until something else has changed.
";

/// The table of all reasons, service by service.
fn table() -> String {
    let pool = sewa_sdk::pool();
    let mut enums: Vec<EnumDescriptor> = pool
        .all_enums()
        .filter(|found| found.full_name().starts_with("sewa."))
        .filter(|found| found.name().ends_with("ErrorReason"))
        .collect();
    enums.sort_by_key(|found| found.full_name().to_owned());
    let mut text = HEAD.to_owned();
    for reasons in enums {
        let package = reasons.package_name();
        let title = match package {
            "sewa.api.v1" => "Any method",
            other => other,
        };
        write!(
            text,
            "\n## {title}\n\n| Reason | Code | Repeat | Facts | What to do |\n|---|---|---|---|---|\n"
        )
        .unwrap();
        let option = pool.get_extension_by_name("sewa.api.v1.error").unwrap();
        let prefix = prefix(reasons.name());
        for value in reasons.values() {
            let options = value.options();
            if !options.has_extension(&option) {
                continue;
            }
            let declared = options.get_extension(&option).into_owned();
            let declared: &DynamicMessage = declared.as_message().unwrap();
            let text_of = |field: &str| {
                let value = declared.get_field_by_name(field).unwrap();
                value.as_str().unwrap().replace('|', "\\|")
            };
            let repeat = match declared.get_field_by_name("retry").unwrap().as_enum_number() {
                Some(1) => "call",
                Some(2) => "unit of work",
                _ => "nothing",
            };
            let facts = declared.get_field_by_name("metadata_keys").unwrap();
            let facts: Vec<_> = facts
                .as_list()
                .unwrap()
                .iter()
                .map(|fact| format!("`{}`", fact.as_str().unwrap()))
                .collect();
            writeln!(
                text,
                "| `{}` | {} | {repeat} | {} | {} |",
                value.name().strip_prefix(&prefix).unwrap(),
                text_of("code"),
                facts.join(", "),
                text_of("remedy"),
            )
            .unwrap();
        }
    }
    text
}

/// `WalletErrorReason` → `WALLET_ERROR_REASON_`.
fn prefix(name: &str) -> String {
    let mut prefix = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !prefix.is_empty() {
            prefix.push('_');
        }
        prefix.push(letter.to_ascii_uppercase());
    }
    prefix + "_"
}

#[test]
fn the_table_of_errors_is_what_the_contract_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let wanted = table();
    if std::env::var_os("WRITE_TABLES").is_some() {
        std::fs::write(&file, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&file).unwrap();
    assert!(
        found == wanted,
        "docs/errors.md is not what the contract says; run this test with WRITE_TABLES=1"
    );
    for reason in ["INSUFFICIENT_BALANCE", "CURSOR_EXPIRED", "TOKEN_EXPIRED"] {
        assert!(wanted.contains(&format!("| `{reason}` |")), "{reason}");
    }
}
