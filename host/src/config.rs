//! The configuration: defaults, overridden by a file, by the environment, by flags.
//!
//! The result is one struct of plain values. Everything that is wrong is reported at once, each
//! mistake with its place ([`Mistakes`]). The environment is read here and nowhere else.

mod document;
mod key;
mod limit;
mod mistake;
mod preset;
mod schedule;
mod secret;
mod show;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use self::mistake::{Mistake, Mistakes, Place};
pub use self::source::{Flags, Loaded, Sources};
use crate::ffmpeg::preset::Preset;
use crate::limit::{Fairness, LimitRule};
use crate::limiter::BreakerSettings;
use crate::schedule::{Action, ScheduleSpec};
use crate::secret::Secret;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND_MS: u64 = 1_000;
const DAY_MS: u64 = 86_400_000;

/// Everything that an operator may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The folder of everything that is kept, relative to the working directory.
    pub data: PathBuf,
    /// HTTP.
    pub server: Server,
    /// The store.
    pub store: Store,
    /// How long ended tasks and events are kept.
    pub history: History,
    /// Running attempts.
    pub runner: Runner,
    /// Plugins and what all of them together may use.
    pub plugins: Plugins,
    /// The media library.
    pub media: Media,
    /// ffmpeg.
    pub ffmpeg: Ffmpeg,
    /// Logging.
    pub log: Log,
    /// What happens by itself; schedules that are switched off are absent.
    pub schedules: Vec<ScheduleSpec>,
    /// How much runs, by `[[limit]]`.
    pub limits: Vec<LimitRule>,
    /// Whose turn it is, by `[fairness]`.
    pub fairness: Option<Fairness>,
    /// What is filled into requests of plugins, by name: `[secrets]`.
    pub secrets: BTreeMap<String, Secret>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Under which address others reach the host, such as `https://tasks.example`; empty when nobody said.
    pub public_url: String,
    /// Connections at the same time.
    pub max_connections: u32,
    /// Requests at the same time, over all connections.
    pub max_requests: u32,
    /// Contents that are being streamed out at the same time.
    pub max_streams: u32,
    /// Uploads at the same time.
    pub max_uploads: u32,
    /// Clients that follow events at the same time.
    pub max_event_clients: u32,
    /// A request's body, uploads apart, in bytes.
    pub max_body_bytes: u64,
    /// The body of a batch of tasks, in bytes.
    pub max_batch_bytes: u64,
    /// A task's input, in bytes; at most [`Self::max_body_bytes`].
    pub max_input_bytes: u64,
    /// The administrator's token, relative to [`Config::data`].
    pub admin_token_file: PathBuf,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Page cache, in bytes.
    pub cache_bytes: u64,
    /// Queued and running tasks together.
    pub max_live_tasks: u32,
    /// Opens a store that has lost acknowledged writes.
    pub accept_data_loss: bool,
    /// Free space on the disk below which nothing new is taken in, in bytes.
    pub min_free_bytes: u64,
}

/// `[history]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// What is kept of tasks that succeeded.
    pub succeeded: Kept,
    /// What is kept of tasks that failed.
    pub failed: Kept,
    /// What is kept of tasks that were cancelled.
    pub cancelled: Kept,
    /// Events that are kept.
    pub max_events: u32,
}

/// How long tasks that ended in one state are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Since they ended, in milliseconds.
    pub max_age_ms: u64,
    /// How many; the oldest go first.
    pub max_tasks: u32,
    /// What they take together, in bytes; the oldest go first.
    pub max_bytes: u64,
}

/// `[runner]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Attempts at the same time; at most [`Plugins::max_instances`].
    pub concurrency: u32,
    /// A waiting task gains a level of priority every so many milliseconds; never with 0.
    pub aging_ms: u64,
    /// How long an attempt lives without a heartbeat, in milliseconds.
    pub lease_ms: u64,
    /// When a kind whose tasks take the guest down is left alone, and for how long.
    pub breaker: BreakerSettings,
    /// How long outside work may take to stop, gracefully and then immediately, in milliseconds each.
    pub stop_grace_ms: u64,
    /// How long running attempts may go on after a stop was asked for, in milliseconds.
    pub shutdown_grace_ms: u64,
}

/// `[plugins]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugins {
    /// The folder that is watched, relative to the working directory.
    pub dir: PathBuf,
    /// Threads that run guests; 0 means one a core.
    pub threads: u32,
    /// Instances at the same time.
    pub max_instances: u32,
    /// Memory of all guests together, in bytes.
    pub memory_total_bytes: u64,
    /// A component file, in bytes.
    pub max_component_bytes: u64,
    /// How long a cancelled guest may take to stop by itself, in milliseconds.
    pub cancel_grace_ms: u64,
    /// How long compiling one component may take, in milliseconds.
    pub compile_time_ms: u64,
    /// Address space of the process that compiles, in bytes.
    pub compile_memory_bytes: u64,
    /// Whose signatures of plugins are believed: public keys, or files that hold one.
    pub trusted_keys: Vec<String>,
    /// Whether a plugin without a signature is refused.
    pub require_signature: bool,
    /// The program `taskhost`, which compiles in a child process; this process compiles when absent. Not
    /// for operators: the command line sets it.
    pub compiler: Option<PathBuf>,
    /// Somebody writes plugins: files settle sooner, changes are told at length, and backtraces name files and lines. Not
    /// for operators: the command line sets it.
    pub dev: bool,
    /// Certificate authorities that plugins believe besides the system's, in PEM form.
    pub http_ca_file: Option<PathBuf>,
}

/// `[media]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// One upload, in bytes.
    pub max_upload_bytes: u64,
    /// How long a trashed file can be restored when the client does not say, in milliseconds.
    pub trash_grace_ms: u64,
    /// Space on the disk that uploads and cuts leave free, in bytes.
    pub min_free_bytes: u64,
}

/// `[ffmpeg]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ffmpeg {
    /// The program, looked up in `PATH` when it has no slash.
    pub ffmpeg: PathBuf,
    /// The program, looked up in `PATH` when it has no slash.
    pub ffprobe: PathBuf,
    /// `PATH`, as this process has it.
    pub search_path: OsString,
    /// Runs at the same time; 0 means one a core.
    pub jobs: u32,
    /// Threads of one run; 0 lets ffmpeg choose.
    pub threads: u32,
    /// One output file, in bytes.
    pub max_output_bytes: u64,
    /// How plugins may have files encoded anew, by `[ffmpeg.presets.NAME]`.
    pub presets: BTreeMap<String, Preset>,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is logged.
    pub level: Level,
    /// How it looks.
    pub format: Format,
    /// What is kept of one task's log, in bytes.
    pub task_log_bytes: u64,
}

/// How much is logged; each level contains those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing.
    Off,
    /// What somebody has to look at.
    Error,
    /// What somebody may have to look at.
    Warn,
    /// What happens.
    Info,
    /// Why it happens.
    Debug,
    /// Every step.
    Trace,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

impl Server {
    /// The host's name in [`Self::public_url`].
    pub fn public_host(&self) -> Option<&str> {
        let (_, rest) = self.public_url.split_once("://")?;
        let authority = rest.split('/').next()?;
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
            Some(_) | None => authority,
        };
        Some(host).filter(|host| !host.is_empty())
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "./taskhost-data".into(),
            server: Server::default(),
            store: Store::default(),
            history: History::default(),
            runner: Runner::default(),
            plugins: Plugins::default(),
            media: Media { max_upload_bytes: 16 * GIB, trash_grace_ms: 7 * DAY_MS, min_free_bytes: 64 * MIB },
            ffmpeg: Ffmpeg::default(),
            log: Log { level: Level::Info, format: Format::Auto, task_log_bytes: MIB },
            schedules: vec![builtin_schedule()],
            limits: Vec::new(),
            fairness: None,
            secrets: BTreeMap::new(),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { cache_bytes: 64 * MIB, max_live_tasks: 1_000_000, accept_data_loss: false, min_free_bytes: 256 * MIB }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 7420).into(),
            public_url: String::new(),
            max_connections: 1_024,
            max_requests: 256,
            max_streams: 64,
            max_uploads: 16,
            max_event_clients: 64,
            max_body_bytes: MIB,
            max_batch_bytes: 16 * MIB,
            max_input_bytes: 256 * KIB,
            admin_token_file: "admin-token".into(),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        let kept = Kept { max_age_ms: 30 * DAY_MS, max_tasks: 100_000, max_bytes: GIB };
        let failed = Kept { max_age_ms: 90 * DAY_MS, ..kept };
        let cancelled = Kept { max_bytes: 256 * MIB, ..kept };
        Self { succeeded: kept, failed, cancelled, max_events: 1_000_000 }
    }
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            concurrency: 128,
            aging_ms: 60 * SECOND_MS,
            lease_ms: 30 * SECOND_MS,
            breaker: BreakerSettings::default(),
            stop_grace_ms: 30 * SECOND_MS,
            shutdown_grace_ms: 20 * SECOND_MS,
        }
    }
}

impl Default for Plugins {
    fn default() -> Self {
        Self {
            dir: "./plugins".into(),
            threads: 0,
            max_instances: 256,
            memory_total_bytes: 2 * GIB,
            max_component_bytes: 64 * MIB,
            cancel_grace_ms: 25,
            compile_time_ms: 120 * SECOND_MS,
            compile_memory_bytes: 4 * GIB,
            trusted_keys: Vec::new(),
            require_signature: false,
            compiler: None,
            dev: false,
            http_ca_file: None,
        }
    }
}

impl Default for Ffmpeg {
    fn default() -> Self {
        Self {
            ffmpeg: "ffmpeg".into(),
            ffprobe: "ffprobe".into(),
            search_path: "/usr/local/bin:/usr/bin:/bin".into(),
            jobs: 0,
            threads: 0,
            max_output_bytes: 16 * GIB,
            presets: BTreeMap::new(),
        }
    }
}

/// Trashed media must be cleared on a host that nobody configured.
fn builtin_schedule() -> ScheduleSpec {
    let plugin = "video-clear".to_owned();
    let action = Action::Dispatch { plugin, batch: schedule::DEFAULT_BATCH, capacity: schedule::DEFAULT_CAPACITY };
    ScheduleSpec::every("video-clear", 10 * SECOND_MS, action)
}
