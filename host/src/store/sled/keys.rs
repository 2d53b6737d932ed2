//! Keys: big-endian, so that the order of bytes is the order of creation.

use crate::store::limits::Pausable;
use crate::task::{BatchId, NewTask, Source, TaskId};

/// The format of the directory, see [`super::codec::Format`].
pub(super) const FORMAT: &[u8] = b"format";
/// The latest commit, see [`super::codec::CommitRecord`]. It lies in `event`, after every event: nearly
/// every commit writes the last page there anyway, and each page more is a file more to sync.
pub(super) const COMMIT: &[u8] = &[0xFF; 9];
/// Between a namespace and a key of it; a plugin's name never holds it.
const SEPARATOR: u8 = 0;
const QUEUE: &[u8] = b"queue";
const KIND: &[u8] = b"kind";

/// How a task is linked to another thing, in `link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Link {
    /// The other task created it.
    Child = 1,
    /// It comes after the other task.
    After = 2,
    /// It is a member of the batch.
    Member = 3,
}

impl Link {
    /// The key of the link from a task or a batch to `id`. Links of one sort lie side by side, oldest first.
    pub(super) fn key(self, of: u128, id: TaskId) -> [u8; 33] {
        let mut key = [self as u8; 33];
        key[..16].copy_from_slice(&of.to_be_bytes());
        key[17..].copy_from_slice(&task(id));
        key
    }
}

/// The task that [`Link::key`] leads to.
pub(super) fn linked(key: &[u8]) -> Option<TaskId> {
    task_of(key.get(17..)?)
}

/// Every link of a task. They follow from what it is.
pub(super) fn links(id: TaskId, new: &NewTask) -> impl Iterator<Item = [u8; 33]> {
    let child = if let Source::Task(parent) = &new.source { Some(Link::Child.key(parent.as_u128(), id)) } else { None };
    let member = new.batch.map(|batch| Link::Member.key(batch.as_u128(), id));
    let after = new.after.iter().map(move |parent| Link::After.key(parent.as_u128(), id));
    child.into_iter().chain(member).chain(after)
}

/// A task, in `body`, `live`, `done`, `checkpoint` and `work`.
pub(super) fn task(id: TaskId) -> [u8; 16] {
    id.as_u128().to_be_bytes()
}

/// The inverse of [`task`].
pub(super) fn task_of(key: &[u8]) -> Option<TaskId> {
    Some(TaskId::from_u128(u128::from_be_bytes(key.try_into().ok()?)))
}

/// A batch, in `batch` and `tally`.
pub(super) fn batch(id: BatchId) -> [u8; 16] {
    id.as_u128().to_be_bytes()
}

/// The inverse of [`batch`].
pub(super) fn batch_of(key: &[u8]) -> Option<BatchId> {
    Some(BatchId::from_u128(u128::from_be_bytes(key.try_into().ok()?)))
}

/// The idempotency key of a batch, in `request`: no key of a task begins like it.
pub(super) fn batch_request(key: &str) -> Vec<u8> {
    [&[SEPARATOR], key.as_bytes()].concat()
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
    use super::{
        Link, bucket, bucket_of, event, event_of, linked, links, pause, pause_of, state, state_of, task, task_of,
    };
    use crate::store::limits::Pausable;
    use crate::task::{NewTask, Source, TaskId};

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

    #[test]
    fn the_links_of_a_task_lead_to_it() {
        let [a, b, c] = [1, 2, 3].map(TaskId::from_u128);
        let new = NewTask { source: Source::Task(a), after: vec![a, b], ..NewTask::new("k", "{}") };
        let keys: Vec<_> = links(c, &new).collect();
        assert_eq!(keys, [Link::Child.key(1, c), Link::After.key(1, c), Link::After.key(2, c)]);
        assert!(keys.is_sorted() && keys.iter().all(|key| linked(key) == Some(c)));
    }
}
