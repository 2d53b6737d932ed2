//! When a schedule fires.

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::cron::Cron;
use super::zone;
use super::zoned::{self, Dst};
use crate::time::Timestamp;

/// When a schedule fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// At `phase_ms` after every multiple of `every_ms` since the epoch.
    Interval {
        /// In milliseconds.
        every_ms: u64,
        /// In milliseconds, less than `every_ms`.
        phase_ms: u64,
    },
    /// At civil times in a zone.
    Cron {
        /// Five or six fields, or a word such as `@daily`.
        expression: String,
        /// The zone's name in the IANA database.
        zone: String,
        /// What happens when clocks are changed.
        dst: Dst,
    },
    /// At these instants, which are in order and different.
    Instants(Vec<Timestamp>),
}

impl Trigger {
    /// Every `every_ms` milliseconds.
    pub fn every(every_ms: u64) -> Self {
        Self::Interval { every_ms, phase_ms: 0 }
    }

    /// Reads the expression and finds the zone. The error says what is wrong with which.
    pub fn clock(&self) -> Result<Clock<'_>, String> {
        Ok(match self {
            Self::Interval { every_ms, phase_ms } => {
                Clock::Interval { every_ms: (*every_ms).max(1), phase_ms: *phase_ms }
            }
            Self::Cron { expression, zone, dst } => {
                let cron = Cron::parse(expression).map_err(|why| format!("the expression {why}"))?;
                Clock::Cron { cron, zone: zone::find(zone)?.1, dst: *dst }
            }
            Self::Instants(instants) => Clock::Instants(instants),
        })
    }

    /// The zone in which people think of this trigger; UTC when it has none.
    pub fn zone(&self) -> TimeZone {
        match self {
            Self::Cron { zone, .. } => zone::find(zone).map_or(TimeZone::UTC, |(_, zone)| zone),
            Self::Interval { .. } | Self::Instants(_) => TimeZone::UTC,
        }
    }
}

/// A trigger that can be asked.
#[derive(Clone, Debug)]
pub enum Clock<'a> {
    /// See [`Trigger::Interval`].
    Interval {
        /// At least 1.
        every_ms: u64,
        /// Less than `every_ms`.
        phase_ms: u64,
    },
    /// See [`Trigger::Cron`].
    Cron {
        /// The civil times.
        cron: Cron,
        /// Where they are meant.
        zone: TimeZone,
        /// What happens when clocks are changed.
        dst: Dst,
    },
    /// See [`Trigger::Instants`].
    Instants(&'a [Timestamp]),
}

impl Clock<'_> {
    /// The first nominal time strictly after `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Interval { every_ms, phase_ms } => {
                let next = match after.as_millis().checked_sub(*phase_ms) {
                    None => *phase_ms,
                    Some(since) => (since / every_ms + 1).saturating_mul(*every_ms).saturating_add(*phase_ms),
                };
                (next <= Timestamp::MAX.as_millis()).then(|| Timestamp::from_millis(next))
            }
            Self::Cron { cron, zone, dst } => {
                let after = jiff::Timestamp::from_millisecond(i64::try_from(after.as_millis()).ok()?).ok()?;
                let next = zoned::next_after(cron, zone, *dst, after)?;
                u64::try_from(next.as_millisecond()).ok().map(Timestamp::from_millis)
            }
            Self::Instants(instants) => instants.get(instants.partition_point(|instant| *instant <= after)).copied(),
        }
    }
}
