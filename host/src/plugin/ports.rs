//! What the host lends to guests: traits that the plugin runtime owns and the composition root implements.
//!
//! Whether something is allowed is decided before: coarsely when a component is linked. A port only does the work.

mod command;
mod ffmpeg;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use self::command::{Argument, CommandError, CommandOutput, CommandPort, CommandRun, OnOutput};
pub use self::ffmpeg::{
    Accuracy, AudioFormat, AudioRequest, ConcatRequest, CutRequest, FfmpegError, FfmpegPort, ImageFormat, OnPercent,
    Outcome, ProbeInfo, StillRequest, StreamInfo, TranscodeRequest,
};
pub use super::added::{Added, CallbackPort, FilePort, Pending};
use super::compile::CompilePort;
use super::outside::Outside;
use crate::task::TaskId;
use crate::time::Timestamp;

/// Why a port did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// The thing is in a state that does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// A bound was reached; the bound in its own unit.
    #[error("over the limit of {0}")]
    Quota(u64),
    /// Not now: shutting down, broken, or not installed. The text says what to do.
    #[error("{0}")]
    Unavailable(String),
}

/// A value that a plugin keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// The value.
    pub value: Vec<u8>,
    /// Raised by every write.
    pub version: u64,
}

/// What a conditional write expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Anything.
    Any,
    /// No entry.
    Absent,
    /// An entry of this version.
    Version(u64),
}

/// The answer to a conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// Written under this version.
    Stored(u64),
    /// Something else is there.
    Stale(Option<StateEntry>),
}

/// One write of plugin state.
#[derive(Clone, Debug)]
pub struct StateWrite {
    /// The namespace: the plugin's name.
    pub plugin: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// Time to live, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Condition.
    pub expected: Expected,
    /// Bytes of keys and values that the namespace may hold.
    pub quota_bytes: u64,
}

/// Durable key-value state, one namespace a plugin.
#[async_trait]
pub trait StatePort: Send + Sync {
    /// One entry.
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<StateEntry>, PortError>;
    /// Writes if the condition holds.
    async fn put(&self, write: StateWrite) -> Result<Swapped, PortError>;
    /// Deletes; answers whether there was something.
    async fn delete(&self, plugin: &str, key: &str) -> Result<bool, PortError>;
    /// Entries under a prefix, in key order, after a key.
    async fn scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StateEntry)>, PortError>;
}

/// A file of the library as a guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Opaque id.
    pub id: String,
    /// For people.
    pub name: String,
    /// MIME type.
    pub content_type: String,
    /// Bytes.
    pub size: u64,
    /// Trashed, and since this may be purged after.
    pub purge_after: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
}

/// The media library.
#[async_trait]
pub trait LibraryPort: Send + Sync {
    /// One file, live or trashed.
    async fn get(&self, id: &str) -> Result<Media, PortError>;
    /// Trashed files whose grace has passed, in id order after an id.
    async fn list_purgeable(&self, after: Option<&str>, limit: u32) -> Result<Vec<Media>, PortError>;
    /// Bytes of a live file.
    async fn read(&self, id: &str, offset: u64, length: u32) -> Result<Vec<u8>, PortError>;
    /// Hides a file for the configured grace.
    async fn trash(&self, id: &str) -> Result<(), PortError>;
    /// Deletes a trashed file whose grace has passed; a file that is gone is success.
    async fn purge(&self, id: &str) -> Result<(), PortError>;
    /// Begins a new file.
    async fn add(&self, _name: String, _content_type: Option<String>) -> Result<Box<dyn FilePort>, PortError> {
        Err(PortError::Unavailable("this host takes no files of guests".to_owned()))
    }
}

/// Checkpoints of running attempts.
#[async_trait]
pub trait CheckpointPort: Send + Sync {
    /// Durable when it returns.
    async fn save(&self, task: TaskId, attempt: u32, data: Vec<u8>) -> Result<(), PortError>;
    /// What an earlier attempt saved.
    async fn load(&self, task: TaskId) -> Result<Option<Vec<u8>>, PortError>;
}

/// How a task stands that another one comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParentState {
    /// It has an output.
    Succeeded,
    /// It has none.
    Failed,
    /// It has none.
    Cancelled,
    /// It was put back.
    Live,
    /// It is not kept any more.
    Forgotten,
}

/// A task that another one comes after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Which.
    pub id: TaskId,
    /// What sort; empty when it is forgotten.
    pub kind: String,
    /// How it stands.
    pub state: ParentState,
    /// The code of its failure.
    pub code: Option<String>,
}

/// What became of the tasks that one comes after.
#[async_trait]
pub trait ParentsPort: Send + Sync {
    /// All of them, in the order of the task's creator.
    async fn list(&self, task: TaskId) -> Result<Vec<Parent>, PortError>;
    /// The output of one; [`PortError::NotFound`] when it is none of them, `None` when it has no output.
    async fn output(&self, task: TaskId, parent: TaskId) -> Result<Option<String>, PortError>;
}

/// How grave a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// For the author of the plugin, in detail.
    Trace,
    /// For the author of the plugin.
    Debug,
    /// For the operator.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// How it is written: `trace` to `error`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Where a log line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// The `log` interface.
    Log,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The host, about the attempt (a trap's backtrace, a truncation).
    Host,
}

impl LogSource {
    /// How it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Host => "host",
        }
    }
}

/// One line of a task's log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// When.
    pub at: Timestamp,
    /// Which attempt.
    pub attempt: u32,
    /// How grave.
    pub level: LogLevel,
    /// From where.
    pub source: LogSource,
    /// The text, one line, already truncated.
    pub message: String,
    /// Structured fields.
    pub fields: Vec<(String, String)>,
}

/// Task logs. Never fails and never blocks for long: it bounds bytes per task and counts what it drops.
pub trait LogPort: Send + Sync {
    /// Appends one line to a task's log; answers whether it was kept.
    fn append(&self, task: TaskId, line: LogLine) -> bool;
}

/// Everything that guests and their loader may borrow.
#[derive(Clone)]
pub struct Ports {
    /// Key-value state.
    pub state: Arc<dyn StatePort>,
    /// Media library.
    pub library: Arc<dyn LibraryPort>,
    /// ffmpeg.
    pub ffmpeg: Arc<dyn FfmpegPort>,
    /// Commands.
    pub commands: Arc<dyn CommandPort>,
    /// Checkpoints.
    pub checkpoints: Arc<dyn CheckpointPort>,
    /// What became of a task's parents.
    pub parents: Arc<dyn ParentsPort>,
    /// How the outside calls back.
    pub callbacks: Arc<dyn CallbackPort>,
    /// Task logs.
    pub logs: Arc<dyn LogPort>,
    /// The way to the web.
    pub outside: Outside,
    /// Who compiles.
    pub compiler: Arc<dyn CompilePort>,
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}
