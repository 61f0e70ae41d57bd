//! The rules of renewal, case by case.

use chrono::{DateTime, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;
use uuid::Uuid;

use crate::base::id::{AccountId, InstanceId, JournalId, OrderId};
use crate::base::money::Rupiah;
use crate::service::lifecycle::model::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a time")
}

fn monthly() -> Subscription {
    let anchor = at("2026-01-31T03:00:00Z");
    Subscription {
        account: AccountId(Uuid::from_u128(1)),
        instance: InstanceId(Uuid::from_u128(2)),
        order: OrderId(Uuid::from_u128(3)),
        price: Rupiah(100_000),
        period: BillingPeriod::Month,
        present: Present {
            starts_at: anchor,
            period: BillingPeriod::Month,
            price: Rupiah(100_000),
            bought: Rupiah(100_000),
            paid: Rupiah(100_000),
        },
        change: None,
        anchor_at: anchor,
        anchor_number: 1,
        period_number: 1,
        paid_until: at("2026-02-28T03:00:00Z"),
        auto_renew: true,
        policy: "prepaid".to_owned(),
        state: State::Active,
        next: Some((Step::Renew, at("2026-02-28T03:00:00Z"))),
        renewal_hold: None,
        on_test_clock: false,
        revision: 1,
    }
}

#[test]
fn a_year_of_renewals_keeps_the_anchor_day() {
    let mut s = monthly();
    for end in [
        "2026-03-31",
        "2026-04-30",
        "2026-05-31",
        "2026-06-30",
        "2026-07-31",
    ] {
        let charge = s.next_charge(s.paid_until).expect("a charge");
        assert_eq!(charge.starts_at, s.paid_until);
        assert_eq!(charge.total, Rupiah(111_000));
        s.paid(&charge);
        assert_eq!(s.paid_until, at(&format!("{end}T03:00:00Z")));
    }
    assert_eq!(s.period_number, 6);
}

#[test]
fn unpaid_leads_through_grace_and_suspension_to_the_end() {
    let mut s = monthly();
    s.unpaid(Step::Renew);
    assert_eq!(
        (s.state, s.next),
        (
            State::Grace,
            Some((Step::Suspend, at("2026-03-01T03:00:00Z")))
        )
    );
    s.unpaid(Step::Suspend);
    assert_eq!(
        (s.state, s.next),
        (
            State::Suspended,
            Some((Step::Terminate, at("2026-03-08T03:00:00Z")))
        )
    );
    s.unpaid(Step::Renew);
    assert_eq!(s.next, Some((Step::Terminate, at("2026-03-08T03:00:00Z"))));
    s.unpaid(Step::Terminate);
    assert_eq!((s.state, s.next), (State::Ended, None));
}

#[test]
fn paying_a_suspended_one_begins_a_period_now() {
    let mut s = monthly();
    s.unpaid(Step::Renew);
    s.unpaid(Step::Suspend);
    let charge = s.next_charge(at("2026-03-05T00:00:00Z")).expect("a charge");
    assert_eq!(
        (charge.number, charge.starts_at, charge.ends_at),
        (2, at("2026-03-05T00:00:00Z"), at("2026-04-05T00:00:00Z"))
    );
    s.paid(&charge);
    let next = s.next_charge(s.paid_until).expect("a charge");
    assert_eq!((next.number, next.ends_at), (3, at("2026-05-05T00:00:00Z")));
}

#[test]
fn who_does_not_renew_is_suspended_after_the_grace() {
    let mut s = monthly();
    s.auto_renew = false;
    assert_eq!(
        s.step_when_paid(),
        (Step::Suspend, at("2026-03-01T03:00:00Z"))
    );
    s.renewal_hold = Some(JournalId(Uuid::from_u128(9)));
    assert_eq!(s.step_when_paid(), (Step::Renew, s.paid_until));
}

#[test]
fn another_span_begins_where_the_present_period_ends() {
    let mut s = monthly();
    s.change_period(BillingPeriod::Year, Rupiah(1_000_000));
    assert_eq!(s.paid_until, at("2026-02-28T03:00:00Z"), "it is paid");
    let charge = s.next_charge(s.paid_until).expect("a charge");
    assert_eq!((charge.number, charge.starts_at), (2, s.paid_until));
    assert_eq!(
        (charge.ends_at, charge.total),
        (at("2027-02-28T03:00:00Z"), Rupiah(1_110_000))
    );
    s.paid(&charge);
    assert_eq!(
        (s.present.period, s.present.starts_at),
        (BillingPeriod::Year, at("2026-02-28T03:00:00Z"))
    );
    let next = s.next_charge(s.paid_until).expect("a charge");
    assert_eq!(next.ends_at, at("2028-02-28T03:00:00Z"));
}

#[test]
fn both_policies_have_a_rule_for_every_period_sold() {
    for policy in &POLICIES {
        for period in [
            BillingPeriod::Day,
            BillingPeriod::Month,
            BillingPeriod::Year,
        ] {
            let rule = policy
                .rules
                .iter()
                .find(|r| r.period == period)
                .expect("a rule");
            assert!(rule.terminate_after_hours > rule.suspend_after_hours);
        }
    }
}
