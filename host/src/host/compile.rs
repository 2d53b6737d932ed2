//! The compiling child: this program again, with limits, for one component.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{MemfdFlags, memfd_create};

use crate::config::Config;
use crate::plugin::compile::{CompileError, CompilePort, InProcess, InProcessWithDetails};
use crate::process::{Command, Exit, ResourceLimits, Stdout, Supervisor};

/// The argument that makes this program compile. Not for people: it is not in the help.
pub const COMPILE_COMMAND: &str = "compile-component";
/// With it, the machine code knows files and lines.
const DETAILS_FLAG: &str = "--details";
/// How much larger than the largest component its machine code may be.
const MAX_GROWTH: u64 = 8;
const SIGKILL: i32 = 9;

/// Bounds of one compilation.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) wall: Duration,
    pub(super) memory_bytes: u64,
    pub(super) max_component_bytes: u64,
    /// Machine code that knows files and lines.
    pub(super) details: bool,
}

impl Bounds {
    pub(super) fn of(config: &Config) -> Self {
        Self {
            wall: Duration::from_millis(config.plugins.compile_time_ms),
            memory_bytes: config.plugins.compile_memory_bytes,
            max_component_bytes: config.plugins.max_component_bytes,
            details: config.plugins.dev,
        }
    }
}

/// Who compiles: a child of `program`, or, without one, this process.
pub(super) fn compiler(program: Option<&Path>, bounds: Bounds, supervisor: &Supervisor) -> Arc<dyn CompilePort> {
    match program {
        Some(program) => Arc::new(Child { program: program.to_owned(), bounds, supervisor: supervisor.clone() }),
        None if bounds.details => Arc::new(InProcessWithDetails),
        None => Arc::new(InProcess),
    }
}

/// This program, also when its file was replaced since it was started.
pub fn this_program() -> PathBuf {
    // Seen from the helpers that become the child, `/proc/self` would be the helper.
    PathBuf::from(format!("/proc/{}/exe", std::process::id()))
}

struct Child {
    program: PathBuf,
    bounds: Bounds,
    supervisor: Supervisor,
}

#[async_trait]
impl CompilePort for Child {
    async fn compile(&self, component: Arc<[u8]>) -> Result<Vec<u8>, CompileError> {
        let unavailable = |error: &dyn std::fmt::Display| CompileError::Unavailable(format!("cannot compile: {error}"));
        let stdin = tokio::task::spawn_blocking(move || in_memory("component", &component))
            .await
            .map_err(|error| unavailable(&error))?
            .map_err(|error| unavailable(&error))?;
        let max_bytes =
            usize::try_from(self.bounds.max_component_bytes.saturating_mul(MAX_GROWTH)).unwrap_or(usize::MAX);
        let details = self.bounds.details.then_some(DETAILS_FLAG);
        let command = Command {
            stdin: Some(stdin),
            limits: self.limits(),
            stdout: Stdout::Collect { max_bytes },
            ..Command::new(&self.program).args([COMPILE_COMMAND].into_iter().chain(details))
        };
        let exit = tokio::time::timeout(self.bounds.wall, self.supervisor.run(command))
            .await
            .map_err(|_elapsed| CompileError::Limit(self.took_too_long()))?
            .map_err(|error| unavailable(&error))?;
        self.judge(exit)
    }
}

impl Child {
    fn limits(&self) -> ResourceLimits {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        ResourceLimits {
            // All cores for all of the time: what waits instead is ended by the wall clock.
            cpu_seconds: self.bounds.wall.as_secs().max(1).saturating_mul(cores),
            address_space_bytes: Some(self.bounds.memory_bytes),
            // It writes to a pipe.
            file_size_bytes: 0,
            open_files: 64,
        }
    }

    fn judge(&self, exit: Exit) -> Result<Vec<u8>, CompileError> {
        let said = exit.stderr_tail.trim();
        match exit {
            Exit { stopped: true, .. } => Err(CompileError::Unavailable("the host is stopping".to_owned())),
            Exit { code: Some(0), stdout_truncated: true, .. } => {
                let factor = format!("{MAX_GROWTH} times `plugins.max_component`");
                Err(CompileError::Limit(format!("its machine code is larger than {factor}")))
            }
            Exit { code: Some(0), stdout, .. } => Ok(stdout),
            Exit { code: Some(1), .. } => Err(CompileError::Invalid(said.to_owned())),
            Exit { .. } if said.contains("memory allocation of") || said.contains("out of memory") => {
                let (bytes, setting) = (self.bounds.memory_bytes, "plugins.compile_memory");
                Err(CompileError::Limit(format!("it takes more than {bytes} bytes of memory (`{setting}`)")))
            }
            Exit { signal: Some(SIGKILL), .. } => Err(CompileError::Limit(format!(
                "the compiler was killed: {}, or the system has no memory left",
                self.took_too_long()
            ))),
            Exit { code, signal, .. } => {
                let how = code.map_or_else(|| format!("signal {}", signal.unwrap_or(0)), |code| format!("code {code}"));
                Err(CompileError::Limit(format!("the compiler went down ({how}): {said}")))
            }
        }
    }

    fn took_too_long(&self) -> String {
        format!("it takes longer than {} s (`plugins.compile_time`)", self.bounds.wall.as_secs_f64())
    }
}

/// A file without a path that holds these bytes, to be read from its beginning.
pub(super) fn in_memory(name: &str, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
