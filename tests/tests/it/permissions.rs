//! Every method as every role and with every key scope, compared with a table that a person has read. [I4 I5]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost_reflect::DynamicMessage;
use sewa_sdk::sewa::identity::v1::{CreateApiKeyRequest, GetCallerRequest};
use sewa_sdk::{Client, Credentials};
use sewa_tests::{Actor, World, reason_of, writes_tables};
use tonic::{Code, Request};

const CUSTOMER_ROLES: [&str; 4] = ["owner", "reseller", "member", "readonly"];
const STAFF_ROLES: [&str; 6] = [
    "support",
    "sysadmin",
    "business",
    "finance",
    "admin",
    "super_admin",
];

const HEAD: &str = "\
# method | roles that may call it | scopes of a reseller's API key that allow it
# Written by `WRITE_TABLES=1 cargo test -p sewa-tests --test it permissions`; a difference is a decision, not a formality.
";

fn methods() -> Vec<String> {
    let services = sewa_sdk::pool()
        .services()
        .filter(|service| service.full_name().starts_with("sewa."));
    let mut methods: Vec<String> = services
        .flat_map(|service| {
            service
                .methods()
                .map(|m| format!("{}/{}", service.full_name(), m.name()))
                .collect::<Vec<_>>()
        })
        .collect();
    methods.sort();
    methods
}

/// Whether the edge lets an empty request pass. What comes after, a missing field most often, is not its business.
async fn may(client: &Client, name: &str) -> bool {
    let method = client.raw(name).expect("a method of the contract");
    let request = Request::new(DynamicMessage::new(method.descriptor().input()));
    let answer = if method.descriptor().is_server_streaming() {
        method.stream(request).await.map(drop)
    } else {
        method.unary(request).await.map(drop)
    };
    match answer {
        Ok(()) => true,
        Err(error) => {
            assert!(error.reason().is_some(), "{name}: {error:?}");
            ![Code::PermissionDenied, Code::Unauthenticated].contains(&error.code())
        }
    }
}

async fn in_role(world: &World, role: &str) -> Actor {
    if STAFF_ROLES.contains(&role) {
        return world.staff(role).await;
    }
    let somebody = world.customer().await;
    // Members are invited in a later version of the contract; the role exists.
    let user = uuid::Uuid::parse_str(&somebody.user_id).unwrap();
    sqlx::query("update memberships set role = $1 where user_id = $2")
        .bind(role)
        .bind(user)
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    world.login(&somebody.email).await
}

/// Every permission a reseller holds, and every group of them.
pub(crate) async fn scopes(reseller: &Actor) -> BTreeSet<String> {
    let caller = reseller
        .identity()
        .get_caller(GetCallerRequest {})
        .await
        .unwrap()
        .into_inner()
        .caller
        .unwrap();
    let groups = caller
        .permissions
        .iter()
        .filter_map(|permission| permission.split_once('.'))
        .map(|(group, _)| group.to_owned());
    groups.chain(caller.permissions.iter().cloned()).collect()
}

/// A key with one scope; `None` for a group that grants a key nothing, because all of it is to be named in full.
async fn key_with(owner: &Actor, scope: &str) -> Option<String> {
    let request = CreateApiKeyRequest {
        display_name: scope.to_owned(),
        scopes: vec![scope.to_owned()],
        lifetime_days: 0,
    };
    match owner.identity().create_api_key(request).await {
        Ok(made) => Some(made.into_inner().secret),
        refused => {
            assert_eq!(reason_of(refused), "UNKNOWN_SCOPE");
            assert!(!scope.contains('.'), "{scope} is held and grants nothing");
            None
        }
    }
}

#[tokio::test]
async fn every_method_as_every_role_and_with_every_scope() {
    let world = World::new().await;
    let mut callers: Vec<(String, Client)> = vec![("anonymous".to_owned(), world.nobody())];
    for role in CUSTOMER_ROLES.into_iter().chain(STAFF_ROLES) {
        callers.push((role.to_owned(), in_role(&world, role).await.client));
    }
    let reseller = in_role(&world, "reseller").await;
    let mut keys = Vec::new();
    // An account has so many keys and no more, and there are more scopes than that.
    let named: Vec<String> = scopes(&reseller).await.into_iter().collect();
    for some in named.chunks(20) {
        let reseller = in_role(&world, "reseller").await;
        for scope in some {
            if let Some(secret) = key_with(&reseller, scope).await {
                keys.push((scope.clone(), world.client(Credentials::api_key(secret))));
            }
        }
    }
    assert!(keys.len() > 25, "{} scopes", keys.len());
    let mut table = BTreeMap::new();
    for method in methods() {
        let mut allowed = [Vec::new(), Vec::new()];
        for (i, (name, client)) in callers
            .iter()
            .map(|caller| (0, caller))
            .chain(keys.iter().map(|key| (1, key)))
        {
            if may(client, &method).await {
                allowed[i].push(name.clone());
            }
        }
        let [roles, scopes] = allowed;
        let words = |names: Vec<String>| match names.len() {
            0 => "-".to_owned(),
            count if count == callers.len() || count == keys.len() => "everybody".to_owned(),
            _ => names.join(" "),
        };
        table.insert(method, format!("{} | {}", words(roles), words(scopes)));
    }
    let found: String = HEAD.to_owned()
        + &table
            .iter()
            .map(|(method, who)| format!("{method} | {who}\n"))
            .collect::<String>();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/permissions.txt");
    if writes_tables() {
        std::fs::write(&path, &found).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<String> = diff(&known, &found);
    assert!(
        changed.is_empty(),
        "who may call what has changed:\n{}",
        changed.join("\n")
    );
}

fn diff(known: &str, found: &str) -> Vec<String> {
    let (known, found): (BTreeSet<&str>, BTreeSet<&str>) =
        (known.lines().collect(), found.lines().collect());
    let gone = known.difference(&found).map(|line| format!("- {line}"));
    gone.chain(found.difference(&known).map(|line| format!("+ {line}")))
        .collect()
}

#[tokio::test]
async fn what_the_contract_says_about_itself_is_what_the_edge_does() {
    use sewa_sdk::sewa::meta::v1::ListPermissionsRequest;
    use sewa_sdk::sewa::meta::v1::meta_service_client::MetaServiceClient;
    let world = World::new().await;
    let mut meta = world.nobody().service(MetaServiceClient::new);
    let said = meta
        .list_permissions(ListPermissionsRequest {
            page_size: 200,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner()
        .methods;
    assert_eq!(
        said.iter().map(|m| m.method.clone()).collect::<Vec<_>>(),
        methods()
    );
    for role in ["readonly", "finance", "support", "sysadmin"] {
        let client = in_role(&world, role).await.client;
        for method in &said {
            let holds = method.permission.is_empty() || method.roles.contains(&role.to_owned());
            assert_eq!(
                may(&client, &method.method).await,
                holds,
                "{role} {}",
                method.method
            );
        }
    }
}
