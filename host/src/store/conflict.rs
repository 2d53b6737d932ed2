//! States that do not allow what a verb was to do.

use std::fmt;

use super::StoreError;

/// What stands in the way, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The task has not ended: cancel it, or wait.
    TaskLives,
    /// A task that comes after it has not ended: its result is needed until then.
    TaskNeeded,
    /// A task that it comes after has not succeeded: put that one back first.
    ParentLost,
    /// Another task holds the unique key.
    KeyHeld,
    /// Earlier changes of limits have not reached all waiting tasks: try again soon.
    LimitsSettling,
    /// It is declared in the configuration: change it there.
    Declared,
    /// There is one of that name, id or key already.
    Exists,
    /// A file of the library is live, or can still be restored.
    NotPurgeable,
    /// What was asked for contradicts itself, or is beyond a bound.
    Unfit,
}

/// An obstacle, with the state in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// What stands in the way.
    pub obstacle: Obstacle,
    /// The state, for people.
    pub state: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.state)
    }
}

impl Obstacle {
    /// The error that names the state.
    pub fn because(self, state: impl Into<String>) -> StoreError {
        StoreError::Conflict(Conflict { obstacle: self, state: state.into() })
    }
}
