//! Schedules over zones, clock changes, downtime and overlaps.

mod clocks;
mod looks;

use super::{Action, ScheduleSpec, Trigger};
use crate::time::Timestamp;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn enqueue() -> Action {
    Action::Enqueue { kind: "echo".to_owned(), input: "{}".to_owned() }
}

fn every(every_ms: u64) -> ScheduleSpec {
    ScheduleSpec::new("s", Trigger::every(every_ms), enqueue())
}
