//! Supervised child processes: every child has an owner, bounds and an end.
//!
//! A child runs without a shell, without an environment, in its own process group. Dropping its
//! handle ends the group: `SIGTERM`, and `SIGKILL` after [`TERM_GRACE`]. The [`Supervisor`] reaps
//! every child, also those whose handle is gone, and [`Supervisor::stop`] returns when none is left.
//!
//! Setting resource limits between fork and exec needs unsafe code, so the program `prlimit` sets
//! them and then becomes the child. Without it they are set right after the child was started.

mod limits;
mod mark;
mod pump;
mod spawner;
mod supervise;

use std::any::Any;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::limits::ResourceLimits;
use self::spawner::Spawner;

/// How long a process group may take to end after `SIGTERM` before it gets `SIGKILL`.
pub const TERM_GRACE: Duration = Duration::from_millis(300);
/// Bytes of standard error that are kept when a [`Command`] does not say.
pub const DEFAULT_STDERR_TAIL_BYTES: usize = 4096;

/// Called with each line that the child writes to standard output.
pub type OnLine = Box<dyn FnMut(&str) + Send>;

/// Called with what the child writes, piece by piece, as it comes.
pub type OnBytes = Box<dyn FnMut(&[u8]) + Send>;

/// What happens to the child's standard output.
#[derive(Default)]
pub enum Stdout {
    /// It goes nowhere.
    #[default]
    Discard,
    /// It is kept, up to a bound.
    Collect {
        /// Bytes that are kept; the rest is read and dropped.
        max_bytes: usize,
    },
    /// It is handed over line by line; a line is cut at 4096 bytes.
    Lines(OnLine),
    /// It is handed over as it comes, and the end of it is kept.
    Tail {
        /// Bytes that are kept; of more, the last ones.
        max_bytes: usize,
        /// Hears everything.
        on_bytes: OnBytes,
    },
}

impl fmt::Debug for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discard => "Discard",
            Self::Collect { .. } => "Collect",
            Self::Lines(_) => "Lines",
            Self::Tail { .. } => "Tail",
        })
    }
}

/// A program to be run.
pub struct Command {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// The program's open file: this is run, whatever the path names by then.
    pub executable: Option<File>,
    /// Its arguments, as they are: there is no shell.
    pub args: Vec<OsString>,
    /// Open files that the child gets; the argument with this index becomes its path, `/dev/fd/N`.
    pub files: Vec<(usize, File)>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// An open file as standard input; nothing when absent.
    pub stdin: Option<File>,
    /// Working directory.
    pub cwd: PathBuf,
    /// What the child may use.
    pub limits: ResourceLimits,
    /// What happens to its standard output.
    pub stdout: Stdout,
    /// Bytes of the end of standard error that are kept.
    pub stderr_tail_bytes: usize,
    /// Hears all of standard error.
    pub on_stderr: Option<OnBytes>,
    /// Its end is the end of everything that it started, also of what left its process group or its session.
    pub whole_tree: bool,
    /// Dropped when the child and what ends with it are gone, however that came about.
    pub held: Option<Box<dyn Any + Send>>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command").field("program", &self.program).field("args", &self.args).finish_non_exhaustive()
    }
}

impl Command {
    /// `program` without arguments, input or output, in `/`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            executable: None,
            args: Vec::new(),
            files: Vec::new(),
            env: vec![("LC_ALL".into(), "C".into())],
            stdin: None,
            cwd: PathBuf::from("/"),
            limits: ResourceLimits::default(),
            stdout: Stdout::Discard,
            stderr_tail_bytes: DEFAULT_STDERR_TAIL_BYTES,
            on_stderr: None,
            whole_tree: false,
            held: None,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }
}

/// How a child ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Collected standard output.
    pub stdout: Vec<u8>,
    /// Standard output was longer than what is kept.
    pub stdout_truncated: bool,
    /// The end of standard error, as it was written.
    pub stderr: Vec<u8>,
    /// Standard error was longer than what is kept.
    pub stderr_truncated: bool,
    /// It was told to end: its handle was given up, or the supervisor was stopped.
    pub stopped: bool,
    /// The end of standard error, without control characters other than line breaks.
    pub stderr_tail: String,
}

impl Exit {
    /// It ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

/// Why a child was not started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no such program.
    #[error("there is no program {0}")]
    NotFound(PathBuf),
    /// The system refused.
    #[error("cannot start {program}: {source}")]
    Refused {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The supervisor has been stopped, or its runtime is gone.
    #[error("no more processes are started: the host is stopping")]
    Stopped,
}

/// Starts and reaps children. Clones share the children.
#[derive(Clone)]
pub struct Supervisor {
    inner: Arc<Inner>,
}

struct Inner {
    // Children are reaped on this runtime, whatever runtime asks for them.
    runtime: Handle,
    spawner: Spawner,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("running", &self.running()).finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor that reaps on the current tokio runtime.
    pub fn new() -> io::Result<Self> {
        let runtime = Handle::current();
        let spawner = Spawner::start(runtime.clone())?;
        let tracker = TaskTracker::new();
        // A closed tracker still tracks; it can be waited for.
        tracker.close();
        let inner = Inner { runtime, spawner, tracker, stop: CancellationToken::new() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Starts a child.
    pub async fn spawn(&self, command: Command) -> Result<Process, SpawnError> {
        // Held until the child's task is tracked, so that `stop` waits for a start in progress.
        let token = self.inner.tracker.token();
        if self.inner.stop.is_cancelled() {
            return Err(SpawnError::Stopped);
        }
        let stop = self.inner.stop.child_token();
        let guard = stop.clone().drop_guard();
        let (started_tx, started) = oneshot::channel();
        let (exit_tx, exit) = oneshot::channel();
        // Holds the spawner: a child may not outlive the thread that started it.
        let inner = Arc::clone(&self.inner);
        let owner = async move {
            // Nobody may be listening any more: then the guard is gone, and `stop` ends the child.
            match inner.spawner.spawn(command).await {
                Ok((child, watch)) => {
                    let _ = started_tx.send(Ok(child.id()));
                    let _ = exit_tx.send(supervise::run(child, watch, stop).await);
                }
                Err(error) => {
                    let _ = started_tx.send(Err(error));
                }
            }
        };
        self.inner.tracker.spawn_on(owner, &self.inner.runtime);
        drop(token);
        let id = started.await.unwrap_or(Err(SpawnError::Stopped))?;
        Ok(Process { id, exit, guard })
    }

    /// Starts a child and waits for its end. Dropping the future ends the child's group.
    pub async fn run(&self, command: Command) -> Result<Exit, SpawnError> {
        self.spawn(command).await?.wait().await
    }

    /// Children that are not reaped yet.
    pub fn running(&self) -> usize {
        self.inner.tracker.len()
    }

    /// Returns when no child is left; new ones may be started at any time.
    pub async fn idle(&self) {
        self.inner.tracker.wait().await;
    }

    /// Ends every child and returns when all are gone. Nothing is started afterwards.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tracker.wait().await;
        self.inner.spawner.stop();
    }
}

/// A running child. Dropping it ends its process group.
#[derive(Debug)]
pub struct Process {
    id: Option<u32>,
    exit: oneshot::Receiver<Exit>,
    guard: DropGuard,
}

impl Process {
    /// The process id, which is also the id of its group.
    pub fn id(&self) -> Option<u32> {
        self.id
    }

    /// Waits until the child and its group are gone. Dropping the future ends them.
    pub async fn wait(self) -> Result<Exit, SpawnError> {
        let Self { exit, guard, .. } = self;
        let exit = exit.await.map_err(|_| SpawnError::Stopped);
        drop(guard);
        exit
    }

    /// Waits like [`Self::wait`], but ends the child after `limit`; answers whether it ended in time by itself.
    pub async fn wait_at_most(mut self, limit: Duration) -> Result<(Exit, bool), SpawnError> {
        match tokio::time::timeout(limit, &mut self.exit).await {
            Ok(exit) => exit.map(|exit| (exit, true)).map_err(|_| SpawnError::Stopped),
            Err(_elapsed) => self.terminate().await.map(|exit| (exit, false)),
        }
    }

    /// Ends the child's group and returns when it is gone.
    pub async fn terminate(self) -> Result<Exit, SpawnError> {
        let Self { exit, guard, .. } = self;
        drop(guard);
        exit.await.map_err(|_| SpawnError::Stopped)
    }
}

#[cfg(test)]
mod tests;
