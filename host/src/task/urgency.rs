//! Which of two waiting tasks goes first: a pure function of what does not change while they wait.

use super::MAX_PRIORITY;
use crate::time::Timestamp;

/// What one level of priority weighs without aging: more than any instant.
const WHOLE_LEVEL: u64 = 1 << 48;

/// How soon a task is served among those that are due; the lowest first.
///
/// A task that waits gains one level of priority every `aging_ms` milliseconds, so that a task of
/// priority 0 is overtaken only by those that become due within nine such spans after it, and
/// nothing starves. That is the same order at every instant: both sides of a comparison age alike.
/// With 0 there is no aging, and a higher priority always goes first.
pub fn urgency(priority: u8, due_at: Timestamp, aging_ms: u64) -> u64 {
    due_at.as_millis() + head_start(priority, aging_ms)
}

/// The inverse of [`urgency`]: when a task with it was due.
pub fn due_at(urgency: u64, priority: u8, aging_ms: u64) -> Timestamp {
    Timestamp::from_millis(urgency.saturating_sub(head_start(priority, aging_ms)))
}

fn head_start(priority: u8, aging_ms: u64) -> u64 {
    let levels = u64::from(MAX_PRIORITY.saturating_sub(priority));
    levels * if aging_ms == 0 { WHOLE_LEVEL } else { aging_ms.min(WHOLE_LEVEL) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{due_at, urgency};
    use crate::task::MAX_PRIORITY;
    use crate::time::Timestamp;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn l16_a_waiting_task_gains_a_level_every_span() {
        let aging = 60_000;
        assert!(urgency(9, at(100), aging) < urgency(4, at(0), aging), "five levels are five minutes");
        assert!(urgency(4, at(0), aging) < urgency(9, at(300_001), aging));
        assert!(urgency(4, at(0), aging) < urgency(4, at(1), aging), "among equals, who waits longer");
        assert!(urgency(9, Timestamp::MAX, 0) < urgency(8, at(0), 0), "without aging, priority is all");
    }

    proptest! {
        #[test]
        fn l16_nothing_is_overtaken_for_ever(
            (low, high) in (0..=MAX_PRIORITY, 0..=MAX_PRIORITY),
            due in 0..1_u64 << 42,
            later in 0..1_u64 << 42,
            aging in 1..100_000_000_u64,
        ) {
            let span = u64::from(MAX_PRIORITY) * aging;
            let overtakes = urgency(high, at(due + later), aging) < urgency(low, at(due), aging);
            prop_assert!(!overtakes || later < span);
            prop_assert!(!overtakes || high > low);
            // The levels that each has gained at any instant say the same.
            let level = |priority: u8, due: u64, now: u64| {
                u128::from(priority) * u128::from(aging) + u128::from(now) - u128::from(due)
            };
            let now = due + later + aging;
            prop_assert_eq!(overtakes, level(high, due + later, now) > level(low, due, now));
        }

        #[test]
        fn l16_the_due_time_reads_back(priority in 0..=MAX_PRIORITY, due in 0..253_402_300_799_999_u64, aging in 0..100_000_000_u64) {
            prop_assert_eq!(due_at(urgency(priority, at(due), aging), priority, aging), at(due));
        }
    }
}
