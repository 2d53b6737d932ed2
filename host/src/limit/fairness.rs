//! Whose turn it is: stride scheduling.
//!
//! Tasks with the same value of the fairness key are a group. Each group has a pass; the one with the
//! lowest is served, and its pass rises by its stride, which is the smaller the heavier the group. So
//! groups that wait are served in proportion to their weights, whatever they have put in. That comes
//! before priority, which orders the tasks within a group: a client does not get ahead of others
//! by calling everything urgent.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::KeyPath;

/// The stride of a group with weight 1.
pub const STRIDE: u64 = 1 << 20;
/// The largest weight.
pub(super) const MAX_WEIGHT: u32 = 1_000;
/// Weights that are named.
pub(super) const MAX_WEIGHTS: usize = 1_000;

/// Shares the host among the values of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fairness {
    /// Tasks with the same value are a group; those without one are a group of their own.
    pub key: KeyPath,
    /// How much each group gets of what is served while others wait; 1 when it is not named.
    pub weights: BTreeMap<String, u32>,
}

impl Fairness {
    /// What one task adds to the pass of a group.
    pub fn stride(&self, group: &str) -> u64 {
        STRIDE / u64::from(self.weights.get(group).copied().unwrap_or(1).clamp(1, MAX_WEIGHT))
    }
}
