//! What the store's verbs on limits, pauses and shares take and answer.

use serde::{Deserialize, Serialize};

use crate::limit::{Fairness, Limit};
use crate::schedule::Pause;
use crate::time::Timestamp;

/// Something that can be paused: its tasks do not begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pausable {
    /// A queue.
    Queue(String),
    /// A kind.
    Kind(String),
}

/// Everything that limits tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// By name.
    pub limits: Vec<LimitUse>,
    /// How the host is shared.
    pub fairness: Option<Fairness>,
}

/// A limit and how far it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// What it says.
    pub limit: Limit,
    /// Tasks in its scope that run.
    pub running: u64,
    /// Due tasks that it holds back.
    pub held: u64,
    /// Values of its key that occur; at most 1 without a key.
    pub values: usize,
    /// The busiest of them.
    pub busiest: Vec<ValueUse>,
}

/// What is counted under one value of a limit's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueUse {
    /// The value; empty without a key.
    pub value: String,
    /// Tasks that run.
    pub running: u32,
    /// Due tasks that are held back.
    pub held: u64,
    /// Tasks that the rate lets begin now.
    pub tokens: Option<u32>,
}

/// A queue or a kind that has live tasks or is paused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Its name.
    pub name: String,
    /// Waiting tasks, due or not.
    pub queued: u64,
    /// Tasks under a lease.
    pub running: u64,
    /// Since when the oldest task waits that is due.
    pub oldest_due: Option<Timestamp>,
    /// Its tasks do not begin.
    pub paused: Option<Pause>,
}
