//! What is asked of the store about work that lives elsewhere.

use serde::{Deserialize, Serialize};

use super::request::{Claimed, GenerationRoom};
use crate::task::BootId;
use crate::time::Timestamp;

/// Asks for outside work that nobody looks after.
#[derive(Clone, Debug)]
pub struct AttachRequest {
    /// Generations that can look after something; their room counts for nothing here.
    pub rooms: Vec<GenerationRoom>,
    /// Works that go on, at most. (What is only to be brought home comes besides.)
    pub limit: u32,
    /// The host start that takes the leases.
    pub boot: BootId,
    /// When the leases end without a heartbeat.
    pub lease_until: Timestamp,
}

/// The answer to an [`AttachRequest`].
#[derive(Clone, Debug, Default)]
pub struct Attached {
    /// Attempts that go on, oldest task first.
    pub claimed: Vec<Claimed>,
    /// There is more of these kinds than was asked for.
    pub more: bool,
}

/// What is kept of outside work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkRecord {
    /// What its actuator calls it.
    #[serde(with = "crate::task::text::bytes")]
    pub handle: Vec<u8>,
    /// What it came to, once it has succeeded: JSON text.
    pub output: Option<String>,
}
