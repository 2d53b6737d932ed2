//! The first plugin to read: executes the kind `echo`, which returns its input.
//!
//! Two keys steer it, alone or together: `{"sleep_ms": 500}` sleeps first, and `{"fail": "retry"}` or
//! `{"fail": "fatal"}` fails after that. Everything else comes back as it is, without one call to the host.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use taskhost_sdk::{Context, Descriptor, Executor, Kind, Plugin, TaskError};

/// The component has no state: this type only carries the roles.
#[derive(Debug)]
pub struct Echo;

impl Plugin for Echo {
    fn describe() -> Descriptor {
        let version = if cfg!(feature = "twice") { "2.0.0" } else { "1.0.0" };
        let kind = Kind::new("echo", "Returns its input").input(include_str!("input.schema.json"));
        Descriptor::new("echo", version, "Returns what it is given").with(kind)
    }
}

/// What an input may ask for.
#[derive(Default, Deserialize)]
struct Steer {
    sleep_ms: Option<u64>,
    fail: Option<Fail>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fail {
    Retry,
    Fatal,
}

impl Executor for Echo {
    // JSON text as it came. Most plugins name a type of their own here, see `plugins/video-cut`.
    type Input = Box<RawValue>;
    type Output = Box<RawValue>;

    fn execute(input: Self::Input, context: &Context) -> Result<Self::Output, TaskError> {
        // A number or a list is fine too: it steers nothing.
        let steer: Steer = serde_json::from_str(input.get()).unwrap_or_default();
        if let Some(ms) = steer.sleep_ms {
            // When the host wants the task to stop, `?` ends it as `cancelled` or `yielded`.
            context.sleep(Duration::from_millis(ms))?;
        }
        match steer.fail {
            None if cfg!(feature = "twice") => twice(&input),
            None => Ok(input),
            Some(Fail::Retry) => Err(TaskError::retry("asked-to", "the input asked for a failure")),
            Some(Fail::Fatal) => Err(TaskError::fatal("asked-to", "the input asked for a failure for good")),
        }
    }
}

/// The second version: it answers `[input, input]`.
fn twice(input: &RawValue) -> Result<Box<RawValue>, TaskError> {
    RawValue::from_string(format!("[{input},{input}]")).map_err(|e| TaskError::fatal("bad-output", e.to_string()))
}

taskhost_sdk::export!(Echo, executor);
