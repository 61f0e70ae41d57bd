//! The rules of reports: which days a report has, how figures add up, how old a debt is, and how churn is counted. Pure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use crate::base::money::Rupiah;
use crate::base::time;

/// Days from one on and before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub start: NaiveDate,
    /// The day after the last.
    pub end: NaiveDate,
}

impl Range {
    /// One day.
    pub fn of(day: NaiveDate) -> Self {
        Self {
            start: day,
            end: next(day),
        }
    }

    /// A calendar month, named by any day of it.
    pub fn month(day: NaiveDate) -> Self {
        let start = Interval::Month.start(day);
        Self {
            start,
            end: Interval::Month.next(start),
        }
    }

    /// How many days.
    pub fn days(self) -> i64 {
        (self.end - self.start).num_days().max(0)
    }

    /// Each day.
    pub fn each(self) -> impl Iterator<Item = NaiveDate> {
        self.start
            .iter_days()
            .take_while(move |day| *day < self.end)
    }

    /// The first moment, and the one after the last.
    pub fn moments(self) -> (DateTime<Utc>, DateTime<Utc>) {
        (time::midnight(self.start), time::midnight(self.end))
    }

    /// The days that are not among `known`, as runs of days that follow one another.
    pub fn gaps(self, known: &BTreeSet<NaiveDate>) -> Vec<Self> {
        let mut gaps: Vec<Self> = Vec::new();
        for day in self.each().filter(|day| !known.contains(day)) {
            match gaps.last_mut() {
                Some(last) if last.end == day => last.end = next(day),
                _ => gaps.push(Self::of(day)),
            }
        }
        gaps
    }
}

/// The day after.
pub fn next(day: NaiveDate) -> NaiveDate {
    day.checked_add_days(Days::new(1)).unwrap_or(NaiveDate::MAX)
}

/// What a row of a report spans. Numbers are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    /// A day.
    Day = 1,
    /// From Monday on.
    Week = 2,
    /// A calendar month.
    Month = 3,
    /// A calendar year.
    Year = 4,
}

impl Interval {
    /// The one with that number; days for 0.
    pub fn from_number(number: i32) -> Self {
        match number {
            2 => Self::Week,
            3 => Self::Month,
            4 => Self::Year,
            _ => Self::Day,
        }
    }

    /// The first day of the one that a day belongs to.
    pub fn start(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => day,
            Self::Week => day.week(chrono::Weekday::Mon).first_day(),
            Self::Month => time::first_of_month(day),
            Self::Year => day.with_ordinal(1).unwrap_or(day),
        }
    }

    /// The first day of the next one.
    pub fn next(self, day: NaiveDate) -> NaiveDate {
        let start = self.start(day);
        let next = match self {
            Self::Day => start.checked_add_days(Days::new(1)),
            Self::Week => start.checked_add_days(Days::new(7)),
            Self::Month => start.checked_add_months(Months::new(1)),
            Self::Year => start.checked_add_months(Months::new(12)),
        };
        next.unwrap_or(NaiveDate::MAX)
    }

    /// A range cut into rows, those at its ends cut where it ends.
    pub fn cut(self, range: Range) -> Vec<Range> {
        let mut rows = Vec::new();
        let mut start = range.start;
        while start < range.end {
            let end = self.next(start).min(range.end);
            rows.push(Range { start, end });
            start = end;
        }
        rows
    }
}

/// What the ledger and orders say of one day and plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The day.
    pub day: NaiveDate,
    /// The plan; nil for what concerns none.
    pub plan: Uuid,
    /// Charges.
    pub charges: i64,
    /// What was charged without tax.
    pub charged: i64,
    /// Tax on it.
    pub charged_tax: i64,
    /// Refunds.
    pub refunds: i64,
    /// What was refunded without tax.
    pub refunded: i64,
    /// Tax on it.
    pub refunded_tax: i64,
    /// What came in and was credited.
    pub paid_in: i64,
    /// What gateways took back.
    pub paid_back: i64,
    /// What gateways keep.
    pub gateway_fees: i64,
    /// What promotions cost.
    pub promotions: i64,
    /// Corrections in favour of customers, and what could not be had from them.
    pub adjustments: i64,
    /// Orders placed.
    pub orders_placed: i64,
    /// Of these, those that got their machine.
    pub orders_active: i64,
    /// Of these, those whose money was given back.
    pub orders_refunded: i64,
    /// Of these, those called off.
    pub orders_cancelled: i64,
    /// Of these, those not paid in time.
    pub orders_expired: i64,
    /// Of these, those not at their end.
    pub orders_open: i64,
}

/// How many figures there are.
pub const COUNT: usize = 17;
/// Their names, in the order of [`Figures::values`].
pub const NAMES: [&str; COUNT] = [
    "charges",
    "charged",
    "charged_tax",
    "refunds",
    "refunded",
    "refunded_tax",
    "paid_in",
    "paid_back",
    "gateway_fees",
    "promotions",
    "adjustments",
    "orders_placed",
    "orders_active",
    "orders_refunded",
    "orders_cancelled",
    "orders_expired",
    "orders_open",
];

impl Figures {
    /// All of them.
    pub fn values(&self) -> [i64; COUNT] {
        let mut copy = *self;
        copy.each().map(|value| *value)
    }

    fn each(&mut self) -> [&mut i64; COUNT] {
        [
            &mut self.charges,
            &mut self.charged,
            &mut self.charged_tax,
            &mut self.refunds,
            &mut self.refunded,
            &mut self.refunded_tax,
            &mut self.paid_in,
            &mut self.paid_back,
            &mut self.gateway_fees,
            &mut self.promotions,
            &mut self.adjustments,
            &mut self.orders_placed,
            &mut self.orders_active,
            &mut self.orders_refunded,
            &mut self.orders_cancelled,
            &mut self.orders_expired,
            &mut self.orders_open,
        ]
    }

    /// What was earned.
    pub fn revenue(&self) -> i64 {
        self.charged - self.refunded
    }

    /// Adds others to these.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.each().into_iter().zip(other.values()) {
            *mine = mine.saturating_add(theirs);
        }
    }
}

/// The sum of figures.
pub fn total<'f>(figures: impl Iterator<Item = &'f Figures>) -> Figures {
    figures.fold(Figures::default(), |mut sum, one| {
        sum.add(one);
        sum
    })
}

/// The sum for each of the rows, also where there is nothing.
pub fn rows(figures: &[Figures], rows: &[Range]) -> Vec<(Range, Figures)> {
    let mut days: BTreeMap<NaiveDate, Figures> = BTreeMap::new();
    for one in figures {
        days.entry(one.day).or_default().add(one);
    }
    let sum = |row: &Range| (*row, total(days.range(row.start..row.end).map(|(_, f)| f)));
    rows.iter().map(sum).collect()
}

/// The sum for each plan that anything was sold or ordered of, best-selling first.
pub fn by_plan(figures: &[Figures]) -> Vec<Figures> {
    let mut plans: BTreeMap<Uuid, Figures> = BTreeMap::new();
    for one in figures {
        let sum = plans.entry(one.plan).or_default();
        sum.plan = one.plan;
        sum.add(one);
    }
    let mut plans: Vec<Figures> = plans.into_values().collect();
    plans.retain(|sum| sum.orders_placed != 0 || sum.charged != 0 || sum.refunded != 0);
    plans.sort_by_key(|sum| {
        let best = (sum.orders_active, sum.revenue());
        (std::cmp::Reverse(best), sum.plan)
    });
    plans
}

/// How long something has been due. Numbers are those of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    /// Not yet.
    NotDue = 1,
    /// At most 3 days.
    UpTo3Days = 2,
    /// At most 7 days.
    UpTo7Days = 3,
    /// At most 15 days.
    UpTo15Days = 4,
    /// At most 30 days.
    UpTo30Days = 5,
    /// Longer.
    Over30Days = 6,
}

impl Age {
    /// All of them, youngest first.
    pub const ALL: [Self; 6] = [
        Self::NotDue,
        Self::UpTo3Days,
        Self::UpTo7Days,
        Self::UpTo15Days,
        Self::UpTo30Days,
        Self::Over30Days,
    ];

    /// The age at a moment of what was due at another.
    pub fn of(due: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        let age = now - due;
        match age {
            _ if age <= TimeDelta::zero() => Self::NotDue,
            _ if age <= TimeDelta::days(3) => Self::UpTo3Days,
            _ if age <= TimeDelta::days(7) => Self::UpTo7Days,
            _ if age <= TimeDelta::days(15) => Self::UpTo15Days,
            _ if age <= TimeDelta::days(30) => Self::UpTo30Days,
            _ => Self::Over30Days,
        }
    }
}

/// Recurring revenue of two moments, and what became of it between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recurring {
    /// At the beginning.
    pub mrr_start: i64,
    /// Of machines that came.
    pub mrr_new: i64,
    /// Of machines that went.
    pub mrr_churned: i64,
    /// At the end.
    pub mrr_end: i64,
    /// Machines at the beginning.
    pub instances_start: i64,
    /// Machines that came.
    pub instances_new: i64,
    /// Machines that went.
    pub instances_churned: i64,
    /// Machines at the end.
    pub instances_end: i64,
    /// Accounts at the beginning.
    pub accounts_start: i64,
    /// Accounts that came.
    pub accounts_new: i64,
    /// Accounts that went.
    pub accounts_churned: i64,
    /// Accounts at the end.
    pub accounts_end: i64,
}

impl Recurring {
    /// Change of what counts at both moments.
    pub fn mrr_changed(&self) -> i64 {
        self.mrr_end - self.mrr_start - self.mrr_new + self.mrr_churned
    }
}

/// A part out of a whole in hundredths of a percent, rounded half up; 0 out of nothing.
pub fn basis_points(part: i64, whole: i64) -> i32 {
    if whole <= 0 {
        return 0;
    }
    let (part, whole) = (i128::from(part.max(0)), i128::from(whole));
    let rounded = (part * 20_000 + whole) / (whole * 2);
    i32::try_from(rounded).unwrap_or(i32::MAX)
}

/// Balances of the customer's own ledger accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balances {
    /// Can be spent.
    pub available: Rupiah,
    /// Set aside.
    pub held: Rupiah,
    /// Given by promotions.
    pub promo: Rupiah,
    /// Earned.
    pub withdrawable: Rupiah,
}
