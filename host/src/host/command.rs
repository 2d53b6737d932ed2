//! Programs that an operator has named, as supervised child processes.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::compile::in_memory;
use crate::media::{Library, MediaError};
use crate::plugin::ports::{Argument, CommandError, CommandOutput, CommandPort, CommandRun, LogSource, OnOutput};
use crate::process::{Command, OnBytes, ResourceLimits, SpawnError, Stdout, Supervisor};
use crate::task::Digest;

/// Bytes of a program that are hashed at a time.
const HASH_CHUNK_BYTES: usize = 64 * 1024;

/// Runs commands.
pub(super) struct Commands {
    pub(super) media: Library,
    pub(super) supervisor: Supervisor,
}

#[async_trait]
impl CommandPort for Commands {
    async fn run(&self, run: CommandRun) -> Result<CommandOutput, CommandError> {
        let timeout = Duration::from_millis(run.timeout_ms);
        let (program, pin, directory) = (run.program.clone(), run.sha256, run.directory.clone());
        let executable = blocking(move || {
            if !directory.is_dir() {
                return Err(CommandError::Unavailable(format!("there is no folder {}", directory.display())));
            }
            executable(program, pin)
        });
        let executable = executable.await?;
        let (args, files) = self.arguments(run.arguments).await?;
        let stdin = run.stdin;
        let stdin = if stdin.is_empty() {
            None
        } else {
            Some(blocking(move || in_memory("stdin", &stdin).map_err(|error| unavailable(&error))).await?)
        };
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let command = Command {
            executable,
            args: args.into_iter().map(Into::into).collect(),
            files,
            env: run.environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            stdin,
            cwd: run.directory,
            limits: ResourceLimits {
                // All cores for all of the time, unless the operator says less.
                cpu_seconds: run.bounds.cpu_ms.unwrap_or(run.timeout_ms.saturating_mul(cores)).div_ceil(1000),
                address_space_bytes: Some(run.bounds.memory_bytes),
                file_size_bytes: run.bounds.file_bytes,
                open_files: u64::from(run.bounds.open_files),
            },
            stdout: Stdout::Tail { max_bytes: run.output_bytes, on_bytes: heard(&run.on_output, LogSource::Stdout) },
            stderr_tail_bytes: run.output_bytes,
            on_stderr: Some(heard(&run.on_output, LogSource::Stderr)),
            whole_tree: true,
            held: Some(run.held),
            ..Command::new(run.program)
        };
        let process = self.supervisor.spawn(command).await.map_err(|error| spawn_error(&error))?;
        let (exit, in_time) = process.wait_at_most(timeout).await.map_err(|error| spawn_error(&error))?;
        if !in_time {
            return Err(CommandError::TimedOut(run.timeout_ms));
        }
        if exit.stopped {
            return Err(CommandError::Unavailable("the host is stopping".to_owned()));
        }
        Ok(CommandOutput {
            exit_code: exit.code,
            signal: exit.signal,
            stdout: exit.stdout,
            stderr: exit.stderr,
            truncated: exit.stdout_truncated || exit.stderr_truncated,
        })
    }
}

impl Commands {
    /// The arguments as text, and the files that take the places of some.
    async fn arguments(&self, arguments: Vec<Argument>) -> Result<(Vec<String>, Vec<(usize, File)>), CommandError> {
        let mut texts = Vec::with_capacity(arguments.len());
        let mut files = Vec::new();
        for (index, argument) in arguments.into_iter().enumerate() {
            texts.push(match argument {
                Argument::Text(text) => text,
                Argument::Media(id) => {
                    let content = self.media.content(&id).await.map_err(|error| {
                        if matches!(error, MediaError::NotFound) {
                            CommandError::NoMedia(id.clone())
                        } else {
                            unavailable(&error)
                        }
                    })?;
                    files.push((index, content.file));
                    id
                }
            });
        }
        Ok((texts, files))
    }
}

fn heard(on_output: &OnOutput, source: LogSource) -> OnBytes {
    let on_output = Arc::clone(on_output);
    Box::new(move |bytes| on_output(source, bytes))
}

fn unavailable(error: &dyn std::fmt::Display) -> CommandError {
    CommandError::Unavailable(format!("cannot run it: {error}"))
}

fn spawn_error(error: &SpawnError) -> CommandError {
    CommandError::Unavailable(error.to_string())
}

/// The program's file, if it can be run at all. One that is pinned is opened once: what is looked at here is what is
/// run, whatever its path names by then.
fn executable(program: PathBuf, pin: Option<Digest>) -> Result<Option<File>, CommandError> {
    let shown = program.display().to_string();
    let refused = |error: io::Error| {
        CommandError::Unavailable(if error.kind() == io::ErrorKind::NotFound {
            format!("there is no program {shown}: install it")
        } else {
            format!("the program {shown} cannot be used: {error}")
        })
    };
    let metadata = std::fs::metadata(&program).map_err(refused)?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        return Err(CommandError::Unavailable(format!("{shown} is not a program: no file that may be executed")));
    }
    let Some(pin) = pin else { return Ok(None) };
    let mut file = File::open(&program).map_err(refused)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => hash.update(&chunk[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(refused(error)),
        }
    }
    let found = Digest(hash.finalize().into());
    if found == pin { Ok(Some(file)) } else { Err(CommandError::Changed { program, found }) }
}

/// Runs work on files off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    let stopping = |_| CommandError::Unavailable("the host is stopping".to_owned());
    tokio::task::spawn_blocking(work).await.map_err(stopping)?
}
