//! Civil times in a zone whose clocks are changed.
//!
//! The time line is walked by stretches of one offset. Within a stretch civil times and instants
//! correspond one to one; what happens at its ends is the policy's. So instants come out in order,
//! and none is looked at twice.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::cron::Cron;

/// How far ahead a match is looked for, in years. The rarest dates, a 29 February on a certain
/// weekday across the year 2100, are 40 years apart.
const HORIZON_YEARS: i64 = 60;
/// The shortest time that is told apart.
const STEP: SignedDuration = SignedDuration::from_millis(1);

/// What becomes of civil times that are skipped when clocks go forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gap {
    /// They happen together, once, at the first instant after the gap.
    #[default]
    Shift,
    /// They do not happen.
    Skip,
}

/// Which of two instants is meant by a civil time that is repeated when clocks go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fold {
    /// The earlier one.
    #[default]
    First,
    /// The later one.
    Last,
    /// Both.
    Both,
}

impl Gap {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shift => "shift",
            Self::Skip => "skip",
        }
    }
}

impl Fold {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Both => "both",
        }
    }
}

/// What happens when clocks are changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dst {
    /// When they go forward.
    pub gap: Gap,
    /// When they go back.
    pub overlap: Fold,
}

/// A stretch of time with one offset.
struct Stretch {
    offset: Offset,
    /// Where it begins, and the offset before.
    start: Option<(Timestamp, Offset)>,
    /// Where it ends, and the offset after.
    end: Option<(Timestamp, Offset)>,
}

impl Stretch {
    fn around(zone: &TimeZone, at: Timestamp) -> Self {
        let nanosecond = SignedDuration::from_nanos(1);
        // A transition at `at` itself begins the stretch.
        let start = at.checked_add(nanosecond).ok().and_then(|after| zone.preceding(after).next()).and_then(|change| {
            let start = change.timestamp();
            Some((start, zone.to_offset(start.checked_sub(nanosecond).ok()?)))
        });
        let end = zone.following(at).next().map(|change| (change.timestamp(), change.offset()));
        Self { offset: zone.to_offset(at), start, end }
    }
}

/// The first instant strictly after `after` at which `cron` fires in `zone`.
///
/// An expression that matches every hour follows real time: a skipped hour is not made up for, a
/// repeated one counts twice, whatever `dst` says.
pub fn next_after(cron: &Cron, zone: &TimeZone, dst: Dst, after: Timestamp) -> Option<Timestamp> {
    let dst = if cron.is_every_hour() { Dst { gap: Gap::Skip, overlap: Fold::Both } } else { dst };
    let mut at = after.checked_add(STEP).ok()?;
    let horizon = Offset::UTC.to_datetime(at).saturating_add(HORIZON_YEARS.years());
    loop {
        let stretch = Stretch::around(zone, at);
        let offset = stretch.offset;
        let mut from = offset.to_datetime(at);
        if let Some((start, before)) = stretch.start {
            let left = before.to_datetime(start);
            if start == at && dst.gap == Gap::Shift && cron.first_in(left, from).is_some() {
                return Some(at);
            }
            if dst.overlap == Fold::First {
                from = from.max(left);
            }
        }
        let until = match stretch.end {
            None => horizon,
            Some((end, then)) if dst.overlap == Fold::Last => offset.to_datetime(end).min(then.to_datetime(end)),
            Some((end, _)) => offset.to_datetime(end),
        };
        if let Some(found) = cron.first_in(from, until.min(horizon)) {
            return offset.to_timestamp(found).ok();
        }
        at = stretch.end.map(|(end, _)| end).filter(|end| Offset::UTC.to_datetime(*end) < horizon)?;
    }
}
