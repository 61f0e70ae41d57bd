//! The rules of renewal: what is due, what it costs, and what follows when it is or is not paid. Pure.

use chrono::{DateTime, Duration, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;

use crate::base::id::{AccountId, InstanceId, JournalId, OrderId};
use crate::base::money::Rupiah;
use crate::base::{tax, time};

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Paid.
    Active,
    /// Unpaid, still running.
    Grace,
    /// Unpaid, powered off.
    Suspended,
    /// Over.
    Ended,
}

impl State {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Grace => "GRACE",
            Self::Suspended => "SUSPENDED",
            Self::Ended => "ENDED",
        }
    }

    /// From its stored form.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Grace, Self::Suspended, Self::Ended]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The next period is charged.
    Renew,
    /// The machine is powered off.
    Suspend,
    /// The machine is destroyed.
    Terminate,
}

impl Step {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Renew => "renew",
            Self::Suspend => "suspend",
            Self::Terminate => "terminate",
        }
    }

    /// From its stored form; `None` for the empty text of an ended subscription.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Renew, Self::Suspend, Self::Terminate]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// When unpaid instances are suspended and terminated, in hours after the due time.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The span paid for.
    pub period: BillingPeriod,
    /// Until suspension.
    pub suspend_after_hours: i32,
    /// Until termination.
    pub terminate_after_hours: i32,
}

/// A named set of rules.
#[derive(Debug)]
pub struct Policy {
    /// Code.
    pub code: &'static str,
    /// Name for people.
    pub display_name: &'static str,
    /// One for each period that is sold.
    pub rules: [Rule; 3],
}

const fn rule(period: BillingPeriod, suspend_after_hours: i32, terminate_after_hours: i32) -> Rule {
    Rule {
        period,
        suspend_after_hours,
        terminate_after_hours,
    }
}

/// The policies; the first is the default.
pub static POLICIES: [Policy; 2] = [
    Policy {
        code: "prepaid",
        display_name: "Prepaid: grace by period, then suspension and termination",
        rules: [
            rule(BillingPeriod::Day, 0, 72),
            rule(BillingPeriod::Month, 24, 24 + 168),
            rule(BillingPeriod::Year, 72, 72 + 336),
        ],
    },
    Policy {
        code: "invoiced",
        display_name: "Invoiced: suspended 3 days and terminated 15 days after the due date",
        rules: [
            rule(BillingPeriod::Day, 72, 360),
            rule(BillingPeriod::Month, 72, 360),
            rule(BillingPeriod::Year, 72, 360),
        ],
    },
];

/// A policy by its code.
pub fn policy(code: &str) -> Option<&'static Policy> {
    POLICIES.iter().find(|p| p.code == code)
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The account.
    pub account: AccountId,
    /// The machine.
    pub instance: InstanceId,
    /// The order that made it.
    pub order: OrderId,
    /// Price of one period without tax; fixed when it was ordered.
    pub price: Rupiah,
    /// The span one price pays for.
    pub period: BillingPeriod,
    /// Where the calendar is counted from.
    pub anchor_at: DateTime<Utc>,
    /// Number of the first period counted from the anchor.
    pub anchor_number: i32,
    /// Number of the last period paid.
    pub period_number: i32,
    /// Paid until.
    pub paid_until: DateTime<Utc>,
    /// Renews by itself.
    pub auto_renew: bool,
    /// Code of its policy.
    pub policy: String,
    /// How it stands.
    pub state: State,
    /// What happens next; `None` once ended.
    pub next: Option<(Step, DateTime<Utc>)>,
    /// The hold that pays the next period ahead.
    pub renewal_hold: Option<JournalId>,
    /// Follows its account's test clock.
    pub on_test_clock: bool,
    /// Grows with each change.
    pub revision: i64,
}

/// What a period costs and spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Number of the period.
    pub number: i32,
    /// Its begin.
    pub starts_at: DateTime<Utc>,
    /// Its end.
    pub ends_at: DateTime<Utc>,
    /// Without tax.
    pub price: Rupiah,
    /// PPN.
    pub tax: Rupiah,
    /// With tax.
    pub total: Rupiah,
}

impl Subscription {
    /// What the next period costs, were it paid at `now`. A period after suspension begins when it is paid, since the machine did not run before; any other
    /// begins where the last one ended. `None` beyond the calendar.
    pub fn next_charge(&self, now: DateTime<Utc>) -> Option<Charge> {
        let (anchor, anchor_number) = if self.state == State::Suspended {
            (now, self.period_number + 1)
        } else {
            (self.anchor_at, self.anchor_number)
        };
        let number = self.period_number.checked_add(1)?;
        let starts_at = if self.state == State::Suspended {
            now
        } else {
            self.paid_until
        };
        let count = u32::try_from(number - anchor_number + 1).ok()?;
        let ends_at = time::period_end(anchor, self.period, count)?;
        let tax = tax::ppn(self.price, starts_at);
        Some(Charge {
            number,
            starts_at,
            ends_at,
            price: self.price,
            tax,
            total: self.price.checked_add(tax)?,
        })
    }

    /// After `charge` was paid.
    pub fn paid(&mut self, charge: &Charge) {
        if self.state == State::Suspended {
            (self.anchor_at, self.anchor_number) = (charge.starts_at, charge.number);
        }
        (self.period_number, self.paid_until) = (charge.number, charge.ends_at);
        self.state = State::Active;
        self.renewal_hold = None;
        self.revision += 1;
        self.next = Some(self.step_when_paid());
    }

    /// After the step that was due found no money: what becomes of it.
    pub fn unpaid(&mut self, step: Step) {
        self.revision += 1;
        match step {
            // A suspended subscription that tried again because money came, and found too little, waits for its termination as before.
            Step::Renew if self.state == State::Suspended => {
                self.next = Some((Step::Terminate, self.deadline(Step::Terminate)))
            }
            Step::Renew => {
                self.state = State::Grace;
                self.next = Some((Step::Suspend, self.deadline(Step::Suspend)));
            }
            Step::Suspend => {
                self.state = State::Suspended;
                self.next = Some((Step::Terminate, self.deadline(Step::Terminate)));
            }
            Step::Terminate => self.end(),
        }
    }

    /// Nothing more happens.
    pub fn end(&mut self) {
        self.state = State::Ended;
        self.next = None;
        self.renewal_hold = None;
    }

    /// What comes next for a paid subscription.
    pub fn step_when_paid(&self) -> (Step, DateTime<Utc>) {
        if self.auto_renew || self.renewal_hold.is_some() {
            (Step::Renew, self.paid_until)
        } else {
            (Step::Suspend, self.deadline(Step::Suspend))
        }
    }

    /// Whether money is to be asked for before a step is taken: always where the owner wants renewal or paid ahead.
    pub fn asks_for_money(&self) -> bool {
        self.auto_renew || self.renewal_hold.is_some()
    }

    fn deadline(&self, step: Step) -> DateTime<Utc> {
        let policy = policy(&self.policy).unwrap_or(&POLICIES[0]);
        let hours = policy
            .rules
            .iter()
            .find(|r| r.period == self.period)
            .map_or((0, 0), |r| (r.suspend_after_hours, r.terminate_after_hours));
        let after = if step == Step::Terminate {
            hours.1
        } else {
            hours.0
        };
        self.paid_until + Duration::hours(i64::from(after))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

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
}
