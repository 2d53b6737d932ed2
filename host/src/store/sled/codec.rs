//! Records: a version byte, then postcard.
//!
//! postcard is not self-describing: a changed type is a new version, and the golden bytes below
//! fail when somebody forgets.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::core::Halt;
use crate::event::Change;
use crate::time::Timestamp;

/// The version of every record that is written today.
const VERSION: u8 = 1;

/// What the directory is. Read before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Format {
    /// Raised when an older host could not read the directory any more.
    pub(super) format: u32,
    /// Random at creation: names the event sequence.
    pub(super) epoch: u32,
}

/// Written with every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CommitRecord {
    /// Commits so far.
    pub(super) seq: u64,
    /// Events so far: the sequence number of the latest.
    pub(super) last_event: u64,
    /// Ended tasks that are kept.
    pub(super) ended: u64,
}

/// The account of a plugin's namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Namespace {
    /// The latest version that was handed out.
    pub(super) version: u64,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
}

/// Events of one commit; their numbers follow from the key.
pub(super) type EventRecord = Vec<(Timestamp, Change)>;

/// The bytes of a record.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, Halt> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(VERSION);
    postcard::to_extend(record, bytes).map_err(|e| Halt::Broken(format!("a record does not encode: {e}")))
}

/// A record from its bytes.
pub(super) fn decode<T: DeserializeOwned>(tree: &str, bytes: &[u8]) -> Result<T, Halt> {
    match bytes.split_first() {
        Some((&VERSION, record)) => {
            postcard::from_bytes(record).map_err(|e| Halt::Broken(format!("a record of tree `{tree}` is damaged: {e}")))
        }
        Some((version, _)) => Err(Halt::Broken(format!("a record of tree `{tree}` has the unknown version {version}"))),
        None => Err(Halt::Broken(format!("a record of tree `{tree}` is empty"))),
    }
}
