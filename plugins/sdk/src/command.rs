//! Programs that the operator has named in the plugin's manifest, `[grant.command.NAME]`.
//!
//! ```no_run
//! use std::time::Duration;
//! use taskhost_sdk::command::Command;
//!
//! # fn f() -> Result<(), taskhost_sdk::TaskError> {
//! let output = Command::new("checksum").argument("holiday.mp4").timeout(Duration::from_secs(30)).run()?;
//! if output.success() {
//!     taskhost_sdk::info!("{}", output.stdout_text());
//! }
//! # Ok(())
//! # }
//! ```

use std::borrow::Cow;
use std::time::Duration;

pub use crate::bindings::imports::taskhost::exec::command::{Error, Output, run};

/// A command to be run, argument by argument. There is no shell, and fixed words of the operator's list are not given.
#[derive(Clone, Debug)]
pub struct Command {
    name: String,
    arguments: Vec<String>,
    stdin: Option<Vec<u8>>,
    timeout: Option<Duration>,
}

impl Command {
    /// The command that the manifest calls `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), arguments: Vec::new(), stdin: None, timeout: None }
    }

    /// Adds an argument for the next open place; for a place for media, the id of the file.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Hands these bytes over as standard input.
    #[must_use]
    pub fn stdin(mut self, stdin: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(stdin.into());
        self
    }

    /// Stops it after this time, if the manifest does not stop it earlier.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Runs it and waits until it, and everything that it started, is gone. What it writes goes to the task's log as
    /// it comes. One that ran and failed is an `Ok` with its exit code.
    pub fn run(&self) -> Result<Output, Error> {
        let timeout = self.timeout.map(|timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        run(&self.name, &self.arguments, self.stdin.as_deref(), timeout)
    }
}

impl Output {
    /// It ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.exit_code == Some(0)
    }

    /// Standard output as text.
    pub fn stdout_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// Standard error as text.
    pub fn stderr_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}
