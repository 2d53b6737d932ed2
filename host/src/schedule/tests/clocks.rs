//! Expressions against clocks that are changed.

use std::collections::BTreeSet;

use jiff::civil::{DateTime, date};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use proptest::prelude::*;

use crate::schedule::cron::Cron;
use crate::schedule::zoned::next_after;
use crate::schedule::{Dst, Fold, Gap};

/// Zones with every sort of change: north, south, half an hour, by decree, across the date line, none.
const ZONES: [&str; 24] = [
    "Europe/Berlin",
    "Europe/London",
    "Europe/Lisbon",
    "Europe/Moscow",
    "Europe/Istanbul",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Africa/Lagos",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Asia/Gaza",
    "Asia/Amman",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Apia",
    "Pacific/Chatham",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/Caracas",
    "Antarctica/Troll",
    "UTC",
];

const SHIFT_FIRST: Dst = Dst { gap: Gap::Shift, overlap: Fold::First };

fn firings(zone: &str, expression: &str, dst: Dst, from: DateTime, count: usize) -> Vec<String> {
    let (zone, cron) = (TimeZone::get(zone).unwrap(), Cron::parse(expression).unwrap());
    let mut after = zone.to_timestamp(from).unwrap();
    let mut found = Vec::new();
    for _ in 0..count {
        after = next_after(&cron, &zone, dst, after).unwrap();
        found.push(after.to_zoned(zone.clone()).strftime("%d %H:%M%:z").to_string());
    }
    found
}

#[test]
fn lists_ranges_and_steps_are_neither_lost_nor_doubled_in_berlin() {
    let spring = date(2026, 3, 28).at(12, 0, 0, 0);
    let autumn = date(2026, 10, 24).at(12, 0, 0, 0);
    let berlin = |expression, dst, from, count| firings("Europe/Berlin", expression, dst, from, count);
    let next_day = "30 02:00+02:00";
    assert_eq!(berlin("0,30 2 * * *", SHIFT_FIRST, spring, 2), ["29 03:00+02:00", next_day]);
    assert_eq!(berlin("*/20 2 * * *", SHIFT_FIRST, spring, 2), ["29 03:00+02:00", next_day]);
    assert_eq!(berlin("0-30/10 2 * * *", SHIFT_FIRST, spring, 2), ["29 03:00+02:00", next_day]);
    assert_eq!(berlin("0 2,4 * * *", SHIFT_FIRST, spring, 3), ["29 03:00+02:00", "29 04:00+02:00", next_day]);
    assert_eq!(berlin("30 2-3 * * *", SHIFT_FIRST, spring, 2), ["29 03:00+02:00", "29 03:30+02:00"]);
    assert_eq!(berlin("0 2,3 * * *", SHIFT_FIRST, spring, 2), ["29 03:00+02:00", next_day], "together, once");
    let skip = Dst { gap: Gap::Skip, ..SHIFT_FIRST };
    assert_eq!(berlin("0,30 2 * * *", skip, spring, 1), [next_day]);
    assert_eq!(berlin("0,30 2 * * *", SHIFT_FIRST, autumn, 3), ["25 02:00+02:00", "25 02:30+02:00", "26 02:00+01:00"]);
    let last = Dst { overlap: Fold::Last, ..SHIFT_FIRST };
    assert_eq!(berlin("0,30 2 * * *", last, autumn, 3), ["25 02:00+01:00", "25 02:30+01:00", "26 02:00+01:00"]);
    let both = Dst { overlap: Fold::Both, ..SHIFT_FIRST };
    let four = ["25 02:00+02:00", "25 02:30+02:00", "25 02:00+01:00", "25 02:30+01:00"];
    assert_eq!(berlin("0,30 2 * * *", both, autumn, 4), four);
    assert_eq!(berlin("0 2,4 * * *", SHIFT_FIRST, autumn, 3), ["25 02:00+02:00", "25 04:00+01:00", "26 02:00+01:00"]);
    assert_eq!(berlin("30 2 29 * *", SHIFT_FIRST, spring, 2), ["29 03:00+02:00", "29 02:30+02:00"]);
}

#[test]
fn what_matches_every_hour_follows_real_time() {
    let spring = date(2026, 3, 29).at(1, 10, 0, 0);
    assert_eq!(
        firings("Europe/Berlin", "*/30 * * * *", SHIFT_FIRST, spring, 3),
        ["29 01:30+01:00", "29 03:00+02:00", "29 03:30+02:00"]
    );
    let autumn = date(2026, 10, 25).at(1, 10, 0, 0);
    assert_eq!(
        firings("Europe/Berlin", "0 * * * *", SHIFT_FIRST, autumn, 3),
        ["25 02:00+02:00", "25 02:00+01:00", "25 03:00+01:00"]
    );
}

#[test]
fn odd_changes_are_handled() {
    // Half an hour: 2026-10-04 02:00 becomes 02:30.
    let howe = firings("Australia/Lord_Howe", "15 2 * * *", SHIFT_FIRST, date(2026, 10, 3).at(12, 0, 0, 0), 2);
    assert_eq!(howe, ["04 02:30+11:00", "05 02:15+11:00"]);
    // At midnight: 2026-09-06 00:00 becomes 01:00.
    let santiago = firings("America/Santiago", "0 0 * * *", SHIFT_FIRST, date(2026, 9, 5).at(12, 0, 0, 0), 2);
    assert_eq!(santiago, ["06 01:00-03:00", "07 00:00-03:00"]);
    // A whole day that did not happen.
    let before = date(2011, 12, 29).at(13, 0, 0, 0);
    let apia = |dst| firings("Pacific/Apia", "0 12 * * *", dst, before, 2);
    assert_eq!(apia(SHIFT_FIRST), ["31 00:00+14:00", "31 12:00+14:00"]);
    assert_eq!(apia(Dst { gap: Gap::Skip, ..SHIFT_FIRST }), ["31 12:00+14:00", "01 12:00+14:00"]);
}

#[test]
fn c9_what_never_comes_is_found_out_soon() {
    let berlin = TimeZone::get("Europe/Berlin").unwrap();
    let from = "2026-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
    let next = |expression: &str, dst| next_after(&Cron::parse(expression).unwrap(), &berlin, dst, from);
    assert_eq!(next("0 0 30 2 *", SHIFT_FIRST), None);
    assert_eq!(next("0 0 31 4,6,9,11 *", SHIFT_FIRST), None);
    // Always in the gap.
    assert_eq!(next("30 2 * 3 SUNL", Dst { gap: Gap::Skip, ..SHIFT_FIRST }).map(|at| at.to_string()), None);
    // A 29 February that is a Monday.
    let leap = next("0 0 29 2 +1", SHIFT_FIRST).unwrap();
    assert_eq!(leap.to_zoned(berlin.clone()).date(), date(2044, 2, 29));
}

/// Every firing in a span, from the civil matches and the policy: the long way round.
fn expected(cron: &Cron, zone: &TimeZone, dst: Dst, (from, until): (Timestamp, Timestamp)) -> BTreeSet<Timestamp> {
    let dst = if cron.is_every_hour() { Dst { gap: Gap::Skip, overlap: Fold::Both } } else { dst };
    let mut civil = zone.to_datetime(from).checked_sub(2.days()).unwrap();
    let end = zone.to_datetime(until).checked_add(2.days()).unwrap();
    let mut found = BTreeSet::new();
    while let Some(at) = cron.first_in(civil, end) {
        match zone.to_ambiguous_zoned(at).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                found.insert(offset.to_timestamp(at).unwrap());
            }
            AmbiguousOffset::Gap { before, after } => {
                let earlier = after.to_timestamp(at).unwrap();
                let later = before.to_timestamp(at).unwrap();
                let change = zone.following(earlier).find(|change| change.offset() == after).unwrap();
                assert!(change.timestamp() <= later);
                if dst.gap == Gap::Shift {
                    found.insert(change.timestamp());
                }
            }
            AmbiguousOffset::Fold { before, after } => {
                let (first, last) = (before.to_timestamp(at).unwrap(), after.to_timestamp(at).unwrap());
                found.extend((dst.overlap != Fold::Last).then_some(first));
                found.extend((dst.overlap != Fold::First).then_some(last));
            }
        }
        civil = at.checked_add(SignedDuration::from_millis(1)).unwrap();
    }
    found
        .split_off(&from.checked_add(SignedDuration::from_nanos(1)).unwrap())
        .into_iter()
        .filter(|at| *at <= until)
        .collect()
}

fn field(max: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        2 => (0..=max).prop_map(|value| value.to_string()),
        1 => (0..=max, 0..=max).prop_map(|(a, b)| format!("{a},{b}")),
        1 => (0..=max, 0..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (2..=max).prop_map(|step| format!("*/{step}")),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let hours = prop_oneof![3 => field(4), 1 => field(23), 1 => Just("*".to_owned())];
    let days = prop_oneof![4 => Just("* * *"), 1 => Just("1,15,29 * *"), 1 => Just("* * 0,6"), 1 => Just("L 3,10 *"), 1 => Just("* * SUNL")];
    (field(59), hours, days).prop_map(|(minutes, hours, days)| format!("{minutes} {hours} {days}"))
}

fn policy() -> impl Strategy<Value = Dst> {
    let gap = prop_oneof![Just(Gap::Shift), Just(Gap::Skip)];
    let overlap = prop_oneof![Just(Fold::First), Just(Fold::Last), Just(Fold::Both)];
    (gap, overlap).prop_map(|(gap, overlap)| Dst { gap, overlap })
}

/// The firings in a span, in the order in which they are found.
fn found(cron: &Cron, zone: &TimeZone, dst: Dst, (from, until): (Timestamp, Timestamp)) -> Vec<Timestamp> {
    let times = std::iter::successors(next_after(cron, zone, dst, from), |after| next_after(cron, zone, dst, *after));
    times.take_while(|at| *at <= until).collect()
}

fn check(cron: &Cron, zone: &str, dst: Dst, span: (Timestamp, Timestamp)) -> Result<(), TestCaseError> {
    let zone = TimeZone::get(zone).unwrap();
    let found = found(cron, &zone, dst, span);
    prop_assert!(found.is_sorted_by(|a, b| a < b), "instants increase strictly");
    let expected: Vec<_> = expected(cron, &zone, dst, span).into_iter().collect();
    prop_assert_eq!(found, expected, "{:?} in {:?} {:?}", dst, zone, span);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]

    /// Around every change of the clocks in ten years, in every zone: instants increase strictly, and
    /// each civil match is accounted for by the policy.
    #[test]
    fn i12_every_civil_match_is_accounted_for_around_each_change(
        expression in expression(), dst in policy(), year in 2008..=2022_i16,
    ) {
        let cron = Cron::parse(&expression).unwrap();
        let from = date(year, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
        let until = date(year + 10, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
        for name in ZONES {
            let zone = TimeZone::get(name).unwrap();
            let changes = zone.following(from).map(|change| change.timestamp()).take_while(|at| *at < until);
            for change in changes.chain([from]) {
                let span = (change.checked_sub(30.hours()).unwrap(), change.checked_add(30.hours()).unwrap());
                check(&cron, name, dst, span)?;
            }
        }
    }

    /// A day expression over ten years, without a look at where the changes are.
    #[test]
    fn i12_ten_years_of_a_daily_expression_have_every_day(hour in 0..24_u8, minute in 0..60_u8, dst in policy()) {
        let cron = Cron::parse(&format!("{minute} {hour} * * *")).unwrap();
        let from = "2010-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        let until = "2020-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
        for name in ZONES {
            check(&cron, name, dst, (from, until))?;
        }
    }
}
