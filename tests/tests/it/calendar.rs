//! Ten years of renewals by the calendar of Jakarta: no period is skipped, paid twice or moved, whatever the months are long. [R8 I6]

use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::lifecycle::v1::renewal::State as RenewalState;
use sewa_sdk::sewa::lifecycle::v1::{ListRenewalsRequest, Renewal};
use sewa_sdk::sewa::order::v1::OrderDraft;
use sewa_tests::actor::rupiah;
use sewa_tests::{Actor, World};

const YEARS: i64 = 10;

async fn machine(budi: &Actor, hostname: &str, period: BillingPeriod) -> String {
    let draft = OrderDraft {
        period: period.into(),
        ..budi.draft(hostname).await
    };
    let placed = budi.place(draft).await.unwrap();
    budi.wait_active(&placed).await.instance_id
}

/// The periods of a machine, oldest first.
async fn periods(budi: &Actor, instance: &str) -> Vec<Renewal> {
    let mut request = ListRenewalsRequest {
        instance_id: instance.to_owned(),
        page_size: 200,
        ..Default::default()
    };
    let mut found = Vec::new();
    loop {
        let listed = budi.lifecycle().list_renewals(request.clone()).await;
        let listed = listed.unwrap().into_inner();
        found.extend(listed.renewals);
        if listed.next_page_token.is_empty() {
            break;
        }
        request.page_token = listed.next_page_token;
    }
    found.sort_by_key(|renewal| renewal.period_number);
    found
}

fn jakarta(at: Option<&prost_types::Timestamp>) -> chrono::NaiveDateTime {
    let at = at.expect("a time");
    let utc = chrono::DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).unwrap());
    // The zone of Jakarta has known no other time since 1964.
    utc.unwrap().naive_utc() + chrono::TimeDelta::hours(7)
}

/// Each period begins where the last one ended, is paid, and ends when the calendar says, counted from the first.
fn follow_each_other(periods: &[Renewal], months: u32) {
    let first = jakarta(periods[0].period_start_time.as_ref());
    for (number, period) in (1..).zip(periods) {
        assert_eq!(period.period_number, i32::try_from(number).unwrap());
        assert_eq!(period.state(), RenewalState::Paid, "{period:?}");
        let month = |n: u32| {
            first
                .checked_add_months(chrono::Months::new(months * n))
                .unwrap()
        };
        assert_eq!(
            jakarta(period.period_start_time.as_ref()),
            month(number - 1),
            "{period:?}"
        );
        assert_eq!(
            jakarta(period.period_end_time.as_ref()),
            month(number),
            "{period:?}"
        );
    }
}

#[tokio::test]
async fn ten_years_pass() {
    let world = World::new().await;
    let budi = world.reseller().await;
    budi.take_a_clock().await;
    for _ in 0..3 {
        budi.deposit(1_000_000_000).await;
    }
    let monthly = machine(&budi, "web-month", BillingPeriod::Month).await;
    let yearly = machine(&budi, "web-year", BillingPeriod::Year).await;
    for _ in 0..YEARS {
        budi.advance(365, 0).await;
    }
    let by_month = periods(&budi, &monthly).await;
    let by_year = periods(&budi, &yearly).await;
    assert!(
        (120..=121).contains(&by_month.len()),
        "{} months",
        by_month.len()
    );
    assert!(
        (10..=11).contains(&by_year.len()),
        "{} years",
        by_year.len()
    );
    follow_each_other(&by_month, 1);
    follow_each_other(&by_year, 12);
    let paid: i64 = by_month
        .iter()
        .chain(&by_year)
        .map(|p| rupiah(p.total.as_ref()))
        .sum();
    assert_eq!(budi.balance().await, (3_000_000_000 - paid, 0));
    world.settled().await;
}
