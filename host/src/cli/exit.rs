//! How the process ends.

use std::process::ExitCode;

/// How a command ended; usage errors (2) end the process before a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked for.
    Done,
    /// It failed.
    Failed,
    /// The task that was tried failed for good.
    TaskFailed,
    /// The guest of the task that was tried went down.
    Crashed,
    /// The task that was tried would be tried again.
    TryAgain,
    /// The data directory cannot be used (`EX_IOERR`).
    Store,
    /// The configuration is wrong (`EX_CONFIG`).
    Config,
    /// A signal ended it, by number.
    Signal(u8),
}

impl Exit {
    /// The code that the parent process sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::TaskFailed => 3,
            Self::Crashed => 4,
            Self::TryAgain => 5,
            Self::Store => 74,
            Self::Config => 78,
            Self::Signal(number) => 128 + number,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
