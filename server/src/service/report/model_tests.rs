use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use uuid::Uuid;

use crate::service::report::model::{
    Age, COUNT, Figures, Interval, NAMES, Range, Recurring, basis_points, by_plan, rows,
};

fn day(text: &str) -> NaiveDate {
    text.parse().expect("a day")
}

fn range(start: &str, end: &str) -> Range {
    Range {
        start: day(start),
        end: day(end),
    }
}

#[test]
fn rows_are_cut_by_the_calendar_and_at_the_ends() {
    // 21 November 2026 is a Saturday.
    let days = range("2026-11-21", "2026-12-02");
    assert_eq!(Interval::Day.cut(days).len(), 11);
    let weeks = Interval::Week.cut(days);
    assert_eq!(
        weeks,
        [
            range("2026-11-21", "2026-11-23"),
            range("2026-11-23", "2026-11-30"),
            range("2026-11-30", "2026-12-02"),
        ]
    );
    let months = Interval::Month.cut(days);
    assert_eq!(months.len(), 2);
    assert_eq!(months[1], range("2026-12-01", "2026-12-02"));
    let years = Interval::Year.cut(range("2025-06-01", "2027-01-01"));
    assert_eq!(years[0], range("2025-06-01", "2026-01-01"));
    assert_eq!(years[1], range("2026-01-01", "2027-01-01"));
    assert!(
        Interval::Day
            .cut(range("2026-11-21", "2026-11-21"))
            .is_empty()
    );
    assert_eq!(
        Range::month(day("2026-02-14")),
        range("2026-02-01", "2026-03-01")
    );
}

#[test]
fn gaps_are_runs_of_days() {
    let known = BTreeSet::from(["2026-01-02", "2026-01-03", "2026-01-05"].map(day));
    let gaps = range("2026-01-01", "2026-01-07").gaps(&known);
    assert_eq!(
        gaps,
        [
            range("2026-01-01", "2026-01-02"),
            range("2026-01-04", "2026-01-05"),
            range("2026-01-06", "2026-01-07"),
        ]
    );
    assert!(range("2026-01-02", "2026-01-04").gaps(&known).is_empty());
}

#[test]
fn figures_add_up_by_row_and_by_plan() {
    let (small, large) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let of = |day_text: &str, plan, charged, orders_active| Figures {
        day: day(day_text),
        plan,
        charged,
        orders_active,
        orders_placed: orders_active,
        ..Figures::default()
    };
    let figures = [
        of("2026-11-21", small, 100, 1),
        of("2026-11-21", large, 900, 1),
        of("2026-11-23", small, 100, 1),
        of("2026-11-23", Uuid::nil(), 0, 0),
    ];
    let weeks = Interval::Week.cut(range("2026-11-21", "2026-11-24"));
    let rows = rows(&figures, &weeks);
    let charged: Vec<i64> = rows.iter().map(|(_, f)| f.charged).collect();
    assert_eq!(charged, [1000, 100]);
    let plans: Vec<(Uuid, i64, i64)> = by_plan(&figures)
        .iter()
        .map(|f| (f.plan, f.orders_active, f.revenue()))
        .collect();
    assert_eq!(plans, [(small, 2, 200), (large, 1, 900)]);
    let names: BTreeSet<&str> = NAMES.into_iter().collect();
    assert_eq!(names.len(), COUNT);
}

#[test]
fn ages_have_edges() {
    let now: DateTime<Utc> = "2026-11-21T00:00:00Z".parse().expect("a time");
    let cases = [
        (TimeDelta::seconds(-1), Age::NotDue),
        (TimeDelta::zero(), Age::NotDue),
        (TimeDelta::seconds(1), Age::UpTo3Days),
        (TimeDelta::days(3), Age::UpTo3Days),
        (TimeDelta::days(7), Age::UpTo7Days),
        (TimeDelta::days(8), Age::UpTo15Days),
        (TimeDelta::days(30), Age::UpTo30Days),
        (TimeDelta::days(31), Age::Over30Days),
    ];
    for (age, expected) in cases {
        assert_eq!(Age::of(now - age, now), expected, "{age}");
    }
}

#[test]
fn parts_of_a_whole_are_rounded_half_up() {
    for (part, whole, points) in [
        (0, 0, 0),
        (5, 0, 0),
        (1, 3, 3333),
        (2, 3, 6667),
        (1, 8, 1250),
        (1, 20_000, 1),
        (3, 3, 10_000),
    ] {
        assert_eq!(basis_points(part, whole), points, "{part} of {whole}");
    }
}

#[test]
fn what_changed_is_what_neither_came_nor_went() {
    let recurring = Recurring {
        mrr_start: 500,
        mrr_new: 100,
        mrr_churned: 50,
        mrr_end: 560,
        ..Recurring::default()
    };
    assert_eq!(recurring.mrr_changed(), 10);
}
