//! Callbacks in every order there is. [R7]

use futures_util::StreamExt;
use sewa_payment_simulators::Status;
use sewa_payment_simulators::tripay::Tripay;
use sewa_sdk::sewa::wallet::v1::deposit::State;

use crate::shop::{Shop, payments, read};

/// What may happen to a deposit. Each is followed by its callback.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Expires,
    IsPaid,
    IsSaidToBePaid,
    IsPaidBack,
    IsSaidToFail,
}

impl Happening {
    const ALL: [Self; 5] = [
        Self::Expires,
        Self::IsPaid,
        Self::IsSaidToBePaid,
        Self::IsPaidBack,
        Self::IsSaidToFail,
    ];
}

/// Every order of every choice of happenings.
fn orders() -> Vec<Vec<Happening>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    let mut from = 0;
    while from < all.len() {
        let begun = all[from].clone();
        let next = (0..Happening::ALL.len()).filter(|i| !begun.contains(i));
        all.extend(next.map(|i| [begun.as_slice(), &[i]].concat()));
        from += 1;
    }
    let named = |order: Vec<usize>| order.into_iter().map(|i| Happening::ALL[i]).collect();
    all.into_iter().map(named).collect()
}

async fn live_through(shop: &Shop, order: &[Happening]) {
    let deposit = shop.deposit(50_000).await;
    let reference = deposit.gateway_reference.as_str();
    for happening in order {
        let status = |tripay: &Tripay| {
            let payments = tripay.payments();
            let found = payments.iter().find(|p| p.reference == reference);
            found.expect("a payment").status
        };
        let present = status(&shop.tripay);
        let saying = match happening {
            Happening::Expires if present == Status::Unpaid => {
                shop.tripay.move_to(reference, Status::Expired);
                Status::Expired
            }
            Happening::Expires => Status::Expired,
            // A payer may pay what has expired.
            Happening::IsPaid if present != Status::Refunded => {
                shop.tripay.move_to(reference, Status::Paid);
                Status::Paid
            }
            Happening::IsPaid | Happening::IsSaidToBePaid => Status::Paid,
            Happening::IsPaidBack if present == Status::Paid => {
                shop.tripay.move_to(reference, Status::Refunded);
                Status::Refunded
            }
            Happening::IsPaidBack => Status::Refunded,
            Happening::IsSaidToFail => Status::Failed,
        };
        let callback = shop.tripay.callback_saying(reference, saying, |_| {});
        assert_eq!(shop.deliver(&callback).await.0, 200);
    }
    let all = shop.tripay.payments();
    let truth = all.iter().find(|p| p.reference == reference).unwrap();
    let seen = read(&shop.budi, &deposit.id).await;
    let state = match truth.status {
        Status::Unpaid => State::Pending,
        Status::Paid => State::Paid,
        Status::Expired => State::Expired,
        Status::Failed => State::Failed,
        Status::Refunded => State::Reversed,
    };
    let kept: i64 = payments(&seen)
        .iter()
        .map(|(_, _, credited)| credited)
        .sum();
    assert_eq!((seen.state(), kept), (state, truth.owed()), "{order:?}");
}

#[tokio::test]
async fn every_order_of_up_to_five_events_ends_in_the_truth() {
    let shop = Shop::open(60_000).await;
    let orders = orders();
    assert_eq!(orders.len(), 1 + 5 + 20 + 60 + 120 + 120);
    futures_util::stream::iter(&orders)
        .for_each_concurrent(8, |order| live_through(&shop, order))
        .await;
    shop.agree().await;
}
