//! How many tasks may run at the same time, how many may begin within a time, and whose turn it is:
//! plain data and pure functions.
//!
//! A rule counts the tasks in its scope, all together or for each value of a key apart. What counts
//! them is the store; what is durable derives its form here (see `store/sled/codec`).

mod bucket;
pub mod declaration;
mod fairness;
mod key;

use serde::{Deserialize, Serialize};

pub use self::bucket::{SLACK_MS, TokenBucket};
pub use self::declaration::{Declaration, Wrong};
pub use self::fairness::{Fairness, STRIDE};
pub use self::key::{KeyPath, Values};
use crate::schedule::Origin;

/// Rules of a host.
pub const MAX_RULES: usize = 64;
/// Bytes of a rule's name.
pub const MAX_NAME_LEN: usize = 64;
/// Queues or kinds that one rule names.
pub const MAX_SCOPE: usize = 64;
/// Tasks at the same time, or within one time, that a rule may name.
pub const MAX_TASKS: u32 = 1_000_000;
/// The longest time of a rate: thirty days, in milliseconds.
pub const MAX_PER_MS: u64 = 2_592_000_000;

/// So many tasks may begin within a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Tasks that may begin.
    pub tasks: u32,
    /// Within this time, in milliseconds.
    pub per_ms: u64,
    /// Tasks that may begin at once after a time of rest.
    pub burst: u32,
}

/// A bound on some tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitRule {
    /// What it is called.
    pub name: String,
    /// Only tasks in these queues; in every queue when empty.
    pub queues: Vec<String>,
    /// Only tasks of these kinds; of every kind when empty.
    pub kinds: Vec<String>,
    /// Each value is counted apart, and tasks without one are not subject to the rule; all tasks
    /// together when absent.
    pub key: Option<KeyPath>,
    /// Tasks that run at the same time.
    pub concurrency: Option<u32>,
    /// Tasks that begin.
    pub rate: Option<Rate>,
}

impl LimitRule {
    /// Whether tasks of a kind in a queue are in its scope.
    pub fn covers(&self, kind: &str, queue: &str) -> bool {
        let names = |list: &[String], name: &str| list.is_empty() || list.iter().any(|listed| listed == name);
        names(&self.kinds, kind) && names(&self.queues, queue)
    }

    /// Whether another rule counts the same tasks in the same way, whatever its numbers are.
    pub fn counts_like(&self, other: &Self) -> bool {
        (&self.queues, &self.kinds, &self.key) == (&other.queues, &other.kinds, &other.key)
    }
}

/// A rule and who declared it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What it says.
    pub rule: LimitRule,
    /// Who may change it.
    pub origin: Origin,
    /// Raised by every change.
    pub revision: u64,
}

/// Whether `name` may name a rule: lower-case letters, digits, `-`, `_` and `.`.
pub fn is_valid_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(fits)
}
