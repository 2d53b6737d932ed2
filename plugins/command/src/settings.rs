//! The operator's settings: `[config]` of the manifest.

use serde::Deserialize;
use taskhost_sdk::{Failure, RetryRequest, TaskError};

const DEFAULT_TAIL_BYTES: usize = 16 * 1024;
const MAX_TAIL_BYTES: usize = 128 * 1024;

/// What a command that failed does to its task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFailure {
    /// It is tried again after the task's backoff, as often as the task allows.
    #[default]
    Retry,
    /// The task has failed.
    Fatal,
}

impl OnFailure {
    /// The end of the attempt.
    pub(crate) fn error(self, failure: Failure) -> TaskError {
        match self {
            Self::Retry => TaskError::Retry(RetryRequest { cause: failure, after: None }),
            Self::Fatal => TaskError::Fatal(failure),
        }
    }
}

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// When the task does not say.
    pub(crate) on_failure: OnFailure,
    /// Bytes of each stream in the output of a task.
    pub(crate) tail_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { on_failure: OnFailure::Retry, tail_bytes: DEFAULT_TAIL_BYTES }
    }
}

impl Settings {
    /// The settings, or every mistake in them.
    pub(crate) fn read(config: &[(String, String)]) -> Result<Self, Vec<Failure>> {
        let mut settings = Self::default();
        let mut mistakes = Vec::new();
        for (key, value) in config {
            match (key.as_str(), value.as_str()) {
                ("on_failure", "retry") => settings.on_failure = OnFailure::Retry,
                ("on_failure", "fatal") => settings.on_failure = OnFailure::Fatal,
                ("on_failure", _) => {
                    mistakes.push(format!("`on_failure` is \"retry\" or \"fatal\", not {value:?}"));
                }
                ("tail_bytes", _) => match value.parse() {
                    Ok(bytes) if bytes <= MAX_TAIL_BYTES => settings.tail_bytes = bytes,
                    Ok(_) | Err(_) => {
                        mistakes.push(format!("`tail_bytes` is a number from 0 to {MAX_TAIL_BYTES}, not {value:?}"));
                    }
                },
                _ => mistakes.push(format!("unknown setting `{key}`; known are on_failure, tail_bytes")),
            }
        }
        if mistakes.is_empty() {
            return Ok(settings);
        }
        Err(mistakes.into_iter().map(|mistake| Failure::new("bad-setting", mistake)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(config: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let config: Vec<_> = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::read(&config).map_err(|failures| failures.into_iter().map(|failure| failure.message).collect())
    }

    #[test]
    fn every_mistake_is_told() {
        assert_eq!(read(&[]).unwrap(), Settings::default());
        let read_well = read(&[("on_failure", "fatal"), ("tail_bytes", "0")]).unwrap();
        assert_eq!(read_well, Settings { on_failure: OnFailure::Fatal, tail_bytes: 0 });
        let mistakes = read(&[("on_failure", "never"), ("tail_bytes", "-1"), ("shell", "bash")]).unwrap_err();
        assert_eq!(
            mistakes,
            [
                "`on_failure` is \"retry\" or \"fatal\", not \"never\"",
                "`tail_bytes` is a number from 0 to 131072, not \"-1\"",
                "unknown setting `shell`; known are on_failure, tail_bytes",
            ]
        );
    }
}
