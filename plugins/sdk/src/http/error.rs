//! Why a request has no answer, by what the plugin can do.

use std::fmt;
use std::time::Duration;

use wasip2::http::types::ErrorCode;

use super::url::Url;
use crate::TaskError;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The manifest does not allow it, or the name leads to an address that it does not allow: the request, and the
    /// lines that would. The task's log says which of them is missing.
    Denied(String),
    /// The manifest fills in no secret of this name.
    NoSecret(String),
    /// The request itself is wrong; the text says how.
    Invalid(String),
    /// A bound of the manifest was reached; the text says which.
    Limit(String),
    /// Nothing came in time.
    TimedOut(String),
    /// The answer's status is not 2xx.
    Status {
        /// The status.
        status: u16,
        /// When the other side wants to be asked again, if it said so.
        retry_after: Option<Duration>,
        /// The beginning of the body.
        body: String,
    },
    /// The name, the connection or the answer failed. Trying again later may help.
    Failed(String),
}

impl Error {
    /// The end of a request; a denial names what would grant it.
    pub(super) fn of_request(code: &ErrorCode, method: &str, url: &Url<'_>) -> Self {
        let Self::Denied(_) = Self::of(code) else { return Self::of(code) };
        let private = matches!(code, ErrorCode::DestinationIpProhibited);
        let Url { tls, authority, .. } = url;
        let scheme = if *tls { "https" } else { "http" };
        let more = if private { ", private = true, unless it leads where nobody may" } else { "" };
        let (host, ports) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, format!(", ports = [{port}]"))
            }
            Some(_) | None => (*authority, String::new()),
        };
        Self::Denied(format!(
            "{method} {scheme}://{authority} is not granted: [[grant.http]] scheme = {scheme:?}, host = {host:?}{ports}, \
             methods = [{method:?}]{more}"
        ))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the plugin can do nothing with the finer differences")]
    pub(super) fn of(code: &ErrorCode) -> Self {
        let text = format!("{code:?}");
        match code {
            ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => Self::Denied(text),
            ErrorCode::HttpRequestUriInvalid
            | ErrorCode::HttpRequestUriTooLong
            | ErrorCode::HttpRequestMethodInvalid
            | ErrorCode::HttpRequestLengthRequired
            | ErrorCode::HttpRequestHeaderSectionSize(_)
            | ErrorCode::HttpRequestHeaderSize(_)
            | ErrorCode::ConfigurationError => Self::Invalid(text),
            ErrorCode::HttpRequestBodySize(_)
            | ErrorCode::HttpResponseBodySize(_)
            | ErrorCode::HttpResponseHeaderSectionSize(_)
            | ErrorCode::ConnectionLimitReached => Self::Limit(text),
            ErrorCode::DnsTimeout
            | ErrorCode::ConnectionTimeout
            | ErrorCode::ConnectionReadTimeout
            | ErrorCode::ConnectionWriteTimeout
            | ErrorCode::HttpResponseTimeout => Self::TimedOut(text),
            _ => Self::Failed(text),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(what) => write!(f, "{what} (the task's log says which line is missing)"),
            Self::NoSecret(name) => {
                write!(f, "no [[grant.http]] of the manifest has the secret: add secrets = [{name:?}] to one")
            }
            Self::Invalid(what) => write!(f, "the request is not valid: {what}"),
            Self::Limit(what) => write!(f, "a bound of [grant.http_limits] was reached: {what}"),
            Self::TimedOut(what) => write!(f, "no answer in time: {what}"),
            Self::Status { status, body, .. } => write!(f, "the answer has status {status}: {body}"),
            Self::Failed(what) => write!(f, "no answer: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// What the host of the other side may have at another time is tried again, when that host said so at the time that it said.
impl From<Error> for TaskError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Denied(_) | Error::NoSecret(_) => Self::fatal("denied", text),
            Error::Invalid(_) => Self::fatal("invalid-request", text),
            Error::Limit(_) => Self::fatal("limit", text),
            Error::TimedOut(_) => Self::retry("timed-out", text),
            Error::Status { status: 408 | 425 | 429 | 500..=599, retry_after, .. } => match retry_after {
                Some(delay) => Self::retry_after(delay, "http-status", text),
                None => Self::retry("http-status", text),
            },
            Error::Status { .. } => Self::fatal("http-status", text),
            Error::Failed(_) => Self::retry("http-failed", text),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Error, ErrorCode, Url};
    use crate::TaskError;

    #[test]
    fn a_denial_names_the_lines_that_would_grant() {
        let denied = |url: &str, code| Error::of_request(&code, "PUT", &Url::parse(url).unwrap()).to_string();
        let text = denied("https://api.test:99/secret", ErrorCode::HttpRequestDenied);
        assert!(text.starts_with("PUT https://api.test:99 is not granted: "), "{text}");
        assert!(text.contains("host = \"api.test\", ports = [99], methods = [\"PUT\"]"), "{text}");
        let text = denied("http://[::1]/", ErrorCode::DestinationIpProhibited);
        assert!(text.contains("scheme = \"http\", host = \"[::1]\", methods = [\"PUT\"], private = true"), "{text}");
    }

    #[test]
    fn what_may_work_later_is_tried_again() {
        let retried = |error: Error| matches!(TaskError::from(error), TaskError::Retry(_));
        let answered = |status, retry_after| Error::Status { status, retry_after, body: String::new() };
        for status in [408, 429, 500, 503] {
            assert!(retried(answered(status, None)), "{status}");
        }
        let TaskError::Retry(request) = TaskError::from(answered(429, Some(Duration::from_secs(7)))) else {
            panic!("it is tried again");
        };
        assert_eq!(request.after, Some(7_000));
        assert!(retried(Error::Failed(String::new())) && retried(Error::TimedOut(String::new())));
        for error in [Error::Denied(String::new()), Error::Limit(String::new()), answered(404, None)] {
            assert!(!retried(error.clone()), "{error}");
        }
    }
}
