use proptest::prelude::*;
use uuid::Uuid;

use crate::base::id::{AccountId, JournalId};
use crate::base::money::Rupiah;
use crate::service::wallet::model::{
    Action, Balance, Books, Command, Journal, Kind, Paid, Refused,
};

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
        j.promo,
        j.withdrawable,
        j.cash_in,
        j.revenue,
        j.promo_expense,
        j.refund,
        j.adjustment,
        j.gateway_fee,
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
        .decide(
            &command(Action::Deposit(Paid::whole(Rupiah(100)))),
            JournalId::new(),
        )
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
        .decide(
            &command(Action::Deposit(Paid::whole(Rupiah(100)))),
            JournalId::new(),
        )
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
                &command(Action::Deposit(Paid::whole(Rupiah(i64::MAX)))),
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
        .decide(
            &command(Action::Deposit(Paid::whole(Rupiah(100)))),
            JournalId::new(),
        )
        .expect("deposit");
    books
        .decide(&command(Action::Hold(Rupiah(70))), JournalId::new())
        .expect("hold");
    let reverse = Action::Reverse {
        amount: Rupiah(100),
        hold: None,
    };
    let journal = books
        .decide(&command(reverse), JournalId::new())
        .expect("reversal");
    assert_eq!(
        (journal.available, journal.cash_in, journal.adjustment),
        (Rupiah(-30), Rupiah(100), Rupiah(-70))
    );
    assert_eq!(books.balances[&ACCOUNT].available, Rupiah::ZERO);
}

#[test]
fn a_reversal_ends_the_hold_its_money_is_in_unless_that_was_spent() {
    let received = |books: &mut Books| {
        for action in [
            Action::Deposit(Paid::whole(Rupiah(20))),
            Action::Receive(Paid::whole(Rupiah(100))),
        ] {
            books
                .decide(&command(action), JournalId::new())
                .expect("money");
        }
        *books.holds.keys().next().expect("a hold")
    };
    let after = |amount, capture: bool| {
        let mut books = Books::default();
        let (_, hold) = received(&mut books);
        if capture {
            let tax = Rupiah::ZERO;
            let capture = Action::Capture { hold, tax };
            books
                .decide(&command(capture), JournalId::new())
                .expect("capture");
        }
        let amount = Rupiah(amount);
        let hold = Some(hold);
        let reverse = Action::Reverse { amount, hold };
        let journal = books.decide(&command(reverse), JournalId::new());
        let journal = journal.expect("reversal");
        let left = books.balances[&ACCOUNT];
        (
            journal.held.0,
            journal.available.0,
            journal.adjustment.0,
            (left.available.0, left.held.0),
        )
    };
    assert_eq!(after(100, false), (-100, 0, 0, (20, 0)));
    // What is not taken of it becomes available; what it does not cover is taken from what is.
    assert_eq!(after(30, false), (-100, 70, 0, (90, 0)));
    assert_eq!(after(110, false), (-100, -10, 0, (10, 0)));
    assert_eq!(after(150, false), (-100, -20, -30, (0, 0)));
    assert_eq!(after(100, true), (0, -20, -80, (0, 0)));
}

#[test]
fn what_a_gateway_keeps_is_not_the_customers_cost() {
    let mut books = Books::default();
    let paid = Paid {
        amount: Rupiah(50_000),
        fee: Rupiah(4250),
    };
    let deposit = command(Action::Deposit(paid));
    let journal = books.decide(&deposit, JournalId::new()).expect("deposit");
    assert_eq!(
        (journal.available, journal.cash_in, journal.gateway_fee),
        (Rupiah(50_000), Rupiah(-45_750), Rupiah(-4250))
    );
    let receive = command(Action::Receive(paid));
    let journal = books.decide(&receive, JournalId::new()).expect("receipt");
    assert_eq!((journal.held, sum(&journal)), (Rupiah(50_000), 0));
    let odd = Paid {
        fee: Rupiah(-1),
        ..paid
    };
    let refused = books.decide(&command(Action::Deposit(odd)), JournalId::new());
    assert_eq!(refused, Err(Refused::AmountOutOfRange));
}

#[test]
fn promo_credit_is_spent_first_and_given_back_as_such() {
    let mut books = Books::default();
    let mut decide = |action| books.decide(&command(action), JournalId::new());
    for action in [
        Action::Deposit(Paid::whole(Rupiah(100))),
        Action::Grant(Rupiah(30)),
        Action::Reward(Rupiah(500)),
    ] {
        decide(action).expect("money");
    }
    let hold = decide(Action::Hold(Rupiah(70))).expect("hold");
    assert_eq!((hold.promo, hold.available), (Rupiah(-30), Rupiah(-40)));
    let refused = decide(Action::Charge {
        total: Rupiah(61),
        tax: Rupiah::ZERO,
    });
    let (required, available) = (Rupiah(61), Rupiah(60));
    let short = Refused::InsufficientBalance {
        required,
        available,
    };
    assert_eq!(refused, Err(short), "what was earned is not spent");
    let released = decide(Action::Release { hold: hold.id }).expect("release");
    assert_eq!(
        (released.promo, released.available),
        (Rupiah(30), Rupiah(40))
    );
    let charged = decide(Action::Charge {
        total: Rupiah(20),
        tax: Rupiah(2),
    })
    .expect("charge");
    assert_eq!(
        (charged.promo, charged.available),
        (Rupiah(-20), Rupiah::ZERO)
    );
    let short = decide(Action::Charge {
        total: Rupiah(200),
        tax: Rupiah::ZERO,
    });
    let short = short.expect_err("too much");
    let expected = Refused::InsufficientBalance {
        required: Rupiah(200),
        available: Rupiah(110),
    };
    assert_eq!(short, expected);
    // 10 of promo credit are left of the 30; the other 20 come from what is available.
    let revoked = decide(Action::Revoke {
        granted: Rupiah(30),
        cashback: Rupiah::ZERO,
        reward: Rupiah(600),
    })
    .expect("revocation");
    assert_eq!(
        (revoked.promo, revoked.available, revoked.withdrawable),
        (Rupiah(-10), Rupiah(-20), Rupiah(-500))
    );
    assert_eq!(revoked.promo_expense, Rupiah(530));
}

#[test]
fn ids_grow_even_when_the_clock_does_not() {
    let mut books = Books::default();
    let late = JournalId(Uuid::from_u128(u128::MAX / 2));
    let first = books
        .decide(&command(Action::Deposit(Paid::whole(Rupiah(1)))), late)
        .expect("deposit");
    let second = books
        .decide(
            &command(Action::Deposit(Paid::whole(Rupiah(1)))),
            JournalId::new(),
        )
        .expect("deposit");
    assert!(second.id > first.id);
}

fn any_action() -> impl Strategy<Value = (u8, i64, i64, usize)> {
    (0_u8..14, -50_i64..1000, 0_i64..50, 0_usize..8)
}

proptest! {
    #[test]
    fn whatever_happens_the_books_balance(steps in proptest::collection::vec(any_action(), 1..200)) {
        let mut books = Books::default();
        let mut holds = vec![JournalId::new()];
        let (mut available, mut held, mut promo, mut earned) = (0, 0, 0, 0);
        for (which, amount, tax, pick) in steps {
            let (amount, tax, hold) = (Rupiah(amount), Rupiah(tax), holds[pick % holds.len()]);
            let action = match which {
                0 => Action::Deposit(Paid { amount, fee: tax }),
                1 => Action::Receive(Paid { amount, fee: tax }),
                2 => Action::Hold(amount),
                3 => Action::Capture { hold, tax },
                4 => Action::Release { hold },
                5 => Action::Charge { total: amount, tax },
                6 => Action::Refund { total: amount, tax },
                7 => Action::Reverse { amount, hold: None },
                8 => Action::Grant(amount),
                9 => Action::Cashback(amount),
                10 => Action::Reward(amount),
                11 => Action::Reverse { amount, hold: Some(hold) },
                12 => Action::Revoke { granted: amount, cashback: tax, reward: tax },
                _ => Action::Adjust(amount),
            };
            if let Ok(journal) = books.decide(&command(action), JournalId::new()) {
                prop_assert_eq!(sum(&journal), 0);
                available += journal.available.0;
                held += journal.held.0;
                promo += journal.promo.0;
                earned += journal.withdrawable.0;
                // Only what staff or a gateway take touches cash while there is promo credit, and nothing but a revocation what was earned.
                let spends = matches!(journal.kind, Kind::Hold | Kind::Charge);
                prop_assert!(!spends || journal.available.0 >= 0 || promo == 0);
                prop_assert!(journal.withdrawable.0 >= 0 || journal.kind == Kind::PromotionRevoked);
                if journal.kind == Kind::Hold {
                    holds.push(journal.id);
                }
            }
            let balance = books.balances.get(&ACCOUNT).copied().unwrap_or(Balance::EMPTY);
            prop_assert!(balance.available.0 >= 0 && balance.held.0 >= 0);
            prop_assert!(balance.promo.0 >= 0 && balance.withdrawable.0 >= 0);
            prop_assert_eq!((balance.available.0, balance.held.0), (available, held));
            prop_assert_eq!((balance.promo.0, balance.withdrawable.0), (promo, earned));
            let open: i64 = books.holds.values().filter(|h| !h.closed).map(|h| h.amount.0).sum();
            prop_assert_eq!(balance.held.0, open);
        }
    }
}
