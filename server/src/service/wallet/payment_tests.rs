//! The rules of payments, case by case.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::base::id::{AccountId, DepositId, JournalId};
use crate::base::money::Rupiah;
use crate::provider::payment::{Terms, Transaction, TransactionState};
use crate::service::wallet::deposit::{Deposit, DepositState};
use crate::service::wallet::payment::*;

fn noon() -> DateTime<Utc> {
    "2026-05-03T12:00:00Z".parse().expect("a time")
}

fn deposit(state: DepositState) -> Deposit {
    Deposit {
        account: AccountId(Uuid::nil()),
        id: DepositId(Uuid::nil()),
        amount: Rupiah(50_000),
        method: 2,
        channel: "BRIVA".to_owned(),
        state,
        client_reference: None,
        order: None,
        hold: None,
        payable: Some(Rupiah(54_250)),
        fee: Some(Rupiah(4250)),
        gateway_ref: "T1".to_owned(),
        pay_url: String::new(),
        pay_code: String::new(),
        qr_string: String::new(),
        instructions: Vec::new(),
        failure: String::new(),
        revision: 1,
        asked_at: None,
        next_look_at: None,
        created_at: noon(),
        expires_at: noon() + TimeDelta::hours(24),
        closed_at: None,
    }
}

fn said(reference: &str, state: TransactionState, total: i64, refunded: i64) -> Transaction {
    Transaction {
        gateway_ref: reference.to_owned(),
        reference: String::new(),
        state,
        total: Rupiah(total),
        refunded: Rupiah(refunded),
        paid_at: None,
        gateway_fee: None,
        terms: Terms::default(),
    }
}

fn paid(reference: &str, kind: Kind, paid: i64, credited: i64) -> Payment {
    Payment {
        kind: kind as i16,
        paid: Rupiah(paid),
        credited: Rupiah(credited),
        gateway_fee: None,
        gateway_ref: reference.to_owned(),
        recorded_at: noon(),
    }
}

#[test]
fn each_way_of_paying_has_its_outcome() {
    use DepositState as State;
    let cases = [
        (State::Pending, "T1", 54_250, 0, Kind::Exact, 50_000),
        (State::Preparing, "T1", 54_250, 0, Kind::Exact, 50_000),
        (State::Expired, "T1", 54_250, 0, Kind::Late, 50_000),
        (State::Pending, "T1", 54_250, 48, Kind::Late, 50_000),
        (State::Pending, "T1", 54_249, 0, Kind::Underpaid, 49_999),
        (State::Pending, "T1", 4000, 0, Kind::Underpaid, 0),
        (State::Failed, "T1", 60_000, 0, Kind::Overpaid, 55_750),
    ];
    for (state, reference, total, hours, kind, amount) in cases {
        let transaction = said(reference, TransactionState::Paid, total, 0);
        let now = noon() + TimeDelta::hours(hours);
        let step = Step::Credit {
            kind,
            paid: Rupiah(total),
            amount: Rupiah(amount),
        };
        assert_eq!(judge(&deposit(state), &[], &transaction, now), [step]);
    }
    let known = [paid("T1", Kind::Exact, 54_250, 50_000)];
    let other = said("T2", TransactionState::Paid, 54_250, 0);
    let again = said("T1", TransactionState::Paid, 54_250, 0);
    let step = Step::Credit {
        kind: Kind::Duplicate,
        paid: Rupiah(54_250),
        amount: Rupiah(50_000),
    };
    assert_eq!(judge(&deposit(State::Paid), &known, &other, noon()), [step]);
    assert_eq!(judge(&deposit(State::Paid), &known, &again, noon()), []);
}

#[test]
fn only_what_comes_whole_and_in_time_is_held_for_an_order() {
    let top_up = deposit(DepositState::Pending);
    let held = held_for_order(&top_up, Kind::Exact, Rupiah(50_000));
    assert_eq!(held, Rupiah::ZERO);
    let of_order = |state| Deposit {
        order: Some(crate::base::id::OrderId(Uuid::nil())),
        ..deposit(state)
    };
    let cases = [
        (DepositState::Pending, Kind::Exact, 50_000, 50_000),
        (DepositState::Preparing, Kind::Exact, 50_000, 50_000),
        (DepositState::Pending, Kind::Overpaid, 55_750, 50_000),
        (DepositState::Pending, Kind::Late, 50_000, 0),
        (DepositState::Pending, Kind::Underpaid, 49_999, 0),
        (DepositState::Expired, Kind::Exact, 50_000, 0),
        (DepositState::Paid, Kind::Duplicate, 50_000, 0),
    ];
    for (state, kind, amount, held) in cases {
        let found = held_for_order(&of_order(state), kind, Rupiah(amount));
        assert_eq!(found, Rupiah(held), "{state:?} {kind:?} {amount}");
    }
}

#[test]
fn what_is_taken_back_is_taken_once() {
    let deposit = deposit(DepositState::Paid);
    let mut known = vec![paid("T1", Kind::Exact, 54_250, 50_000)];
    let partly = said("T1", TransactionState::Paid, 54_250, 20_000);
    let step = |paid, amount| Step::Reverse {
        paid: Rupiah(paid),
        amount: Rupiah(amount),
    };
    assert_eq!(
        judge(&deposit, &known, &partly, noon()),
        [step(20_000, 20_000)]
    );
    known.push(paid("T1", Kind::Reversal, 20_000, -20_000));
    assert_eq!(judge(&deposit, &known, &partly, noon()), []);
    assert!(!is_all_back(&known));
    let wholly = said("T1", TransactionState::Paid, 54_250, 54_250);
    assert_eq!(
        judge(&deposit, &known, &wholly, noon()),
        [step(34_250, 30_000)]
    );
    known.push(paid("T1", Kind::Reversal, 34_250, -30_000));
    assert_eq!(judge(&deposit, &known, &wholly, noon()), []);
    assert!(is_all_back(&known));
    known.push(paid("T2", Kind::Duplicate, 54_250, 50_000));
    assert!(!is_all_back(&known));
}

#[test]
fn what_is_missing_of_a_payment_is_what_its_reversals_could_not_take() {
    let mut known = vec![paid("T1", Kind::Exact, 54_250, 50_000)];
    let back = |payments: &[Payment]| {
        let TakenBack { taken, missing } = taken_back(payments);
        (taken.0, missing.0)
    };
    assert_eq!(back(&[]), (0, 0));
    assert_eq!(back(&known), (0, 0));
    known.push(paid("T1", Kind::Reversal, 20_000, -20_000));
    assert_eq!(back(&known), (20_000, 0));
    // Another payment of the deposit has nothing to do with it.
    known.push(paid("T2", Kind::Duplicate, 54_250, 50_000));
    known.push(paid("T2", Kind::Reversal, 54_250, 0));
    assert_eq!(back(&known), (20_000, 0));
    known.push(paid("T1", Kind::Reversal, 34_250, -5_000));
    assert_eq!(back(&known), (25_000, 25_000));
}

#[test]
fn only_the_payment_that_was_held_frees_its_hold() {
    let hold = JournalId(Uuid::from_u128(7));
    let held = Deposit {
        hold: Some(hold),
        ..deposit(DepositState::Paid)
    };
    let known = [
        paid("T1", Kind::Exact, 54_250, 50_000),
        paid("T2", Kind::Duplicate, 54_250, 50_000),
    ];
    assert_eq!(hold_of(&held, &known, "T1"), Some(hold));
    assert_eq!(hold_of(&held, &known, "T2"), None);
    let top_up = deposit(DepositState::Paid);
    assert_eq!(hold_of(&top_up, &known, "T1"), None);
}

#[test]
fn what_went_back_before_it_was_seen_moves_nothing() {
    let back = said("T1", TransactionState::Paid, 54_250, 54_250);
    let open = deposit(DepositState::Pending);
    assert_eq!(
        judge(&open, &[], &back, noon()),
        [Step::Close(DepositState::Reversed)]
    );
    let closed = deposit(DepositState::Reversed);
    assert_eq!(judge(&closed, &[], &back, noon()), []);
}

#[test]
fn only_open_deposits_are_closed() {
    let expired = said("T1", TransactionState::Expired, 54_250, 0);
    let unpaid = said("T1", TransactionState::Unpaid, 54_250, 0);
    let open = deposit(DepositState::Pending);
    let close = [Step::Close(DepositState::Expired)];
    assert_eq!(judge(&open, &[], &expired, noon()), close);
    assert_eq!(judge(&open, &[], &unpaid, noon()), []);
    let late = noon() + TimeDelta::hours(25);
    assert_eq!(judge(&open, &[], &unpaid, late), close);
    let paid = deposit(DepositState::Paid);
    assert_eq!(judge(&paid, &[], &expired, late), []);
}

#[test]
fn looks_get_rarer_and_end() {
    let poll = TimeDelta::seconds(5);
    let pause = |deposit: &Deposit, now: DateTime<Utc>| {
        let next = next_look(deposit, now, poll);
        next.map(|at| (at - now).num_seconds())
    };
    let open = deposit(DepositState::Pending);
    let after = |seconds| pause(&open, noon() + TimeDelta::seconds(seconds));
    assert_eq!(after(0), Some(5));
    assert_eq!(after(60), Some(15));
    assert_eq!(after(86_000), Some(WHILE_OPEN.num_seconds()));
    // From one look to the next, a day long: none is more than a minute away, and they are a tenth of those every five seconds.
    let (mut now, mut looks) = (noon(), 0);
    while now < noon() + TimeDelta::hours(24) {
        let next = next_look(&open, now, poll).expect("another look");
        assert!(next - now < TimeDelta::minutes(1));
        (now, looks) = (next, looks + 1);
    }
    assert!(looks < 1800, "{looks}");
    let closed = |state, age| {
        let closed = Deposit {
            closed_at: Some(noon() - age),
            ..deposit(state)
        };
        pause(&closed, noon())
    };
    assert_eq!(closed(DepositState::Paid, TimeDelta::zero()), Some(5));
    let two_hours = TimeDelta::hours(2);
    assert_eq!(closed(DepositState::Expired, two_hours), Some(7200));
    let seldom = SELDOM.num_seconds();
    assert_eq!(closed(DepositState::Paid, TimeDelta::days(6)), Some(seldom));
    assert_eq!(closed(DepositState::Paid, TimeDelta::days(8)), None);
}

#[test]
fn a_deposit_first_seen_when_it_is_paid_was_not_asked_for_what_came() {
    for (total, kind, amount) in [
        (54_250, Kind::Exact, 50_000),
        (54_249, Kind::Underpaid, 49_999),
        (60_000, Kind::Overpaid, 55_750),
    ] {
        let mut deposit = deposit(DepositState::Preparing);
        (deposit.payable, deposit.fee) = (None, None);
        let mut transaction = said("T1", TransactionState::Paid, total, 0);
        transaction.terms.fee = Rupiah(4250);
        deposit.adopt(&transaction);
        let step = Step::Credit {
            kind,
            paid: Rupiah(total),
            amount: Rupiah(amount),
        };
        assert_eq!(judge(&deposit, &[], &transaction, noon()), [step]);
    }
}
