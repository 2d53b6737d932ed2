//! When something happens by itself, and what.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The shortest interval, in milliseconds: below it a schedule is a busy loop.
pub const MIN_INTERVAL_MS: u64 = 100;
/// The longest interval: ten years, in milliseconds.
pub const MAX_INTERVAL_MS: u64 = 315_360_000_000;

/// What a firing does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Runs a pass of a plugin's dispatcher.
    Dispatch {
        /// The plugin's name.
        plugin: String,
        /// Tasks asked of the dispatcher at once.
        batch: u32,
        /// Live tasks of this schedule at most; the pass waits for room.
        capacity: u32,
    },
    /// Creates one task.
    Enqueue {
        /// The task's kind.
        kind: String,
        /// JSON text.
        input: String,
    },
}

/// A schedule as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// Its name, unique.
    pub name: String,
    /// Interval in milliseconds; firings fall on its multiples since the epoch.
    pub every_ms: u64,
    /// What a firing does.
    pub action: Action,
}

impl ScheduleSpec {
    /// The first nominal time strictly after `now`. Missed firings collapse into one.
    pub fn next_after(&self, now: Timestamp) -> Timestamp {
        let every = self.every_ms.max(1);
        Timestamp::from_millis((now.as_millis() / every + 1).saturating_mul(every))
    }
}

/// A schedule and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// As declared.
    pub spec: ScheduleSpec,
    /// The next nominal time.
    pub next_at: Timestamp,
    /// The latest nominal time that fired.
    pub last_fired_at: Option<Timestamp>,
    /// Firings so far; also the number of the latest pass, which fences its dispatches.
    pub fired: u64,
    /// Firings that were left out because the pass before had not ended.
    pub overlapped: u64,
    /// Nominal times that passed while the host was down or late.
    pub missed: u64,
    /// Where the dispatcher goes on; stored in one commit with the tasks it produced (invariant I13).
    #[serde(with = "crate::task::text::bytes")]
    pub cursor: Option<Vec<u8>>,
    /// Why the latest pass failed, if it did.
    pub last_error: Option<String>,
}

impl Schedule {
    /// A schedule declared at `now`: its first firing is its next nominal time.
    pub fn declared(spec: ScheduleSpec, now: Timestamp) -> Self {
        let next_at = spec.next_after(now);
        Self { spec, next_at, last_fired_at: None, fired: 0, overlapped: 0, missed: 0, cursor: None, last_error: None }
    }

    /// Advances past the nominal time `nominal`, which must be the next one and due.
    ///
    /// Returns false, and changes nothing, when it is not: each nominal time fires at most once
    /// (invariant I12). `overlapped` marks a firing that is left out.
    pub fn advance(&mut self, nominal: Timestamp, now: Timestamp, overlapped: bool) -> bool {
        if self.next_at != nominal || nominal > now {
            return false;
        }
        let next = self.spec.next_after(now);
        let skipped = next.millis_since(nominal) / self.spec.every_ms.max(1);
        self.missed = self.missed.saturating_add(skipped.saturating_sub(1));
        self.next_at = next;
        if overlapped {
            self.overlapped = self.overlapped.saturating_add(1);
        } else {
            self.fired = self.fired.saturating_add(1);
            self.last_fired_at = Some(nominal);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{Action, Schedule, ScheduleSpec};
    use crate::time::Timestamp;

    fn every(every_ms: u64) -> ScheduleSpec {
        let action = Action::Enqueue { kind: "echo".to_owned(), input: "{}".to_owned() };
        ScheduleSpec { name: "s".to_owned(), every_ms, action }
    }

    #[test]
    fn i12_each_nominal_time_fires_at_most_once_and_missed_ones_collapse() {
        let at = Timestamp::from_millis;
        let mut schedule = Schedule::declared(every(1_000), at(2_500));
        assert_eq!(schedule.next_at, at(3_000));
        assert!(!schedule.advance(at(3_000), at(2_999), false), "not due");
        assert!(schedule.advance(at(3_000), at(3_000), false));
        assert!(!schedule.advance(at(3_000), at(3_001), false), "fired before");
        assert!(schedule.advance(at(4_000), at(9_500), false));
        assert_eq!((schedule.next_at, schedule.fired, schedule.missed), (at(10_000), 2, 5));
        assert!(schedule.advance(at(10_000), at(10_000), true));
        assert_eq!((schedule.fired, schedule.overlapped), (2, 1));
    }
}
