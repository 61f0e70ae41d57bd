//! The rules of renewal: what is due, what it costs, and what follows when it is or is not paid. Pure.

use chrono::{DateTime, Duration, Utc};
use sewa_sdk::sewa::api::v1::BillingPeriod;

use crate::base::id::{AccountId, InstanceId, JournalId, OperationId, OrderId};
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

/// The period that is paid, or was last: what a change of plan prices anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its begin.
    pub starts_at: DateTime<Utc>,
    /// Its span.
    pub period: BillingPeriod,
    /// What the plan costs for the whole of it without tax.
    pub price: Rupiah,
    /// What the plan that it was bought with costs for the whole of it.
    pub bought: Rupiah,
    /// What was paid for it then, without tax; a coupon makes it less.
    pub paid: Rupiah,
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
    /// Price of one period without tax from the next one on; fixed when it was ordered, or plan or period were changed.
    pub price: Rupiah,
    /// The span one price pays for.
    pub period: BillingPeriod,
    /// The period that is paid.
    pub present: Present,
    /// The operation of a change of plan that is under way. Until it is over nothing is due.
    pub change: Option<OperationId>,
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

/// What an order hands over when its machine runs.
pub struct Start {
    /// The account.
    pub account: AccountId,
    /// The machine.
    pub instance: InstanceId,
    /// The order.
    pub order: OrderId,
    /// Price of one period without tax.
    pub price: Rupiah,
    /// What of it was paid, as a coupon may have taken something off.
    pub paid: Rupiah,
    /// The span it pays for.
    pub period: BillingPeriod,
    /// Renews by itself.
    pub auto_renew: bool,
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
    /// One whose first period was just paid.
    pub fn begin(start: &Start, policy: String, now: DateTime<Utc>, on_test_clock: bool) -> Self {
        let mut subscription = Self {
            account: start.account,
            instance: start.instance,
            order: start.order,
            price: start.price,
            period: start.period,
            present: Present {
                starts_at: now,
                period: start.period,
                price: start.price,
                bought: start.price,
                paid: start.paid.min(start.price),
            },
            change: None,
            anchor_at: now,
            anchor_number: 1,
            period_number: 1,
            paid_until: time::period_end(now, start.period, 1).unwrap_or(now),
            auto_renew: start.auto_renew,
            policy,
            state: State::Active,
            next: None,
            renewal_hold: None,
            on_test_clock,
            revision: 1,
        };
        subscription.next = Some(subscription.step_when_paid());
        subscription
    }

    /// One of a machine that was sold elsewhere and is paid until `paid_until`: its calendar is counted from there.
    pub fn take_over(
        start: &Start,
        policy: String,
        paid_until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Self {
        let mut taken = Self::begin(start, policy, now, false);
        taken.present.starts_at = time::period_before(paid_until, start.period).unwrap_or(now);
        (taken.anchor_at, taken.anchor_number) = (paid_until, 2);
        taken.paid_until = paid_until;
        taken.next = Some(taken.step_when_paid());
        taken
    }

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
        self.present = Present {
            starts_at: charge.starts_at,
            period: self.period,
            price: charge.price,
            bought: charge.price,
            paid: charge.price,
        };
        self.state = State::Active;
        self.renewal_hold = None;
        self.revision += 1;
        self.next = Some(self.step_when_paid());
    }

    /// Pays by another span from the next period on: the calendar is counted from the end of the present one.
    pub fn change_period(&mut self, period: BillingPeriod, price: Rupiah) {
        (self.anchor_at, self.anchor_number) =
            (self.paid_until, self.period_number.saturating_add(1));
        (self.period, self.price) = (period, price);
        self.revision += 1;
        self.next = Some(self.step_when_paid());
    }

    /// Ends the first period at `now`, and returns what the next one, which begins then, costs. `None` if it is over, or another one was paid since; nothing changes then.
    pub fn cut_short(&mut self, now: DateTime<Utc>) -> Option<Charge> {
        if self.state != State::Active || self.period_number != 1 || now >= self.paid_until {
            return None;
        }
        let mut cut = self.clone();
        cut.paid_until = now;
        (cut.anchor_at, cut.anchor_number) = (now, 2);
        cut.revision += 1;
        cut.next = Some(cut.step_when_paid());
        let next = cut.next_charge(now)?;
        *self = cut;
        Some(next)
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
