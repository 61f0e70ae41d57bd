//! Walking a list.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, TryStreamExt};
use sewa_sdk::pages;
use tonic::{Response, Status};

/// A list of the numbers below 7, three to a page. The token is the first number of the page.
async fn list(calls: &AtomicUsize, token: String) -> Result<Response<(Vec<u32>, String)>, Status> {
    calls.fetch_add(1, Ordering::Relaxed);
    let first: u32 = if token.is_empty() {
        0
    } else {
        token
            .parse()
            .map_err(|_| Status::invalid_argument("token"))?
    };
    let next = if first + 3 < 7 {
        (first + 3).to_string()
    } else {
        String::new()
    };
    Ok(Response::new(((first..7.min(first + 3)).collect(), next)))
}

#[tokio::test]
async fn all_items_come_in_order_and_the_end_is_the_end() {
    let calls = AtomicUsize::new(0);
    let all = pages(
        String::new(),
        |request, token| *request = token,
        |request| list(&calls, request),
        |reply| reply,
    );
    assert_eq!(
        all.try_collect::<Vec<_>>().await.unwrap(),
        [0, 1, 2, 3, 4, 5, 6]
    );
    assert_eq!(calls.into_inner(), 3);
}

#[tokio::test]
async fn a_page_nobody_wants_is_not_asked_for() {
    let calls = AtomicUsize::new(0);
    let all = pages(
        String::new(),
        |request, token| *request = token,
        |request| list(&calls, request),
        |reply| reply,
    );
    assert_eq!(
        all.take(3).try_collect::<Vec<_>>().await.unwrap(),
        [0, 1, 2]
    );
    assert_eq!(calls.into_inner(), 1);
}

#[tokio::test]
async fn an_error_comes_after_the_items_before_it() {
    let calls = AtomicUsize::new(0);
    let all = pages(
        String::new(),
        |request, token| *request = format!("not a number {token}"),
        |request| list(&calls, request),
        |reply| reply,
    );
    let items: Vec<_> = all.collect().await;
    assert_eq!(items.len(), 4);
    assert_eq!(items[3].as_ref().unwrap_err().message(), "token");
}
