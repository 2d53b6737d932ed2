//! Tasks that a plugin asks for.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Backoff, Growth, Jitter, NewTask, TaskStates, Unique, UniqueBy, UniqueMode};

impl NewTask {
    /// A task of `kind` with every default: `NewTask::new("video.clear", &json!({ "media": id }))`.
    pub fn new(kind: &str, input: &serde_json::Value) -> Self {
        Self {
            kind: kind.to_owned(),
            input: input.to_string(),
            unique_key: None,
            priority: None,
            run_at: None,
            attributes: Vec::new(),
            queue: None,
            delay: None,
            deadline: None,
            timeout: None,
            max_attempts: None,
            backoff: None,
            unique: None,
        }
    }

    /// While a live task holds `key`, a second one is not created.
    #[must_use]
    pub fn unique(mut self, key: impl Into<String>) -> Self {
        self.unique_key = Some(key.into());
        self
    }

    /// Which tasks are the same, and what becomes of the second: `.unique_by(Unique::key("k").replace())`.
    #[must_use]
    pub fn unique_by(mut self, unique: Unique) -> Self {
        self.unique = Some(unique);
        self
    }

    /// 0 to 9, higher runs first.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The lane that it waits in.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// Not before this instant.
    #[must_use]
    pub fn run_at(mut self, at: SystemTime) -> Self {
        self.run_at = Some(instant(at));
        self
    }

    /// Not before so much time has passed.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(millis(delay));
        self
    }

    /// Begun by then, or failed as `expired`.
    #[must_use]
    pub fn deadline(mut self, at: SystemTime) -> Self {
        self.deadline = Some(instant(at));
        self
    }

    /// Wall time that one attempt may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(millis(timeout));
        self
    }

    /// Failures after which it is given up; at least 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Delay between attempts: `.backoff(Backoff::fixed(Duration::from_secs(5)))`.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }
}

impl Backoff {
    /// Always the same delay, without chance.
    pub fn fixed(delay: Duration) -> Self {
        Self { growth: Growth::Fixed, jitter: Jitter::None, base: millis(delay), cap: millis(delay) }
    }

    /// Doubles with each failure from `base` up to `cap`, spread over the upper half.
    pub fn exponential(base: Duration, cap: Duration) -> Self {
        Self { growth: Growth::Exponential, jitter: Jitter::Equal, base: millis(base), cap: millis(cap) }
    }

    /// Spreads the delay by chance.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }
}

impl Unique {
    /// Tasks with this key are the same: a second one is not created.
    pub fn key(key: impl Into<String>) -> Self {
        Self { by: UniqueBy::Key(key.into()), mode: UniqueMode::Existing, states: None }
    }

    /// Tasks of the kind with the same values at these JSON Pointers into the input are the same.
    pub fn paths<S: Into<String>>(paths: impl IntoIterator<Item = S>) -> Self {
        let paths = paths.into_iter().map(Into::into).collect();
        Self { by: UniqueBy::Paths(paths), mode: UniqueMode::Existing, states: None }
    }

    /// What becomes of a second task: `UniqueMode::Reject`, `UniqueMode::Debounce(millis)`, …
    #[must_use]
    pub fn mode(mut self, mode: UniqueMode) -> Self {
        self.mode = mode;
        self
    }

    /// A second task replaces the one that waits.
    #[must_use]
    pub fn replace(self) -> Self {
        self.mode(UniqueMode::Replace)
    }

    /// The states in which the key is held; `QUEUED` must be among them.
    #[must_use]
    pub fn states(mut self, states: TaskStates) -> Self {
        self.states = Some(states);
        self
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn instant(at: SystemTime) -> u64 {
    millis(at.duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{Backoff, Growth, NewTask, TaskStates, Unique, UniqueBy, UniqueMode};

    #[test]
    fn options_arrive_in_the_contracts_units() {
        let second = Duration::from_secs(1);
        let states = TaskStates::QUEUED | TaskStates::FAILED;
        let new = NewTask::new("thumb.make", &serde_json::json!({ "id": 1 }))
            .queue("slow")
            .priority(9)
            .attribute("tenant", "a")
            .run_at(UNIX_EPOCH + second)
            .delay(second)
            .deadline(UNIX_EPOCH + 2 * second)
            .timeout(3 * second)
            .max_attempts(2)
            .backoff(Backoff::fixed(second))
            .unique_by(Unique::paths(["/id"]).replace().states(states));
        assert_eq!((new.queue.as_deref(), new.priority, new.max_attempts), (Some("slow"), Some(9), Some(2)));
        assert_eq!((new.run_at, new.delay), (Some(1_000), Some(1_000)));
        assert_eq!((new.deadline, new.timeout), (Some(2_000), Some(3_000)));
        assert_eq!(new.attributes, [("tenant".to_owned(), "a".to_owned())]);
        let backoff = new.backoff.unwrap();
        assert!(matches!(backoff.growth, Growth::Fixed) && backoff.base == 1_000 && backoff.cap == 1_000);
        let unique = new.unique.unwrap();
        assert!(matches!(unique.by, UniqueBy::Paths(ref paths) if paths[..] == ["/id"]));
        assert!(matches!(unique.mode, UniqueMode::Replace) && unique.states == Some(states));
    }
}
