//! What an attempt leaves outside of the store, and how the outside reaches it: the ports for that, apart from the rest.

use std::fmt;

use async_trait::async_trait;

use super::ports::PortError;
use crate::task::{AddedFile, TaskId};

/// A file that is being written. Dropping it discards what was written.
#[async_trait]
pub trait FilePort: Send + Sync {
    /// Adds bytes at the end. After an error the file is lost.
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), PortError>;
    /// Ends the file: it is durable when this returns.
    async fn finish(self: Box<Self>) -> Result<Added, PortError>;
}

/// Holds a durable file that has no record yet. Dropping it removes the file, unless it is to be kept.
pub trait Pending: Send + Sync {
    /// The record exists, or may exist: the file stays.
    fn keep(self: Box<Self>);
}

/// A file that an attempt has added: in the library once the attempt's success is committed.
pub struct Added {
    /// What it is.
    pub file: AddedFile,
    /// Its bytes.
    pub pending: Box<dyn Pending>,
}

impl fmt::Debug for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Added").field("file", &self.file).finish_non_exhaustive()
    }
}

/// How the outside tells that there is news about an attempt's work.
pub trait CallbackPort: Send + Sync {
    /// What proves that somebody was told of this attempt by the host.
    fn token(&self, task: TaskId, attempt: u32) -> String;
    /// Where to call, if the host knows under which address it is reached.
    fn url(&self, task: TaskId) -> Option<String>;
}
