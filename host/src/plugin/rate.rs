//! How many tasks a plugin may create within a time: a token bucket that outlives the generations of the plugin.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::time::Timestamp;

/// Parts of a token, so that all is whole numbers.
const PARTS: u64 = 1_000_000;
/// What a rate may be, in tasks a second.
const LEAST: f64 = 0.001;
const MOST: f64 = 10_000.0;

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Parts of a token that come with each millisecond.
    parts_per_ms: u64,
    /// Tokens that a bucket holds.
    burst: u32,
}

impl Rate {
    /// `per_second` from 0.001 to 10,000; a second's worth at once, at least one, when `burst` does not say.
    pub fn new(per_second: f64, burst: Option<u32>) -> Option<Self> {
        if !(LEAST..=MOST).contains(&per_second) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within the bounds above")]
        let (parts_per_ms, second) = ((per_second * 1_000.0).round() as u64, per_second.ceil() as u32);
        Some(Self { parts_per_ms, burst: burst.unwrap_or(second).max(1) })
    }

    /// Tokens that a bucket holds.
    pub fn burst(self) -> u32 {
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
        let rate = Rate::new(2.0, Some(3)).unwrap();
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
    fn a_rate_has_bounds_and_a_burst_of_its_own() {
        assert_eq!(Rate::new(0.5, None).unwrap().burst(), 1);
        assert_eq!(Rate::new(2.5, None).unwrap().burst(), 3);
        for wrong in [0.0, -1.0, 0.0001, 10_001.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Rate::new(wrong, None), None, "{wrong}");
        }
    }
}
