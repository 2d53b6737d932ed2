//! When something happens by itself, and what.

pub mod cron;
pub mod declaration;
pub mod standing;
#[cfg(test)]
mod tests;
pub mod timetable;
pub mod trigger;
pub mod zone;
pub mod zoned;

use serde::{Deserialize, Serialize};

pub use self::declaration::{Declaration, Wrong};
pub use self::standing::{Firing, Look, Origin, Pause, Schedule, Start, Waiting};
pub use self::timetable::Timetable;
pub use self::trigger::Trigger;
pub use self::zoned::{Dst, Fold, Gap};
use crate::time::Timestamp;

/// The shortest interval, in milliseconds: below it a schedule is a busy loop.
pub const MIN_INTERVAL_MS: u64 = 100;
/// The longest interval: ten years, in milliseconds.
pub const MAX_INTERVAL_MS: u64 = 315_360_000_000;
/// Bytes of a schedule's name.
pub const MAX_NAME_LEN: usize = 64;
/// Nominal times that one listing or one backfill looks at, at most.
pub const MAX_PREVIEW: usize = 1_000;
/// A firing that is later than this was missed, in milliseconds: what then happens is up to
/// [`CatchUp`].
pub const ON_TIME_MS: u64 = 10_000;

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

impl Action {
    /// What happens to overlapping firings when nothing is said: a dispatcher has one pass at a
    /// time, tasks may run side by side.
    pub fn default_overlap(&self) -> Overlap {
        match self {
            Self::Dispatch { .. } => Overlap::Skip,
            Self::Enqueue { .. } => Overlap::Allow,
        }
    }
}

/// What happens to a firing while the one before has not ended: its pass runs, or a task of the
/// schedule lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// It is left out.
    Skip,
    /// One waits until the one before has ended; others are left out.
    QueueOne,
    /// So many wait, one after the other; others are left out.
    QueueAll(u32),
    /// The live tasks are cancelled; it waits until they have ended.
    CancelOther,
    /// It happens all the same.
    Allow,
}

/// What happens to firings whose time passed while the host was down or late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatchUp {
    /// They are left out, unless they are late by less than [`ON_TIME_MS`].
    Skip,
    /// The latest one happens.
    #[default]
    Latest,
    /// The latest so many happen.
    All(u32),
    /// Those happen that are late by this many milliseconds at most; at most [`MAX_PREVIEW`].
    Window(u64),
}

impl Overlap {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::QueueOne => "queue-one",
            Self::QueueAll(_) => "queue-all",
            Self::CancelOther => "cancel-other",
            Self::Allow => "allow",
        }
    }
}

impl CatchUp {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Latest => "latest",
            Self::All(_) => "all",
            Self::Window(_) => "window",
        }
    }
}

/// A schedule as declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleSpec {
    /// Its name, unique.
    pub name: String,
    /// When it fires.
    pub trigger: Trigger,
    /// What a firing does.
    pub action: Action,
    /// What happens to overlapping firings.
    pub overlap: Overlap,
    /// What happens to firings that were missed.
    pub catch_up: CatchUp,
    /// A firing happens up to this much after its nominal time, in milliseconds; how much depends
    /// on the name and the nominal time only.
    pub jitter_ms: u64,
    /// No nominal time before this instant.
    pub start: Option<Timestamp>,
    /// No nominal time after this instant.
    pub end: Option<Timestamp>,
    /// Firings at most; those by hand do not count.
    pub max_fires: Option<u64>,
    /// Pauses after so many tasks or passes in a row that failed.
    pub pause_on_failure: Option<u32>,
}

impl ScheduleSpec {
    /// A schedule with every default.
    pub fn new(name: impl Into<String>, trigger: Trigger, action: Action) -> Self {
        Self {
            name: name.into(),
            trigger,
            overlap: action.default_overlap(),
            action,
            catch_up: CatchUp::default(),
            jitter_ms: 0,
            start: None,
            end: None,
            max_fires: None,
            pause_on_failure: None,
        }
    }

    /// Every `every_ms` milliseconds, with every default.
    pub fn every(name: impl Into<String>, every_ms: u64, action: Action) -> Self {
        Self::new(name, Trigger::every(every_ms), action)
    }

    /// Whether there is a nominal time after `now`. The error says what never comes, and why.
    pub fn check_fires_after(&self, now: Timestamp) -> Result<(), String> {
        match Timetable::of(self)?.next_after(now) {
            Some(_) => Ok(()),
            None => Err(match &self.trigger {
                Trigger::Cron { expression, zone, .. } => {
                    format!("{expression:?} never fires in {zone}{}", self.within())
                }
                Trigger::Interval { .. } => format!("the interval never comes round{}", self.within()),
                Trigger::Instants(_) => format!("every instant has passed or is out of bounds{}", self.within()),
            }),
        }
    }

    fn within(&self) -> String {
        let start = self.start.map(|start| format!(" from {start}"));
        let end = self.end.map(|end| format!(" until {end}"));
        [start, end].into_iter().flatten().collect()
    }
}

/// Whether `name` may name a schedule.
pub fn is_valid_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME_LEN && name.bytes().all(fits)
}
