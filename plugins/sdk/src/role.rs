//! What an author implements, and how it becomes what a component exports.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::{dispatcher, executor, metadata};
use crate::{Batch, Context, Descriptor, Failure, Kind, Task, TaskError};

/// What every plugin is.
pub trait Plugin {
    /// Says what this is and what it executes. Must answer the same every time and may ask nothing of the host.
    fn describe() -> Descriptor;

    /// Looks at the operator's settings, key and value, before they go live: one failure a mistake.
    fn validate_config(config: &[(String, String)]) -> Result<(), Vec<Failure>> {
        let _ = config;
        Ok(())
    }
}

/// Does the work of one task.
///
/// Of several kinds, `Input` is an untagged enum or a `Box<RawValue>`, and `context.task().kind` says which it is.
pub trait Executor: Plugin {
    /// The task's input. JSON that does not fit ends the task as `invalid-input`, with serde's message.
    type Input: DeserializeOwned;
    /// The task's output.
    type Output: Serialize;

    /// Runs one attempt in a fresh instance. A panic is a crashed attempt.
    fn execute(input: Self::Input, context: &Context) -> Result<Self::Output, TaskError>;
}

/// Turns a tick of a schedule into tasks.
pub trait Dispatcher: Plugin {
    /// Finds at most `limit` tasks, going on where `cursor` says; absent means from the beginning.
    fn dispatch(limit: u32, cursor: Option<Vec<u8>>) -> Result<Batch, Failure>;
}

impl Descriptor {
    /// A plugin without kinds: `Descriptor::new("video-cut", env!("CARGO_PKG_VERSION"), "Cuts videos")`.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: summary.to_owned(),
            kinds: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// Adds a kind that the plugin executes.
    #[must_use]
    pub fn with(mut self, kind: Kind) -> Self {
        self.kinds.push(kind);
        self
    }
}

impl Kind {
    /// A kind that takes any input: `Kind::new("video.cut", "Cuts a part out of a video")`.
    pub fn new(name: &str, summary: &str) -> Self {
        Self {
            name: name.to_owned(),
            summary: summary.to_owned(),
            input_schema: None,
            output_schema: None,
            default_timeout: None,
            attributes: Vec::new(),
        }
    }

    /// The host refuses to create tasks whose input does not match this JSON Schema.
    #[must_use]
    pub fn input(mut self, schema: &str) -> Self {
        self.input_schema = Some(schema.to_owned());
        self
    }

    /// Tells those who read outputs what they look like.
    #[must_use]
    pub fn output(mut self, schema: &str) -> Self {
        self.output_schema = Some(schema.to_owned());
        self
    }
}

impl<T: Plugin> metadata::exports::taskhost::plugin::metadata::Guest for T {
    fn describe() -> Descriptor {
        <T as Plugin>::describe()
    }

    fn validate_config(config: Vec<(String, String)>) -> Result<(), Vec<Failure>> {
        <T as Plugin>::validate_config(&config)
    }
}

impl<T: Executor> executor::exports::taskhost::plugin::executor::Guest for T {
    fn execute(task: Task) -> Result<String, TaskError> {
        let context = Context::new(task);
        let input = serde_json::from_str(&context.task().input)
            .map_err(|e| TaskError::invalid_input("bad-input", format!("the input does not fit: {e}")))?;
        let output = <T as Executor>::execute(input, &context)?;
        serde_json::to_string(&output)
            .map_err(|e| TaskError::fatal("bad-output", format!("the output is not JSON: {e}")))
    }
}

impl<T: Dispatcher> dispatcher::exports::taskhost::plugin::dispatcher::Guest for T {
    fn dispatch(limit: u32, cursor: Option<Vec<u8>>) -> Result<Batch, Failure> {
        <T as Dispatcher>::dispatch(limit, cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::{Executor, Plugin};
    use crate::bindings::executor::exports::taskhost::plugin::executor::Guest;
    use crate::{Context, Descriptor, Task, TaskError};

    struct Length;

    impl Plugin for Length {
        fn describe() -> Descriptor {
            Descriptor::new("length", "1.0.0", "Measures")
        }
    }

    impl Executor for Length {
        type Input = Vec<u8>;
        type Output = usize;
        fn execute(input: Vec<u8>, context: &Context) -> Result<usize, TaskError> {
            Ok(input.len() + context.task().kind.len())
        }
    }

    fn task(input: &str) -> Task {
        Task {
            id: "1".to_owned(),
            kind: "abc".to_owned(),
            input: input.to_owned(),
            attempt: 1,
            max_attempts: 1,
            idempotency_key: "1".to_owned(),
            created_at: 0,
            deadline: None,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn json_goes_in_and_out() {
        let output = <Length as Guest>::execute(task("[1, 2]")).unwrap();
        assert_eq!(output, "5");
    }

    #[test]
    fn input_that_does_not_fit_is_blamed_on_the_creator() {
        for input in ["{}", "[300]", "", "[1"] {
            let error = <Length as Guest>::execute(task(input)).unwrap_err();
            assert!(
                matches!(&error, TaskError::InvalidInput(f) if f.code == "bad-input" && f.message.contains("line 1")),
                "{input}: {error:?}"
            );
        }
    }
}
