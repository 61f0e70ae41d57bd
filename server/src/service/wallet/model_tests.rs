use proptest::prelude::*;
use uuid::Uuid;

use crate::base::id::{AccountId, JournalId};
use crate::base::money::Rupiah;
use crate::service::wallet::model::{Action, Balance, Books, Command, Journal, Kind, Refused};

const ACCOUNT: AccountId = AccountId(Uuid::from_u128(1));

fn command(action: Action) -> Command {
    Command {
        account: ACCOUNT,
        action,
        subject: Uuid::nil(),
        description: String::new(),
    }
}

fn sum(j: &Journal) -> i64 {
    [
        j.available,
        j.held,
        j.cash_in,
        j.revenue,
        j.refund,
        j.adjustment,
        j.ppn_payable,
    ]
    .iter()
    .map(|r| r.0)
    .sum()
}

#[test]
fn a_hold_is_closed_once() {
    let mut books = Books::default();
    books
        .decide(&command(Action::Deposit(Rupiah(100))), JournalId::new())
        .expect("deposit");
    let hold = books
        .decide(&command(Action::Hold(Rupiah(60))), JournalId::new())
        .expect("hold")
        .id;
    let capture = command(Action::Capture {
        hold,
        tax: Rupiah(6),
    });
    let journal = books.decide(&capture, JournalId::new()).expect("capture");
    assert_eq!(
        (journal.held, journal.revenue, journal.ppn_payable),
        (Rupiah(-60), Rupiah(54), Rupiah(6))
    );
    assert_eq!(
        books.decide(&capture, JournalId::new()),
        Err(Refused::HoldClosed)
    );
    assert_eq!(
        books.decide(&command(Action::Release { hold }), JournalId::new()),
        Err(Refused::HoldClosed)
    );
    let foreign = Command {
        account: AccountId(Uuid::from_u128(2)),
        ..command(Action::Release { hold })
    };
    assert_eq!(
        books.decide(&foreign, JournalId::new()),
        Err(Refused::HoldNotFound)
    );
}

#[test]
fn nobody_spends_more_than_there_is() {
    let mut books = Books::default();
    books
        .decide(&command(Action::Deposit(Rupiah(100))), JournalId::new())
        .expect("deposit");
    let refused = books.decide(&command(Action::Hold(Rupiah(101))), JournalId::new());
    assert_eq!(
        refused,
        Err(Refused::InsufficientBalance {
            required: Rupiah(101),
            available: Rupiah(100)
        })
    );
    assert!(
        books
            .decide(&command(Action::Adjust(Rupiah(-101))), JournalId::new())
            .is_err()
    );
    assert!(
        books
            .decide(
                &command(Action::Deposit(Rupiah(i64::MAX))),
                JournalId::new()
            )
            .is_err()
    );
    assert!(
        books
            .decide(&command(Action::Hold(Rupiah(-1))), JournalId::new())
            .is_err()
    );
    assert_eq!(books.balances[&ACCOUNT].available, Rupiah(100));
}

#[test]
fn a_reversal_takes_what_there_is_and_the_rest_is_lost() {
    let mut books = Books::default();
    books
        .decide(&command(Action::Deposit(Rupiah(100))), JournalId::new())
        .expect("deposit");
    books
        .decide(&command(Action::Hold(Rupiah(70))), JournalId::new())
        .expect("hold");
    let journal = books
        .decide(&command(Action::Reverse(Rupiah(100))), JournalId::new())
        .expect("reversal");
    assert_eq!(
        (journal.available, journal.cash_in, journal.adjustment),
        (Rupiah(-30), Rupiah(100), Rupiah(-70))
    );
    assert_eq!(books.balances[&ACCOUNT].available, Rupiah::ZERO);
}

#[test]
fn ids_grow_even_when_the_clock_does_not() {
    let mut books = Books::default();
    let late = JournalId(Uuid::from_u128(u128::MAX / 2));
    let first = books
        .decide(&command(Action::Deposit(Rupiah(1))), late)
        .expect("deposit");
    let second = books
        .decide(&command(Action::Deposit(Rupiah(1))), JournalId::new())
        .expect("deposit");
    assert!(second.id > first.id);
}

fn any_action() -> impl Strategy<Value = (u8, i64, i64, usize)> {
    (0_u8..9, -50_i64..1000, 0_i64..50, 0_usize..8)
}

proptest! {
    #[test]
    fn whatever_happens_the_books_balance(steps in proptest::collection::vec(any_action(), 1..200)) {
        let mut books = Books::default();
        let mut holds = vec![JournalId::new()];
        let (mut available, mut held) = (0, 0);
        for (which, amount, tax, pick) in steps {
            let (amount, tax, hold) = (Rupiah(amount), Rupiah(tax), holds[pick % holds.len()]);
            let action = match which {
                0 => Action::Deposit(amount),
                1 => Action::Receive(amount),
                2 => Action::Hold(amount),
                3 => Action::Capture { hold, tax },
                4 => Action::Release { hold },
                5 => Action::Charge { total: amount, tax },
                6 => Action::Refund { total: amount, tax },
                7 => Action::Reverse(amount),
                _ => Action::Adjust(amount),
            };
            if let Ok(journal) = books.decide(&command(action), JournalId::new()) {
                prop_assert_eq!(sum(&journal), 0);
                available += journal.available.0;
                held += journal.held.0;
                if journal.kind == Kind::Hold {
                    holds.push(journal.id);
                }
            }
            let balance = books.balances.get(&ACCOUNT).copied().unwrap_or(Balance::EMPTY);
            prop_assert!(balance.available.0 >= 0 && balance.held.0 >= 0);
            prop_assert_eq!((balance.available.0, balance.held.0), (available, held));
            let open: i64 = books.holds.values().filter(|h| !h.closed).map(|h| h.amount.0).sum();
            prop_assert_eq!(balance.held.0, open);
        }
    }
}
