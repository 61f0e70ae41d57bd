//! The proof of a day: every difference between our books, the gateways and the invoices is named in rupiah, whoever made it. [B6]

use std::collections::BTreeSet;

use sewa_payment_simulators::Status;
use sewa_payment_simulators::midtrans::{self, Midtrans};
use sewa_payment_simulators::xendit::{self, Xendit};
use sewa_sdk::money::Money;
use sewa_sdk::sewa::report::v1::gateway_comparison::Comparison;
use sewa_sdk::sewa::report::v1::reconciliation::State;
use sewa_sdk::sewa::report::v1::reconciliation_difference::Kind;
use sewa_sdk::sewa::report::v1::{
    ExportReportRequest, GetReconciliationRequest, ListReconciliationDifferencesRequest,
    ListReconciliationsRequest, Reconciliation, ReconciliationDifference,
    RequestReconciliationRequest, export_report_request,
};
use sewa_sdk::sewa::wallet::v1::ConfirmDepositRequest;
use sewa_sdk::sewa::wallet::v1::deposit::Method;
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, Settings, World, is_replay, keyed, reason_of};

use crate::reports::{adjust, backdate, days_ago, leave_alone, pay, sql};
use crate::shop::{Shop, bank, deliver, open};

async fn ask(finance: &Actor, day: &str) -> Reconciliation {
    let request = RequestReconciliationRequest {
        day: day.to_owned(),
    };
    let reply = finance.reports().request_reconciliation(request).await;
    reply.unwrap().into_inner().reconciliation.unwrap()
}

async fn ended(finance: &Actor, id: &str) -> Reconciliation {
    eventually("the proof of a day has ended", || async {
        let request = GetReconciliationRequest {
            reconciliation_id: id.to_owned(),
        };
        let reply = finance.reports().get_reconciliation(request).await;
        let run = reply.unwrap().into_inner().reconciliation.unwrap();
        match run.state() {
            State::Done | State::Failed => Ok(run),
            _ => Err(run),
        }
    })
    .await
}

/// Has a day proved, and waits for it.
pub(crate) async fn prove(finance: &Actor, day: &str) -> Reconciliation {
    let asked = ask(finance, day).await;
    let run = ended(finance, &asked.id).await;
    assert_eq!(
        (run.state(), run.day.as_str()),
        (State::Done, day),
        "{run:?}"
    );
    run
}

/// All that a run found.
pub(crate) async fn differences(finance: &Actor, id: &str) -> Vec<ReconciliationDifference> {
    let mut request = ListReconciliationDifferencesRequest {
        page_size: 2,
        page_token: String::new(),
        reconciliation_id: id.to_owned(),
    };
    let mut found = Vec::new();
    loop {
        let mut stub = finance.reports();
        let reply = stub.list_reconciliation_differences(request.clone()).await;
        let reply = reply.unwrap().into_inner();
        found.extend(reply.differences);
        if reply.next_page_token.is_empty() {
            return found;
        }
        request.page_token = reply.next_page_token;
    }
}

type Named = (Kind, String, i64, i64);

fn named(d: &ReconciliationDifference) -> Named {
    let (ours, theirs) = (rupiah(d.ours.as_ref()), rupiah(d.theirs.as_ref()));
    assert_eq!(rupiah(d.difference.as_ref()), ours - theirs);
    assert!(!d.cause.is_empty());
    let about = [&d.gateway_reference, &d.journal_id, &d.deposit_id];
    let about = about.into_iter().find(|id| !id.is_empty());
    (d.kind(), about.cloned().unwrap_or_default(), ours, theirs)
}

/// No proof of all books meanwhile: what is planted here would freeze the wallet.
fn unguarded() -> Settings {
    Settings::default().with("PROOF_REST_SECONDS", 0)
}

#[tokio::test]
async fn planted_differences_are_each_named() {
    let shop = Shop::with(60_000, unguarded()).await;
    let (world, budi) = (&shop.world, &shop.budi);
    let finance = world.staff("finance").await;
    let (clean, clean_deposit) = pay(&shop, 50_000).await;
    let (forgotten, _) = pay(&shop, 60_000).await;
    let (short, _) = pay(&shop, 70_000).await;
    let (taken_back, _) = pay(&shop, 80_000).await;
    let unseen = shop.deposit(90_000).await;
    let unseen_ref = unseen.gateway_reference.clone();
    leave_alone(world).await;
    shop.tripay.move_to(&unseen_ref, Status::Paid);
    adjust(&finance, budi, 20_000_000, "paid at the counter").await;
    for hostname in ["web-1", "web-2", "web-3", "web-4"] {
        let placed = budi.buy(hostname).await;
        budi.wait_active(&placed).await;
    }
    let invoices = budi.invoiced(4).await;
    let total = rupiah(invoices[0].total.as_ref());
    let journal = |at: usize| invoices[at].journal_id.clone();

    // All of it was yesterday, here and there.
    backdate(world, 1).await;
    for reference in [&clean, &forgotten, &short, &taken_back, &unseen_ref] {
        shop.tripay.backdate(reference, 86_400);
    }
    let day = days_ago(1).to_string();
    let first = prove(&finance, &day).await;
    let found = differences(&finance, &first.id).await;
    let only_there = (Kind::PaymentNotInBooks, unseen_ref.clone(), 0, 90_000);
    assert_eq!(
        found.iter().map(named).collect::<Vec<_>>(),
        [only_there.clone()]
    );
    assert_eq!(found[0].deposit_id, unseen.id);
    assert_eq!(found[0].account_id, budi.account_id);
    assert_eq!(
        found[0].method(),
        sewa_sdk::sewa::wallet::v1::deposit::Method::Tripay
    );
    assert!(found[0].cause.contains("PENDING"), "{}", found[0].cause);
    assert!(first.complete);
    let tripay = &first.gateways[0];
    assert_eq!(tripay.comparison(), Comparison::List);
    assert_eq!((tripay.payments, tripay.gateway_payments), (4, 5));
    assert_eq!(rupiah(tripay.paid.as_ref()), 260_000);
    assert_eq!(rupiah(tripay.gateway_paid.as_ref()), 350_000);
    assert_eq!(rupiah(tripay.fees.as_ref()), 4 * 4250);
    assert_eq!(
        (first.charges, rupiah(first.charged.as_ref())),
        (4, 4 * total)
    );
    assert_eq!(rupiah(first.invoiced.as_ref()), 4 * total);

    shop.tripay.forget(&forgotten);
    shop.tripay.pay(&short, 69_000, 0);
    shop.tripay.backdate(&short, 86_400);
    shop.tripay.move_to(&taken_back, Status::Refunded);
    let plant = format!(
        "delete from invoices where journal_id = '{}';
        update invoices set net = net - 1000, total = total - 1000 where journal_id = '{}';
        update invoices set journal_id = '{NOBODYS_ID}' where journal_id = '{}';
        update payments set credited = credited + 5 where deposit_id = '{clean_deposit}'",
        journal(0),
        journal(1),
        journal(2),
    );
    sql(world, &plant).await;
    let second = prove(&finance, &day).await;
    assert_ne!(second.id, first.id);
    let found = differences(&finance, &second.id).await;
    let expected: BTreeSet<String> = [
        only_there.clone(),
        (Kind::PaymentNotAtGateway, forgotten.clone(), 60_000, 0),
        (Kind::AmountDiffers, short.clone(), 70_000, 69_000),
        (Kind::ReversalDiffers, taken_back.clone(), 0, -80_000),
        (Kind::LedgerDiffers, clean_deposit.clone(), 50_000, 50_005),
        (Kind::InvoiceMissing, journal(0), total, 0),
        (Kind::InvoiceDiffers, journal(1), total, total - 1000),
        (Kind::InvoiceMissing, journal(2), total, 0),
        (Kind::InvoiceWithoutCharge, NOBODYS_ID.to_owned(), 0, total),
    ]
    .iter()
    .map(|named| format!("{named:?}"))
    .collect();
    let seen: BTreeSet<String> = found.iter().map(|d| format!("{:?}", named(d))).collect();
    assert_eq!(seen, expected);
    assert_eq!(found.len(), expected.len());
    let sum: i64 = found
        .iter()
        .map(|d| rupiah(d.difference.as_ref()).abs())
        .sum();
    assert_eq!(rupiah(second.differing.as_ref()), sum);
    assert_eq!(second.differences, i64::try_from(found.len()).unwrap());
    let http = world.http().bearer(&finance.tokens.access_token);
    let path = format!(
        "/v1/reports:export?report=REPORT_RECONCILIATION&reconciliationId={}",
        second.id
    );
    let csv = http.get(&path).await.text();
    assert_eq!(csv.lines().count(), found.len() + 1, "{csv}");
    assert!(
        csv.contains("PAYMENT_NOT_AT_GATEWAY,60000,0,60000,TRIPAY,"),
        "{csv}"
    );

    // The callback that was lost comes at last, a day late: it is the gateway's yesterday all the same.
    let callback = shop.tripay.callback(&unseen_ref);
    assert_eq!(shop.deliver(&callback).await.0, 200);
    let restored =
        format!("update payments set credited = credited - 5 where deposit_id = '{clean_deposit}'");
    sql(world, &restored).await;
    let third = prove(&finance, &day).await;
    let now: BTreeSet<String> = differences(&finance, &third.id)
        .await
        .iter()
        .map(|d| format!("{:?}", named(d)))
        .collect();
    assert!(now.is_subset(&expected), "{now:?}");
    assert!(!now.contains(&format!("{only_there:?}")));
    assert!(now.iter().all(|d| !d.contains("LedgerDiffers")), "{now:?}");
    assert_eq!(now.len(), expected.len() - 2);
    // Today's books have the late one, and today's proof looks for it where it is.
    let today = prove(&finance, &days_ago(0).to_string()).await;
    assert_eq!(
        today.differences,
        0,
        "{:?}",
        differences(&finance, &today.id).await
    );

    // What was found stays as it was found.
    let request = ListReconciliationsRequest {
        page_size: 2,
        day: day.clone(),
        ..Default::default()
    };
    let listed = finance
        .reports()
        .list_reconciliations(request.clone())
        .await;
    let listed = listed.unwrap().into_inner();
    let ids: Vec<&String> = listed.reconciliations.iter().map(|run| &run.id).collect();
    assert_eq!(ids, [&third.id, &second.id]);
    let request = ListReconciliationsRequest {
        page_token: listed.next_page_token,
        ..request
    };
    let rest = finance
        .reports()
        .list_reconciliations(request)
        .await
        .unwrap();
    assert_eq!(rest.into_inner().reconciliations, [first.clone()]);
    assert_eq!(first.requested_by, finance.user_id);
    assert_eq!(differences(&finance, &second.id).await, found);
}

#[tokio::test]
async fn every_gateway_is_compared_as_far_as_it_tells() {
    let (xendit, midtrans) = (
        Xendit::open().await.unwrap(),
        Midtrans::open().await.unwrap(),
    );
    let (_file, settings) = bank();
    let settings = settings
        .with("PAYMENTS__XENDIT__BASE_URL", xendit.base_url())
        .with("PAYMENTS__XENDIT__SECRET_KEY", xendit::SECRET_KEY)
        .with("PAYMENTS__XENDIT__CALLBACK_TOKEN", xendit::CALLBACK_TOKEN)
        .with("PAYMENTS__MIDTRANS__BASE_URL", midtrans.core_url())
        .with("PAYMENTS__MIDTRANS__SNAP_URL", midtrans.snap_url())
        .with("PAYMENTS__MIDTRANS__SERVER_KEY", midtrans::SERVER_KEY);
    let shop = Shop::with(60_000, settings).await;
    let (world, budi) = (&shop.world, &shop.budi);
    let finance = world.staff("finance").await;
    // More than a page of the list, before and after.
    shop.tripay.remember_others(120);
    pay(&shop, 50_000).await;

    let by_xendit = open(budi, Method::Xendit, "INVOICE", 60_000).await;
    let id = by_xendit.gateway_reference.clone();
    xendit.pay(&id, 60_000);
    let told = xendit.callback_saying(&id, Status::Paid, |_| {});
    assert_eq!(deliver(world, "xendit", &told).await.0, 200);
    let unseen_invoice = open(budi, Method::Xendit, "INVOICE", 61_000).await;
    leave_alone(world).await;
    xendit.pay(&unseen_invoice.gateway_reference, 61_000);

    let by_midtrans = open(budi, Method::Midtrans, "SNAP", 70_000).await;
    midtrans.move_to(&by_midtrans.id, Status::Paid);
    let told = midtrans.callback_saying(&by_midtrans.id, Status::Paid, |_| {});
    assert_eq!(deliver(world, "midtrans", &told).await.0, 200);
    let unseen_order = open(budi, Method::Midtrans, "SNAP", 71_000).await;
    leave_alone(world).await;
    midtrans.move_to(&unseen_order.id, Status::Paid);
    open(budi, Method::Midtrans, "SNAP", 72_000).await;

    let transfer = open(budi, Method::BankTransfer, "BCA", 80_000).await;
    let request = ConfirmDepositRequest {
        deposit_id: transfer.id.clone(),
        received: Some(Money::idr(80_000)),
        bank_reference: "BCA-1".to_owned(),
    };
    let confirmed = finance
        .wallet()
        .confirm_deposit(keyed("seen", request))
        .await;
    confirmed.unwrap();

    let run = prove(&finance, &days_ago(0).to_string()).await;
    let compared: Vec<(Method, Comparison, i64, i64, i64)> = run
        .gateways
        .iter()
        .map(|g| {
            let paid = rupiah(g.paid.as_ref());
            (
                g.method(),
                g.comparison(),
                g.payments,
                paid,
                rupiah(g.gateway_paid.as_ref()),
            )
        })
        .collect();
    assert_eq!(
        compared,
        [
            (Method::Tripay, Comparison::List, 1, 50_000, 50_000),
            (Method::Midtrans, Comparison::LookUp, 1, 70_000, 141_000),
            (Method::Xendit, Comparison::List, 1, 60_000, 121_000),
            (Method::BankTransfer, Comparison::OursOnly, 1, 80_000, 0),
        ]
    );
    assert!(run.complete);
    let found = differences(&finance, &run.id).await;
    let found: Vec<(Kind, i64, i64, &str)> = found
        .iter()
        .map(|d| {
            (
                d.kind(),
                rupiah(d.ours.as_ref()),
                rupiah(d.theirs.as_ref()),
                d.deposit_id.as_str(),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (Kind::PaymentNotInBooks, 0, 71_000, unseen_order.id.as_str()),
            (
                Kind::PaymentNotInBooks,
                0,
                61_000,
                unseen_invoice.id.as_str()
            ),
        ]
    );
    // On another day nothing was paid anywhere, and the list is searched and not read from its beginning.
    let looks = shop.tripay.looks();
    let before = prove(&finance, &days_ago(10).to_string()).await;
    assert_eq!((before.differences, before.complete), (0, true));
    assert!(
        shop.tripay.looks() - looks <= 4,
        "{}",
        shop.tripay.looks() - looks
    );
}

#[tokio::test]
async fn a_gateway_that_fails_leaves_the_proof_incomplete_until_it_is_run_again() {
    let shop = Shop::open(60_000).await;
    let finance = shop.world.staff("finance").await;
    pay(&shop, 50_000).await;
    let today = days_ago(0).to_string();
    shop.tripay.place().go_down().await;
    let run = prove(&finance, &today).await;
    assert!(!run.complete);
    assert_eq!(run.gateways[0].comparison(), Comparison::Incomplete);
    assert!(!run.gateways[0].note.is_empty());
    shop.tripay.place().come_back().await.unwrap();
    eventually("the gateway is compared again", || async {
        let run = prove(&finance, &today).await;
        if run.complete { Ok(()) } else { Err(run) }
    })
    .await;
}

#[tokio::test]
async fn yesterday_is_proved_by_itself() {
    let mut shop = Shop::open(60_000).await;
    let finance = shop.world.staff("finance").await;
    pay(&shop, 50_000).await;
    // A platform that is older than a day.
    backdate(&shop.world, 5).await;
    shop.world.restart();
    let run = eventually("yesterday is proved", || async {
        let request = ListReconciliationsRequest::default();
        let listed = finance.reports().list_reconciliations(request).await;
        let mut listed = listed
            .map_err(|e| e.to_string())?
            .into_inner()
            .reconciliations;
        match listed.pop() {
            Some(run) if run.state() == State::Done => Ok(run),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(run.requested_by, "");
    // Between midnight and one o'clock it is still the turn of the day before.
    assert!(
        [days_ago(1), days_ago(2)]
            .map(|day| day.to_string())
            .contains(&run.day)
    );
}

#[tokio::test]
async fn a_proof_is_asked_for_once_and_only_of_days_that_have_begun() {
    let world = World::new().await;
    let finance = world.staff("finance").await;
    let day = days_ago(3).to_string();
    let request = RequestReconciliationRequest { day: day.clone() };
    let first = finance
        .reports()
        .request_reconciliation(keyed("once", request.clone()))
        .await
        .unwrap();
    let again = finance
        .reports()
        .request_reconciliation(keyed("once", request))
        .await
        .unwrap();
    assert!(is_replay(&again) && !is_replay(&first));
    let (first, again) = (first.into_inner(), again.into_inner());
    assert_eq!(first.reconciliation, again.reconciliation);
    ended(&finance, &first.reconciliation.unwrap().id).await;
    let ahead = RequestReconciliationRequest {
        day: crate::reports::today().succ_opt().unwrap().to_string(),
    };
    let refused = finance.reports().request_reconciliation(ahead).await;
    assert_eq!(reason_of(refused), "DAY_NOT_BEGUN");
    let get = GetReconciliationRequest {
        reconciliation_id: NOBODYS_ID.to_owned(),
    };
    let gone = finance.reports().get_reconciliation(get).await;
    assert_eq!(reason_of(gone), "RECONCILIATION_NOT_FOUND");
    let list = ListReconciliationDifferencesRequest {
        reconciliation_id: NOBODYS_ID.to_owned(),
        ..Default::default()
    };
    let gone = finance
        .reports()
        .list_reconciliation_differences(list)
        .await;
    assert_eq!(reason_of(gone), "RECONCILIATION_NOT_FOUND");
    let export = ExportReportRequest {
        report: export_report_request::Report::Reconciliation.into(),
        reconciliation_id: NOBODYS_ID.to_owned(),
        ..Default::default()
    };
    let gone = finance.reports().export_report(export).await;
    assert_eq!(reason_of(gone), "RECONCILIATION_NOT_FOUND");
    // What was found is added to and nothing else.
    let mut behind = world.behind_the_scenes().await;
    sqlx::query("set role sewa_app")
        .execute(&mut behind)
        .await
        .unwrap();
    for attempt in [
        "update reconciliation_differences set ours = ours",
        "delete from reconciliation_differences",
        "delete from reconciliations",
    ] {
        let refused = sqlx::query(attempt).execute(&mut behind).await.unwrap_err();
        let code = refused.as_database_error().and_then(|e| e.code());
        assert_eq!(code.as_deref(), Some("42501"), "{attempt}: {refused}");
    }
}
