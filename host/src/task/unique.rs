//! What a unique key does while a task holds it.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{Digest, State};

/// Paths that a key is made of.
const MAX_PATHS: usize = 16;

/// Why paths make no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPaths {
    /// There are none, or too many. The text says so.
    Count(String),
    /// These, by their number, are not in the input.
    Missing(Vec<usize>),
}

/// The key that tasks of one kind share when what is at these places (JSON Pointers) of their inputs is the same.
/// `None` for an input that is not JSON, which is reported as such elsewhere.
pub fn key_of_paths(kind: &str, input: &str, paths: &[String]) -> Result<Option<String>, BadPaths> {
    if paths.is_empty() || paths.len() > MAX_PATHS {
        return Err(BadPaths::Count(format!("has {} entries; 1 to {MAX_PATHS}", paths.len())));
    }
    let Ok(input) = serde_json::from_str::<serde_json::Value>(input) else { return Ok(None) };
    let mut hash = Sha256::new();
    hash.update(kind);
    let mut missing = Vec::new();
    for (at, path) in paths.iter().enumerate() {
        let Some(value) = input.pointer(path) else {
            missing.push(at);
            continue;
        };
        hash.update([0]);
        hash.update(path);
        hash.update([0]);
        hash.update(value.to_string());
    }
    if !missing.is_empty() {
        return Err(BadPaths::Missing(missing));
    }
    Ok(Some(format!("paths:{}", Digest(hash.finalize().into()))))
}

/// States, as a set.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSet(u8);

/// The names of all states, in the order of a task's life.
pub const STATE_NAMES: [&str; 6] = ["waiting", "queued", "running", "succeeded", "failed", "cancelled"];

impl StateSet {
    /// Waiting, queued and running.
    pub const LIVE: Self = Self(0b111);

    /// The set of the states with these names; `None` when one is unknown.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        names.into_iter().try_fold(Self(0), |set, name| Some(Self(set.0 | Self::bit(name)?)))
    }

    /// Whether the state called `name` is among them.
    pub fn contains(self, name: &str) -> bool {
        Self::bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// The names of those that are in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        STATE_NAMES.into_iter().filter(move |name| self.contains(name))
    }

    fn bit(name: &str) -> Option<u8> {
        STATE_NAMES.iter().position(|known| *known == name).map(|at| 1 << at)
    }
}

impl std::fmt::Debug for StateSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// What becomes of a second task with a key that is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UniqueMode {
    /// It is not created: its creator is answered with the holder.
    #[default]
    Existing,
    /// It is refused.
    Reject,
    /// A holder that still waits becomes what the second one asks for. One that runs already keeps
    /// running, but the key goes over to the second one.
    Replace,
    /// Like [`Self::Replace`], and the task waits this long, in milliseconds, anew each time.
    Debounce(u64),
    /// For this long after its creation, in milliseconds, and however it stands, a task answers for
    /// those with its key.
    Throttle(u64),
    /// While the holder runs, the latest of those that come is kept and runs after it.
    KeepLast,
}

impl UniqueMode {
    /// Whether a task with it may take the place of one that waits. Such a task comes after no other
    /// one: it could end up waiting for itself.
    pub fn replaces(self) -> bool {
        match self {
            Self::Replace | Self::Debounce(_) | Self::KeepLast => true,
            Self::Existing | Self::Reject | Self::Throttle(_) => false,
        }
    }
}

/// How a key is held. Means nothing without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueRule {
    /// States in which the task holds its key; always the waiting and the queued one.
    pub states: StateSet,
    /// What becomes of others.
    pub mode: UniqueMode,
}

impl Default for UniqueRule {
    fn default() -> Self {
        Self { states: StateSet::LIVE, mode: UniqueMode::default() }
    }
}

/// How the holder of a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It waits.
    Queued,
    /// It runs; `followed` by a task that waits for its end.
    Running {
        /// There is one.
        followed: bool,
    },
    /// It has ended.
    Ended,
}

/// What becomes of a task whose key is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is created (and takes the key, or follows the holder).
    Create,
    /// The holder answers for it.
    Existing,
    /// The holder becomes it.
    Replace,
    /// The holder's follower becomes it.
    ReplaceFollower,
    /// It is refused.
    Reject,
}

impl UniqueRule {
    /// Whether a task in `state` holds its key.
    pub fn holds(self, state: &State) -> bool {
        matches!(state, State::Waiting) || self.states.contains(state.name())
    }

    /// What becomes of a task with this rule when its key is held.
    pub fn fate(self, holding: Holding) -> Fate {
        match (self.mode, holding) {
            (UniqueMode::Reject, _) => Fate::Reject,
            (UniqueMode::Existing | UniqueMode::Throttle(_), _) | (_, Holding::Ended) => Fate::Existing,
            (_, Holding::Queued) => Fate::Replace,
            (_, Holding::Running { followed: true }) => Fate::ReplaceFollower,
            (_, Holding::Running { followed: false }) => Fate::Create,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fate, Holding, StateSet, UniqueMode, UniqueRule};

    #[test]
    fn a_set_of_states_reads_back() {
        let set = StateSet::of(["succeeded", "queued"]).unwrap();
        assert_eq!(set.names().collect::<Vec<_>>(), ["queued", "succeeded"]);
        assert!(!set.contains("running") && !set.contains("nothing"));
        assert_eq!(StateSet::of(["queued", "done"]), None);
        assert_eq!(StateSet::of(["running", "queued", "waiting", "running"]), Some(StateSet::LIVE));
    }

    #[test]
    fn v14_what_becomes_of_a_second_task_with_a_key_follows_from_its_mode() {
        let fates = |mode| {
            let rule = UniqueRule { mode, ..UniqueRule::default() };
            let (alone, followed) = (Holding::Running { followed: false }, Holding::Running { followed: true });
            [Holding::Queued, alone, followed, Holding::Ended].map(|holding| rule.fate(holding))
        };
        let replacing = [Fate::Replace, Fate::Create, Fate::ReplaceFollower, Fate::Existing];
        assert_eq!(fates(UniqueMode::Existing), [Fate::Existing; 4]);
        assert_eq!(fates(UniqueMode::Throttle(1)), [Fate::Existing; 4]);
        assert_eq!(fates(UniqueMode::Reject), [Fate::Reject; 4]);
        for mode in [UniqueMode::Replace, UniqueMode::Debounce(1), UniqueMode::KeepLast] {
            assert_eq!(fates(mode), replacing, "{mode:?}");
        }
    }
}
