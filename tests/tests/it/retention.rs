//! What is forgotten after a while, and how readers learn of it. [R33 N2]

use sewa_payment_simulators::Status;
use sewa_sdk::sewa::event::v1::{Event, ListEventsRequest, WatchEventsRequest};
use sewa_sdk::sewa::operation::v1::{GetOperationRequest, ListOperationsRequest};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, Settings, World, reason_of, refused};

use crate::shop::Shop;

async fn count(world: &World, what: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {what}")))
        .fetch_one(&mut world.behind_the_scenes().await)
        .await
        .unwrap()
}

fn from(cursor: &str) -> ListEventsRequest {
    ListEventsRequest {
        resume_cursor: cursor.to_owned(),
        ..Default::default()
    }
}

/// Pays in until the log no longer begins with `first`, and returns what it begins with then.
async fn outlive(budi: &Actor, first: &Event) -> String {
    eventually("the first event is forgotten", || async {
        match budi.events().list_events(from(&first.cursor)).await {
            Ok(_) => Err("it is still kept"),
            Err(status) => Ok(sewa_sdk::Error::from(status)),
        }
    })
    .await
    .metadata("oldest_cursor")
    .expect("where the log begins")
    .to_owned()
}

#[tokio::test]
async fn events_are_forgotten_on_all_servers_and_their_cursors_refused() {
    let mut world = World::with(Settings::default().with("RETENTION__EVENTS_SECONDS", 1)).await;
    world.add_server();
    let (budi, siti) = (world.reseller().await, world.reseller().await);
    siti.deposit(20_000).await;
    for _ in 0..5 {
        budi.deposit(20_000).await;
    }
    let first = eventually("an event is listed", || async {
        let found = budi.all_events().await;
        found.into_iter().next().ok_or("none")
    })
    .await;
    let oldest = outlive(&budi, &first).await;
    let error = refused(budi.events().list_events(from(&first.cursor)).await);
    assert!(
        error.is("CURSOR_EXPIRED") && error.code() == tonic::Code::OutOfRange,
        "{error:?}"
    );
    let request = WatchEventsRequest {
        resume_cursor: first.cursor.clone(),
        ..Default::default()
    };
    assert_eq!(
        reason_of(budi.events().watch_events(request).await),
        "CURSOR_EXPIRED"
    );
    // Where the log is said to begin, it can be read on; if it went further meanwhile, it says so again.
    eventually("the log is read from where it begins", || async {
        let request = from(&oldest);
        match budi.events().list_events(request).await {
            Ok(_) => Ok(()),
            Err(status) => {
                let error = sewa_sdk::Error::from(status);
                let next = error
                    .metadata("oldest_cursor")
                    .unwrap_or_default()
                    .to_owned();
                match budi.events().list_events(from(&next)).await {
                    Ok(_) => Ok(()),
                    Err(status) => Err(status.to_string()),
                }
            }
        }
    })
    .await;
    eventually("old events are gone from every account", || async {
        match count(&world, "events").await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    // What happens from now on is told as ever.
    budi.deposit(20_000).await;
    assert_eq!(budi.balance().await, (120_000, 0));
}

#[tokio::test]
async fn what_nobody_has_read_yet_is_kept_however_old() {
    let world = World::with(Settings::default().with("RETENTION__EVENTS_SECONDS", 1)).await;
    let budi = world.reseller().await;
    sqlx::query("insert into consumers (name, seq) values ('somebody slow', 3)")
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    for _ in 0..5 {
        budi.deposit(20_000).await;
    }
    eventually("what was read is gone", || async {
        match count(&world, "events where seq <= 3").await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    assert_eq!(count(&world, "events where seq > 3").await, 7);
    let kept = budi.all_events().await;
    assert_eq!(kept.len(), 7);
    let floor = "c0000000000000003";
    let listed = budi.events().list_events(from(floor)).await.unwrap();
    assert_eq!(listed.into_inner().events.len(), 7);
}

#[tokio::test]
async fn finished_operations_and_ended_sessions_are_forgotten() {
    let mut world = World::with(Settings::default().with("RETENTION__OPERATIONS_SECONDS", 5)).await;
    world.add_server();
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let placed = budi.buy("web-1").await;
    let order = budi.wait_active(&placed).await;
    let get = || GetOperationRequest {
        operation_id: placed.operation.id.clone(),
    };
    eventually("the operation is forgotten", || async {
        match budi.operations().get_operation(get()).await {
            Ok(_) => Err("it is there"),
            Err(_) => Ok(()),
        }
    })
    .await;
    assert_eq!(
        reason_of(budi.operations().get_operation(get()).await),
        "OPERATION_NOT_FOUND"
    );
    let request = ListOperationsRequest {
        instance_id: order.instance_id.clone(),
        ..Default::default()
    };
    let left = budi.operations().list_operations(request).await.unwrap();
    assert!(left.into_inner().operations.is_empty());
    assert_eq!(
        budi.order(&order.id).await.id,
        order.id,
        "the order stays, with its history"
    );
    world.login(&budi.email).await;
    let ended =
        "update refresh_families set expires_at = now() - interval '1 minute' where user_id = $1";
    sqlx::query(ended)
        .bind(uuid::Uuid::parse_str(&budi.user_id).unwrap())
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    world.restart();
    eventually("the sessions are forgotten", || async {
        match count(&world, "refresh_families").await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
}

#[tokio::test]
async fn callbacks_are_kept_for_their_time_and_no_longer() {
    let keep = |seconds: u32| Settings::default().with("RETENTION__CALLBACKS_SECONDS", seconds);
    let paid = async |shop: &Shop| {
        let deposit = shop.deposit(50_000).await;
        shop.say(&deposit.gateway_reference, Status::Paid).await;
        deposit.gateway_reference
    };
    let long = Shop::with(60_000, keep(3600)).await;
    let short = Shop::with(60_000, keep(1)).await;
    paid(&long).await;
    let reference = paid(&short).await;
    eventually("the callback is forgotten", || async {
        match count(&short.world, "payment_callbacks").await {
            0 => Ok(()),
            left => Err(left),
        }
    })
    .await;
    assert_eq!(count(&long.world, "payment_callbacks").await, 1);
    // What was forgotten and comes again credits nothing.
    short.deliver(&short.tripay.callback(&reference)).await;
    assert_eq!(short.budi.balance().await, (50_000, 0));
}
