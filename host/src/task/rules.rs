//! What a new task may ask for: the same bounds, whoever asks.

use super::{MAX_PRIORITY, MAX_QUEUE_LEN, NewTask, UniqueMode, is_valid_queue};
use crate::time::Timestamp;

/// Failures after which a task may be given up, at most.
pub const MAX_ATTEMPTS: u32 = 1_000;
/// The longest wall time of one attempt: a week, in milliseconds.
pub const MAX_TIMEOUT_MS: u64 = 7 * 24 * 3_600_000;
/// The longest delay: ten years, in milliseconds.
pub const MAX_DELAY_MS: u64 = 315_360_000_000;
/// Attributes of a task.
pub const MAX_ATTRIBUTES: usize = 32;
/// Bytes of an attribute's name.
pub const MAX_ATTRIBUTE_KEY_LEN: usize = 64;
/// Bytes of an attribute's value.
pub const MAX_ATTRIBUTE_VALUE_LEN: usize = 512;
/// Bytes of a unique key.
pub const MAX_UNIQUE_KEY_LEN: usize = 256;

/// What is wrong with a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, as a client writes it: `deadline`, `backoff/cap_ms`.
    pub field: &'static str,
    /// Which of the field's entries, by its name.
    pub entry: Option<String>,
    /// What, and what would be right.
    pub message: String,
}

impl Mistake {
    /// The same for a guest: `deadline: … has passed`.
    pub fn to_guest(&self) -> String {
        let name = self.field.trim_end_matches("_ms").replace('_', "-").replace('/', ".");
        match &self.entry {
            Some(entry) => format!("{name}: {:?} {}", start(entry), self.message),
            None => format!("{name}: {}", self.message),
        }
    }
}

/// Everything that is wrong with a task beside its kind, its input and its keys.
pub fn check(new: &NewTask, now: Timestamp) -> Vec<Mistake> {
    let mut found = Found(Vec::new());
    found.numbers(new);
    found.times(new, now);
    found.labels(new);
    found.unique(new);
    found.0
}

/// What is wrong with a unique key, if anything.
pub fn unique_key(key: &str) -> Option<String> {
    let fits = (1..=MAX_UNIQUE_KEY_LEN).contains(&key.len());
    (!fits).then(|| format!("has {} bytes; a key has 1 to {MAX_UNIQUE_KEY_LEN}", key.len()))
}

struct Found(Vec<Mistake>);

impl Found {
    fn wrong(&mut self, field: &'static str, message: String) {
        self.0.push(Mistake { field, entry: None, message });
    }

    fn numbers(&mut self, new: &NewTask) {
        if new.priority > MAX_PRIORITY {
            self.wrong("priority", format!("{} is not a whole number from 0 to {MAX_PRIORITY}", new.priority));
        }
        if !(1..=MAX_ATTEMPTS).contains(&new.max_attempts) {
            let message = format!("{} is not a whole number from 1 to {MAX_ATTEMPTS}", new.max_attempts);
            self.wrong("max_attempts", message);
        }
        if let Some(timeout_ms) = new.timeout_ms.filter(|timeout_ms| !(1..=MAX_TIMEOUT_MS).contains(timeout_ms)) {
            self.wrong("timeout_ms", format!("{timeout_ms} is not a whole number from 1 to {MAX_TIMEOUT_MS}"));
        }
        let (base_ms, cap_ms) = (new.backoff.base_ms, new.backoff.cap_ms);
        for (field, value) in [("backoff/base_ms", base_ms), ("backoff/cap_ms", cap_ms)] {
            if value > MAX_DELAY_MS {
                self.wrong(field, format!("{value} is not a whole number from 0 to {MAX_DELAY_MS}"));
            }
        }
        if cap_ms < base_ms {
            self.wrong("backoff/cap_ms", format!("{cap_ms} is less than base_ms, {base_ms}"));
        }
    }

    fn times(&mut self, new: &NewTask, now: Timestamp) {
        let latest = now.plus_millis(MAX_DELAY_MS);
        for (field, at) in [("run_at", new.run_at), ("deadline", new.deadline)] {
            if let Some(at) = at.filter(|at| *at > latest) {
                self.wrong(field, format!("{at} is more than ten years away"));
            }
        }
        let Some(deadline) = new.deadline else { return };
        if deadline <= now {
            self.wrong("deadline", format!("{deadline} has passed"));
        } else if new.run_at.is_some_and(|run_at| deadline <= run_at) {
            self.wrong("deadline", format!("{deadline} is not after the time at which the task is due"));
        }
    }

    fn labels(&mut self, new: &NewTask) {
        if !is_valid_queue(&new.queue) {
            let expected = "lower-case letters, digits, -, _ and .";
            let message = format!("{:?} is not a queue: {expected}, at most {MAX_QUEUE_LEN} bytes", start(&new.queue));
            self.wrong("queue", message);
        }
        let count = new.attributes.len();
        if count > MAX_ATTRIBUTES {
            return self.wrong("attributes", format!("has {count} entries; at most {MAX_ATTRIBUTES} are kept"));
        }
        for (at, (key, value)) in new.attributes.iter().enumerate() {
            if key.is_empty() || key.len() > MAX_ATTRIBUTE_KEY_LEN {
                let message = format!("the key {:?} has {} bytes; 1 to {MAX_ATTRIBUTE_KEY_LEN}", start(key), key.len());
                self.wrong("attributes", message);
            } else if value.len() > MAX_ATTRIBUTE_VALUE_LEN {
                let message = format!("has {} bytes; at most {MAX_ATTRIBUTE_VALUE_LEN}", value.len());
                self.0.push(Mistake { field: "attributes", entry: Some(key.clone()), message });
            } else if new.attributes.iter().take(at).any(|(other, _)| other == key) {
                self.wrong("attributes", format!("{:?} is given more than once", start(key)));
            }
        }
    }

    fn unique(&mut self, new: &NewTask) {
        if let UniqueMode::Debounce(window_ms) | UniqueMode::Throttle(window_ms) = new.unique.mode
            && !(1..=MAX_DELAY_MS).contains(&window_ms)
        {
            let message = format!("is a whole number from 1 to {MAX_DELAY_MS}; debounce and throttle need it");
            self.wrong("unique/window_ms", message);
        }
        if !new.unique.states.contains("queued") {
            self.wrong("unique/states", "\"queued\" is missing; a waiting task always holds its key".to_owned());
        }
    }
}

/// The beginning of a text that somebody else chose, short enough for a message.
fn start(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

#[cfg(test)]
mod tests {
    use super::{MAX_DELAY_MS, check, unique_key};
    use crate::retry::Backoff;
    use crate::task::{NewTask, StateSet, UniqueMode, UniqueRule};
    use crate::time::Timestamp;

    #[test]
    fn every_mistake_is_named_with_its_place() {
        let now = Timestamp::from_millis(1_000);
        assert_eq!(check(&NewTask::new("a", "{}"), now), []);
        let label = |key: &str| (key.to_owned(), String::new());
        let states = StateSet::of(["running"]).unwrap();
        let new = NewTask {
            priority: 10,
            max_attempts: 0,
            timeout_ms: Some(0),
            backoff: Backoff { base_ms: 2, cap_ms: 1, ..Backoff::default() },
            run_at: Some(now.plus_millis(MAX_DELAY_MS + 1)),
            deadline: Some(now),
            queue: "A".to_owned(),
            attributes: vec![label("a"), label("a"), label("")],
            unique: UniqueRule { mode: UniqueMode::Throttle(0), states },
            ..NewTask::new("a", "{}")
        };
        let fields: Vec<_> = check(&new, now).into_iter().map(|mistake| mistake.field).collect();
        let expected = [
            "priority",
            "max_attempts",
            "timeout_ms",
            "backoff/cap_ms",
            "run_at",
            "deadline",
            "queue",
            "attributes",
            "attributes",
            "unique/window_ms",
            "unique/states",
        ];
        assert_eq!(fields, expected);
        let late =
            NewTask { run_at: Some(now.plus_millis(9)), deadline: Some(now.plus_millis(9)), ..NewTask::new("a", "") };
        assert_eq!(
            check(&late, now)[0].to_guest(),
            "deadline: 1970-01-01T00:00:01.009Z is not after the time at which the task is due"
        );
        assert!(unique_key("").is_some() && unique_key("k").is_none() && unique_key(&"k".repeat(257)).is_some());
    }
}
