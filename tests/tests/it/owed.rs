//! What accounts owe and what they are worth month by month: receivables, recurring revenue, churn. [B5]

use chrono::{DateTime, Datelike, Utc};
use sewa_sdk::money::Money;
use sewa_sdk::sewa::api::v1::BillingPeriod;
use sewa_sdk::sewa::order::v1::{GatewayPayment, Payment, PlaceOrderRequest};
use sewa_sdk::sewa::report::v1::receivable::{Age, Kind as OwedKind};
use sewa_sdk::sewa::report::v1::{
    GetReceivablesAgingRequest, GetSubscriptionMetricsRequest, ListReceivablesRequest,
    SubscriptionMetrics,
};
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, World};

use crate::order::from_wallet;
use crate::reports::{adjust, csv, midnight, month_of, price, sql, today};
use crate::shop::Shop;

/// A machine paid by the day, which began so long ago that it is unpaid for most of the time since.
async fn begun_long_ago(world: &World, actor: &Actor, hostname: &str, began: DateTime<Utc>) {
    let mut draft = actor.draft(hostname).await;
    draft.period = BillingPeriod::Day.into();
    let placed = actor.place(draft).await.unwrap();
    let order = actor.wait_active(&placed).await;
    let began = began.to_rfc3339();
    let id = &order.instance_id;
    // In one go, so that nobody sees one without the other.
    let moved = format!(
        "begin; lock subscriptions in access exclusive mode;
        update subscriptions s set paid_until = s.paid_until - (r.starts_at - '{began}'::timestamptz), next_step_at = s.next_step_at - (r.starts_at - '{began}'::timestamptz),
            anchor_at = '{began}' from renewals r where s.instance_id = '{id}' and r.instance_id = s.instance_id;
        update renewals set ends_at = ends_at - (starts_at - '{began}'::timestamptz), starts_at = '{began}' where instance_id = '{id}'; commit"
    );
    sql(world, &moved).await;
}

async fn metrics(staff: &Actor, month: String) -> SubscriptionMetrics {
    let request = GetSubscriptionMetricsRequest { month };
    let reply = staff.reports().get_subscription_metrics(request).await;
    reply.unwrap().into_inner().metrics.unwrap()
}

#[tokio::test]
async fn recurring_revenue_counts_paid_periods_and_churn_those_that_were_not() {
    let world = World::new().await;
    let (finance, budi, siti) = (
        world.staff("finance").await,
        world.real_reseller().await,
        world.real_reseller().await,
    );
    adjust(&finance, &budi, 20_000_000, "paid at the counter").await;
    let mut expected = 0;
    for (period, hostname) in [(BillingPeriod::Month, "m-1"), (BillingPeriod::Year, "y-1")] {
        let mut draft = budi.draft(hostname).await;
        draft.period = period.into();
        let placed = budi.place(draft).await.unwrap();
        budi.wait_active(&placed).await;
        let (net, _) = price(&placed);
        // Half up to the rupiah.
        expected += if period == BillingPeriod::Year {
            (net * 2 + 12) / 24
        } else {
            net
        };
    }
    let now = metrics(&finance, month_of(today())).await;
    let start = rupiah(now.mrr_start.as_ref());
    assert_eq!(rupiah(now.mrr_end.as_ref()), expected);
    assert_eq!((start, rupiah(now.mrr_new.as_ref())), (0, expected));
    assert_eq!(
        (now.instances_new, now.instances_end, now.accounts_end),
        (2, 2, 1)
    );
    assert_eq!(
        (now.mrr_churn_basis_points, now.account_churn_basis_points),
        (0, 0)
    );

    // A day's worth that covered the beginning of last month, and was not paid again.
    let last_month = today().with_day(1).unwrap().pred_opt().unwrap();
    let first = midnight(last_month.with_day(1).unwrap());
    let began = first - chrono::TimeDelta::hours(2);
    let mut draft = siti.draft("d-1").await;
    draft.period = BillingPeriod::Day.into();
    let daily = siti.preview(&draft).await.unwrap();
    adjust(
        &finance,
        &siti,
        rupiah(daily.total.as_ref()),
        "for one day and no more",
    )
    .await;
    begun_long_ago(&world, &siti, "d-1", began).await;
    let before = metrics(&finance, month_of(last_month)).await;
    let at_start = rupiah(before.mrr_start.as_ref());
    assert!(at_start > 0);
    assert_eq!(rupiah(before.mrr_churned.as_ref()), at_start);
    assert_eq!(rupiah(before.mrr_end.as_ref()), 0);
    assert_eq!((before.instances_start, before.instances_churned), (1, 1));
    assert_eq!((before.accounts_start, before.accounts_churned), (1, 1));
    assert_eq!(before.mrr_churn_basis_points, 10_000);
    assert_eq!(before.account_churn_basis_points, 10_000);
    let adds_up = |m: &SubscriptionMetrics| {
        let of = |money: &Option<Money>| rupiah(money.as_ref());
        of(&m.mrr_start) + of(&m.mrr_new) - of(&m.mrr_churned) + of(&m.mrr_changed)
            == of(&m.mrr_end)
    };
    assert!(adds_up(&now) && adds_up(&before));
    // A machine that was deleted counts no more, though its period is paid.
    let ended = "update instances set state = 'DELETED', wanted = 'DELETED' where hostname = 'y-1'";
    sql(&world, ended).await;
    let after = metrics(&finance, month_of(today())).await;
    assert_eq!(after.instances_end, 1);
    assert!(adds_up(&after));
}

#[tokio::test]
async fn what_is_owed_is_listed_by_age() {
    let shop = Shop::open(60_000).await;
    let (world, budi) = (&shop.world, &shop.budi);
    let finance = world.staff("finance").await;
    let nothing = finance
        .reports()
        .get_receivables_aging(GetReceivablesAgingRequest {})
        .await
        .unwrap();
    let aging = nothing.into_inner().aging.unwrap();
    assert_eq!((aging.buckets.len(), rupiah(aging.total.as_ref())), (6, 0));

    let mut draft = budi.draft("day-1").await;
    draft.period = BillingPeriod::Day.into();
    let quote = budi.preview(&draft).await.unwrap();
    let daily = rupiah(quote.total.as_ref());
    adjust(&finance, budi, daily, "for one day and no more").await;
    let request = GatewayPayment {
        method: Method::Tripay.into(),
        channel: "BRIVA".to_owned(),
    };
    let request = PlaceOrderRequest {
        payment: Payment::Gateway.into(),
        gateway: Some(request),
        ..from_wallet(budi.draft("web-1").await)
    };
    let waiting = budi.orders().place_order(request).await.unwrap();
    let waiting = waiting.into_inner().order.unwrap();
    let asked = rupiah(waiting.quote.as_ref().unwrap().total.as_ref());
    // Two days unpaid: suspended, not terminated yet.
    begun_long_ago(
        world,
        budi,
        "day-1",
        Utc::now() - chrono::TimeDelta::days(3),
    )
    .await;
    let owed = eventually("the machine is unpaid", || async {
        let mut request = ListReceivablesRequest {
            page_size: 1,
            ..Default::default()
        };
        let mut owed = Vec::new();
        loop {
            let mut stub = finance.reports();
            let reply = stub
                .list_receivables(request.clone())
                .await
                .unwrap()
                .into_inner();
            owed.extend(reply.receivables);
            if reply.next_page_token.is_empty() {
                break;
            }
            request.page_token = reply.next_page_token;
        }
        if owed.len() == 2 { Ok(owed) } else { Err(owed) }
    })
    .await;
    assert_eq!(
        (owed[0].kind(), owed[0].age()),
        (OwedKind::Renewal, Age::UpTo3Days)
    );
    assert_eq!(
        (owed[0].hostname.as_str(), rupiah(owed[0].amount.as_ref())),
        ("day-1", daily)
    );
    assert_eq!(
        (owed[1].kind(), owed[1].age()),
        (OwedKind::Order, Age::NotDue)
    );
    assert_eq!(
        (&owed[1].subject_id, rupiah(owed[1].amount.as_ref())),
        (&waiting.id, asked)
    );
    let reply = finance
        .reports()
        .get_receivables_aging(GetReceivablesAgingRequest {})
        .await
        .unwrap();
    let aging = reply.into_inner().aging.unwrap();
    let buckets: Vec<(Age, i64, i64)> = aging
        .buckets
        .iter()
        .map(|b| (b.age(), b.count, rupiah(b.amount.as_ref())))
        .filter(|(_, count, _)| *count > 0)
        .collect();
    assert_eq!(
        buckets,
        [(Age::NotDue, 1, asked), (Age::UpTo3Days, 1, daily)]
    );
    assert_eq!(rupiah(aging.total.as_ref()), asked + daily);
    let rows = csv(
        world,
        &finance,
        "/v1/reports:export?report=REPORT_RECEIVABLES",
    )
    .await;
    assert_eq!(rows.len(), 3);
    assert_eq!(
        (rows[1][2].as_str(), rows[1][7].as_str()),
        ("RENEWAL", "UP_TO_3_DAYS")
    );
}
