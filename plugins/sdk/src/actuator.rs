//! Roles for work that lives elsewhere.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::{actuator, collector};
use crate::{Context, Failure, Plugin, Progress, Task, TaskError};

pub use actuator::exports::taskhost::plugin::actuator::StopMode;

/// Steers long work that lives outside of the guest: in a service, on another machine.
///
/// The host keeps the handle. Nothing of the plugin is there between two calls, and each may reach another version of it.
pub trait Actuator: Plugin {
    /// The task's input. JSON that does not fit ends the task as `invalid-input`, with serde's message.
    type Input: DeserializeOwned;
    /// What the work is called: at most 16 KiB of JSON. A later version must understand it.
    type Handle: Serialize + DeserializeOwned;
    /// The task's output; what a [`Collector`] goes on from, if there is one.
    type Output: Serialize;

    /// Starts the work and returns at once. A second call with the same `context.task().idempotency_key` answers the
    /// handle of what runs already.
    fn start(input: Self::Input, context: &Context) -> Result<Self::Handle, TaskError>;

    /// Looks at the work, and changes nothing. An error says that the look failed: the host looks again.
    fn status(handle: &Self::Handle) -> Result<Report<Self::Output>, Failure>;

    /// Asks the work to stop; [`Self::status`] says when it has. Stopping what has ended succeeds.
    fn stop(handle: &Self::Handle, mode: StopMode) -> Result<(), Failure>;
}

/// Brings the results of outside work home, while the next work may start already.
pub trait Collector: Actuator {
    /// What [`Actuator::status`] has answered as the output.
    type Found: DeserializeOwned;
    /// The task's output.
    type Brought: Serialize;

    /// Called again until it succeeds or fails for good. Files that it adds are there with the task's success.
    fn collect(handle: &Self::Handle, found: Self::Found, context: &Context) -> Result<Self::Brought, TaskError>;
}

/// The answer to one look.
#[derive(Debug)]
pub struct Report<T> {
    phase: Phase<T>,
    progress: Option<Progress>,
    poll_after: Option<Duration>,
}

#[derive(Debug)]
enum Phase<T> {
    Running,
    Succeeded(T),
    Failed(TaskError),
}

impl<T> Report<T> {
    fn of(phase: Phase<T>) -> Self {
        Self { phase, progress: None, poll_after: None }
    }

    /// It goes on.
    pub fn running() -> Self {
        Self::of(Phase::Running)
    }

    /// It is done.
    pub fn succeeded(output: T) -> Self {
        Self::of(Phase::Succeeded(output))
    }

    /// It has ended without an output; [`TaskError::Cancelled`] when it was stopped.
    pub fn failed(error: TaskError) -> Self {
        Self::of(Phase::Failed(error))
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// When to look again, from 250 ms to an hour; at the host's own pace otherwise.
    #[must_use]
    pub fn poll_after(mut self, delay: Duration) -> Self {
        self.poll_after = Some(delay);
        self
    }
}

fn handle<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|e| Failure::new("bad-handle", format!("the handle does not fit: {e}")))
}

fn json(output: &impl Serialize) -> Result<String, TaskError> {
    serde_json::to_string(output).map_err(|e| TaskError::fatal("bad-output", format!("the output is not JSON: {e}")))
}

impl<T: Actuator> actuator::exports::taskhost::plugin::actuator::Guest for T {
    fn start(task: Task) -> Result<Vec<u8>, TaskError> {
        let context = Context::new(task);
        let input = serde_json::from_str(&context.task().input)
            .map_err(|e| TaskError::invalid_input("bad-input", format!("the input does not fit: {e}")))?;
        let handle = <T as Actuator>::start(input, &context)?;
        serde_json::to_vec(&handle).map_err(|e| TaskError::fatal("bad-handle", format!("the handle is not JSON: {e}")))
    }

    fn status(bytes: Vec<u8>) -> Result<actuator::exports::taskhost::plugin::actuator::Report, Failure> {
        use actuator::exports::taskhost::plugin::actuator as wire;
        let Report { phase, progress, poll_after } = <T as Actuator>::status(&handle(&bytes)?)?;
        let phase = match phase {
            Phase::Running => wire::Phase::Running,
            Phase::Succeeded(output) => match json(&output) {
                Ok(output) => wire::Phase::Succeeded(output),
                Err(error) => wire::Phase::Failed(error),
            },
            Phase::Failed(error) => wire::Phase::Failed(error),
        };
        let poll_after = poll_after.map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
        Ok(wire::Report { phase, progress, poll_after })
    }

    fn stop(bytes: Vec<u8>, mode: StopMode) -> Result<(), Failure> {
        <T as Actuator>::stop(&handle(&bytes)?, mode)
    }
}

impl<T: Collector> collector::exports::taskhost::plugin::collector::Guest for T {
    fn collect(task: Task, bytes: Vec<u8>, output: String) -> Result<String, TaskError> {
        let handle = handle(&bytes).map_err(TaskError::Fatal)?;
        let found = serde_json::from_str(&output)
            .map_err(|e| TaskError::fatal("bad-output", format!("what was found does not fit: {e}")))?;
        json(&<T as Collector>::collect(&handle, found, &Context::new(task))?)
    }
}

#[cfg(test)]
mod tests {
    use super::{Actuator, Collector, Report, StopMode};
    use crate::bindings::actuator::exports::taskhost::plugin::actuator::{Guest, Phase};
    use crate::bindings::collector::exports::taskhost::plugin::collector;
    use crate::{Context, Descriptor, Failure, Plugin, Task, TaskError};

    struct Far;

    impl Plugin for Far {
        fn describe() -> Descriptor {
            Descriptor::new("far", "1.0.0", "Works elsewhere")
        }
    }

    impl Actuator for Far {
        type Input = u32;
        type Handle = (String, u32);
        type Output = u32;

        fn start(input: u32, context: &Context) -> Result<Self::Handle, TaskError> {
            Ok((context.task().idempotency_key.clone(), input))
        }

        fn status((_, number): &Self::Handle) -> Result<Report<u32>, Failure> {
            Ok(if *number == 0 { Report::running() } else { Report::succeeded(*number) })
        }

        fn stop(_: &Self::Handle, _: StopMode) -> Result<(), Failure> {
            Ok(())
        }
    }

    impl Collector for Far {
        type Found = u32;
        type Brought = u32;

        fn collect((_, number): &Self::Handle, found: u32, _: &Context) -> Result<u32, TaskError> {
            Ok(number + found)
        }
    }

    fn task(input: &str) -> Task {
        Task {
            id: "1".to_owned(),
            kind: "far".to_owned(),
            input: input.to_owned(),
            attempt: 1,
            max_attempts: 1,
            idempotency_key: "key".to_owned(),
            created_at: 0,
            deadline: None,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn a_handle_goes_out_and_comes_back() {
        let handle = <Far as Guest>::start(task("7"));
        let handle = handle.unwrap();
        assert_eq!(handle, br#"["key",7]"#);
        let report = <Far as Guest>::status(handle.clone());
        assert!(matches!(report.unwrap().phase, Phase::Succeeded(output) if output == "7"));
        let brought = <Far as collector::Guest>::collect(task("7"), handle, "1".to_owned());
        assert_eq!(brought.unwrap(), "8");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(matches!(<Far as Guest>::start(task("{}")), Err(TaskError::InvalidInput(f)) if f.code == "bad-input"));
        assert!(matches!(<Far as Guest>::status(b"{}".to_vec()), Err(f) if f.code == "bad-handle"));
        assert!(matches!(<Far as Guest>::stop(vec![0xFF], StopMode::Graceful), Err(f) if f.code == "bad-handle"));
    }
}
