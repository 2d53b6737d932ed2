//! Typed ffmpeg: probe a file, cut a piece, take a picture or the sound out of it, join files, re-encode one by a preset of
//! the operator. Nothing else can be asked of it.
//!
//! The input is a file that the host has opened; it becomes the tool's standard input. Its format
//! is decided here, from its first bytes and an allow-list, and forced, so that a playlist, a
//! concatenation script or a URL in a file is never followed. Arguments are fixed templates.

mod audio;
mod concat;
mod container;
mod cut;
mod job;
mod locate;
pub mod preset;
mod probe;
mod progress;
mod sniff;
mod still;
mod transcode;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use tokio::sync::Semaphore;

pub use self::audio::{AudioFormat, Extract};
pub use self::concat::{Concat, MAX_INPUTS};
pub use self::container::Container;
pub use self::cut::{Accuracy, Cut};
pub use self::job::{Made, Target};
use self::preset::Preset;
pub use self::probe::{Probe, Stream};
pub use self::still::{ImageFormat, Still};
pub use self::transcode::Transcode;
use crate::process::{Command, Exit, ResourceLimits, SpawnError, Supervisor};

/// The tool's name for its standard input. Opened by path, so that it can seek.
const INPUT: &str = "/dev/stdin";
/// What a problem says about getting the tool.
const INSTALL: &str = "install it with `apt-get install ffmpeg` (Debian, Ubuntu), `dnf install ffmpeg` (Fedora), \
                       `brew install ffmpeg` (macOS), or set `ffmpeg` and `ffprobe` in [ffmpeg]";

/// Where the tools are and what they may use.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The ffmpeg program: a path, or a name that is looked up in `search_path`.
    pub ffmpeg: PathBuf,
    /// The ffprobe program: a path, or a name that is looked up in `search_path`.
    pub ffprobe: PathBuf,
    /// Folders with programs, separated by colons: the host's `PATH`.
    pub search_path: OsString,
    /// Jobs, and probes, that run at the same time; at least 1.
    pub jobs: u32,
    /// Size of an output file at most, in bytes.
    pub max_output_bytes: u64,
    /// Threads of one job; 0 lets ffmpeg decide.
    pub threads: u32,
    /// CPU time of one job, all threads together, in seconds.
    pub max_cpu_seconds: u64,
    /// Virtual memory of one job, in bytes.
    pub max_memory_bytes: u64,
    /// How files may be encoded anew, by name.
    pub presets: BTreeMap<String, Preset>,
}

impl Default for Settings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            ffmpeg: PathBuf::from("ffmpeg"),
            ffprobe: PathBuf::from("ffprobe"),
            search_path: OsString::from("/usr/local/bin:/usr/bin:/bin"),
            jobs: u32::try_from(cores).unwrap_or(1),
            max_output_bytes: 16 << 30,
            threads: 0,
            max_cpu_seconds: 24 * 3600,
            max_memory_bytes: 8 << 30,
            presets: BTreeMap::new(),
        }
    }
}

/// Why ffmpeg did not do it, by what the caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file is not audio or video of an accepted format, or the request does not fit it.
    #[error("{0}")]
    BadInput(String),
    /// This host's ffmpeg cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// A bound was reached (time, memory).
    #[error("{0}")]
    Limit(String),
    /// The output is larger than so many bytes.
    #[error("the output is larger than the {0} bytes that are allowed")]
    TooLarge(u64),
    /// The tool ran and failed.
    #[error("ffmpeg failed: {stderr_tail}")]
    Tool {
        /// Its exit code; absent when a signal ended it.
        exit_code: Option<i32>,
        /// The end of what it wrote to standard error, without the host's paths.
        stderr_tail: String,
    },
    /// Not installed, no room, or the host is stopping. The text says what to do.
    #[error("{0}")]
    Unavailable(String),
}

impl From<SpawnError> for Error {
    fn from(error: SpawnError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// The tools of this host.
#[derive(Debug)]
pub struct Ffmpeg {
    settings: Settings,
    supervisor: Supervisor,
    tools: Result<Tools, String>,
    cuts: Semaphore,
    probes: Semaphore,
}

#[derive(Debug)]
struct Tools {
    ffmpeg: PathBuf,
    ffprobe: PathBuf,
    version: String,
}

impl Ffmpeg {
    /// Looks for the tools. Never fails: without them every call answers [`Error::Unavailable`].
    pub async fn detect(settings: Settings, supervisor: Supervisor) -> Self {
        let tools = locate::tools(&settings, &supervisor).await;
        let jobs = usize::try_from(settings.jobs.max(1)).unwrap_or(1).min(Semaphore::MAX_PERMITS);
        Self { settings, supervisor, tools, cuts: Semaphore::new(jobs), probes: Semaphore::new(jobs) }
    }

    /// Why nothing can be done, and what to do about it.
    pub fn problem(&self) -> Option<String> {
        self.tools.as_ref().err().cloned()
    }

    /// The version of ffmpeg, as it names itself.
    pub fn version(&self) -> Option<&str> {
        self.tools.as_ref().ok().map(|tools| tools.version.as_str())
    }

    fn tools(&self) -> Result<&Tools, Error> {
        self.tools.as_ref().map_err(|problem| Error::Unavailable(problem.clone()))
    }

    /// A command under the limits of a job that writes at most `max_bytes`.
    fn command(&self, program: &std::path::Path, max_bytes: u64) -> Command {
        let mut command = Command::new(program);
        command.limits = ResourceLimits {
            cpu_seconds: self.settings.max_cpu_seconds,
            address_space_bytes: Some(self.settings.max_memory_bytes),
            // Room for the index that is written after the last packet.
            file_size_bytes: max_bytes.saturating_add(max_bytes / 8 + (1 << 20)),
            open_files: 64 + MAX_INPUTS as u64,
        };
        command
    }
}

fn is_disk_full(stderr: &str) -> bool {
    stderr.contains("No space left on device") || stderr.contains("Disk quota exceeded")
}

/// What a failed run means whose output had to stay below `max_bytes`.
fn failure(exit: Exit, max_bytes: u64) -> Error {
    const SIGXCPU: i32 = rustix::process::Signal::XCPU.as_raw();
    const SIGXFSZ: i32 = rustix::process::Signal::XFSZ.as_raw();
    let text = exit.stderr_tail;
    if exit.stopped {
        return Error::Unavailable("the host is stopping".to_owned());
    }
    match exit.signal {
        Some(SIGXCPU) => return Error::Limit("the job used up its cpu time".to_owned()),
        Some(SIGXFSZ) => return Error::TooLarge(max_bytes),
        Some(_) | None => {}
    }
    if is_disk_full(&text) {
        return Error::Unavailable("the disk is full: free some space, then try again".to_owned());
    }
    if text.contains("Cannot allocate memory") {
        return Error::Limit("the job needs more memory than is allowed".to_owned());
    }
    if text.contains("File too large") {
        return Error::TooLarge(max_bytes);
    }
    if text.contains("Unknown encoder") || text.contains("Decoder (codec") || text.contains("Unknown decoder") {
        return Error::Unsupported(format!("this host's ffmpeg lacks a codec: {text}"));
    }
    Error::Tool { exit_code: exit.code, stderr_tail: text }
}

#[cfg(test)]
mod tests;
