//! What finance looks at: movements, earnings, sales and orders, in figures that a day played here adds up to. [B5]

use std::collections::BTreeMap;

use chrono::{DateTime, Days, FixedOffset, Months, NaiveDate, Utc};
use sewa_payment_simulators::Status;
use sewa_sdk::money::Money;
use sewa_sdk::sewa::order::v1::order::State as OrderState;
use sewa_sdk::sewa::order::v1::{GatewayPayment, Payment, PlaceOrderRequest};
use sewa_sdk::sewa::report::v1::{
    GetOrderCountsRequest, GetPlanSalesRequest, GetRevenueRequest, GetSubscriptionMetricsRequest,
    Interval, LedgerTransaction, RevenueReport, SearchTransactionsRequest,
};
use sewa_sdk::sewa::wallet::v1::AdjustWalletRequest;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_sdk::sewa::wallet::v1::transaction::Kind;
use sewa_tests::actor::{Placed, rupiah};
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, World, keyed, refused};

use crate::invoices::refund;
use crate::order::from_wallet;
use crate::shop::Shop;

/// The present day in Jakarta.
pub(crate) fn today() -> NaiveDate {
    let zone = FixedOffset::east_opt(7 * 3600).unwrap();
    Utc::now().with_timezone(&zone).date_naive()
}

pub(crate) fn days_ago(days: u64) -> NaiveDate {
    today().checked_sub_days(Days::new(days)).unwrap()
}

fn next(day: NaiveDate) -> NaiveDate {
    day.succ_opt().unwrap()
}

pub(crate) fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(chrono::NaiveTime::MIN).and_utc() - chrono::TimeDelta::hours(7)
}

fn timestamp(at: DateTime<Utc>) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: at.timestamp(),
        nanos: 0,
    })
}

pub(crate) fn month_of(day: NaiveDate) -> String {
    day.format("%Y-%m").to_string()
}

pub(crate) async fn sql(world: &World, statement: &str) -> u64 {
    let mut behind = world.behind_the_scenes().await;
    // Every statement is one of this file and its neighbour.
    let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(&mut behind)
        .await;
    done.unwrap().rows_affected()
}

/// All that happened happens so many days earlier.
pub(crate) async fn backdate(world: &World, days: u64) {
    for statement in backdating(days) {
        sql(world, &statement).await;
    }
}

pub(crate) fn backdating(days: u64) -> Vec<String> {
    let span = format!("interval '{days} days'");
    let columns = [
        ("journals", vec!["recorded_at"]),
        ("payments", vec!["recorded_at"]),
        ("deposits", vec!["created_at"]),
        ("orders", vec!["created_at"]),
        ("invoices", vec!["issued_at"]),
        ("signing_keys", vec!["created_at"]),
    ];
    let statements = columns.into_iter().map(|(table, columns)| {
        let set: Vec<String> = columns
            .iter()
            .map(|column| format!("{column} = {column} - {span}"))
            .collect();
        format!("update {table} set {}", set.join(", "))
    });
    statements.collect()
}

/// The platform no longer looks by itself how deposits stand.
pub(crate) async fn leave_alone(world: &World) {
    let later = "update deposits set next_look_at = now() + interval '1 day' where next_look_at is not null";
    sql(world, later).await;
}

pub(crate) async fn adjust(finance: &Actor, actor: &Actor, amount: i64, reason: &str) {
    let request = AdjustWalletRequest {
        account_id: actor.account_id.clone(),
        amount: Some(Money::idr(amount)),
        reason: reason.to_owned(),
    };
    let mut wallet = finance.wallet();
    let key = format!("{}-{amount}", actor.account_id);
    wallet.adjust_wallet(keyed(&key, request)).await.unwrap();
}

/// Pays by Tripay, and the gateway tells of it. Returns the gateway's reference and the deposit's id.
pub(crate) async fn pay(shop: &Shop, amount: i64) -> (String, String) {
    let deposit = shop.deposit(amount).await;
    let reference = deposit.gateway_reference.clone();
    shop.tripay.move_to(&reference, Status::Paid);
    let callback = shop.tripay.callback(&reference);
    assert_eq!(shop.deliver(&callback).await.0, 200);
    (reference, deposit.id)
}

pub(crate) fn price(placed: &Placed) -> (i64, i64) {
    let quote = placed.order.quote.as_ref().unwrap();
    (rupiah(quote.subtotal.as_ref()), rupiah(quote.tax.as_ref()))
}

async fn revenue(
    finance: &Actor,
    start: NaiveDate,
    end: NaiveDate,
    interval: Interval,
) -> RevenueReport {
    let request = GetRevenueRequest {
        start_date: start.to_string(),
        end_date: end.to_string(),
        interval: interval.into(),
    };
    let reply = finance.reports().get_revenue(request).await.unwrap();
    reply.into_inner().report.unwrap()
}

async fn movements(finance: &Actor, request: SearchTransactionsRequest) -> Vec<LedgerTransaction> {
    let mut request = SearchTransactionsRequest {
        page_size: 3,
        start_time: timestamp(midnight(days_ago(1))),
        end_time: timestamp(midnight(next(next(today())))),
        ..request
    };
    let mut found = Vec::new();
    loop {
        let mut stub = finance.reports();
        let reply = stub.search_transactions(request.clone()).await.unwrap();
        let reply = reply.into_inner();
        found.extend(reply.transactions);
        if reply.next_page_token.is_empty() {
            return found;
        }
        request.page_token = reply.next_page_token;
    }
}

pub(crate) async fn csv(world: &World, who: &Actor, path: &str) -> Vec<Vec<String>> {
    let http = world.http().bearer(&who.tokens.access_token);
    let answer = http.get(path).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "text/csv; charset=utf-8");
    let text = answer.text();
    // No field of these tests holds a comma or a quote.
    let lines = text.split_terminator("\r\n");
    let fields = |line: &str| line.split(',').map(str::to_owned).collect();
    lines.map(fields).collect()
}

#[tokio::test]
async fn a_day_is_reported_as_it_was_played() {
    let shop = Shop::open(60_000).await;
    let (world, budi) = (&shop.world, &shop.budi);
    let (finance, business) = (world.staff("finance").await, world.staff("business").await);
    // Money that is not real is nobody's business.
    let player = world.reseller().await;
    player.deposit(5_000_000).await;
    player.running("play-1").await;

    pay(&shop, 500_000).await;
    adjust(&finance, budi, 3_000_000, "paid at the counter").await;
    let (first, second) = (budi.buy("web-1").await, budi.buy("web-2").await);
    budi.wait_active(&first).await;
    budi.wait_active(&second).await;
    refund(world, budi, &first.order.id, 10_000, 1100, false).await;
    let request = PlaceOrderRequest {
        payment: Payment::Gateway.into(),
        gateway: Some(GatewayPayment {
            method: Method::Tripay.into(),
            channel: "BRIVA".to_owned(),
        }),
        ..from_wallet(budi.draft("web-3").await)
    };
    let waiting = budi.orders().place_order(request).await.unwrap();
    let waiting = waiting.into_inner().order.unwrap();
    assert_eq!(waiting.state(), OrderState::PendingPayment);
    let (net, tax) = price(&first);

    // Which days a week, month or year has is told by the unit tests; here all of them hold the one day.
    let (start, end) = (days_ago(1), next(next(today())));
    for interval in [
        Interval::Day,
        Interval::Week,
        Interval::Month,
        Interval::Year,
    ] {
        let report = revenue(&business, start, end, interval).await;
        let total = report.total.unwrap();
        assert_eq!((total.charges, total.refunds), (2, 1));
        let figures = [
            (&total.charged, 2 * net),
            (&total.refunded, 10_000),
            (&total.revenue, 2 * net - 10_000),
            (&total.tax, 2 * tax - 1100),
            (&total.paid_in, 500_000),
            (&total.paid_back, 0),
            (&total.gateway_fees, 4250),
            (&total.promotions, 0),
            (&total.adjustments, 3_000_000),
        ];
        for (at, (shown, expected)) in figures.into_iter().enumerate() {
            assert_eq!(
                rupiah(shown.as_ref()),
                expected,
                "figure {at} by {interval:?}"
            );
        }
        let rows = report.rows.iter().map(|row| rupiah(row.revenue.as_ref()));
        assert_eq!(rows.sum::<i64>(), 2 * net - 10_000);
        assert_eq!(report.rows[0].start_date, start.to_string());
        assert_eq!(report.rows.last().unwrap().end_date, end.to_string());
        let starts: Vec<&String> = report.rows.iter().skip(1).map(|r| &r.start_date).collect();
        let ends: Vec<&String> = report.rows.iter().map(|r| &r.end_date).collect();
        assert_eq!(starts, ends[..ends.len() - 1], "rows follow one another");
    }
    let path = format!("/v1/reports:export?report=REPORT_REVENUE&startDate={start}&endDate={end}");
    let rows = csv(world, &finance, &path).await;
    assert_eq!((rows.len(), rows[0][6].as_str()), (4, "revenue"));
    let earned = rows[1..].iter().map(|row| row[6].parse::<i64>().unwrap());
    assert_eq!(earned.sum::<i64>(), 2 * net - 10_000);

    let request = GetPlanSalesRequest {
        start_date: start.to_string(),
        end_date: end.to_string(),
        limit: 0,
    };
    let sales = business.reports().get_plan_sales(request).await.unwrap();
    let sales = sales.into_inner().report.unwrap().rows;
    assert_eq!(sales.len(), 1, "{sales:?}");
    let quote_plan = budi.plan().await;
    assert_eq!(sales[0].plan_id, quote_plan.id);
    assert_eq!(sales[0].plan_name, quote_plan.display_name);
    assert_eq!((sales[0].orders_placed, sales[0].orders_active), (3, 2));
    assert_eq!(rupiah(sales[0].revenue.as_ref()), 2 * net - 10_000);
    let path =
        format!("/v1/reports:export?report=REPORT_PLAN_SALES&startDate={start}&endDate={end}");
    assert_eq!(csv(world, &finance, &path).await[1][3], "2");

    let request = GetOrderCountsRequest {
        start_date: start.to_string(),
        end_date: end.to_string(),
    };
    let counts = business.reports().get_order_counts(request).await.unwrap();
    let counts = counts.into_inner().report.unwrap();
    let total = counts.total.unwrap();
    assert_eq!((total.placed, total.active, total.open), (3, 2, 1));
    assert_eq!((total.refunded, total.cancelled, total.expired), (0, 0, 0));
    assert_eq!(counts.rows.len(), 3);
    let path =
        format!("/v1/reports:export?report=REPORT_ORDER_COUNTS&startDate={start}&endDate={end}");
    assert_eq!(csv(world, &finance, &path).await.len(), 4);

    let all = movements(&finance, SearchTransactionsRequest::default()).await;
    let mut kinds: BTreeMap<i32, usize> = BTreeMap::new();
    for moved in &all {
        *kinds.entry(moved.kind).or_default() += 1;
        let sum: i64 = moved
            .postings
            .iter()
            .map(|p| rupiah(p.amount.as_ref()))
            .sum();
        assert_eq!((sum, &moved.account_id), (0, &budi.account_id), "{moved:?}");
    }
    let expected = [
        (Kind::Deposit, 1),
        (Kind::Hold, 2),
        (Kind::Capture, 2),
        (Kind::Refund, 1),
        (Kind::Adjustment, 1),
    ];
    assert_eq!(
        kinds,
        expected.map(|(kind, count)| (kind as i32, count)).into()
    );
    let seconds = |t: &LedgerTransaction| {
        let at = t.create_time.unwrap();
        (at.seconds, at.nanos)
    };
    assert!(all.is_sorted_by_key(|t| std::cmp::Reverse(seconds(t))));
    let fee = all.iter().flat_map(|t| &t.postings);
    let fee = fee.filter(|p| p.ledger_account == "gateway_fee");
    assert_eq!(fee.map(|p| rupiah(p.amount.as_ref())).sum::<i64>(), -4250);
    let holds = SearchTransactionsRequest {
        kind: Kind::Hold.into(),
        ..Default::default()
    };
    assert_eq!(movements(&finance, holds).await.len(), 2);
    let own = SearchTransactionsRequest {
        account_id: budi.account_id.clone(),
        ..Default::default()
    };
    assert_eq!(movements(&finance, own).await, all);
    let played = SearchTransactionsRequest {
        account_id: player.account_id.clone(),
        ..Default::default()
    };
    assert!(movements(&finance, played).await.is_empty());
    let path =
        format!("/v1/reports:export?report=REPORT_TRANSACTIONS&startDate={start}&endDate={end}");
    let rows = csv(world, &finance, &path).await;
    let ids: Vec<&String> = rows[1..].iter().map(|row| &row[0]).collect();
    assert_eq!(ids, all.iter().map(|t| &t.id).collect::<Vec<_>>());
    // The customer sees what came in, and nothing of what the gateway kept.
    let seen = budi.transactions().await;
    let deposit = seen.iter().find(|t| t.kind() == Kind::Deposit).unwrap();
    assert_eq!(rupiah(deposit.available_change.as_ref()), 500_000);
}

#[tokio::test]
async fn a_range_is_bounded_and_in_order() {
    let world = World::new().await;
    let finance = world.staff("finance").await;
    let request = |start: &str, end: &str, interval: Interval| GetRevenueRequest {
        start_date: start.to_owned(),
        end_date: end.to_owned(),
        interval: interval.into(),
    };
    let cases = [
        (
            "2026-01-01",
            "2026-01-01",
            Interval::Day,
            "end_date",
            "RANGE_EMPTY",
        ),
        (
            "2026-01-02",
            "2026-01-01",
            Interval::Day,
            "end_date",
            "RANGE_EMPTY",
        ),
        (
            "2025-01-01",
            "2026-01-03",
            Interval::Day,
            "end_date",
            "RANGE_TOO_LONG",
        ),
        (
            "2010-01-01",
            "2026-01-01",
            Interval::Year,
            "end_date",
            "RANGE_TOO_LONG",
        ),
        (
            "2026-02-30",
            "2026-03-01",
            Interval::Day,
            "start_date",
            "DATE",
        ),
    ];
    for (start, end, interval, field, rule) in cases {
        let error = refused(
            finance
                .reports()
                .get_revenue(request(start, end, interval))
                .await,
        );
        assert!(error.is("INVALID_REQUEST"), "{error:?}");
        let violation = &error.field_violations()[0];
        assert_eq!(
            (violation.field.as_str(), violation.reason.as_str()),
            (field, rule)
        );
    }
    let long = request("2016-02-01", "2026-01-01", Interval::Year);
    let report = finance.reports().get_revenue(long).await.unwrap();
    assert_eq!(report.into_inner().report.unwrap().rows.len(), 10);
    let request = SearchTransactionsRequest {
        start_time: timestamp(midnight(days_ago(40))),
        end_time: timestamp(midnight(today())),
        ..Default::default()
    };
    let error = refused(finance.reports().search_transactions(request).await);
    assert_eq!(error.field_violations()[0].reason, "RANGE_TOO_LONG");
    let request = GetSubscriptionMetricsRequest {
        month: month_of(today().checked_add_months(Months::new(2)).unwrap()),
    };
    let error = refused(finance.reports().get_subscription_metrics(request).await);
    assert_eq!(error.field_violations()[0].reason, "MONTH_NOT_BEGUN");
}

#[tokio::test]
async fn days_that_are_over_are_kept_and_say_the_same() {
    let mut shop = Shop::open(60_000).await;
    let finance = shop.world.staff("finance").await;
    pay(&shop, 200_000).await;
    adjust(&finance, &shop.budi, 3_000_000, "paid at the counter").await;
    let placed = shop.budi.buy("web-1").await;
    shop.budi.wait_active(&placed).await;
    backdate(&shop.world, 3).await;
    let (start, end) = (days_ago(5), next(today()));
    let live = revenue(&finance, start, end, Interval::Day).await;
    let played = live.rows.iter().find(|row| row.charges == 1).unwrap();
    let day = played.start_date.clone();
    // The job rests for a minute when it has found nothing.
    let awake =
        "update walks set rest_until = now() - interval '1 day' where name = 'keep figures'";
    sql(&shop.world, awake).await;
    shop.world.restart();
    eventually("the days are kept", || async {
        let mut behind = shop.world.behind_the_scenes().await;
        let kept: i64 = sqlx::query_scalar("select count(distinct day) from report_days")
            .fetch_one(&mut behind)
            .await
            .unwrap();
        if kept >= 3 { Ok(()) } else { Err(kept) }
    })
    .await;
    assert_eq!(revenue(&finance, start, end, Interval::Day).await, live);
    // What is kept is what is shown, until the proof of the day finds it wrong and puts it right.
    let changed =
        format!("update report_days set charged = charged + 7 where day = '{day}' and charges = 1");
    assert_eq!(sql(&shop.world, &changed).await, 1);
    let wrong = revenue(&finance, start, end, Interval::Day).await;
    let more = |report: &RevenueReport| rupiah(report.total.as_ref().unwrap().charged.as_ref());
    assert_eq!(more(&wrong), more(&live) + 7);
    let run = crate::reconciliation::prove(&finance, &day).await;
    let found = crate::reconciliation::differences(&finance, &run.id).await;
    use sewa_sdk::sewa::report::v1::reconciliation_difference::Kind as Found;
    let kept: Vec<_> = found
        .iter()
        .filter(|d| d.kind() == Found::KeptFiguresDiffer)
        .collect();
    assert_eq!(kept.len(), 1, "{found:?}");
    assert_eq!(rupiah(kept[0].difference.as_ref()), -7);
    assert_eq!(revenue(&finance, start, end, Interval::Day).await, live);
}
