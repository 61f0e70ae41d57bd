//! The log of what happened: listed, watched, resumed. [C1 L4, W5]

use std::collections::BTreeSet;
use std::pin::pin;

use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt};
use sewa_sdk::sewa::event::v1::watch_events_response::Item;
use sewa_sdk::sewa::event::v1::{
    Event, EventType, ListEventsRequest, WatchEventsRequest, WatchEventsResponse,
};
use sewa_sdk::{WatchOptions, watch};
use sewa_tests::patience::{eventually, next, soon};
use sewa_tests::{Actor, World, refused};

async fn open(
    watcher: &Actor,
    request: WatchEventsRequest,
) -> tonic::Streaming<WatchEventsResponse> {
    watcher
        .events()
        .watch_events(request)
        .await
        .expect("opening a watch")
        .into_inner()
}

#[tokio::test]
async fn the_log_tells_how_an_order_came_about() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    let placed = budi.buy("web-1").await;
    let order = budi.wait_active(&placed).await;
    let is_active = |event: &Event| event.r#type() == EventType::OrderActive;
    budi.logged(1, is_active).await;
    let events = budi.all_events().await;
    let of = |subject: &str| {
        events
            .iter()
            .filter(|event| event.subject_id == subject)
            .map(Event::r#type)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(&order.id),
        [
            EventType::OrderPlaced,
            EventType::OrderProvisioning,
            EventType::OrderActive
        ]
    );
    assert!(
        events
            .iter()
            .any(|event| event.r#type() == EventType::OperationFinished
                && event.subject_id == placed.operation.id)
    );
    assert!(
        events
            .iter()
            .any(|event| event.r#type() == EventType::InstanceChanged
                && event.subject_id == order.instance_id)
    );
    assert_eq!(
        events.iter().map(Event::r#type).take(2).collect::<Vec<_>>(),
        [EventType::DepositCreated, EventType::DepositPaid]
    );
    for event in &events {
        assert_eq!(event.account_id, budi.account_id);
        assert!(
            event.payload.is_some() && event.occur_time.is_some() && !event.cursor.is_empty(),
            "{event:?}"
        );
    }
    for subject in events
        .iter()
        .map(|event| &event.subject_id)
        .collect::<BTreeSet<_>>()
    {
        let revisions: Vec<i64> = events
            .iter()
            .filter(|event| event.subject_id == *subject)
            .map(|event| event.subject_revision)
            .collect();
        assert!(revisions.is_sorted(), "{subject}: {revisions:?}");
    }
    assert!(
        world.reseller().await.all_events().await.is_empty(),
        "nobody sees another account's events"
    );
}

#[tokio::test]
async fn events_list_by_type_subject_and_cursor() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let (first, second) = (budi.deposit(20_000).await, budi.deposit(30_000).await);
    budi.logged(4, |_| true).await;
    let list = async |request: ListEventsRequest| {
        budi.events()
            .list_events(request)
            .await
            .unwrap()
            .into_inner()
            .events
    };
    let all = list(ListEventsRequest::default()).await;
    assert_eq!(all.len(), 4);
    let paid = list(ListEventsRequest {
        types: vec![EventType::DepositPaid.into()],
        ..Default::default()
    })
    .await;
    assert_eq!(
        paid.iter()
            .map(|event| event.subject_id.as_str())
            .collect::<Vec<_>>(),
        [&*first.id, &*second.id]
    );
    let of_second = list(ListEventsRequest {
        subject_id: second.id.clone(),
        ..Default::default()
    })
    .await;
    assert_eq!(of_second, all[2..]);
    let after = list(ListEventsRequest {
        resume_cursor: all[1].cursor.clone(),
        ..Default::default()
    })
    .await;
    assert_eq!(after, all[2..]);
    let page = budi
        .events()
        .list_events(ListEventsRequest {
            page_size: 3,
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(page.events, all[..3]);
    let rest = list(ListEventsRequest {
        page_size: 3,
        page_token: page.next_page_token,
        ..Default::default()
    })
    .await;
    assert_eq!(rest, all[3..]);
}

#[tokio::test]
async fn a_cursor_of_another_log_is_refused_with_the_oldest_that_works() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(20_000).await;
    budi.logged(2, |_| true).await;
    for bad in ["nonsense", "c7fffffffffffff00"] {
        let list = refused(
            budi.events()
                .list_events(ListEventsRequest {
                    resume_cursor: bad.to_owned(),
                    ..Default::default()
                })
                .await,
        );
        let watched = budi
            .events()
            .watch_events(WatchEventsRequest {
                resume_cursor: bad.to_owned(),
                ..Default::default()
            })
            .await;
        let oldest = list.metadata("oldest_cursor").unwrap().to_owned();
        for error in [list, refused(watched)] {
            assert!(
                error.is("CURSOR_EXPIRED") && error.code() == tonic::Code::OutOfRange,
                "{error:?}"
            );
        }
        // Observers are not told the reason of a stream that was refused.
        world.saw("/sewa.event.v1.EventService/WatchEvents", "CURSOR_EXPIRED");
        let again = budi
            .events()
            .list_events(ListEventsRequest {
                resume_cursor: oldest,
                ..Default::default()
            })
            .await
            .unwrap();
        assert_eq!(again.into_inner().events.len(), 2);
    }
}

#[tokio::test]
async fn a_watch_shows_only_what_is_asked_for_and_where_it_is() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let mut all = open(
        &budi,
        WatchEventsRequest {
            checkpoints: true,
            ..Default::default()
        },
    )
    .await;
    let begin = next(&mut all).await;
    assert!(
        matches!(begin.item, Some(Item::Checkpoint(_))),
        "a checkpoint at once"
    );
    let mut paid = open(
        &budi,
        WatchEventsRequest {
            types: vec![EventType::DepositPaid.into()],
            ..Default::default()
        },
    )
    .await;
    let deposit = budi.deposit(20_000).await;
    let kinds = async |stream: &mut tonic::Streaming<WatchEventsResponse>, count: usize| {
        let mut kinds = Vec::new();
        while kinds.len() < count {
            let message = next(stream).await;
            if let Some(Item::Event(event)) = message.item {
                assert_eq!(
                    (event.cursor.as_str(), event.subject_id.as_str()),
                    (&*message.cursor, &*deposit.id)
                );
                kinds.push(event.r#type());
            }
        }
        kinds
    };
    assert_eq!(
        kinds(&mut all, 2).await,
        [EventType::DepositCreated, EventType::DepositPaid]
    );
    assert_eq!(kinds(&mut paid, 1).await, [EventType::DepositPaid]);
    let mut resumed = open(
        &budi,
        WatchEventsRequest {
            resume_cursor: begin.cursor,
            ..Default::default()
        },
    )
    .await;
    assert_eq!(
        kinds(&mut resumed, 2).await,
        [EventType::DepositCreated, EventType::DepositPaid]
    );
}

#[tokio::test]
async fn a_resumed_watch_neither_loses_nor_repeats_while_others_write() {
    let world = World::new().await;
    let budi = world.reseller().await;
    let writers = join_all((0..6).map(|_| async {
        for _ in 0..10 {
            budi.deposit(10_000).await;
        }
    }));
    let watcher = async {
        let (mut cursor, mut seen, mut cuts) = (String::new(), Vec::new(), 0);
        // From the first event on: an empty cursor would begin at "now".
        let oldest = refused(
            budi.events()
                .list_events(ListEventsRequest {
                    resume_cursor: "x".to_owned(),
                    ..Default::default()
                })
                .await,
        );
        cursor.push_str(oldest.metadata("oldest_cursor").unwrap());
        while seen.len() < 120 {
            let mut stream = open(
                &budi,
                WatchEventsRequest {
                    resume_cursor: cursor.clone(),
                    ..Default::default()
                },
            )
            .await;
            for _ in 0..1 + cuts % 7 {
                let message = next(&mut stream).await;
                cursor = message.cursor;
                let Some(Item::Event(event)) = message.item else {
                    continue;
                };
                seen.push(event.id);
                if seen.len() == 120 {
                    break;
                }
            }
            cuts += 1;
        }
        assert!(cuts > 20);
        seen
    };
    let (_, seen) = futures_util::join!(writers, watcher);
    let logged: Vec<String> = budi
        .logged(120, |_| true)
        .await
        .into_iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(seen, logged);
}

#[tokio::test]
async fn an_event_that_commits_late_is_not_skipped() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(10_000).await;
    budi.logged(2, |_| true).await;
    let mut stream = open(
        &budi,
        WatchEventsRequest {
            checkpoints: true,
            ..Default::default()
        },
    )
    .await;
    next(&mut stream).await;
    // A transaction takes its place in the log and dawdles; another overtakes it.
    let mut database = world.behind_the_scenes().await;
    let mut slow = sqlx::Connection::begin(&mut database).await.unwrap();
    // As every writer of the platform it has written something before.
    sqlx::query("select pg_current_xact_id()")
        .execute(&mut *slow)
        .await
        .unwrap();
    let late = uuid::Uuid::now_v7();
    sqlx::query("insert into events select account_id, nextval('events_seq'), $1, type, subject_id, revision, occurred_at, payload from events limit 1")
        .bind(late)
        .execute(&mut *slow)
        .await
        .unwrap();
    let fast = budi.deposit(20_000).await;
    assert_eq!(
        budi.all_events().await.len(),
        2,
        "nothing beyond the transaction that is still open"
    );
    slow.commit().await.unwrap();
    let mut ids = Vec::new();
    while ids.len() < 3 {
        if let Some(Item::Event(event)) = next(&mut stream).await.item {
            ids.push(if event.id == late.to_string() {
                "late".to_owned()
            } else {
                event.subject_id
            });
        }
    }
    assert_eq!(ids, ["late".to_owned(), fast.id.clone(), fast.id.clone()]);
}

#[tokio::test]
async fn the_sdk_follows_the_log_across_a_killed_server() {
    let mut world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(10_000).await;
    let cursor = budi.logged(1, |_| true).await[0].cursor.clone();
    let mut events = pin!(watch(
        &budi.client,
        WatchOptions {
            resume_cursor: cursor,
            ..Default::default()
        }
    ));
    let mut seen = vec![
        soon("an event", events.try_next())
            .await
            .unwrap()
            .unwrap()
            .id,
    ];
    for _ in 0..3 {
        world.restart();
        budi.deposit(10_000).await;
        for _ in 0..2 {
            seen.push(soon("an event", events.next()).await.unwrap().unwrap().id);
        }
    }
    let logged: Vec<String> = budi
        .logged(seen.len() + 1, |_| true)
        .await
        .into_iter()
        .skip(1)
        .map(|event| event.id)
        .collect();
    assert_eq!(seen, logged);
}

#[tokio::test]
async fn a_reader_that_falls_behind_is_told_where_it_was() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.deposit(10_000).await;
    // A window of its own, which nobody empties.
    let channel = tonic::transport::Endpoint::from_shared(world.url())
        .unwrap()
        .initial_stream_window_size(65_535)
        .connect()
        .await
        .unwrap();
    let mut lazy =
        sewa_sdk::sewa::event::v1::event_service_client::EventServiceClient::new(channel);
    let mut request = tonic::Request::new(WatchEventsRequest::default());
    request.metadata_mut().insert(
        "authorization",
        format!("Bearer {}", budi.tokens.access_token)
            .parse()
            .unwrap(),
    );
    let mut stream = lazy.watch_events(request).await.unwrap().into_inner();
    // It is under way once it tells what happens: one that begins later reads the log itself and is never behind.
    budi.open_deposit(15_000).await;
    next(&mut stream).await;
    let many = "insert into events select account_id, nextval('events_seq'), gen_random_uuid(), type, subject_id, revision, occurred_at, payload
        from (select * from events where account_id = $1::uuid limit 1) one, generate_series(1, 30000)";
    sqlx::query(many)
        .bind(&budi.account_id)
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    // Once the log tells what happened after all of it, this one has been left behind.
    let last = budi.open_deposit(20_000).await;
    eventually("the log tells of the last deposit", async || {
        let request = ListEventsRequest {
            subject_id: last.id.clone(),
            ..Default::default()
        };
        let listed = budi.events().list_events(request).await.unwrap();
        match listed.into_inner().events.as_slice() {
            [] => Err("nothing yet"),
            _ => Ok(()),
        }
    })
    .await;
    let (mut cursor, mut read) = (String::new(), 0);
    let error = loop {
        let end = format!("the end of the stream, of which {read} were read");
        match soon(&end, stream.message()).await {
            Ok(Some(message)) => (cursor, read) = (message.cursor, read + 1),
            Ok(None) => panic!("the stream ended without a word"),
            Err(status) => break sewa_sdk::Error::from(status),
        }
    };
    assert!(
        error.is("SLOW_CONSUMER") && error.metadata("last_cursor") == Some(&*cursor),
        "{error:?}, last seen {cursor}"
    );
    world.saw("/sewa.event.v1.EventService/WatchEvents", "SLOW_CONSUMER");
}
