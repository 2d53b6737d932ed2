//! Plugins: components that were dropped into a folder, and the sandbox that runs them.
//!
//! Four lifetimes: the *engine* (process), a *generation* (one digest of one plugin, compiled and
//! linked), an *attempt* (one Store), a *guest's state* (inside the Store).

mod added;
pub mod alone;
pub mod archive;
mod capability;
pub mod check;
pub mod command;
pub mod compile;
mod contract;
pub mod control;
pub mod engine;
mod gate;
mod guest;
pub mod inspect;
pub mod limits;
pub mod link;
pub mod manifest;
mod names;
pub mod news;
pub mod outside;
pub mod ports;
pub mod rate;
pub mod registry;
mod rehearsal;
mod reload;
mod schema;
pub mod signature;
pub mod steer;
#[cfg(test)]
pub(crate) mod testbed;

use std::path::PathBuf;
use std::sync::Arc;

use crate::task::{Digest, NewTask, Spec, TaskId};
use crate::time::Timestamp;

pub use manifest::{Canary, MAX_MANIFEST_BYTES};
pub use registry::generation::{Generation, Retirement};
pub use registry::load::check_name;
pub use registry::{Executor, Executors, History, Plugins};
pub use reload::orders::{Condition, Disobeyed, Obeyed, Upload};
pub use signature::MAX_SIGNATURE_BYTES;

/// The line of the WebAssembly runtime that guests run in.
pub const WASMTIME_VERSION: &str = "48";

/// Where plugins live and what all of them together may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that is watched.
    pub dir: PathBuf,
    /// Where compiled code is kept between starts; a folder for this alone.
    pub cache_dir: PathBuf,
    /// Where the files of earlier generations are kept, to go back to; a folder for this alone.
    pub kept_dir: PathBuf,
    /// Threads of the guests' own runtime; 0 means one a core.
    pub threads: usize,
    /// Instances that may exist at the same time.
    pub max_instances: u32,
    /// Linear memory and tables of all guests together, in bytes.
    pub memory_total_bytes: u64,
    /// Size of a component file at most, in bytes.
    pub max_component_bytes: u64,
    /// How long a cancelled guest may take to stop by itself before it is dropped, in milliseconds.
    pub cancel_grace_ms: u64,
    /// Somebody writes plugins: files settle sooner, and backtraces name files and lines where a component knows them.
    pub dev: bool,
    /// What holds for every plugin, whatever its manifest says.
    pub rules: Rules,
}

/// What the host's configuration says about every plugin.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Bounds on values of manifests.
    pub caps: Vec<manifest::Cap>,
    /// Whose signatures count, and whether one is needed.
    pub trust: signature::Trust,
}

/// One attempt to be run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The task.
    pub id: TaskId,
    /// The attempt number.
    pub attempt: u32,
    /// What was asked for.
    pub spec: Arc<Spec>,
    /// When it was claimed: its wall budget counts from here.
    pub started_at: Timestamp,
    /// Pieces of outside work of this task that have ended.
    pub works: u32,
}

/// What a dispatcher answered, already checked against grants, kinds and schemas.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Tasks to create.
    pub tasks: Vec<NewTask>,
    /// Where the dispatcher goes on.
    pub cursor: Option<Vec<u8>>,
    /// More is ready now.
    pub more: bool,
}

/// A kind that some live plugin executes.
#[derive(Clone, Debug)]
pub struct KindInfo {
    /// Its name.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// JSON Schema text of the input.
    pub input_schema: Option<String>,
    /// JSON Schema text of the output.
    pub output_schema: Option<String>,
    /// The plugin that executes it.
    pub plugin: String,
    /// Attempts of this plugin at the same time, at most.
    pub concurrency: u32,
}

/// Input that a kind does not accept.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InputError {
    /// No live plugin executes this kind.
    #[error("no plugin executes the kind {kind:?}")]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// What there is.
        known: Vec<String>,
    },
    /// No live plugin executes this kind, but one that is still being loaded may.
    #[error("no plugin executes the kind {kind:?} yet; still being loaded: {}", coming.join(", "))]
    NotYetKnown {
        /// What was asked for.
        kind: String,
        /// The plugins that are on their way.
        coming: Vec<String>,
    },
    /// The input is not JSON.
    #[error("the input is not JSON: {0}")]
    NotJson(String),
    /// An object in the input has a name twice. The JSON Pointer says where.
    #[error("{0} is given more than once in the input")]
    Repeated(String),
    /// The input does not match the schema.
    #[error("the input does not match the schema of {kind:?}")]
    Mismatch {
        /// The kind.
        kind: String,
        /// One `(JSON Pointer, message)` a violation, at most 16.
        violations: Vec<(String, String)>,
    },
}

/// A plugin as the API and the CLI show it.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    /// File name without `.wasm`.
    pub name: String,
    /// The live generation; absent when no version of this file ever loaded.
    pub live: Option<GenerationInfo>,
    /// Older generations that still run attempts.
    pub draining: Vec<Draining>,
    /// A version that is on its way: it goes live if it is sound.
    pub loading: Option<Loading>,
    /// Why the file that is in the folder now is not live.
    pub error: Option<LoadFailure>,
}

/// A generation that was replaced or removed and still runs attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draining {
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Attempts that run on it now.
    pub running: u32,
    /// Since when it is not live any more.
    pub since: Timestamp,
    /// When they are asked to yield.
    pub yield_at: Timestamp,
    /// When those that have not done so are interrupted.
    pub interrupt_at: Timestamp,
}

/// How far a version is on its way.
#[derive(Clone, Copy, Debug)]
pub struct Loading {
    /// SHA-256 of the component.
    pub digest: Digest,
    /// What is done with it now.
    pub stage: compile::Stage,
    /// Since when.
    pub since: Timestamp,
}

/// Why a file did not become a generation.
#[derive(Clone, Debug)]
pub struct LoadFailure {
    /// When it was tried.
    pub at: Timestamp,
    /// The digest of the file, when it could be read.
    pub digest: Option<Digest>,
    /// What was wrong and what would be right.
    pub message: String,
}

/// A live generation as the API and the CLI show it.
#[derive(Clone, Debug)]
pub struct GenerationInfo {
    /// SHA-256 of the component.
    pub digest: Digest,
    /// Its own version.
    pub version: String,
    /// One line for people.
    pub summary: String,
    /// `dispatcher`, `executor`, `actuator`.
    pub roles: Vec<&'static str>,
    /// What it executes.
    pub kinds: Vec<KindInfo>,
    /// Capability names that the manifest grants.
    pub grants: Vec<String>,
    /// Every limit and grant that holds, and where it comes from.
    pub effective: Arc<manifest::Effective>,
    /// Who signed the component.
    pub signed: Option<signature::Signed>,
    /// When it went live.
    pub loaded_at: Timestamp,
    /// What it took to compile it, or to find it compiled.
    pub compiled: compile::Effort,
    /// Attempts that run on it now.
    pub running: u32,
}
