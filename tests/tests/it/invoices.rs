//! Invoices, credit notes and what the tax office gets of them. [B4]

use std::collections::{BTreeMap, BTreeSet};

use sewa_sdk::money::Money;
use sewa_sdk::sewa::invoice::v1::invoice::Kind;
use sewa_sdk::sewa::invoice::v1::{
    DownloadInvoiceRequest, ExportTaxInvoicesRequest, GetInvoiceRequest, GetTaxPeriodRequest,
    Invoice, SearchInvoicesRequest,
};
use sewa_sdk::sewa::wallet::v1::AdjustWalletRequest;
use sewa_sdk::sewa::wallet::v1::transaction::Kind as Moved;
use sewa_tests::actor::rupiah;
use sewa_tests::patience::eventually;
use sewa_tests::{Actor, NOBODYS_ID, Settings, World, keyed, reason_of};

use crate::lifecycle::{owner, total};

/// A reseller with real money.
pub(crate) async fn rich(world: &World) -> Actor {
    let (budi, finance) = (world.real_reseller().await, world.staff("finance").await);
    give(&finance, &budi).await;
    budi
}

pub(crate) async fn give(finance: &Actor, budi: &Actor) {
    let request = AdjustWalletRequest {
        account_id: budi.account_id.clone(),
        amount: Some(Money::idr(50_000_000)),
        reason: "paid at the counter".to_owned(),
    };
    let mut wallet = finance.wallet();
    wallet.adjust_wallet(keyed("give", request)).await.unwrap();
}

/// The month of an invoice as requests write it.
fn month(invoice: &Invoice) -> String {
    let digits = invoice.number.split('/').nth(1).unwrap();
    format!("{}-{}", &digits[..4], &digits[4..])
}

fn sequence(invoice: &Invoice) -> i32 {
    invoice.number.rsplit('/').next().unwrap().parse().unwrap()
}

fn adds_up(invoice: &Invoice) {
    let lines: i64 = invoice.lines.iter().map(|l| rupiah(l.net.as_ref())).sum();
    let (net, tax) = (rupiah(invoice.net.as_ref()), rupiah(invoice.tax.as_ref()));
    assert_eq!(lines, net, "{invoice:?}");
    assert_eq!(net + tax, rupiah(invoice.total.as_ref()));
    // 12 % on 11/12 of the price, half up to the rupiah.
    assert_eq!(invoice.tax_percent, 12);
    assert_eq!(rupiah(invoice.tax_base.as_ref()), (net * 22 + 12) / 24);
    assert_eq!(tax, (net * 11 * 2 + 100) / 200);
}

async fn of_month(finance: &Actor, month: &str, kind: Kind, sandbox: bool) -> Vec<Invoice> {
    let mut request = SearchInvoicesRequest {
        page_size: 7,
        month: month.to_owned(),
        kind: kind.into(),
        sandbox,
        ..Default::default()
    };
    let mut found = Vec::new();
    loop {
        let mut stub = finance.invoices();
        let reply = stub.search_invoices(request.clone()).await.unwrap();
        let reply = reply.into_inner();
        found.extend(reply.invoices);
        if reply.next_page_token.is_empty() {
            return found;
        }
        request.page_token = reply.next_page_token;
    }
}

#[tokio::test]
async fn each_charge_gets_one_invoice_that_adds_up_to_it() {
    let world = World::new().await;
    let (budi, machine) = owner(&world, 3).await;
    budi.advance(95, 0).await;
    let invoices = budi.invoiced(4).await;
    let charged = |kind: Moved| [Moved::Capture, Moved::Charge].contains(&kind);
    let mut charges = budi.transactions().await;
    charges.retain(|t| charged(t.kind()));
    let journals: BTreeSet<&str> = charges.iter().map(|t| t.id.as_str()).collect();
    let documented: BTreeSet<&str> = invoices.iter().map(|i| i.journal_id.as_str()).collect();
    assert_eq!((journals, invoices.len()), (documented, 4));
    for (at, invoice) in invoices.iter().enumerate() {
        adds_up(invoice);
        assert_eq!(rupiah(invoice.total.as_ref()), total(&machine));
        assert_eq!(invoice.kind(), Kind::Invoice);
        assert!(
            invoice.number.starts_with("TEST-INV/20"),
            "{}",
            invoice.number
        );
        assert_eq!(sequence(invoice), i32::try_from(at).unwrap() + 1);
        let line = &invoice.lines[0];
        assert_eq!(line.hostname, "web-1");
        assert!(!line.plan_name.is_empty());
        assert!(invoice.sandbox);
        let seller = invoice.seller.as_ref().unwrap();
        assert_eq!(seller.tax_number, "0012345678901000");
        let buyer = invoice.buyer.as_ref().unwrap();
        assert_eq!(
            buyer.name, "Toko Budi",
            "without a profile it is the account"
        );
    }
    // The periods follow one another without a gap.
    let period = |i: &Invoice| (i.lines[0].start_time, i.lines[0].end_time);
    for pair in invoices.windows(2) {
        assert!(period(&pair[0]).1.is_some());
        assert_eq!(period(&pair[0]).1, period(&pair[1]).0);
    }
}

#[tokio::test]
async fn numbers_have_no_gap_and_no_twin_whatever_crashes() {
    let mut world = World::new().await;
    world.add_server();
    world.add_worker();
    let finance = world.staff("finance").await;
    let mut buyers = Vec::new();
    for _ in 0..4 {
        let buyer = world.reseller().await;
        buyer.deposit(100_000_000).await;
        buyers.push(buyer);
    }
    for round in 0..3 {
        let mut buying = Vec::new();
        for buyer in &buyers {
            for number in 0..3 {
                buying.push(async move { buyer.buy(&format!("web-{round}-{number}")).await });
            }
        }
        let placed = futures_util::future::join_all(buying).await;
        // In the middle of whatever it does.
        world.restart();
        assert_eq!(placed.len(), 12);
    }
    let mut all = Vec::new();
    for buyer in &buyers {
        let invoices = buyer.invoiced(9).await;
        assert_eq!(invoices.len(), 9);
        all.extend(invoices);
    }
    let mut months: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for invoice in &all {
        let numbers = months.entry(month(invoice)).or_default();
        assert!(
            numbers.insert(sequence(invoice)),
            "{} twice",
            invoice.number
        );
    }
    for (month, numbers) in &months {
        let count = i32::try_from(numbers.len()).unwrap();
        assert_eq!(numbers, &(1..=count).collect(), "{month} has a gap");
        let listed = of_month(&finance, month, Kind::Invoice, true).await;
        let listed: Vec<i32> = listed.iter().map(sequence).collect();
        assert_eq!(listed, (1..=count).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_invoice_stays_as_it_was_issued() {
    let world = World::new().await;
    let budi = rich(&world).await;
    budi.buy("web-1").await;
    let issued = budi.invoiced(1).await.remove(0);
    let buyer = issued.buyer.clone().unwrap();
    assert_eq!(buyer.name, "CV Toko Budi");
    assert_eq!(buyer.tax_number, "0098765432109000");
    assert_eq!(
        buyer.address,
        ["Jl. Merdeka 17", "Bandung 40111", "Jawa Barat"]
    );
    assert!(issued.number.starts_with("INV/20"), "{}", issued.number);
    let request = sewa_sdk::sewa::billing::v1::UpdateBillingProfileRequest {
        billing_profile: Some(sewa_sdk::sewa::billing::v1::BillingProfile {
            name: "Somebody else".to_owned(),
            ..Default::default()
        }),
        update_mask: None,
    };
    budi.billing()
        .update_billing_profile(request)
        .await
        .unwrap();
    let request = GetInvoiceRequest {
        invoice_id: issued.id.clone(),
    };
    let again = budi.invoices().get_invoice(request).await.unwrap();
    assert_eq!(again.into_inner().invoice, Some(issued));
    // What the server itself may not do.
    let mut behind = world.behind_the_scenes().await;
    sqlx::query("set role sewa_app")
        .execute(&mut behind)
        .await
        .unwrap();
    for attempt in [
        "update invoices set total = total",
        "delete from invoices",
        "truncate invoices",
    ] {
        let refused = sqlx::query(attempt).execute(&mut behind).await.unwrap_err();
        let code = refused.as_database_error().and_then(|e| e.code());
        assert_eq!(code.as_deref(), Some("42501"), "{attempt}: {refused}");
    }
    let log = world.servers[0].log();
    assert!(!log.contains("98765432109"), "a tax number was logged");
}

#[tokio::test]
async fn a_document_is_downloaded_in_both_languages() {
    let world = World::new().await;
    let budi = rich(&world).await;
    budi.buy("web-1").await;
    let invoice = budi.invoiced(1).await.remove(0);
    let path = format!("/v1/invoices/{}:download", invoice.id);
    let http = world.http().bearer(&budi.tokens.access_token);
    let mut documents = Vec::new();
    for language in ["", "id", "en"] {
        let request = DownloadInvoiceRequest {
            invoice_id: invoice.id.clone(),
            language: language.to_owned(),
        };
        let reply = budi.invoices().download_invoice(request).await.unwrap();
        let document = reply.into_inner().document.unwrap();
        assert_eq!(document.content_type, "application/pdf");
        assert!(document.data.starts_with(b"%PDF-"));
        let answer = http.get(&format!("{path}?language={language}")).await;
        assert_eq!(answer.header("content-type"), "application/pdf");
        assert_eq!(answer.body, document.data, "REST and gRPC agree");
        documents.push(document.data);
    }
    assert_eq!(
        documents[0], documents[1],
        "Indonesian unless asked otherwise"
    );
    assert_ne!(documents[1], documents[2]);

    let stranger = world.reseller().await;
    for (who, id) in [(&budi, NOBODYS_ID), (&stranger, invoice.id.as_str())] {
        let get = GetInvoiceRequest {
            invoice_id: id.to_owned(),
        };
        let refused = who.invoices().get_invoice(get).await;
        assert_eq!(reason_of(refused), "INVOICE_NOT_FOUND");
        let download = DownloadInvoiceRequest {
            invoice_id: id.to_owned(),
            ..Default::default()
        };
        let refused = who.invoices().download_invoice(download).await;
        assert_eq!(reason_of(refused), "INVOICE_NOT_FOUND");
    }
    let finance = world.staff("finance").await;
    let get = GetInvoiceRequest {
        invoice_id: invoice.id.clone(),
    };
    let seen = finance.invoices().get_invoice(get).await.unwrap();
    assert_eq!(seen.into_inner().invoice, Some(invoice));
}

/// Gives money back as the ledger would. Nothing that customers or staff can do today refunds a charge, so this is done by SQL, with its news or without.
pub(crate) async fn refund(
    world: &World,
    budi: &Actor,
    subject: &str,
    net: i64,
    tax: i64,
    news: bool,
) {
    let mut behind = world.behind_the_scenes().await;
    let account: uuid::Uuid = budi.account_id.parse().unwrap();
    let subject: uuid::Uuid = subject.parse().unwrap();
    sqlx::query(
        "with moved as (
            update balances set available = available + $3 + $4, last_journal_id = $5, updated_at = now() where account_id = $1 returning available, held
        ), journal as (
            insert into journals (account_id, id, kind, subject_id, description, available, refund, ppn_payable, available_after, held_after, recorded_at)
            select $1, $5, 6, $2, 'Refund of some days', $3 + $4, -$3, -$4, available, held, now() from moved
        )
        insert into events (account_id, id, type, subject_id, revision, occurred_at, payload) select $1, $5, 14, $5, 1, now(), '' where $6",
    )
    .bind(account)
    .bind(subject)
    .bind(net)
    .bind(tax)
    .bind(uuid::Uuid::now_v7())
    .bind(news)
    .execute(&mut behind)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_refund_gets_a_credit_note_whether_or_not_an_event_tells_of_it() {
    let mut world = World::new().await;
    let budi = rich(&world).await;
    let order = budi.buy("web-1").await.order;
    let invoice = budi.invoiced(1).await.remove(0);
    refund(&world, &budi, &order.id, 10_000, 1100, true).await;
    let note = budi.invoiced(2).await.remove(1);
    assert_eq!(note.kind(), Kind::CreditNote);
    assert!(note.number.starts_with("CN/20"), "{}", note.number);
    assert_eq!(note.corrects_number, invoice.number);
    adds_up(&note);
    assert_eq!(rupiah(note.total.as_ref()), 11_100);

    refund(&world, &budi, &order.id, 5000, 550, false).await;
    // Time for the walk through all accounts.
    let mut behind = world.behind_the_scenes().await;
    eventually("the first walk has ended", || async {
        let mut behind = world.behind_the_scenes().await;
        let walked: i64 =
            sqlx::query_scalar("select count(*) from walks where name = 'issue invoices'")
                .fetch_one(&mut behind)
                .await
                .unwrap();
        if walked == 1 { Ok(()) } else { Err(walked) }
    })
    .await;
    sqlx::query("update walks set rest_until = now() - interval '1 day', account_id = '00000000-0000-0000-0000-000000000000' where name = 'issue invoices'")
        .execute(&mut behind)
        .await
        .unwrap();
    world.restart();
    let second = budi.invoiced(3).await.remove(2);
    assert_eq!(rupiah(second.total.as_ref()), 5550);
    assert_eq!(sequence(&second), sequence(&note) + 1);
}

#[tokio::test]
async fn a_month_is_summed_and_exported_for_the_tax_office() {
    let world = World::new().await;
    let finance = world.staff("finance").await;
    let budi = rich(&world).await;
    budi.buy("web-1").await;
    budi.buy("web-2").await;
    let player = world.reseller().await;
    player.deposit(50_000_000).await;
    player.buy("web-3").await;
    player.invoiced(1).await;
    let invoices = budi.invoiced(2).await;
    let month = month(&invoices[0]);
    let request = GetTaxPeriodRequest {
        month: month.clone(),
    };
    let mut stub = finance.invoices();
    let period = stub.get_tax_period(request).await.unwrap().into_inner();
    let period = period.tax_period.unwrap();
    let sum = |of: fn(&Invoice) -> Option<&Money>| -> i64 {
        invoices.iter().map(|i| rupiah(of(i))).sum()
    };
    assert_eq!((period.invoices, period.parts), (2, 1));
    assert_eq!(rupiah(period.net.as_ref()), sum(|i| i.net.as_ref()));
    assert_eq!(rupiah(period.tax.as_ref()), sum(|i| i.tax.as_ref()));
    assert_eq!((period.credit_notes, period.without_tax_number), (0, 0));

    let http = world.http().bearer(&finance.tokens.access_token);
    let answer = http.get(&format!("/v1/tax-periods/{month}:export")).await;
    assert_eq!(answer.header("content-type"), "application/xml");
    let xml = answer.text();
    for expected in [
        "<TIN>0012345678901000</TIN>",
        "<BuyerTin>0098765432109000</BuyerTin>",
        "<BuyerAdress>Jl. Merdeka 17, Bandung 40111, Jawa Barat</BuyerAdress>",
        "(web-1)",
        "(web-2)",
    ] {
        assert!(xml.contains(expected), "{expected} is not in {xml}");
    }
    assert_eq!(xml.matches("<TaxInvoice>").count(), 2);
    assert!(!xml.contains("TEST-INV"), "sandbox money is not real");
    for invoice in &invoices {
        assert!(xml.contains(&format!("<RefDesc>{}</RefDesc>", invoice.number)));
    }
    let request = ExportTaxInvoicesRequest { month, part: 2 };
    let refused = stub.export_tax_invoices(request).await;
    assert_eq!(reason_of(refused), "TAX_PART_NOT_FOUND");
}

#[tokio::test]
async fn without_a_seller_nothing_is_issued_until_there_is_one() {
    let unset = ["SELLER__NAME", "SELLER__ADDRESS", "SELLER__NPWP"];
    let settings = unset
        .iter()
        .fold(Settings::default(), |s, name| s.without(name));
    let mut world = World::with(settings).await;
    let finance = world.staff("finance").await;
    let budi = world.reseller().await;
    budi.deposit(50_000_000).await;
    budi.buy("web-1").await;
    let request = ExportTaxInvoicesRequest {
        month: "2026-11".to_owned(),
        part: 0,
    };
    let refused = finance.invoices().export_tax_invoices(request).await;
    assert_eq!(reason_of(refused), "SELLER_NOT_SET");
    let seller = Settings::default()
        .with("SELLER__NAME", "PT Baru")
        .with("SELLER__ADDRESS", "Jl. Baru 2")
        .with("SELLER__NPWP", "0111111111111111");
    world.add_server_with(seller).unwrap();
    let invoice = budi.invoiced(1).await.remove(0);
    assert_eq!(invoice.seller.unwrap().name, "PT Baru");
}
