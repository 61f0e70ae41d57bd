//! Every method with ids of somebody else's things and with ids of nothing: one answer, in the same words and by the same statements, so that neither a reply nor a
//! clock tells which ids exist; and nothing of the somebody's changes. [I4]

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value,
};
use sewa_sdk::Client;
use sewa_sdk::Credentials;
use sewa_sdk::sewa::identity::v1::CreateApiKeyRequest;
use sewa_tests::proxy::Proxy;
use sewa_tests::{Actor, NOBODYS_ID, Settings, World, once};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::contract::{methods, path_of};
use crate::contract_methods::{comments, example_in};
use crate::snapshots::take;
use crate::ssh_keys::{create, public_key};

/// Ids by the name of the field they belong into.
type Ids = BTreeMap<&'static str, String>;

/// Fields that name what everybody may see, or only staff.
const NOBODYS: [&str; 11] = [
    "address_pool_id",
    "coupon_id",
    "plan_promotion_id",
    "reconciliation_id",
    "plan_id",
    "plan_ids",
    "image_id",
    "region_id",
    "promotion_id",
    "provider_account_id",
    "run_id",
];
/// Calls that are made again before a difference of statements counts: a session that is new asks PostgreSQL about types, and what the server does by itself may come in between.
const LOOKS: usize = 4;

/// One of everything that somebody has.
async fn things_of(world: &World, budi: &Actor) -> Ids {
    budi.deposit(50_000_000).await;
    let deposit = budi.open_deposit(20_000).await.id;
    let machine = budi.running("web-1").await;
    let (snapshot, _) = take(budi, &machine.id, "before").await.unwrap();
    let laptop = create(budi, "laptop", &public_key(1)).await.unwrap();
    let wish = CreateApiKeyRequest {
        display_name: "shop".to_owned(),
        scopes: vec!["wallet.read".to_owned()],
        lifetime_days: 0,
    };
    let key = budi.identity().create_api_key(wish).await.unwrap();
    let mut database = world.behind_the_scenes().await;
    let account: Uuid = budi.account_id.parse().unwrap();
    let first = async |database: &mut PgConnection, table: &str| {
        let text = format!("select id from {table} where account_id = $1 limit 1");
        let found: Option<Uuid> = sqlx::query_scalar(sqlx::AssertSqlSafe(text))
            .bind(account)
            .fetch_optional(database)
            .await
            .unwrap();
        found.map(|id| id.to_string())
    };
    let mut ids = Ids::from([
        ("account_id", budi.account_id.clone()),
        ("user_id", budi.user_id.clone()),
        ("deposit_id", deposit),
        ("instance_id", machine.id.clone()),
        ("subject_id", machine.id),
        ("snapshot_id", snapshot.id),
        ("ssh_key_id", laptop.id.clone()),
        ("ssh_key_ids", laptop.id),
        ("api_key_id", key.into_inner().api_key.unwrap().id),
    ]);
    // One that its provider took: machines of other plans have none.
    let backup = Uuid::now_v7();
    sqlx::query(
        "insert into backups (account_id, id, instance_id, backup_ref, taken_at, image_id, image_code)
        select account_id, $2, id, 'one', now(), image_id, image_code from instances where account_id = $1",
    )
    .bind(account)
    .bind(backup)
    .execute(&mut database)
    .await
    .unwrap();
    ids.insert("backup_id", backup.to_string());
    for (field, table) in [
        ("order_id", "orders"),
        ("operation_id", "operations"),
        ("journal_id", "journals"),
    ] {
        let found = first(&mut database, table).await;
        ids.insert(field, found.expect(table));
    }
    let mut invoice = None;
    while invoice.is_none() {
        // A job writes it.
        invoice = first(&mut database, "invoices").await;
    }
    ids.extend(invoice.map(|id| ("invoice_id", id)));
    ids
}

/// The name of what an id names.
fn names(message: &MessageDescriptor, field: &FieldDescriptor) -> String {
    if field.name() != "id" {
        return field.name().to_owned();
    }
    let snake = message.name().chars().flat_map(|c| {
        let gap = c.is_uppercase().then_some('_');
        gap.into_iter().chain(c.to_lowercase())
    });
    snake.collect::<String>().trim_start_matches('_').to_owned() + "_id"
}

/// Puts ids into all fields that want one, and says which those were.
fn fill(message: &mut DynamicMessage, ids: &Ids, named: &mut BTreeSet<String>) {
    let descriptor = message.descriptor();
    for field in descriptor.fields() {
        if let Kind::Message(_) = field.kind() {
            let there = message.has_field(&field);
            if there && let Value::Message(inner) = message.get_field_mut(&field) {
                fill(inner, ids, named);
            }
            continue;
        }
        let name = names(&descriptor, &field);
        let Some(id) = ids.get(name.as_str()) else {
            let is_id = field.kind() == Kind::String
                && (name.ends_with("_id") || name.ends_with("_ids"))
                && !NOBODYS.contains(&name.as_str());
            if is_id {
                named.insert(format!("?{name}"));
            }
            continue;
        };
        let id = Value::String(id.clone());
        let value = if field.is_list() {
            Value::List(vec![id])
        } else {
            id
        };
        message.set_field(&field, value);
        named.insert(name);
    }
}

/// A reply as it is whenever it is given.
fn without_times(message: &DynamicMessage) -> String {
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(members) => {
                members.retain(|name, _| !name.ends_with("Time"));
                members.values_mut().for_each(strip);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut json = serde_json::to_value(message).unwrap();
    strip(&mut json);
    json.to_string()
}

/// What a call came to, in words in which no id of the caller's own asking is.
async fn outcome(client: &Client, path: &str, request: DynamicMessage, ids: &Ids) -> String {
    let method = client.raw(path).unwrap();
    let said = if method.descriptor().is_server_streaming() {
        match method.stream(once(request)).await {
            Ok(mut stream) => {
                let next =
                    tokio::time::timeout(std::time::Duration::from_millis(500), stream.next());
                match next.await {
                    Ok(Some(Err(error))) => Err(error),
                    Ok(Some(Ok(message))) => Ok(without_times(&message)),
                    Ok(None) => Ok("an end".to_owned()),
                    Err(_) => Ok("silence".to_owned()),
                }
            }
            Err(error) => Err(error),
        }
    } else {
        let answer = method.unary(once(request)).await;
        answer.map(|reply| without_times(&reply.into_inner()))
    };
    let mut text = match said {
        Ok(message) => message,
        Err(error) => {
            let metadata: BTreeMap<&str, &str> = error.all_metadata().collect();
            let reason = error.reason().map(|reason| reason.0.clone());
            let fields = error.field_violations();
            format!(
                "{:?} {reason:?} {} {metadata:?} {fields:?}",
                error.code(),
                error.message()
            )
        }
    };
    for id in ids.values().map(String::as_str).chain([NOBODYS_ID]) {
        text = text.replace(id, "ID");
    }
    text
}

/// All rows of an account, as one digest for each table.
async fn rows_of(database: &mut PgConnection, account: &str) -> BTreeMap<String, String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "select table_name::text from information_schema.columns join information_schema.tables using (table_schema, table_name)
         where table_schema = 'public' and table_type = 'BASE TABLE' and column_name = 'account_id' order by 1",
    )
    .fetch_all(&mut *database)
    .await
    .unwrap();
    let mut found = BTreeMap::new();
    for table in tables {
        let text = format!(
            "select coalesce(md5(string_agg(t::text, '|' order by t::text)), '') from {table} t where account_id::text = $1"
        );
        let digest: String = sqlx::query_scalar(sqlx::AssertSqlSafe(text))
            .bind(account)
            .fetch_one(&mut *database)
            .await
            .unwrap();
        found.insert(table, digest);
    }
    found
}

/// A method and what is said to it.
struct Question {
    path: String,
    foreign: DynamicMessage,
    missing: DynamicMessage,
}

/// Every method that takes an id of something that belongs to somebody.
fn questions(ids: &Ids) -> Vec<Question> {
    let nothing: Ids = ids
        .keys()
        .map(|name| (*name, NOBODYS_ID.to_owned()))
        .collect();
    let comments = comments();
    let (mut questions, mut unknown) = (Vec::new(), Vec::new());
    for method in methods() {
        let path = path_of(&method);
        let example = comments.get(&path).and_then(|text| example_in(text));
        let mut reader = serde_json::Deserializer::from_str(example.unwrap_or("{}"));
        let foreign = DynamicMessage::deserialize(method.input(), &mut reader).unwrap();
        let (mut foreign, mut missing) = (foreign.clone(), foreign);
        let mut named = BTreeSet::new();
        fill(&mut foreign, ids, &mut named);
        fill(&mut missing, &nothing, &mut BTreeSet::new());
        unknown.extend(
            named
                .iter()
                .filter(|name| name.starts_with('?'))
                .map(|name| format!("{path} {name}")),
        );
        if !named.is_empty() {
            questions.push(Question {
                path,
                foreign,
                missing,
            });
        }
    }
    assert!(unknown.is_empty(), "say above whose these are: {unknown:?}");
    questions
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_others_are_like_ids_of_nothing() {
    let proxy = Proxy::to_postgres().await.unwrap();
    let settings = Settings::default().with("ROLE", "api");
    let mut world = World::behind(&proxy, settings).await;
    let worker = world.add_worker();
    let (budi, siti) = (world.reseller().await, world.reseller().await);
    siti.deposit(50_000_000).await;
    let ids = things_of(&world, &budi).await;
    world.settled().await;
    // It looks at machines again and again, and writes down when.
    world.servers[worker].kill();
    let wish = CreateApiKeyRequest {
        display_name: "all".to_owned(),
        scopes: crate::permissions::scopes(&siti)
            .await
            .into_iter()
            .filter(|scope| scope.contains('.'))
            .collect(),
        lifetime_days: 0,
    };
    let key = siti
        .identity()
        .create_api_key(wish)
        .await
        .unwrap()
        .into_inner()
        .secret;
    let by_key = world.client(Credentials::api_key(key));
    let mut database = world.behind_the_scenes().await;
    let before = rows_of(&mut database, &budi.account_id).await;
    let questions = questions(&ids);
    assert!(questions.len() > 50, "{} methods", questions.len());
    // What the server does by itself, a few rounds of it.
    proxy.statements();
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let own: BTreeSet<String> = proxy.statements().into_iter().collect();
    let mut faults = Vec::new();
    for Question {
        path,
        foreign,
        missing,
    } in &questions
    {
        for client in [&siti.client, &by_key] {
            let mut last = String::new();
            for _ in 0..LOOKS {
                let ask = async |request: &DynamicMessage| {
                    proxy.statements();
                    let said = outcome(client, path, request.clone(), &ids).await;
                    let mut ran = proxy.statements();
                    ran.retain(|text| !own.contains(text));
                    (said, ran)
                };
                let (one, other) = (ask(foreign).await, ask(missing).await);
                if one == other {
                    last.clear();
                    break;
                }
                last = format!("{path}: {one:#?} is not {other:#?}");
            }
            if !last.is_empty() {
                faults.push(last);
            }
        }
    }
    let changed: Vec<String> = rows_of(&mut database, &budi.account_id)
        .await
        .into_iter()
        .filter(|(table, rows)| before[table] != *rows)
        .map(|(table, _)| table)
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(changed, Vec::<String>::new(), "rows of somebody else");
    // Whose they are is told something else; or all of this would show nothing.
    let mut blind = Vec::new();
    for Question { path, foreign, .. } in &questions {
        let said = outcome(&budi.client, path, foreign.clone(), &ids).await;
        if said.contains("_NOT_FOUND") {
            blind.push(format!("{path}: {said}"));
        }
    }
    assert!(blind.is_empty(), "{}", blind.join("\n"));
}
