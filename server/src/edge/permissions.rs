//! Which role holds which permission: the one table. The contract says which permission a method needs, this says who has it, and nothing else decides. A
//! permission that is not in a role's rows is not held: the default is no.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::base::contract::Contract;

const OWNERS: &[&str] = &["owner", "reseller"];
const MEMBERS: &[&str] = &["owner", "reseller", "member"];
const CUSTOMERS: &[&str] = &["owner", "reseller", "member", "readonly"];
const STAFF: &[&str] = &[
    "support",
    "sysadmin",
    "business",
    "finance",
    "admin",
    "super_admin",
];
const SUPPORT: &[&str] = &["support", "sysadmin", "admin", "super_admin"];
const SYSADMIN: &[&str] = &["sysadmin", "admin", "super_admin"];
const BUSINESS: &[&str] = &["business", "admin", "super_admin"];
const FINANCE: &[&str] = &["finance", "admin", "super_admin"];

/// Every role. `anonymous` stands for a call without credentials and holds nothing.
const ROLES: &[&str] = &[
    "admin",
    "anonymous",
    "business",
    "finance",
    "member",
    "owner",
    "readonly",
    "reseller",
    "super_admin",
    "support",
    "sysadmin",
];

/// Every permission, sorted, with the groups of roles that hold it. Staff belong to no account: what they hold works on every account's things, found by id or by the
/// account they name, and what acts on the caller's own account is not theirs.
const TABLE: &[(&str, &[&[&str]])] = &[
    ("audit.read", &[OWNERS, SUPPORT, FINANCE]),
    ("backups.read", &[CUSTOMERS, SUPPORT]),
    ("backups.restore", &[MEMBERS]),
    ("billing.read", &[MEMBERS, SUPPORT, FINANCE]),
    ("billing.write", &[OWNERS]),
    ("catalog.write", &[BUSINESS]),
    ("console.open", &[MEMBERS]),
    ("deposits.confirm", &[FINANCE]),
    ("events.read", &[CUSTOMERS]),
    ("hypervisors.read", &[SYSADMIN]),
    ("hypervisors.write", &[SYSADMIN]),
    ("instances.delete", &[MEMBERS]),
    ("instances.firewall", &[MEMBERS]),
    ("instances.password", &[MEMBERS]),
    ("instances.power", &[MEMBERS, SYSADMIN]),
    ("instances.read", &[CUSTOMERS, SUPPORT]),
    ("instances.rebuild", &[MEMBERS]),
    ("instances.reverse_dns", &[MEMBERS]),
    ("instances.write", &[MEMBERS]),
    ("inventory.adopt", &[SYSADMIN]),
    ("inventory.read", &[SYSADMIN]),
    ("inventory.write", &[SYSADMIN]),
    ("invoices.read", &[CUSTOMERS, SUPPORT, FINANCE]),
    ("invoices.search", &[FINANCE]),
    ("invoices.tax", &[FINANCE]),
    ("keys.read", &[OWNERS]),
    ("keys.write", &[OWNERS]),
    ("lifecycle.change", &[MEMBERS]),
    ("lifecycle.policy", &[FINANCE]),
    ("lifecycle.read", &[CUSTOMERS, SUPPORT, FINANCE]),
    ("lifecycle.renew", &[MEMBERS]),
    ("lifecycle.write", &[MEMBERS]),
    ("metrics.read", &[CUSTOMERS, SUPPORT]),
    ("operations.cancel", &[MEMBERS]),
    ("operations.read", &[CUSTOMERS, SUPPORT]),
    ("orders.approve", &[FINANCE]),
    ("orders.cancel", &[MEMBERS]),
    ("orders.give_up", &[SYSADMIN]),
    ("orders.place", &[MEMBERS]),
    ("orders.read", &[CUSTOMERS, STAFF]),
    ("orders.retry", &[SYSADMIN]),
    ("orders.search", &[STAFF]),
    ("profile.read", &[CUSTOMERS, STAFF]),
    ("profile.write", &[MEMBERS, STAFF]),
    ("promotions.read", &[BUSINESS, FINANCE, SUPPORT]),
    ("promotions.write", &[BUSINESS]),
    ("providers.credentials", &[SYSADMIN]),
    ("providers.read", &[SYSADMIN]),
    ("providers.write", &[SYSADMIN]),
    ("reconciliations.read", &[FINANCE]),
    ("reconciliations.write", &[FINANCE]),
    ("referral.read", &[CUSTOMERS, SUPPORT, FINANCE]),
    ("reports.read", &[FINANCE]),
    ("reports.sales", &[BUSINESS, FINANCE]),
    ("sandbox.use", &[MEMBERS]),
    ("second_factor.write", &[CUSTOMERS, STAFF]),
    ("snapshots.read", &[CUSTOMERS]),
    ("snapshots.restore", &[MEMBERS]),
    ("snapshots.write", &[MEMBERS]),
    ("ssh_keys.read", &[CUSTOMERS]),
    ("ssh_keys.write", &[MEMBERS]),
    ("wallet.adjust", &[FINANCE]),
    ("wallet.deposit", &[MEMBERS]),
    ("wallet.prove", &[OWNERS, FINANCE]),
    ("wallet.read", &[CUSTOMERS, SUPPORT, FINANCE]),
    ("wallet.unfreeze", &[FINANCE]),
];

/// Every role, sorted.
pub fn roles() -> &'static [&'static str] {
    ROLES
}

/// The role of that name, if there is one.
pub fn role(name: &str) -> Option<&'static str> {
    ROLES
        .binary_search(&name)
        .ok()
        .and_then(|i| ROLES.get(i))
        .copied()
}

/// Whether a role is one of the platform's own people.
pub fn is_staff(role: &str) -> bool {
    STAFF.contains(&role)
}

/// Every permission, sorted.
pub fn all() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(permission, _)| *permission)
}

/// The permissions of a role, sorted; none for a role that does not exist.
pub fn of_role(role: &str) -> Arc<[&'static str]> {
    static HELD: OnceLock<HashMap<&str, Arc<[&str]>>> = OnceLock::new();
    let held = HELD.get_or_init(|| {
        let of = |role: &str| {
            TABLE
                .iter()
                .filter(|(_, groups)| groups.iter().any(|group| group.contains(&role)))
                .map(|(permission, _)| *permission)
                .collect()
        };
        ROLES.iter().map(|role| (*role, of(role))).collect()
    });
    held.get(role).cloned().unwrap_or_default()
}

/// What scopes grant of the permissions `within`, sorted as those are. A scope is a permission, or a group such as `orders`, which means all of it that is held but
/// what people have to confirm (`step_up`): nobody confirms the calls of a key, so whoever makes it names those one by one.
pub fn of_scopes(scopes: &[String], within: &[&'static str]) -> Arc<[&'static str]> {
    within
        .iter()
        .filter(|permission| scopes.iter().any(|scope| grants(scope, permission)))
        .copied()
        .collect()
}

fn grants(scope: &str, permission: &str) -> bool {
    permission.strip_prefix(scope).is_some_and(|rest| {
        rest.is_empty() || rest.starts_with('.') && !Contract::get().is_confirmed(permission)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::contract::Access;

    #[test]
    fn the_table_and_the_contract_name_the_same_permissions() {
        let needed: BTreeSet<String> = Contract::get()
            .methods()
            .filter_map(|method| match &method.access {
                Access::Permission(permission) => Some(permission.clone()),
                Access::Public => None,
            })
            .collect();
        let held: BTreeSet<String> = all().map(str::to_owned).collect();
        assert_eq!(held, needed);
    }

    #[test]
    fn the_table_is_sorted_and_names_known_roles_only() {
        assert!(TABLE.is_sorted_by(|a, b| a.0 < b.0));
        assert!(ROLES.is_sorted_by(|a, b| a < b));
        for (permission, groups) in TABLE {
            for role in groups.iter().copied().flatten() {
                assert!(
                    ROLES.contains(role),
                    "{permission} names the unknown role {role}"
                );
            }
        }
    }

    #[test]
    fn each_role_holds_what_it_should() {
        assert!(of_role("anonymous").is_empty());
        assert!(of_role("nobody").is_empty());
        assert_eq!(of_role("owner"), of_role("reseller"));
        assert!(
            of_role("readonly")
                .iter()
                .all(|p| p.ends_with(".read") || *p == "second_factor.write"),
            "{:?}",
            of_role("readonly")
        );
        assert!(
            !of_role("member")
                .iter()
                .any(|p| p.starts_with("keys.") || p.starts_with("audit."))
        );
        for customer in CUSTOMERS {
            for staff_only in [
                "orders.search",
                "orders.approve",
                "orders.retry",
                "wallet.adjust",
                "catalog.write",
                "lifecycle.policy",
            ] {
                assert!(
                    !of_role(customer).contains(&staff_only),
                    "{customer} holds {staff_only}"
                );
            }
        }
        let everything_staff: BTreeSet<&str> = STAFF
            .iter()
            .flat_map(|role| of_role(role).to_vec())
            .collect();
        assert_eq!(
            of_role("super_admin")
                .iter()
                .copied()
                .collect::<BTreeSet<_>>(),
            everything_staff
        );
    }

    #[test]
    fn scopes_never_grant_more_than_is_held() {
        let scopes = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let owner = of_role("owner");
        assert_eq!(
            &*of_scopes(&scopes(&["orders"]), &owner),
            ["orders.cancel", "orders.place", "orders.read"]
        );
        assert_eq!(
            &*of_scopes(&scopes(&["wallet.read", "orders.place"]), &owner),
            ["orders.place", "wallet.read"]
        );
        assert_eq!(
            &*of_scopes(&scopes(&["keys", "instances.delete"]), &owner),
            ["instances.delete", "keys.read"],
            "what is to be confirmed is named in full"
        );
        assert!(
            of_scopes(
                &scopes(&["wallet.adjust", "order", "orders.pl", ""]),
                &owner
            )
            .is_empty()
        );
    }
}
