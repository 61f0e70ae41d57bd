//! Statements of accounts, month by month. [W1]

use chrono::Datelike;
use sewa_sdk::sewa::report::v1::{ExportStatementRequest, GetStatementRequest};
use sewa_sdk::sewa::wallet::v1::transaction::Kind;
use sewa_tests::actor::rupiah;
use sewa_tests::{NOBODYS_ID, World, reason_of};

use crate::reports::{backdate, csv, month_of, price, today};

#[tokio::test]
async fn a_statement_goes_from_one_balance_to_the_next() {
    let world = World::new().await;
    let finance = world.staff("finance").await;
    let budi = world.reseller().await;
    budi.deposit(1_000_000).await;
    budi.deposit(400_000).await;
    // Well within last month, whatever the day.
    let last_month = today().with_day(1).unwrap().pred_opt().unwrap();
    let back = u64::from(today().day()) + 10;
    backdate(&world, back).await;
    let placed = budi.buy("web-1").await;
    budi.wait_active(&placed).await;
    let (net, tax) = price(&placed);
    let statement = |month: &str, page_size: i32, page_token: String| GetStatementRequest {
        page_size,
        page_token,
        month: month.to_owned(),
        account_id: String::new(),
    };
    let before = month_of(last_month);
    let reply = budi
        .reports()
        .get_statement(statement(&before, 0, String::new()))
        .await;
    let reply = reply.unwrap().into_inner();
    let shown = reply.statement.unwrap();
    let (opening, closing) = (shown.opening.unwrap(), shown.closing.unwrap());
    assert_eq!(rupiah(opening.available.as_ref()), 0);
    assert_eq!(rupiah(closing.available.as_ref()), 1_400_000);
    assert_eq!((shown.movements, reply.lines.len()), (2, 2));
    let totals: Vec<(Kind, i64, i64)> = shown
        .totals
        .iter()
        .map(|t| (t.kind(), t.count, rupiah(t.available_change.as_ref())))
        .collect();
    assert_eq!(totals, [(Kind::Deposit, 2, 1_400_000)]);

    let month = month_of(today());
    let mut lines = Vec::new();
    let mut token = String::new();
    let shown = loop {
        let reply = budi
            .reports()
            .get_statement(statement(&month, 1, token))
            .await;
        let reply = reply.unwrap().into_inner();
        lines.extend(reply.lines);
        if reply.next_page_token.is_empty() {
            break reply.statement.unwrap();
        }
        token = reply.next_page_token;
    };
    let kinds: Vec<Kind> = lines.iter().map(|line| line.kind()).collect();
    assert_eq!(kinds, [Kind::Hold, Kind::Capture]);
    let (opening, closing) = (shown.opening.unwrap(), shown.closing.unwrap());
    assert_eq!(rupiah(opening.available.as_ref()), 1_400_000);
    assert_eq!(rupiah(closing.available.as_ref()), 1_400_000 - net - tax);
    assert_eq!(rupiah(closing.held.as_ref()), 0);
    let change = |of: fn(&sewa_sdk::sewa::wallet::v1::Transaction) -> i64| -> i64 {
        lines.iter().map(of).sum()
    };
    let available = change(|line| rupiah(line.available_change.as_ref()));
    assert_eq!(1_400_000 + available, rupiah(closing.available.as_ref()));
    let path = format!("/v1/statements/{month}:export");
    let rows = csv(&world, &budi, &path).await;
    let shown: Vec<(&str, &str)> = rows
        .iter()
        .map(|r| (r[1].as_str(), r[5].as_str()))
        .collect();
    let (spent, left) = (
        (-net - tax).to_string(),
        (1_400_000 - net - tax).to_string(),
    );
    assert_eq!(
        shown,
        [
            ("kind", "available"),
            ("OPENING", "1400000"),
            ("HOLD", spent.as_str()),
            ("CAPTURE", "0"),
            ("CLOSING", left.as_str()),
        ]
    );
    // Staff read anybody's, if there is such an account.
    let of = |account_id: &str| GetStatementRequest {
        account_id: account_id.to_owned(),
        ..statement(&month, 0, String::new())
    };
    let seen = finance
        .reports()
        .get_statement(of(&budi.account_id))
        .await
        .unwrap();
    assert_eq!(seen.into_inner().lines, lines);
    let gone = finance.reports().get_statement(of(NOBODYS_ID)).await;
    assert_eq!(reason_of(gone), "ACCOUNT_NOT_FOUND");
    let request = ExportStatementRequest {
        month,
        account_id: NOBODYS_ID.to_owned(),
    };
    let gone = finance.reports().export_statement(request).await;
    assert_eq!(reason_of(gone), "ACCOUNT_NOT_FOUND");
}
