//! How many tasks a plugin may create within a time: a token bucket that outlives the generations of the plugin.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::time::Timestamp;

/// Parts of a token, so that all is whole numbers.
const PARTS: u64 = 1_000_000;

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Parts of a token that come with each millisecond.
    parts_per_ms: u64,
    /// Tokens that a bucket holds.
    burst: u32,
}

impl Rate {
    /// `per_second` is in thousandths, at least one; a second's worth at once, at least one, when `burst` does not say.
    pub(super) fn new(per_second: u64, burst: Option<u32>) -> Self {
        let second = u32::try_from(per_second.div_ceil(1000)).unwrap_or(u32::MAX);
        // A thousandth a second is a millionth a millisecond, which is one part.
        Self { parts_per_ms: per_second.max(1), burst: burst.unwrap_or(second).max(1) }
    }

    /// Tokens that a bucket holds.
    pub(super) fn burst(self) -> u32 {
        self.burst
    }
}

/// What is left in the bucket of one plugin.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    parts: u64,
    filled_at: Timestamp,
}

/// The buckets of all plugins that are bound.
#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<HashMap<String, Bucket>>);

impl Buckets {
    /// Takes `tokens` for a plugin, all or none; otherwise says in how many milliseconds they are there. More than a
    /// bucket holds are never there at once: the bucket full is the most that is waited for.
    pub(super) fn take(&self, plugin: &str, rate: Rate, tokens: usize, now: Timestamp) -> Result<(), u64> {
        let full = u64::from(rate.burst) * PARTS;
        let wanted = u64::try_from(tokens).unwrap_or(u64::MAX).saturating_mul(PARTS);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(plugin.to_owned()).or_insert(Bucket { parts: full, filled_at: now });
        // A clock that was set back fills nothing.
        let since_ms = now.millis_since(bucket.filled_at);
        bucket.parts = bucket.parts.saturating_add(since_ms.saturating_mul(rate.parts_per_ms)).min(full);
        bucket.filled_at = now;
        if wanted <= bucket.parts {
            bucket.parts -= wanted;
            return Ok(());
        }
        Err((wanted.min(full) - bucket.parts.min(full)).div_ceil(rate.parts_per_ms).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_at_its_rate() {
        let at = Timestamp::from_millis;
        let buckets = Buckets::default();
        let rate = Rate::new(2_000, Some(3));
        assert_eq!(buckets.take("a", rate, 3, at(1_000)), Ok(()));
        assert_eq!(buckets.take("a", rate, 1, at(1_000)), Err(500));
        assert_eq!(buckets.take("b", rate, 3, at(1_000)), Ok(()), "another plugin has its own");
        assert_eq!(buckets.take("a", rate, 1, at(1_400)), Err(100));
        assert_eq!(buckets.take("a", rate, 1, at(1_500)), Ok(()));
        assert_eq!(buckets.take("a", rate, 4, at(99_000)), Err(1), "more than it holds");
        assert_eq!(buckets.take("a", rate, 3, at(99_000)), Ok(()));
        assert_eq!(buckets.take("a", rate, 1, at(50_000)), Err(500), "set back");
    }

    #[test]
    fn a_burst_is_a_seconds_worth_when_nobody_says() {
        assert_eq!((Rate::new(500, None).burst(), Rate::new(2_500, None).burst()), (1, 3));
        assert_eq!(Rate::new(2_500, Some(7)).burst(), 7);
    }
}
