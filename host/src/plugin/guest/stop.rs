//! Why a call did not return, and what its attempt's record says about it.

use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;

use super::backtrace::backtrace;
use crate::plugin::contract::is_json;
use crate::plugin::limits::{Limits, Meter, Refusal};
use crate::task::Failure;

pub(super) const CONTRACT_VIOLATION: &str = "contract-violation";
const CPU_LIMIT: &str = "cpu-limit";
const NO_INSTANCE: &str = "no-instance";

/// The end of a call that did not return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The guest went down.
    Crashed(Failure),
    /// A bound was reached.
    Retry(Failure),
    /// It was cancelled before it began.
    Cancelled,
    /// It was cancelled and did not stop by itself.
    Killed,
    /// The sandbox stops.
    Interrupted,
}

/// In the words of a manifest, errors of wasmtime that have no public type; tests notice when their text changes.
fn over_limit(cause: &str, limits: &Limits) -> Option<String> {
    if cause.contains("fuel allocated for hostcalls") {
        return Some(format!("a call carried more data than the limit of {} bytes", limits.hostcall_bytes));
    }
    let Limits { instances, .. } = limits;
    cause.contains("resource limit exceeded: instance count").then(|| {
        format!("it is made of more than {instances} core instances, the limit; raise `instances` under [limits]")
    })
}

impl Stop {
    fn crashed(code: &str, message: impl Into<String>) -> Self {
        Self::Crashed(Failure::new(code, message))
    }

    fn retry(code: &str, message: impl Into<String>) -> Self {
        Self::Retry(Failure::new(code, message))
    }

    /// The attempt took too long.
    pub(super) fn timed_out(limits: &Limits) -> Self {
        Self::retry("timed-out", format!("not done within the wall limit of {} ms", limits.wall_ms))
    }

    /// All places of the pool were taken until the deadline.
    pub(super) fn no_instance(places: u32) -> Self {
        Self::retry(NO_INSTANCE, format!("all {places} places for instances were taken until the deadline"))
    }

    /// The host's own code panicked while it served the guest.
    pub(super) fn panicked(payload: &(dyn std::any::Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(|s| &**s));
        Self::crashed("host-panic", format!("the host panicked in a call: {}", text.unwrap_or("no message")))
    }

    /// What an error of wasmtime means.
    pub(super) fn of(error: &wasmtime::Error, limits: &Limits, meter: &Meter) -> Self {
        if let Some(Overrun { used_ms }) = error.downcast_ref() {
            let message = format!("computed for {used_ms} ms, the CPU limit is {} ms", limits.cpu_ms);
            return Self::retry(CPU_LIMIT, message);
        }
        if error.is::<Stopping>() {
            return Self::Interrupted;
        }
        if let Some(I32Exit(code)) = error.downcast_ref() {
            return Self::crashed("exited", format!("the guest called exit({code}) instead of returning"));
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return Self::retry(NO_INSTANCE, format!("{error:#}"));
        }
        let place = backtrace(error);
        let cause = error.root_cause();
        match (meter.refused(), error.downcast_ref::<Trap>()) {
            (_, Some(Trap::StackOverflow)) => {
                Self::crashed("stack-overflow", format!("the guest's stack of {STACK_KIB} KiB was exhausted{place}"))
            }
            (Some(Refusal::Attempt(limit)), _) => {
                let message = format!("out of memory: the limit is {limit} bytes; then: {cause}{place}");
                Self::crashed("out-of-memory", message)
            }
            (Some(Refusal::Host(limit)), _) => {
                let message = format!("out of memory: all guests together reached {limit} bytes; then: {cause}{place}");
                Self::retry("host-memory", message)
            }
            (None, Some(trap)) => Self::crashed("trap", format!("{trap}{place}")),
            (None, None) => {
                let reason = over_limit(&cause.to_string(), limits).unwrap_or_else(|| cause.to_string());
                Self::crashed(CONTRACT_VIOLATION, reason + &place)
            }
        }
    }

    /// A crash is told with what the guest wrote to standard error last: there languages put the exception or the panic.
    pub(super) fn with_last_words(mut self, words: impl FnOnce() -> Option<String>) -> Self {
        if let Self::Crashed(failure) = &mut self
            && let Some(words) = words()
        {
            failure.message = format!("{}; it wrote: {words}", failure.message);
        }
        self
    }

    /// Whether the guest may have begun.
    pub(super) fn may_have_begun(&self) -> bool {
        match self {
            Self::Retry(failure) => failure.code != NO_INSTANCE,
            Self::Cancelled => false,
            Self::Crashed(_) | Self::Killed | Self::Interrupted => true,
        }
    }

    /// Whether the host had no time or room, which says nothing about the guest.
    pub(super) fn is_host_busy(&self) -> bool {
        match self {
            Self::Retry(failure) => failure.code != CPU_LIMIT,
            Self::Interrupted => true,
            Self::Crashed(_) | Self::Cancelled | Self::Killed => false,
        }
    }

    /// Whether the guest went down, or used up its computing time.
    pub(super) fn is_guest_down(&self) -> bool {
        match self {
            Self::Crashed(_) => true,
            Self::Retry(failure) => failure.code == CPU_LIMIT,
            Self::Cancelled | Self::Killed | Self::Interrupted => false,
        }
    }

    /// As a failure, for calls that have no attempt.
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Crashed(failure) | Self::Retry(failure) => failure,
            Self::Cancelled | Self::Killed => Failure::new("cancelled", "cancelled"),
            Self::Interrupted => Failure::new("interrupted", "the host is stopping"),
        }
    }
}

const STACK_KIB: usize = crate::plugin::engine::GUEST_STACK_BYTES / 1024;

/// Raised in a guest that computed for too long.
#[derive(Debug, thiserror::Error)]
#[error("computed for {used_ms} ms")]
pub(super) struct Overrun {
    pub(super) used_ms: u64,
}

/// Raised in a guest when the sandbox stops.
#[derive(Debug, thiserror::Error)]
#[error("the host is stopping")]
pub(super) struct Stopping;

/// Why an output cannot be kept.
pub(super) fn bad_output(output: &str, max_bytes: u64) -> Option<Failure> {
    if output.len() as u64 > max_bytes {
        let message = format!("the output has {} bytes, the limit is {max_bytes}", output.len());
        return Some(Failure::new(CONTRACT_VIOLATION, message));
    }
    (!is_json(output)).then(|| Failure::new(CONTRACT_VIOLATION, "the output is not JSON"))
}
