//! What is asked of an actuator, and what it answers: plain data. The calls are in `guest/steer`.

use super::ports::Added;
use crate::task::{Failure, LogSize, NewTask, Outcome, Progress, TaskId};

/// The end of an attempt, or of a call that may be its last.
#[derive(Debug)]
pub struct Ended {
    /// What happened.
    pub outcome: Outcome,
    /// Files that it added: they get their records with its success.
    pub added: Vec<Added>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, added: Vec::new() }
    }
}

/// A piece of outside work.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The task.
    pub task: TaskId,
    /// The attempt that it belongs to.
    pub attempt: u32,
    /// What its actuator calls it.
    pub handle: Vec<u8>,
}

/// What the calls about one piece of work have used up together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// What was logged: an attempt's bound holds for all its calls.
    pub log: LogSize,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// To a clean end.
    Graceful,
    /// Now.
    Immediate,
}

/// A start that has come to no handle.
#[derive(Debug)]
pub struct Unstarted {
    /// How the attempt ends.
    pub outcome: Outcome,
    /// The guest has not said so: the work may have begun, and may go on.
    pub unanswered: bool,
}

/// The answer to one look at outside work.
#[derive(Debug)]
pub struct Look {
    /// Where it stands.
    pub standing: Standing,
    /// How far it has come, if that is known.
    pub progress: Option<Progress>,
    /// When to look again, in milliseconds.
    pub poll_after_ms: Option<u64>,
}

/// A look that came to nothing: it says nothing about the work.
#[derive(Clone, Debug)]
pub struct Missed {
    /// Why.
    pub failure: Failure,
    /// It took the guest down.
    pub is_crash: bool,
}

/// Where outside work stands.
#[derive(Debug)]
pub enum Standing {
    /// It goes on.
    Running,
    /// It has succeeded.
    Succeeded {
        /// JSON text.
        output: String,
        /// What the look put into its outbox.
        outbox: Vec<NewTask>,
        /// Files that the look added.
        added: Vec<Added>,
    },
    /// It was stopped, by whomever.
    Stopped,
    /// It has ended without an output.
    Failed(Outcome),
}
