//! What each rule has to see, so that none of them can fall asleep unnoticed.

use crate::rules::{self, Finding, Source};

/// A rule, the path of a file, a text that breaks the rule and one that keeps it.
type Sample = (
    fn(&Source) -> Vec<Finding>,
    &'static str,
    &'static str,
    &'static str,
);

const SLICE: &str = "server/src/service/wallet/mod.rs";

pub(crate) const SAMPLES: &[Sample] = &[
    (
        rules::sql_stays_in_stores,
        SLICE,
        "sqlx::query!(\"select 1\")",
        "// sqlx::query!",
    ),
    (
        rules::calls_go_down_the_ranks,
        SLICE,
        "use crate::service::order;",
        "use crate::service::catalog;",
    ),
    (
        rules::calls_go_down_the_ranks,
        SLICE,
        "use crate::service::{\n    catalog,\n    order::Quote,\n};",
        "use crate::service::{catalog, identity};",
    ),
    (
        rules::calls_go_down_the_ranks,
        SLICE,
        "super::service::order::x()",
        "order_service::order::x()",
    ),
    (
        rules::base_knows_no_slice,
        "server/src/base/db.rs",
        "use crate::service::wallet;",
        "use crate::base::id;",
    ),
    (
        rules::handlers_name_no_role,
        "server/src/service/wallet/rpc.rs",
        "if caller.role == Role::Admin {",
        "// Role::Admin may",
    ),
    (
        rules::slices_tell_their_story,
        SLICE,
        "//! Owns money. Calls nobody.\n",
        "//! Owns money.\n//! Calls nobody. Emits WALLET_*.\n",
    ),
    (
        rules::modules_say_why,
        SLICE,
        "use std::fmt;\n",
        "//! Money.\n",
    ),
    (
        rules::names_have_a_meaning,
        SLICE,
        "pub struct OrderManager;",
        "use redis::aio::ConnectionManager;",
    ),
    (
        rules::names_have_a_meaning,
        SLICE,
        "mod test_utils;",
        "mod utilisation;",
    ),
    (
        rules::migrations_have_an_owner,
        "migrations/20261121000100_x.sql",
        "create table x ();",
        "-- owner: wallet\n",
    ),
    (
        rules::migrations_have_an_owner,
        "migrations/20261121000100_x.sql",
        "-- owner: nobody\n",
        "-- owner: base\n",
    ),
    (
        rules::nothing_names_a_machine,
        "README.md",
        concat!("cd /wo", "rk/main"),
        "the network/work/area",
    ),
    (
        rules::nothing_names_a_machine,
        "README.md",
        concat!("https://registry.", "npmjs.org"),
        "npm install",
    ),
];
