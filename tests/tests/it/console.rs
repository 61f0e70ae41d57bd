//! Consoles: who is let in and how often, what passes, and when it ends. [V3]

use futures_util::future::join_all;
use http::{Method, StatusCode};
use sewa_sdk::sewa::identity::v1::{
    CreateApiKeyRequest, DeleteApiKeyRequest, ListAuditEntriesRequest,
};
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::open_console_response::Way;
use sewa_sdk::sewa::instance::v1::{OpenConsoleRequest, OpenConsoleResponse};
use sewa_sdk::sewa::sandbox::v1::ClearFaultsRequest;
use sewa_sdk::sewa::sandbox::v1::fault::Kind as FaultKind;
use sewa_sdk::{Credentials, Error};
use sewa_tests::compute::Dialect;
use sewa_tests::compute::proxmox::console::{NAME, SIZE, colour};
use sewa_tests::patience::eventually;
use sewa_tests::viewer::Viewer;
use sewa_tests::{Actor, NOBODYS_ID, Settings, World, reason_of, refused};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::instance::{Verb, ask, owner_of_a_machine};
use crate::keys::kept_nowhere;
use crate::lifecycle::owner;
use crate::providers::{Shop, draft, open_shop, rich_reseller};

const ORIGIN: &str = "https://shop.example.com";

pub(crate) async fn open(owner: &Actor, id: &str) -> Result<OpenConsoleResponse, Error> {
    let request = OpenConsoleRequest {
        instance_id: id.to_owned(),
    };
    Ok(owner.consoles().open_console(request).await?.into_inner())
}

/// The path of a console that is relayed.
pub(crate) async fn path_to(owner: &Actor, id: &str) -> String {
    match open(owner, id).await.unwrap().way {
        Some(Way::WebsocketPath(path)) => path,
        _ => panic!("it is not relayed"),
    }
}

async fn look(world: &World, path: &str) -> Result<Viewer, StatusCode> {
    Viewer::connect(world.servers[0].address(), path, &[]).await
}

/// Somebody in front of the screen of a machine of the built-in cloud.
async fn in_front(world: &World, owner: &Actor, id: &str) -> Viewer {
    let path = path_to(owner, id).await;
    let mut viewer = look(world, &path).await.unwrap();
    let (.., name) = viewer.begin().await;
    assert_eq!(name, id);
    viewer
}

/// A shop of a vendor, and somebody with a machine of it.
async fn bought(world: &World, dialect: Dialect) -> (Shop, Actor, String) {
    let shop = open_shop(world, dialect).await;
    let budi = rich_reseller(world).await;
    let placed = budi.place(draft("web-1")).await.unwrap();
    budi.wait_active(&placed).await;
    (shop, budi, placed.order.instance_id)
}

/// Rows of consoles that are left.
async fn left(world: &World) -> i64 {
    let mut database = world.behind_the_scenes().await;
    let count = sqlx::query_scalar("select count(*) from consoles");
    count.fetch_one(&mut database).await.unwrap()
}

async fn none_is_left(world: &World) {
    eventually("no console is left", || async {
        match left(world).await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

#[tokio::test]
async fn a_screen_at_proxmox_is_seen_and_typed_at_without_its_password() {
    let world = World::with(Settings::default().with("LOG_FORMAT", "json")).await;
    let (shop, budi, id) = bought(&world, Dialect::Proxmox).await;
    let can = budi.instance(&id).await.capabilities;
    assert!(can.contains(&"console".to_owned()), "{can:?}");
    let opened = open(&budi, &id).await.unwrap();
    let Some(Way::WebsocketPath(path)) = opened.way else {
        panic!("it is not relayed");
    };
    let ticket = path.strip_prefix("/console/").unwrap();
    assert_eq!(ticket.len(), 46, "256 bits");
    assert!(opened.expire_time.is_some());
    assert_eq!(
        shop.cloud.books().proxmox.screens.secrets.len(),
        0,
        "nobody is there yet"
    );

    let protocol = [("sec-websocket-protocol", "binary")];
    let server = world.servers[0].address();
    let mut viewer = Viewer::connect(server, &path, &protocol).await.unwrap();
    let (width, height, name) = viewer.begin().await;
    assert_eq!(((width, height), name.as_str()), (SIZE, NAME));
    let [red, green, blue] = colour(0);
    let pixels = viewer.pixels(SIZE, false).await;
    assert!(pixels.chunks(4).all(|pixel| pixel == [blue, green, red, 0]));
    viewer.press('k').await;
    let [red, green, blue] = colour(1);
    let pixels = viewer.pixels(SIZE, true).await;
    assert!(pixels.chunks(4).all(|pixel| pixel == [blue, green, red, 0]));
    assert_eq!(shop.cloud.books().proxmox.screens.keys, [u32::from('k')]);
    // A ticket that was used is none, though its console is open.
    assert_eq!(look(&world, &path).await.err(), Some(StatusCode::NOT_FOUND));
    // With older versions the ticket is the password.
    shop.cloud.books().proxmox.screens.old = true;
    let mut second = look(&world, &path_to(&budi, &id).await).await.unwrap();
    second.begin().await;
    drop(second);
    // The screen goes dark.
    shop.cloud.books().proxmox.screens.dies = true;
    viewer.press('q').await;
    let end = viewer.end().await.unwrap();
    assert_eq!(end, (CloseCode::Normal, "the screen went dark".to_owned()));
    eventually("nobody is in front of the screens", || async {
        match shop.cloud.books().proxmox.screens.viewers {
            0 => Ok(()),
            there => Err(there),
        }
    })
    .await;
    none_is_left(&world).await;
    // One that does not let us in is refused before anything is agreed to.
    shop.cloud.books().proxmox.screens.forgetful = true;
    let dark = look(&world, &path_to(&budi, &id).await).await.err();
    assert_eq!(dark, Some(StatusCode::BAD_GATEWAY));

    let request = ListAuditEntriesRequest {
        method: "sewa.instance.v1.ConsoleService/OpenConsole".to_owned(),
        ..Default::default()
    };
    let audit = budi.identity().list_audit_entries(request).await.unwrap();
    let audit = audit.into_inner().audit_entries;
    assert_eq!(audit.len(), 3, "each opening once: {audit:?}");
    assert!(
        audit
            .iter()
            .all(|entry| entry.actor_id == budi.user_id && entry.request_json.contains(&id))
    );
    let planted = shop.cloud.books().proxmox.screens.secrets.clone();
    let mut secrets: Vec<&str> = planted.iter().map(String::as_str).collect();
    secrets.push(ticket);
    kept_nowhere(&world, &secrets).await;
    assert!(shop.cloud.books().invalid.is_empty());
}

#[tokio::test]
async fn a_page_of_vultr_is_named_anew_each_time_and_kept_nowhere() {
    let world = World::with(Settings::default().with("LOG_FORMAT", "json")).await;
    let (shop, budi, id) = bought(&world, Dialect::Vultr).await;
    let page = async || {
        let opened = open(&budi, &id).await.unwrap();
        assert_eq!(opened.expire_time, None, "nobody knows");
        match opened.way {
            Some(Way::ProviderUrl(url)) => url,
            _ => panic!("it is no page"),
        }
    };
    let (one, other) = (page().await, page().await);
    assert!(one.starts_with("https://my.vultr.com/"), "{one}");
    assert_ne!(one, other);
    let key = |url: &str| url.split_once("data=").unwrap().1.to_owned();
    kept_nowhere(&world, &[&key(&one), &key(&other)]).await;
    assert_eq!(left(&world).await, 0);
    // A provider that does not answer says nothing about the machine.
    shop.cloud.books().token = "another".to_owned();
    let error = refused(open(&budi, &id).await);
    assert!(error.is("CONSOLE_UNAVAILABLE"), "{error:?}");
}

async fn no_console(dialect: Dialect) {
    let world = World::new().await;
    let (_shop, budi, id) = bought(&world, dialect).await;
    let error = refused(open(&budi, &id).await);
    assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{error:?}");
    assert_eq!(error.metadata("capability"), Some("console"));
    let can = budi.instance(&id).await.capabilities;
    assert!(!can.contains(&"console".to_owned()), "{can:?}");
}

#[tokio::test]
async fn digitalocean_shows_no_consoles() {
    no_console(Dialect::DigitalOcean).await;
}

#[tokio::test]
async fn linode_shows_no_consoles_that_are_documented() {
    no_console(Dialect::Linode).await;
}

#[tokio::test]
async fn a_ticket_lets_one_in_once_and_soon_by_any_replica() {
    let mut world = World::with(Settings::default().with("CORS_ORIGINS", ORIGIN)).await;
    let other = world.add_server();
    let (budi, machine) = owner_of_a_machine(&world).await;
    let siti = world.reseller().await;
    for id in [machine.id.as_str(), NOBODYS_ID] {
        assert_eq!(reason_of(open(&siti, id).await), "INSTANCE_NOT_FOUND");
    }
    // What is no WebSocket, no ticket, or from nowhere, uses none up.
    let path = path_to(&budi, &machine.id).await;
    let plain = world.http().get(&path).await;
    assert_eq!(plain.status, StatusCode::UPGRADE_REQUIRED);
    assert_eq!(plain.headers["upgrade"], "websocket");
    let posted = world.http().send(Method::POST, &path, &[], None).await;
    assert_eq!(posted.status, StatusCode::UPGRADE_REQUIRED);
    for wrong in [
        "/console/",
        "/console/ct_x",
        &format!("{path}x"),
        &format!("{path}/x"),
    ] {
        let found = look(&world, wrong).await.err();
        assert_eq!(found, Some(StatusCode::NOT_FOUND), "{wrong}");
    }
    let guessed = format!("/console/ct_{}", "A".repeat(43));
    assert_eq!(
        look(&world, &guessed).await.err(),
        Some(StatusCode::NOT_FOUND)
    );
    let server = world.servers[0].address();
    let from = async |origin: &str| Viewer::connect(server, &path, &[("origin", origin)]).await;
    let evil = from("https://evil.example.com").await.err();
    assert_eq!(evil, Some(StatusCode::FORBIDDEN));
    // Many come at once, to two replicas; one is let in.
    let replica = world.servers[other].address();
    let headers = [("origin", ORIGIN)];
    let coming = (0..10).map(|n| {
        let server = if n % 2 == 0 { server } else { replica };
        Viewer::connect(server, &path, &headers)
    });
    let came: Vec<Viewer> = join_all(coming).await.into_iter().flatten().collect();
    let [mut viewer] = came.try_into().unwrap();
    let (width, height, name) = viewer.begin().await;
    assert_eq!(name, machine.id);
    let before = viewer.pixels((width, height), false).await;
    viewer.press('x').await;
    assert_ne!(viewer.pixels((width, height), true).await, before);
    drop(viewer);
    none_is_left(&world).await;

    // Ways that were not used count, until they end.
    let mut ways = Vec::new();
    for _ in 0..3 {
        ways.push(path_to(&budi, &machine.id).await);
    }
    let error = refused(open(&budi, &machine.id).await);
    assert!(error.is("CONSOLE_LIMIT"), "{error:?}");
    assert_eq!(error.metadata("limit"), Some("3"));
    let mut database = world.behind_the_scenes().await;
    let ended = sqlx::query("update consoles set until = now() - interval '1 second'");
    ended.execute(&mut database).await.unwrap();
    for way in &ways {
        assert_eq!(look(&world, way).await.err(), Some(StatusCode::NOT_FOUND));
    }
    let way = path_to(&budi, &machine.id).await;
    // A machine that was stopped meanwhile has nothing to show.
    let stopped = ask(&budi, Verb::PowerOff, &machine.id, "").await.unwrap();
    budi.finish(&stopped).await.unwrap();
    assert_eq!(look(&world, &way).await.err(), Some(StatusCode::CONFLICT));
    let error = refused(open(&budi, &machine.id).await);
    assert!(error.is("ILLEGAL_STATE"), "{error:?}");
    assert_eq!(error.metadata("state"), Some("STOPPED"));
}

#[tokio::test]
async fn a_console_ends_with_what_allowed_it() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 0).await;
    budi.inject(FaultKind::Error, 0).await;
    assert_eq!(
        reason_of(open(&budi, &machine.id).await),
        "CONSOLE_UNAVAILABLE"
    );
    let cleared = budi.sandbox().clear_faults(ClearFaultsRequest {}).await;
    cleared.unwrap();
    let wish = CreateApiKeyRequest {
        display_name: "console".to_owned(),
        scopes: vec!["console.open".to_owned()],
        lifetime_days: 0,
    };
    let made = budi
        .identity()
        .create_api_key(wish)
        .await
        .unwrap()
        .into_inner();
    let by_key = budi.through(world.client(Credentials::api_key(made.secret)));
    let mut keyed = in_front(&world, &by_key, &machine.id).await;
    let mut signed_in = in_front(&world, &budi, &machine.id).await;
    let request = DeleteApiKeyRequest {
        api_key_id: made.api_key.unwrap().id,
    };
    budi.identity().delete_api_key(request).await.unwrap();
    let over = (CloseCode::Policy, "not allowed any more".to_owned());
    assert_eq!(keyed.end().await, Some(over.clone()));

    budi.outlast(&machine).await;
    budi.wait_instance(&machine.id, "is suspended", |i| {
        i.state() == State::Suspended
    })
    .await;
    let end = signed_in.end().await.unwrap();
    // Its screen may go dark before anybody asks.
    let dark = (CloseCode::Normal, "the screen went dark".to_owned());
    assert!(end == over || end == dark, "{end:?}");
    assert_eq!(
        reason_of(open(&budi, &machine.id).await),
        "INSTANCE_SUSPENDED"
    );
}

#[tokio::test]
async fn silence_garbage_and_the_end_of_the_server_end_a_console() {
    let mut world = World::with(Settings::default().with("CONSOLE__IDLE_SECONDS", 2)).await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let mut viewer = in_front(&world, &budi, &machine.id).await;
    let idle = (CloseCode::Policy, "idle for too long".to_owned());
    assert_eq!(viewer.end().await, Some(idle));
    // Somebody who types is not idle.
    let mut viewer = in_front(&world, &budi, &machine.id).await;
    for _ in 0..4 {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        viewer.press('z').await;
    }
    viewer.send(Message::Text("hello".into())).await;
    let end = viewer.end().await.unwrap();
    assert_eq!(end.0, CloseCode::Unsupported, "{end:?}");
    none_is_left(&world).await;
    let mut viewer = in_front(&world, &budi, &machine.id).await;
    viewer.say(&vec![0; 300 << 10]).await;
    let end = viewer.end().await;
    // It may be cut off before it has said everything.
    assert!(end.is_none_or(|(code, _)| code == CloseCode::Size));
    none_is_left(&world).await;
    let mut viewer = in_front(&world, &budi, &machine.id).await;
    viewer.say(&[255; 4000]).await;
    let end = viewer.end().await.unwrap();
    assert_eq!(end.1, "the screen went dark", "{end:?}");
    // Before RFB has begun, and what is no WebSocket at all.
    none_is_left(&world).await;
    let path = path_to(&budi, &machine.id).await;
    let mut viewer = look(&world, &path).await.unwrap();
    viewer.say(&[0; 64]).await;
    assert_eq!(viewer.end().await.unwrap().0, CloseCode::Normal);
    none_is_left(&world).await;
    let path = path_to(&budi, &machine.id).await;
    let mut raw = tokio::net::TcpStream::connect(world.servers[0].address())
        .await
        .unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    raw.write_all(head.as_bytes()).await.unwrap();
    raw.write_all(&[0xff; 200]).await.unwrap();
    let mut said = Vec::new();
    // It may be reset, as there was more than was read.
    let _ = raw.read_to_end(&mut said).await;
    assert!(said.starts_with(b"HTTP/1.1 101"), "{}", said.escape_ascii());
    none_is_left(&world).await;

    let mut viewer = in_front(&world, &budi, &machine.id).await;
    let metrics = world.http().get("/metrics").await.text();
    assert!(metrics.contains("sewa_consoles_open 1"), "{metrics}");
    let stopping = tokio::task::spawn_blocking(move || {
        let code = world.server().stop();
        (world, code)
    });
    let end = viewer.end().await.unwrap();
    assert_eq!(end, (CloseCode::Restart, "the server stops".to_owned()));
    let (mut world, code) = stopping.await.unwrap();
    assert_eq!(code.unwrap(), 0);
    assert!(!world.server().log().contains("panicked"));
    world.restart();
}
