//! When a failed attempt is tried again: a pure function of the number of failures.

use serde::{Deserialize, Serialize};

/// How the delay follows the number of failures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Growth {
    /// Always the same.
    Fixed,
    /// Doubles with each failure, up to the cap.
    #[default]
    Exponential,
}

/// How far chance spreads a delay, so that tasks which failed together do not come back together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Jitter {
    /// Not at all.
    None,
    /// Over the upper half.
    #[default]
    Equal,
    /// From nothing to all of it.
    Full,
}

/// The delay between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    /// Delay after the first failure, in milliseconds.
    pub base_ms: u64,
    /// Upper bound of any delay, in milliseconds.
    pub cap_ms: u64,
    /// How it grows.
    pub growth: Growth,
    /// How it is spread.
    pub jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_ms: 1_000, cap_ms: 3_600_000, growth: Growth::default(), jitter: Jitter::default() }
    }
}

impl Backoff {
    /// Milliseconds to wait after failure number `failures` (1 is the first); `chance` in `[0, 1)`
    /// says where in the spread.
    pub fn delay_ms(self, failures: u32, chance: f64) -> u64 {
        let doublings = match self.growth {
            Growth::Fixed => 0,
            Growth::Exponential => failures.saturating_sub(1).min(32),
        };
        let full = self.base_ms.saturating_mul(1 << doublings).min(self.cap_ms);
        let least = match self.jitter {
            Jitter::None => full,
            Jitter::Equal => full / 2,
            Jitter::Full => 0,
        };
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a delay of days in milliseconds is exact in an f64, and chance is in [0, 1)"
        )]
        let spread = ((full - least) as f64 * chance.clamp(0.0, 1.0)) as u64;
        least + spread
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Backoff, Growth, Jitter};

    #[test]
    fn doubles_up_to_the_cap_and_jitters_the_upper_half() {
        let backoff = Backoff { base_ms: 100, cap_ms: 1_000, ..Backoff::default() };
        assert_eq!(backoff.delay_ms(1, 1.0), 100);
        assert_eq!(backoff.delay_ms(1, 0.0), 50);
        assert_eq!(backoff.delay_ms(3, 1.0), 400);
        assert_eq!(backoff.delay_ms(5, 1.0), 1_000);
        assert_eq!(backoff.delay_ms(u32::MAX, 0.0), 500);
    }

    #[test]
    fn l13_a_delay_may_be_fixed_and_spread_not_at_all_or_fully() {
        let fixed = Backoff { base_ms: 100, cap_ms: 1_000, growth: Growth::Fixed, jitter: Jitter::None };
        assert_eq!((fixed.delay_ms(1, 0.0), fixed.delay_ms(9, 0.9)), (100, 100));
        let full = Backoff { jitter: Jitter::Full, ..fixed };
        assert_eq!((full.delay_ms(1, 0.0), full.delay_ms(9, 0.5)), (0, 50));
    }

    proptest! {
        #[test]
        fn l13_no_delay_is_beyond_the_cap(base_ms: u64, cap_ms in 0..1_u64 << 50, failures: u32, chance in 0.0..1.0) {
            for growth in [Growth::Fixed, Growth::Exponential] {
                for jitter in [Jitter::None, Jitter::Equal, Jitter::Full] {
                    let backoff = Backoff { base_ms, cap_ms, growth, jitter };
                    prop_assert!(backoff.delay_ms(failures, chance) <= cap_ms);
                }
            }
        }
    }
}
