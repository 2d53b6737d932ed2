//! What the verbs on schedules take and answer.

use crate::schedule::Schedule;
use crate::time::Timestamp;

/// Schedules of a store.
pub const MAX_SCHEDULES: usize = 100_000;
/// Firings of one schedule that wait, at most.
pub const MAX_WAITING: usize = 1_000;

/// A look at what is due.
#[derive(Clone, Debug, Default)]
pub struct DueQuery {
    /// Schedules whose pass has not ended.
    pub busy: Vec<String>,
    /// Schedules that one commit looks at, at most.
    pub limit: usize,
}

/// What a look at the schedules did.
#[derive(Clone, Debug, Default)]
pub struct FiredDue {
    /// Dispatching schedules that fired: their passes are to be started.
    pub passes: Vec<Schedule>,
    /// More is due already.
    pub more: bool,
    /// When the next one is due.
    pub next_at: Option<Timestamp>,
    /// There was no room for a task: what is due stays due.
    pub full: Option<String>,
}

/// Asks for the nominal times of a span in the past to be made up for.
#[derive(Clone, Debug)]
pub struct Backfill {
    /// The schedule.
    pub name: String,
    /// The first nominal time, inclusive.
    pub from: Timestamp,
    /// The last one, inclusive; not after now, what comes then fires by itself.
    pub until: Timestamp,
    /// Tasks at most.
    pub limit: usize,
}

/// What a backfill did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfilled {
    /// Tasks that were created.
    pub created: u64,
    /// Nominal times whose task of an earlier backfill still lives.
    pub duplicates: u64,
    /// The first nominal time that is left, when the span has more than the limit.
    pub next: Option<Timestamp>,
}
