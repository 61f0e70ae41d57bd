//! What machines at vendors use, each measured in its provider's way and shown in one shape. [V4]

use chrono::{TimeDelta, Utc};
use sewa_sdk::sewa::instance::v1::{MetricKind, Resolution};
use sewa_tests::compute::Dialect;
use sewa_tests::{Actor, World, refused};

use crate::instance::{Verb, ask};
use crate::metrics::{metrics, read_now, traffic, values};
use crate::providers::{Shop, draft, open_shop, rich_reseller};

/// A machine at a vendor that was ordered an hour ago, and whose cloud has measured it for two.
async fn measured(world: &World, dialect: Dialect) -> (Shop, Actor, String) {
    let shop = open_shop(world, dialect).await;
    let budi = rich_reseller(world).await;
    let placed = budi.place(draft("web-1")).await.unwrap();
    budi.wait_active(&placed).await;
    let earlier = Utc::now() - TimeDelta::hours(2);
    // What was measured before it was ordered is not its owner's.
    sqlx::query("update instances set created_at = now() - interval '1 hour'")
        .execute(&mut world.behind_the_scenes().await)
        .await
        .unwrap();
    for vm in shop.cloud.books().machines.values_mut() {
        vm.usage.measured_since = earlier;
    }
    (shop, budi, placed.order.instance_id)
}

fn moves(shop: &Shop, received: u64, sent: u64) {
    for vm in shop.cloud.books().machines.values_mut() {
        vm.usage.moves(received, sent);
    }
}

async fn moved(owner: &Actor, id: &str) -> (i64, i64) {
    let traffic = traffic(owner, id).await.unwrap();
    (traffic.in_bytes, traffic.out_bytes)
}

fn nothing_was_wrong(shop: &Shop) {
    let books = shop.cloud.books();
    assert!(books.invalid.is_empty(), "{:?}", books.invalid);
}

#[tokio::test]
async fn counters_of_a_hypervisor_of_our_own_begin_anew_with_each_start() {
    let mut world = World::new().await;
    let (shop, budi, id) = measured(&world, Dialect::Proxmox).await;
    moves(&shop, 1000, 5_000_000);
    read_now(&world, &id).await;
    assert_eq!(moved(&budi, &id).await, (1000, 5_000_000));
    read_now(&world, &id).await;
    assert_eq!(moved(&budi, &id).await, (1000, 5_000_000), "once");
    moves(&shop, 10, 20);
    world.restart();
    read_now(&world, &id).await;
    assert_eq!(moved(&budi, &id).await, (1010, 5_000_020));
    let reboot = ask(&budi, Verb::Reboot, &id, "").await.unwrap();
    budi.finish(&reboot).await.unwrap();
    moves(&shop, 1, 7000);
    read_now(&world, &id).await;
    assert_eq!(moved(&budi, &id).await, (1011, 5_007_020));
    let shown = metrics(&budi, &id, Resolution::OneMinute).await.unwrap();
    assert_eq!(shown.series.len(), 6);
    let cpu = values(&shown, MetricKind::CpuPercent).unwrap();
    assert!(cpu.iter().all(|v| (v - 25.0).abs() < 0.01), "{cpu:?}");
    nothing_was_wrong(&shop);
}

#[tokio::test]
async fn digitalocean_says_how_fast_and_it_is_summed_up() {
    let world = World::new().await;
    let (shop, budi, id) = measured(&world, Dialect::DigitalOcean).await;
    read_now(&world, &id).await;
    let first = traffic(&budi, &id).await.unwrap();
    assert!(first.estimated);
    // A megabyte a second in for the last hour, but for what may come late; twice as much out.
    assert!(
        (3_200_000_000..=3_600_000_000).contains(&first.in_bytes),
        "{first:?}"
    );
    assert_eq!(first.out_bytes, 2 * first.in_bytes);
    read_now(&world, &id).await;
    let (again, _) = moved(&budi, &id).await;
    // At most a point or two have come since.
    assert!(
        (0..=360_000_000).contains(&(again - first.in_bytes)),
        "{again}"
    );
    let shown = metrics(&budi, &id, Resolution::OneMinute).await.unwrap();
    let kinds: Vec<MetricKind> = shown.series.iter().map(|s| s.kind()).collect();
    let expected = [
        MetricKind::CpuPercent,
        MetricKind::MemoryBytes,
        MetricKind::NetworkInBytesPerSecond,
        MetricKind::NetworkOutBytesPerSecond,
    ];
    assert_eq!(kinds, expected, "it says nothing of what disks do");
    let near = |kind, wanted: f64| {
        let all = values(&shown, kind).unwrap();
        assert!(
            all.len() > 20 && all.iter().all(|v| (v - wanted).abs() < 1.0),
            "{all:?}"
        );
    };
    near(MetricKind::CpuPercent, 25.0);
    near(MetricKind::MemoryBytes, f64::from(400 << 20));
    near(MetricKind::NetworkInBytesPerSecond, 1_000_000.0);
    nothing_was_wrong(&shop);
}

#[tokio::test]
async fn linode_averages_over_five_minutes_and_counts_months_itself() {
    let world = World::new().await;
    let (shop, budi, id) = measured(&world, Dialect::Linode).await;
    moves(&shop, 10, 20);
    read_now(&world, &id).await;
    assert_eq!(moved(&budi, &id).await, (10, 20));
    moves(&shop, 1, 2);
    read_now(&world, &id).await;
    read_now(&world, &id).await;
    assert_eq!(moved(&budi, &id).await, (11, 22));
    let minutes = metrics(&budi, &id, Resolution::OneMinute).await.unwrap();
    assert_eq!(values(&minutes, MetricKind::CpuPercent), Some(Vec::new()));
    let shown = metrics(&budi, &id, Resolution::FiveMinutes).await.unwrap();
    assert_eq!(shown.series.len(), 3, "neither memory nor disks");
    let near = |kind, wanted: f64| {
        let all = values(&shown, kind).unwrap();
        assert!(
            all.len() >= 9 && all.iter().all(|v| (v - wanted).abs() < 0.1),
            "{all:?}"
        );
    };
    near(MetricKind::CpuPercent, 25.0);
    near(MetricKind::NetworkOutBytesPerSecond, 2000.0);
    nothing_was_wrong(&shop);
}

#[tokio::test]
async fn vultr_counts_days_and_measures_nothing() {
    let world = World::new().await;
    let (shop, budi, id) = measured(&world, Dialect::Vultr).await;
    let capabilities = budi.instance(&id).await.capabilities;
    assert!(capabilities.iter().any(|c| c == "traffic"));
    assert!(!capabilities.iter().any(|c| c == "metrics"));
    let error = refused(metrics(&budi, &id, Resolution::OneMinute).await);
    assert!(error.is("NOT_SUPPORTED_BY_PROVIDER"), "{error:?}");
    assert_eq!(error.metadata("capability"), Some("metrics"));
    moves(&shop, 10, 20);
    read_now(&world, &id).await;
    read_now(&world, &id).await;
    assert_eq!(moved(&budi, &id).await, (10, 20));
    nothing_was_wrong(&shop);
}
