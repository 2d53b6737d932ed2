//! Keys: big-endian, so that the order of bytes is the order of creation.

use crate::store::limits::Pausable;
use crate::task::TaskId;

/// The format of the directory, see [`super::codec::Format`].
pub(super) const FORMAT: &[u8] = b"format";
/// The latest commit, see [`super::codec::CommitRecord`]. It lies in `event`, after every event: nearly
/// every commit writes the last page there anyway, and each page more is a file more to sync.
pub(super) const COMMIT: &[u8] = &[0xFF; 9];
/// Between a namespace and a key of it; a plugin's name never holds it.
const SEPARATOR: u8 = 0;
const QUEUE: &[u8] = b"queue";
const KIND: &[u8] = b"kind";

/// A task, in `body`, `live`, `done` and `checkpoint`.
pub(super) fn task(id: TaskId) -> [u8; 16] {
    id.as_u128().to_be_bytes()
}

/// The inverse of [`task`].
pub(super) fn task_of(key: &[u8]) -> Option<TaskId> {
    Some(TaskId::from_u128(u128::from_be_bytes(key.try_into().ok()?)))
}

/// The first event of a record.
pub(super) fn event(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

/// The inverse of [`event`].
pub(super) fn event_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// An entry of a plugin's state.
pub(super) fn state(plugin: &str, key: &str) -> Vec<u8> {
    [plugin.as_bytes(), &[SEPARATOR], key.as_bytes()].concat()
}

/// The inverse of [`state`].
pub(super) fn state_of(key: &[u8]) -> Option<(&str, &str)> {
    let at = key.iter().position(|byte| *byte == SEPARATOR)?;
    let plugin = std::str::from_utf8(key.get(..at)?).ok()?;
    let rest = std::str::from_utf8(key.get(at + 1..)?).ok()?;
    Some((plugin, rest))
}

/// The account of a plugin's namespace, in `meta`.
pub(super) fn namespace(plugin: &str) -> Vec<u8> {
    [b"state", [SEPARATOR].as_slice(), plugin.as_bytes()].concat()
}

/// The inverse of [`namespace`].
pub(super) fn namespace_of(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(b"state")?.strip_prefix(&[SEPARATOR])?).ok()
}

/// How the host is shared, in `meta`.
pub(super) const FAIRNESS: &[u8] = b"fairness";

/// What is left of a rate, by rule and value of its key.
pub(super) fn bucket(rule: &str, value: &str) -> Vec<u8> {
    [rule.as_bytes(), &[SEPARATOR], value.as_bytes()].concat()
}

/// The inverse of [`bucket`]: the name of a rule never holds the separator.
pub(super) fn bucket_of(key: &[u8]) -> Option<(&str, &str)> {
    state_of(key)
}

/// The pause of a queue or a kind.
pub(super) fn pause(line: &Pausable) -> Vec<u8> {
    let (sort, name) = match line {
        Pausable::Queue(name) => (QUEUE, name),
        Pausable::Kind(name) => (KIND, name),
    };
    [sort, &[SEPARATOR], name.as_bytes()].concat()
}

/// The inverse of [`pause`].
pub(super) fn pause_of(key: &[u8]) -> Option<Pausable> {
    let (sort, name) = state_of(key)?;
    match sort.as_bytes() {
        QUEUE => Some(Pausable::Queue(name.to_owned())),
        KIND => Some(Pausable::Kind(name.to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{bucket, bucket_of, event, event_of, pause, pause_of, state, state_of, task, task_of};
    use crate::store::limits::Pausable;
    use crate::task::TaskId;

    #[test]
    fn keys_sort_like_what_they_name_and_read_back() {
        let (a, b) = (TaskId::from_u128(255), TaskId::from_u128(256));
        assert!(task(a) < task(b));
        assert!(event(255) < event(256));
        assert_eq!(task_of(&task(b)), Some(b));
        assert_eq!(task_of(b"short"), None);
        assert_eq!(event_of(&event(7)), Some(7));
        assert_eq!(state_of(&state("video", "a\0b")), Some(("video", "a\0b")));
        assert_eq!(bucket_of(&bucket("rule", "a\0b")), Some(("rule", "a\0b")));
        for line in [Pausable::Queue("a".to_owned()), Pausable::Kind("a".to_owned())] {
            assert_eq!(pause_of(&pause(&line)), Some(line));
        }
        assert_eq!(pause_of(b"other\0a"), None);
    }
}
