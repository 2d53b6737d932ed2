//! Executes the kind `{{name}}`: adds two numbers.

use serde::{Deserialize, Serialize};
use taskhost_sdk::{Context, Descriptor, Executor, Kind, Plugin, TaskError, config, info};

/// The component has no state: this type only carries the roles.
struct Add;

/// The host refuses tasks whose input does not match.
const INPUT: &str = r#"{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": { "a": { "type": "number" }, "b": { "type": "number" } },
    "required": ["a", "b"],
    "additionalProperties": false
}"#;

#[derive(Deserialize)]
struct Input {
    a: f64,
    b: f64,
}

#[derive(Serialize)]
struct Output {
    sum: f64,
}

impl Plugin for Add {
    fn describe() -> Descriptor {
        let kind = Kind::new("{{name}}", "Adds two numbers").input(INPUT);
        Descriptor::new("{{name}}", "0.1.0", "Adds two numbers").with(kind)
    }
}

impl Executor for Add {
    type Input = Input;
    type Output = Output;

    fn execute(input: Input, context: &Context) -> Result<Output, TaskError> {
        info!("adding, attempt {}", context.task().attempt);
        let sum = input.a + input.b;
        let limit = config::get("limit").and_then(|text| text.parse().ok()).unwrap_or(f64::INFINITY);
        if sum.abs() > limit {
            // `invalid_input` blames whoever created the task; `fatal` is never retried, `retry` is.
            return Err(TaskError::invalid_input("too-large", format!("the sum {sum} is beyond the limit {limit}")));
        }
        // A long job reports now and then: `?` ends it when the task is cancelled or the plugin is replaced.
        context.report_percent(100)?;
        Ok(Output { sum })
    }
}

taskhost_sdk::export!(Add, executor);
