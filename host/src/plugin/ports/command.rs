//! Programs that an operator has named.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use super::LogSource;
use crate::plugin::command::Bounds;
use crate::task::Digest;

/// One argument of a command, already checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// As it is.
    Text(String),
    /// A live file of the library by its id: the program gets a path under which it is open.
    Media(String),
}

/// Hears what a command writes to [`LogSource::Stdout`] and [`LogSource::Stderr`], as it comes.
pub type OnOutput = Arc<dyn Fn(LogSource, &[u8]) + Send + Sync>;

/// A command to be run.
pub struct CommandRun {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// SHA-256 that the program's file must have.
    pub sha256: Option<Digest>,
    /// What follows the program.
    pub arguments: Vec<Argument>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
    /// Working directory.
    pub directory: PathBuf,
    /// Its standard input.
    pub stdin: Vec<u8>,
    /// Bytes that are kept of the end of each output stream.
    pub output_bytes: usize,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
    /// What the operating system lets each of its processes use.
    pub bounds: Bounds,
    /// Hears all of its output.
    pub on_output: OnOutput,
    /// Dropped when the last of its processes is gone, however that came about.
    pub held: Box<dyn Any + Send>,
}

impl fmt::Debug for CommandRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandRun").field("program", &self.program).finish_non_exhaustive()
    }
}

/// What a command left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its exit code; absent when a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The end of what it wrote to standard output.
    pub stdout: Vec<u8>,
    /// The end of what it wrote to standard error.
    pub stderr: Vec<u8>,
    /// It wrote more to one of them than is kept.
    pub truncated: bool,
}

/// Why a command was not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The program is not the one that was pinned.
    #[error("the program {program} has the SHA-256 {found}, not the one that is pinned", program = program.display())]
    Changed {
        /// Its path.
        program: PathBuf,
        /// What is there.
        found: Digest,
    },
    /// An argument names no live file of the library.
    #[error("there is no live media file {0:?}")]
    NoMedia(String),
    /// It took too long and was stopped; nothing of it is left.
    #[error("it took longer than {0} ms and was stopped")]
    TimedOut(u64),
    /// Not there, or the host is stopping. The text says what to do.
    #[error("{0}")]
    Unavailable(String),
}

/// Runs programs. Dropping a returned future ends everything that the program started.
#[async_trait]
pub trait CommandPort: Send + Sync {
    /// Runs a program and waits until it and all that it started are gone.
    async fn run(&self, run: CommandRun) -> Result<CommandOutput, CommandError>;
}
