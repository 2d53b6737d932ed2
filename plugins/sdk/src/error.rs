//! How an attempt ends without an output, and what the host's own errors become.

use std::time::Duration;

use crate::bindings::imports::taskhost::{exec::command, host::queue, host::state, media::ffmpeg, media::library};
use crate::{Failure, RetryRequest, TaskError};

impl Failure {
    /// `code` is stable and kebab-case; `message` is a sentence for people.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), details: None }
    }
}

impl TaskError {
    /// Failed, and may work later: the host tries again after its own backoff.
    pub fn retry(code: &str, message: impl Into<String>) -> Self {
        Self::Retry(RetryRequest { cause: Failure::new(code, message), after: None })
    }

    /// Like [`Self::retry`], after this delay.
    pub fn retry_after(delay: Duration, code: &str, message: impl Into<String>) -> Self {
        let after = Some(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        Self::Retry(RetryRequest { cause: Failure::new(code, message), after })
    }

    /// Not now: run the task again after `delay`, without using up an attempt. At least a second is waited;
    /// after 10,000 times in a row the next one counts as failed.
    pub fn snooze(delay: Duration) -> Self {
        Self::Snoozed(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
    }

    /// Failed, and always will.
    pub fn fatal(code: &str, message: impl Into<String>) -> Self {
        Self::Fatal(Failure::new(code, message))
    }

    /// The input is at fault: say what was wrong and what would be right.
    pub fn invalid_input(code: &str, message: impl Into<String>) -> Self {
        Self::InvalidInput(Failure::new(code, message))
    }
}

impl From<library::Error> for TaskError {
    fn from(error: library::Error) -> Self {
        use library::Error;
        match error {
            Error::Denied(why) => Self::fatal("denied", why),
            Error::NotFound => Self::invalid_input("media-not-found", "there is no such media"),
            Error::InUse => Self::retry("media-in-use", "the media is in use"),
            Error::TooLarge(most) => Self::fatal("too-large", format!("one call may ask for at most {most} bytes")),
            Error::QuotaExceeded(most) => {
                Self::retry("quota-exceeded", format!("the library is full: it holds at most {most} bytes"))
            }
            Error::Unavailable(why) => Self::retry("unavailable", why),
            Error::Other(why) => Self::retry("library-failed", why),
        }
    }
}

impl From<ffmpeg::Error> for TaskError {
    fn from(error: ffmpeg::Error) -> Self {
        use ffmpeg::Error;
        match error {
            Error::Denied(why) => Self::fatal("denied", why),
            Error::NotFound => Self::invalid_input("media-not-found", "there is no such media"),
            Error::BadInput(why) => Self::invalid_input("bad-media", why),
            Error::Unsupported(why) => Self::fatal("unsupported", why),
            Error::Limit(why) => Self::fatal("limit", why),
            Error::TimedOut => Self::retry("timed-out", "ffmpeg was not done by the deadline"),
            Error::Cancelled => Self::Cancelled,
            Error::ToolFailed(failure) => {
                let how = match failure.exit_code {
                    Some(code) => format!("with exit code {code}"),
                    None => "by a signal".to_owned(),
                };
                Self::retry("tool-failed", format!("ffmpeg ended {how}: {}", failure.stderr_tail.trim()))
            }
            Error::Unavailable(why) => Self::retry("unavailable", why),
            Error::Other(why) => Self::retry("ffmpeg-failed", why),
        }
    }
}

impl From<state::Error> for TaskError {
    fn from(error: state::Error) -> Self {
        use state::Error;
        match error {
            Error::Denied(why) => Self::fatal("denied", why),
            Error::TooLarge(most) => Self::fatal("too-large", format!("a value holds at most {most} bytes")),
            Error::QuotaExceeded(most) => {
                Self::fatal("quota-exceeded", format!("the plugin's state is full: it holds at most {most} bytes"))
            }
            Error::InvalidKey(why) => Self::fatal("invalid-key", why),
            Error::Unavailable(why) => Self::retry("unavailable", why),
            Error::Other(why) => Self::retry("state-failed", why),
        }
    }
}

impl From<queue::Error> for TaskError {
    fn from(error: queue::Error) -> Self {
        use queue::Error;
        match error {
            Error::Denied(why) => Self::fatal("denied", why),
            Error::QuotaExceeded(most) => Self::fatal(
                "quota-exceeded",
                format!(
                    "more than the outbox, or a `burst` of the manifest's grant of `queue`, holds: {most} tasks or bytes"
                ),
            ),
            Error::RateExceeded(after) => Self::retry_after(
                Duration::from_millis(after),
                "rate-exceeded",
                format!("more tasks than `per_second` of the manifest's grant of `queue` allows: wait {after} ms"),
            ),
            // The plugin that executes it may be back by the next attempt.
            Error::UnknownKind(kind) => Self::retry("unknown-kind", format!("no plugin executes the kind {kind:?}")),
            Error::Invalid(why) => Self::fatal("invalid-task", why),
            Error::Other(why) => Self::retry("queue-failed", why),
        }
    }
}

impl From<command::Error> for TaskError {
    fn from(error: command::Error) -> Self {
        use command::Error;
        match error {
            Error::Denied(why) => Self::fatal("denied", why),
            Error::UnknownCommand(why) => Self::fatal("unknown-command", why),
            Error::BadArgument(why) => Self::fatal("bad-argument", why),
            Error::TimedOut => Self::retry("timed-out", "the command was not done in time"),
            Error::Cancelled => Self::Cancelled,
            Error::Limit(why) => Self::fatal("limit", why),
            Error::Unavailable(why) => Self::retry("unavailable", why),
            Error::Other(why) => Self::retry("command-failed", why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TaskError, ffmpeg};

    /// `variant/code` of what an error of ffmpeg becomes.
    fn mapped(error: ffmpeg::Error) -> String {
        match TaskError::from(error) {
            TaskError::Retry(request) => format!("retry/{}", request.cause.code),
            TaskError::Fatal(failure) => format!("fatal/{}", failure.code),
            TaskError::InvalidInput(failure) => format!("invalid-input/{}", failure.code),
            TaskError::Cancelled => "cancelled".to_owned(),
            TaskError::Yielded => "yielded".to_owned(),
            TaskError::Snoozed(after) => format!("snoozed/{after}"),
            TaskError::Other(failure) => format!("other/{}", failure.code),
        }
    }

    #[test]
    fn errors_of_ffmpeg_are_sorted_by_what_helps() {
        use ffmpeg::{Error, ToolFailure};
        let tool = |exit_code| Error::ToolFailed(ToolFailure { exit_code, stderr_tail: "no\n".to_owned() });
        assert_eq!(mapped(Error::NotFound), "invalid-input/media-not-found");
        assert_eq!(mapped(Error::BadInput("x".to_owned())), "invalid-input/bad-media");
        assert_eq!(mapped(Error::Denied("x".to_owned())), "fatal/denied");
        assert_eq!(mapped(Error::Unsupported("x".to_owned())), "fatal/unsupported");
        assert_eq!(mapped(Error::Limit("x".to_owned())), "fatal/limit");
        assert_eq!(mapped(tool(Some(1))), "retry/tool-failed");
        assert_eq!(mapped(tool(None)), "retry/tool-failed");
        assert_eq!(mapped(Error::TimedOut), "retry/timed-out");
        assert_eq!(mapped(Error::Unavailable("x".to_owned())), "retry/unavailable");
        assert_eq!(mapped(Error::Cancelled), "cancelled");
    }

    #[test]
    fn a_snooze_says_for_how_long() {
        use std::time::Duration;
        assert!(matches!(TaskError::snooze(Duration::from_secs(2)), TaskError::Snoozed(2_000)));
        assert!(matches!(TaskError::snooze(Duration::MAX), TaskError::Snoozed(u64::MAX)));
    }
}
