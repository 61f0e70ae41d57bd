//! What machines use: one shape for all providers, averages of minutes, fives and hours, and traffic by months that nothing counts twice. [V4]

use std::time::Duration;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use sewa_sdk::Error;
use sewa_sdk::sewa::instance::v1::instance::State;
use sewa_sdk::sewa::instance::v1::{
    GetMetricsRequest, GetMetricsResponse, GetTrafficRequest, ListTrafficRequest, MetricKind,
    Resolution, Traffic,
};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, World, reason_of};
use uuid::Uuid;

use crate::instance::{Verb, done, owner_of_a_machine};

pub(crate) async fn metrics(
    owner: &Actor,
    instance_id: &str,
    resolution: Resolution,
) -> Result<GetMetricsResponse, Error> {
    let request = GetMetricsRequest {
        instance_id: instance_id.to_owned(),
        resolution: resolution.into(),
        ..Default::default()
    };
    Ok(owner.metrics().get_metrics(request).await?.into_inner())
}

pub(crate) async fn traffic(owner: &Actor, instance_id: &str) -> Result<Traffic, Error> {
    let request = GetTrafficRequest {
        instance_id: instance_id.to_owned(),
        month: String::new(),
    };
    let reply = owner.metrics().get_traffic(request).await?;
    Ok(reply.into_inner().traffic.expect("traffic"))
}

async fn over(owner: &Actor, overage_only: bool) -> Vec<Traffic> {
    let request = ListTrafficRequest {
        overage_only,
        ..Default::default()
    };
    let reply = owner.metrics().list_traffic(request).await;
    reply.unwrap().into_inner().traffic
}

/// The values of a kind; `None` if there is no series of it.
pub(crate) fn values(shown: &GetMetricsResponse, kind: MetricKind) -> Option<Vec<f64>> {
    let mut series = shown.series.iter();
    let found = series.find(|series| series.kind() == kind)?;
    Some(found.points.iter().map(|point| point.value).collect())
}

fn id_of(instance_id: &str) -> Uuid {
    instance_id.parse().unwrap()
}

/// When a machine last answered; `None` if nobody has begun to read it.
async fn asked_at(world: &World, instance_id: &str) -> Option<Option<DateTime<Utc>>> {
    sqlx::query_scalar("select asked_at from meters where instance_id = $1")
        .bind(id_of(instance_id))
        .fetch_optional(&mut world.behind_the_scenes().await)
        .await
        .unwrap()
}

/// Sets when a machine is read next. Whoever is at it now has lost it.
async fn due(world: &World, instance_id: &str, after: &str) {
    sqlx::query("update meters set due_at = now() + $2::text::interval, fence = fence + 1 where instance_id = $1")
        .bind(id_of(instance_id))
        .bind(after)
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
}

/// Has a machine read now, instead of in a minute or more, and then not again by itself.
pub(crate) async fn read_now(world: &World, instance_id: &str) {
    // Whoever patrols comes some seconds after a machine first runs, and begins.
    eventually("a machine is measured", || async {
        asked_at(world, instance_id).await.ok_or("not yet")
    })
    .await;
    due(world, instance_id, "1 hour").await;
    let before = asked_at(world, instance_id).await.flatten();
    due(world, instance_id, "0").await;
    eventually("a machine is read", || async {
        match asked_at(world, instance_id).await.flatten() {
            at if at > before => Ok(()),
            at => Err(at),
        }
    })
    .await;
    due(world, instance_id, "1 hour").await;
}

/// Bytes sent that the machine itself counted, when it was last read.
async fn counted(world: &World, instance_id: &str) -> i64 {
    sqlx::query_scalar("select network_out from meters where instance_id = $1")
        .bind(id_of(instance_id))
        .fetch_one(&mut world.behind_the_scenes().await)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_machine_is_measured_and_what_it_moves_is_counted_once() {
    let mut world = World::new().await;
    // Two who read, and one order of things whatever they do.
    world.add_server();
    let (budi, machine) = owner_of_a_machine(&world).await;
    let id = machine.id.as_str();
    for name in ["metrics", "traffic"] {
        assert!(machine.capabilities.iter().any(|c| c == name), "{name}");
    }
    let unread = traffic(&budi, id).await.unwrap();
    assert_eq!((unread.in_bytes, unread.out_bytes), (0, 0));
    assert!(unread.included_bytes.is_some_and(|bytes| bytes > 0));

    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        read_now(&world, id).await;
        let moved = traffic(&budi, id).await.unwrap();
        assert_eq!(moved.out_bytes, counted(&world, id).await);
        assert!(moved.out_bytes > 0 && moved.in_bytes > 0, "{moved:?}");
        assert!(!moved.estimated && moved.as_of_time.is_some());
    }
    let shown = metrics(&budi, id, Resolution::OneMinute).await.unwrap();
    assert_eq!(shown.series.len(), 6, "{shown:?}");
    assert!(shown.as_of_time.is_some());
    for series in &shown.series {
        let all = values(&shown, series.kind()).unwrap();
        assert!(
            !all.is_empty() && all.iter().all(|v| *v > 0.0),
            "{series:?}"
        );
    }
    let cpu = GetMetricsRequest {
        instance_id: id.to_owned(),
        kinds: vec![MetricKind::CpuPercent.into()],
        ..Default::default()
    };
    let cpu = budi.metrics().get_metrics(cpu).await.unwrap().into_inner();
    assert_eq!(cpu.resolution(), Resolution::OneMinute);
    assert!(values(&cpu, MetricKind::CpuPercent).unwrap()[0] <= 100.0);
    assert_eq!(cpu.series.len(), 1);

    // Off, it counts nothing; on again, it counts from nothing; and none of it is lost or counted again.
    let before = traffic(&budi, id).await.unwrap().out_bytes;
    done(&budi, Verb::PowerOff, &machine, State::Stopped).await;
    read_now(&world, id).await;
    assert_eq!(counted(&world, id).await, 0);
    assert_eq!(traffic(&budi, id).await.unwrap().out_bytes, before);
    done(&budi, Verb::PowerOn, &machine, State::Running).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.restart();
    read_now(&world, id).await;
    let anew = counted(&world, id).await;
    assert!(anew > 0);
    let moved = traffic(&budi, id).await.unwrap();
    assert_eq!(moved.out_bytes, before + anew);

    what_is_beyond_the_plan(&world, &budi, id).await;
}

/// Sets what a machine sent, which takes months in earnest, and looks at what is said of it.
async fn what_is_beyond_the_plan(world: &World, budi: &Actor, id: &str) {
    let moved = traffic(budi, id).await.unwrap();
    assert_eq!(moved.overage_bytes, 0);
    assert_eq!(over(budi, true).await, []);
    assert_eq!(over(budi, false).await.len(), 1);
    sqlx::query("update traffic_months set sent = included + 5 where instance_id = $1")
        .bind(id_of(id))
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    let moved = traffic(budi, id).await.unwrap();
    assert!(moved.overage_bytes >= 5, "{moved:?}");
    let listed = over(budi, true).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].instance_id, id);
    assert!(listed[0].overage_bytes >= 5, "{listed:?}");
    let other = GetTrafficRequest {
        instance_id: id.to_owned(),
        month: "2020-02".to_owned(),
    };
    let other = budi
        .metrics()
        .get_traffic(other)
        .await
        .unwrap()
        .into_inner();
    let other = other.traffic.unwrap();
    assert_eq!((other.month.as_str(), other.out_bytes), ("2020-02", 0));
    assert_eq!(other.as_of_time, None, "nothing was read then");

    let support = world.staff("support").await;
    let seen = traffic(&support, id).await.unwrap();
    assert!(seen.overage_bytes >= 5);
    assert!(metrics(&support, id, Resolution::OneHour).await.is_ok());
    let siti = world.reseller().await;
    assert_eq!(over(&siti, false).await, []);
    for id in [id, NOBODYS_ID] {
        let refusal = metrics(&siti, id, Resolution::OneMinute).await;
        assert_eq!(reason_of(refusal), "INSTANCE_NOT_FOUND");
        assert_eq!(reason_of(traffic(&siti, id).await), "INSTANCE_NOT_FOUND");
    }
    let now = Utc::now().timestamp();
    let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    for (start, end) in [(now, now), (now - 90_000, now)] {
        let request = GetMetricsRequest {
            instance_id: id.to_owned(),
            start_time: at(start),
            end_time: at(end),
            resolution: Resolution::OneMinute.into(),
            ..Default::default()
        };
        let refusal = budi.metrics().get_metrics(request).await;
        assert_eq!(reason_of(refusal), "INVALID_REQUEST");
    }
}

/// Writes a sample of each minute, or of each so many, before a moment.
async fn plant(world: &World, id: &str, table: &str, last: DateTime<Utc>, step: &str, count: i32) {
    let text = format!(
        "insert into {table} (account_id, instance_id, at, cpu_percent, network_out)
        select account_id, instance_id, $2 - n * $3::text::interval, case when n % 2 = 0 then 10 else 30 end, 1000 from meters, generate_series(1, $4) n
        where instance_id = $1 on conflict do nothing"
    );
    sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(id_of(id))
        .bind(last)
        .bind(step)
        .bind(count)
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
}

#[tokio::test]
async fn samples_are_averaged_when_their_span_is_over_and_forgotten_when_they_are_old() {
    let world = World::new().await;
    let (budi, machine) = owner_of_a_machine(&world).await;
    let id = machine.id.as_str();
    read_now(&world, id).await;
    let hour = Utc::now().duration_trunc(TimeDelta::hours(1)).unwrap();
    plant(&world, id, "metrics_1m", hour, "1 minute", 120).await;
    sqlx::query("update meters set read_until = $2 where instance_id = $1")
        .bind(id_of(id))
        .bind(hour - TimeDelta::hours(2))
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    read_now(&world, id).await;
    let spanning = async |resolution: Resolution| {
        let at = |at: DateTime<Utc>| {
            Some(prost_types::Timestamp {
                seconds: at.timestamp(),
                nanos: 0,
            })
        };
        let request = GetMetricsRequest {
            instance_id: id.to_owned(),
            start_time: at(hour - TimeDelta::hours(2)),
            end_time: at(hour),
            resolution: resolution.into(),
            ..Default::default()
        };
        let reply = budi.metrics().get_metrics(request).await;
        let shown = reply.unwrap().into_inner();
        assert_eq!(values(&shown, MetricKind::MemoryBytes), Some(Vec::new()));
        values(&shown, MetricKind::CpuPercent).unwrap()
    };
    assert_eq!(spanning(Resolution::OneMinute).await.len(), 120);
    let fives = spanning(Resolution::FiveMinutes).await;
    assert_eq!(fives.len(), 24);
    assert!(fives.iter().all(|v| (18.0..=22.0).contains(v)), "{fives:?}");
    let hours = spanning(Resolution::OneHour).await;
    assert_eq!(hours.len(), 2);
    assert!(hours.iter().all(|v| (v - 20.0).abs() < 0.5), "{hours:?}");

    // More than one step forgets.
    let day = TimeDelta::days(1);
    plant(&world, id, "metrics_1m", hour - day, "1 minute", 700).await;
    plant(&world, id, "metrics_5m", hour - day * 15, "5 minutes", 40).await;
    plant(&world, id, "metrics_60m", hour - day * 401, "1 hour", 40).await;
    sqlx::query("update meters set forget_at = now() where instance_id = $1")
        .bind(id_of(id))
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    eventually("old samples are forgotten", || async {
        let left: i64 = sqlx::query_scalar(
            "select (select count(*) from metrics_1m where at < now() - interval '24 hours')
                + (select count(*) from metrics_5m where at < now() - interval '14 days')
                + (select count(*) from metrics_60m where at < now() - interval '400 days')",
        )
        .fetch_one(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
        if left == 0 { Ok(()) } else { Err(left) }
    })
    .await;
    assert_eq!(
        spanning(Resolution::OneMinute).await.len(),
        120,
        "the others stay"
    );
    assert_eq!(spanning(Resolution::OneHour).await.len(), 2);
}
