//! Waiting, but not for ever.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Between two looks at something that does not notify.
const PAUSE: Duration = Duration::from_millis(25);

/// An instant after which waiting ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    /// That many seconds from now.
    pub(crate) fn seconds(seconds: u64) -> Self {
        Self(now() + Duration::from_secs(seconds))
    }

    /// Time that is left; zero when none is.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(now())
    }

    /// Looks until there is an answer. `what` says what was waited for.
    pub(crate) fn until<T>(self, what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        loop {
            if let Some(answer) = look()? {
                return Ok(answer);
            }
            if self.left().is_zero() {
                bail!("waited too long for {what}");
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "a developer's tool measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
