//! A token bucket without a clock: `now` is an argument, and time that goes back gives nothing.

use serde::{Deserialize, Serialize};

use super::Rate;
use crate::time::Timestamp;

/// A clock that goes back further was set back, in milliseconds.
pub const SLACK_MS: u64 = 10_000;

/// How much of a rate is left. In whole numbers: a token has [`Rate::per_ms`] parts, of which
/// [`Rate::tasks`] come back every millisecond, so that nothing is lost by rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBucket {
    /// Parts that were left.
    level: u64,
    /// Parts of one token.
    parts: u64,
    /// When.
    at: Timestamp,
}

impl TokenBucket {
    /// A full one.
    pub fn full(rate: Rate, now: Timestamp) -> Self {
        Self { level: capacity(rate), parts: rate.per_ms, at: now }
    }

    /// Whole tokens that are there at `now`.
    pub fn tokens(&self, rate: Rate, now: Timestamp) -> u32 {
        u32::try_from(self.at(rate, now).level / rate.per_ms).unwrap_or(u32::MAX)
    }

    /// Takes a token; `false` when there is none.
    pub fn take(&mut self, rate: Rate, now: Timestamp) -> bool {
        *self = self.at(rate, now);
        let left = self.level.checked_sub(rate.per_ms);
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }

    /// When there will be a token; `now` when there is one.
    pub fn next_at(&self, rate: Rate, now: Timestamp) -> Timestamp {
        self.reaches(rate.per_ms, rate, now)
    }

    /// When it will be full: from then on it says nothing that a new one would not.
    pub fn full_at(&self, rate: Rate, now: Timestamp) -> Timestamp {
        self.reaches(capacity(rate), rate, now)
    }

    fn reaches(&self, level: u64, rate: Rate, now: Timestamp) -> Timestamp {
        let Self { level: there, parts: _, at } = self.at(rate, now);
        let missing = level.saturating_sub(there);
        if missing == 0 { now } else { at.plus_millis(missing.div_ceil(u64::from(rate.tasks))) }
    }

    /// How it stands at `now` under a rate, which may have changed. Time that goes back a little gives nothing
    /// until it has caught up; a clock that was set back starts to count anew.
    fn at(&self, rate: Rate, now: Timestamp) -> Self {
        let level = if self.parts == rate.per_ms {
            self.level
        } else {
            let scaled = u128::from(self.level) * u128::from(rate.per_ms) / u128::from(self.parts.max(1));
            u64::try_from(scaled).unwrap_or(u64::MAX)
        };
        let gained = now.millis_since(self.at).saturating_mul(u64::from(rate.tasks));
        let at = if self.at.millis_since(now) > SLACK_MS { now } else { now.max(self.at) };
        Self { level: level.saturating_add(gained).min(capacity(rate)), parts: rate.per_ms, at }
    }
}

fn capacity(rate: Rate) -> u64 {
    u64::from(rate.burst).saturating_mul(rate.per_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Rate, TokenBucket};
    use crate::time::Timestamp;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_burst_is_spent_and_comes_back_at_the_rate() {
        let rate = Rate { tasks: 3, per_ms: 1_000, burst: 2 };
        let mut bucket = TokenBucket::full(rate, at(0));
        assert!(bucket.take(rate, at(0)) && bucket.take(rate, at(0)) && !bucket.take(rate, at(0)));
        assert_eq!((bucket.next_at(rate, at(0)), bucket.full_at(rate, at(0))), (at(334), at(667)));
        assert!(!bucket.take(rate, at(333)) && bucket.take(rate, at(334)));
        assert_eq!(bucket.tokens(rate, at(667)), 1, "thirds are not lost");
        assert_eq!(bucket.tokens(rate, at(1_000_000)), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_and_takes_nothing() {
        let rate = Rate { tasks: 1, per_ms: 1_000, burst: 1 };
        let mut bucket = TokenBucket::full(rate, at(10_000_000));
        assert!(bucket.take(rate, at(10_000_000)));
        assert!(!bucket.take(rate, at(5_000)));
        assert_eq!(bucket.next_at(rate, at(5_000)), at(6_000), "it does not wait for the old time");
        assert!(bucket.take(rate, at(6_000)));
        // A little is only the order in which two heard of the time: it gives nothing twice.
        assert!(!bucket.take(rate, at(5_500)));
        assert_eq!(bucket.next_at(rate, at(5_500)), at(7_000));
    }

    #[test]
    fn another_rate_keeps_the_share_of_a_token() {
        let minute = Rate { tasks: 1, per_ms: 60_000, burst: 4 };
        let mut bucket = TokenBucket::full(minute, at(0));
        assert!(bucket.take(minute, at(0)));
        let second = Rate { tasks: 1, per_ms: 1_000, burst: 9 };
        assert_eq!(bucket.tokens(second, at(0)), 3);
        assert_eq!(bucket.tokens(Rate { burst: 2, ..second }, at(0)), 2);
    }

    proptest! {
        #[test]
        fn no_more_begin_than_the_burst_and_the_rate_allow(
            (tasks, per_ms, burst) in (1..50_u32, 1..5_000_u64, 1..50_u32),
            steps in prop::collection::vec((0..2_000_u64, 0..20_u32), 1..60),
        ) {
            let rate = Rate { tasks, per_ms, burst };
            let mut bucket = TokenBucket::full(rate, at(0));
            let (mut now, mut taken) = (0, 0_u64);
            for (wait, wanted) in steps {
                now += wait;
                let there = bucket.tokens(rate, at(now));
                let got = (0..wanted).filter(|_| bucket.take(rate, at(now))).count();
                prop_assert_eq!(u32::try_from(got).unwrap(), wanted.min(there));
                taken += got as u64;
                prop_assert!(taken * per_ms <= u64::from(burst) * per_ms + now * u64::from(tasks));
                let next = bucket.next_at(rate, at(now)).as_millis();
                prop_assert!(bucket.tokens(rate, at(next)) > 0);
                prop_assert!(next == now || bucket.tokens(rate, at(next - 1)) == 0, "not before");
            }
        }
    }
}
