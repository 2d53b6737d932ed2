//! From a component to code that is ready to run: what it imports is compared with what it was
//! granted before anything is linked, so that a refusal can say what to change.

use crate::task::{Digest, NewTask};

use super::InputError;
use super::limits::Limits;

/// Durable state is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateGrant {
    /// Bytes of keys and values that the plugin may keep.
    pub quota_bytes: u64,
}

/// Creating tasks is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueGrant {
    /// Kinds that may be created: exact (`video.cut`) or everything below a word (`video.*`).
    pub kinds: Vec<String>,
}

/// The media library is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryGrant {
    /// Trashing and purging too, not only reading.
    pub write: bool,
}

/// ffmpeg is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FfmpegGrant {}

/// What an operator lets a plugin ask of the host. Nothing, unless said; logging, the plugin's own
/// settings and its own attempt are always there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// `state`.
    pub state: Option<StateGrant>,
    /// `queue`.
    pub queue: Option<QueueGrant>,
    /// `library`.
    pub library: Option<LibraryGrant>,
    /// `ffmpeg`.
    pub ffmpeg: Option<FfmpegGrant>,
}

/// What becomes of a component when it is linked.
#[derive(Clone, Debug)]
pub struct LinkRequest {
    /// The plugin's name: its state's namespace, and what messages call it.
    pub name: String,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Its bounds.
    pub limits: Limits,
    /// What it may ask of the host.
    pub grants: Grants,
    /// The operator's settings for it.
    pub config: Vec<(String, String)>,
}

/// Decides whether a task that a guest wants to create would be accepted.
pub trait TaskCheck: Send + Sync {
    /// Whether some live plugin executes `kind` and takes `input`.
    fn check(&self, kind: &str, input: &str) -> Result<(), InputError>;
}

/// What a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Turns a tick into tasks.
    Dispatcher,
    /// Does the work of a task.
    Executor,
    /// Steers work that lives elsewhere.
    Actuator,
}

impl Role {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dispatcher => "dispatcher",
            Self::Executor => "executor",
            Self::Actuator => "actuator",
        }
    }
}

/// A kind, as its executor describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// JSON Schema text of the input.
    pub input_schema: Option<String>,
    /// JSON Schema text of the output.
    pub output_schema: Option<String>,
    /// Wall time of an attempt when the task does not say, in milliseconds.
    pub default_timeout_ms: Option<u64>,
    /// Free-form labels.
    pub attributes: Vec<(String, String)>,
}

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What it calls itself.
    pub name: String,
    /// Its own version.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// What it executes.
    pub kinds: Vec<Kind>,
    /// Free-form labels.
    pub attributes: Vec<(String, String)>,
}

/// What a dispatcher answered: within the bounds, but neither kinds nor inputs are checked, and the
/// tasks' source is for the caller to set.
#[derive(Clone, Debug)]
pub struct RawBatch {
    /// Tasks to create, at most as many as were asked for.
    pub tasks: Vec<NewTask>,
    /// Where the dispatcher goes on.
    pub cursor: Option<Vec<u8>>,
    /// More is ready now.
    pub more: bool,
}
