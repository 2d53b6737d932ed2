//! When a failed attempt is tried again: a pure function of the number of failures.

use serde::{Deserialize, Serialize};

/// Exponential backoff with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Delay after the first failure, in milliseconds.
    pub base_ms: u64,
    /// Upper bound of any delay, in milliseconds.
    pub cap_ms: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_ms: 1_000, cap_ms: 3_600_000 }
    }
}

impl Backoff {
    /// Milliseconds to wait after failure number `failures` (1 is the first).
    ///
    /// The delay doubles with each failure up to the cap; `jitter` in `[0, 1)` spreads it over the
    /// upper half ("equal jitter"), so that tasks which failed together do not come back together.
    pub fn delay_ms(self, failures: u32, jitter: f64) -> u64 {
        let doublings = failures.saturating_sub(1).min(32);
        let full = self.base_ms.saturating_mul(1 << doublings).min(self.cap_ms);
        let half = full / 2;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a delay of days in milliseconds is exact in an f64, and jitter is in [0, 1)"
        )]
        let spread = ((full - half) as f64 * jitter.clamp(0.0, 1.0)) as u64;
        half + spread
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;

    #[test]
    fn doubles_up_to_the_cap_and_jitters_the_upper_half() {
        let backoff = Backoff { base_ms: 100, cap_ms: 1_000 };
        assert_eq!(backoff.delay_ms(1, 1.0), 100);
        assert_eq!(backoff.delay_ms(1, 0.0), 50);
        assert_eq!(backoff.delay_ms(3, 1.0), 400);
        assert_eq!(backoff.delay_ms(5, 1.0), 1_000);
        assert_eq!(backoff.delay_ms(u32::MAX, 0.0), 500);
    }
}
