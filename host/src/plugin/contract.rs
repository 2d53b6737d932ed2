//! The contract in `wit/`, as Rust sees it from the host's side, and the way from its types to ours.

use crate::secret::Censor;
use crate::task::{self, is_valid_kind};
use crate::time::Timestamp;

use self::bindings::taskhost::task::types;
use super::Job;
use super::link::{Descriptor, Kind};

mod wish;

pub(super) use self::bindings::COMPONENT_TYPE;
pub(super) use self::bindings::exports::taskhost::plugin::{actuator, collector, dispatcher, executor, metadata};
pub(super) use self::bindings::taskhost::exec::command;
pub(super) use self::bindings::taskhost::host::{config, context, log, queue, state};
pub(super) use self::bindings::taskhost::media::{ffmpeg, library};
pub(super) use self::bindings::taskhost::task::types as wire;
pub(super) use self::wish::new_task;

/// The version of every package of the contract.
pub(super) const VERSION: &str = "0.1.0";

const MAX_ATTRIBUTES: usize = 32;
const MAX_ATTRIBUTE_KEY_BYTES: usize = 128;
const MAX_ATTRIBUTE_VALUE_BYTES: usize = 4096;
const MAX_KINDS: usize = 64;
const MAX_NAME_BYTES: usize = 128;
const MAX_SCHEMA_BYTES: usize = 256 * 1024;
const MAX_CODE_BYTES: usize = 64;
const MAX_MESSAGE_BYTES: usize = 4096;
const MAX_DETAILS_BYTES: usize = 64 * 1024;
const MAX_UNIT_BYTES: usize = 32;
/// Of a message of progress.
const MAX_PROGRESS_BYTES: usize = 256;

/// Generated. A world of everything that the host provides and calls; a component needs only a part.
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit",
        inline: "
            package taskhost:runtime;

            world runtime {
                import taskhost:host/log@0.1.0;
                import taskhost:host/config@0.1.0;
                import taskhost:host/context@0.1.0;
                import taskhost:host/state@0.1.0;
                import taskhost:host/queue@0.1.0;
                import taskhost:media/library@0.1.0;
                import taskhost:media/ffmpeg@0.1.0;
                import taskhost:exec/command@0.1.0;
                export taskhost:plugin/metadata@0.1.0;
                export taskhost:plugin/dispatcher@0.1.0;
                export taskhost:plugin/executor@0.1.0;
                export taskhost:plugin/actuator@0.1.0;
                export taskhost:plugin/collector@0.1.0;
            }
        ",
        world: "taskhost:runtime/runtime",
        imports: {
            "taskhost:host/context.sleep": async,
            "taskhost:host/context.save-checkpoint": async,
            "taskhost:host/context.load-checkpoint": async,
            "taskhost:host/context.parents": async,
            "taskhost:host/context.parent-output": async,
            "taskhost:host/state": async,
            "taskhost:media/library": async,
            "taskhost:media/ffmpeg": async,
            "taskhost:exec/command": async,
        },
        with: { "taskhost:media/library.writer": crate::plugin::capability::library::Writing },
        exports: { default: async },
        include_component_type: true,
    });
}

/// Labels within their bounds.
pub(super) fn checked_attributes(attributes: Vec<(String, String)>) -> Result<Vec<(String, String)>, String> {
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(format!("{} attributes, the limit is {MAX_ATTRIBUTES}", attributes.len()));
    }
    let long = |(key, value): &(String, String)| {
        key.len() > MAX_ATTRIBUTE_KEY_BYTES || value.len() > MAX_ATTRIBUTE_VALUE_BYTES
    };
    if attributes.iter().any(long) {
        let bounds = format!("{MAX_ATTRIBUTE_KEY_BYTES} bytes, a value {MAX_ATTRIBUTE_VALUE_BYTES}");
        return Err(format!("an attribute's key may have {bounds}"));
    }
    Ok(attributes)
}

/// A guest's failure, cut to what a record may hold and without secrets.
pub(super) fn failure(failure: types::Failure, censor: &Censor) -> task::Failure {
    let types::Failure { code, message, details } = failure;
    let (code, message) = (censor.hide(code), censor.hide(message));
    let details = details.map(|details| censor.hide(details));
    let is_code = !code.is_empty()
        && code.len() <= MAX_CODE_BYTES
        && code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let details = details.filter(|json| json.len() <= MAX_DETAILS_BYTES && is_json(json));
    if is_code {
        return task::Failure { code, message: clip_to(message, MAX_MESSAGE_BYTES), details };
    }
    let message = format!("{}: {message}", clip(&code));
    task::Failure { code: "guest-error".to_owned(), message: clip_to(message, MAX_MESSAGE_BYTES), details }
}

/// Whether `text` is one JSON value.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Cuts `text` at a character boundary.
pub(super) fn clip_to(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes));
    }
    text
}

/// The beginning of a text that a guest chose, short enough for a message.
pub(super) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_CODE_BYTES)]
}

/// How far a guest's work has come, cut to what a record may hold.
pub(super) fn progress(progress: types::Progress, censor: &Censor) -> task::Progress {
    let types::Progress { done, total, unit, message } = progress;
    let message = message.map(|message| clip_to(censor.hide(message), MAX_PROGRESS_BYTES));
    task::Progress { done, total, unit: clip_to(unit, MAX_UNIT_BYTES), message }
}

/// An attempt as its guest sees it.
pub(super) fn task(job: &Job, deadline: Timestamp) -> types::Task {
    let new = &job.spec.new;
    let id = job.id.to_string();
    types::Task {
        // What was started with the key has ended: the next work is another one.
        idempotency_key: if job.works == 0 { id.clone() } else { format!("{id}.{}", job.works) },
        id,
        kind: new.kind.clone(),
        input: new.input.clone(),
        attempt: job.attempt,
        max_attempts: new.max_attempts,
        created_at: job.spec.created_at.as_millis(),
        deadline: Some(deadline.as_millis()),
        attributes: new.attributes.clone(),
    }
}

/// What a plugin says of itself, within its bounds.
pub(super) fn descriptor(descriptor: metadata::Descriptor) -> Result<Descriptor, String> {
    let metadata::Descriptor { name, version, summary, kinds, attributes } = descriptor;
    if kinds.len() > MAX_KINDS {
        return Err(format!("{} kinds, the limit is {MAX_KINDS}", kinds.len()));
    }
    Ok(Descriptor {
        name: clip_to(name, MAX_NAME_BYTES),
        version: clip_to(version, MAX_NAME_BYTES),
        summary: clip_to(summary, MAX_MESSAGE_BYTES),
        kinds: kinds.into_iter().map(kind).collect::<Result<_, _>>()?,
        attributes: checked_attributes(attributes)?,
    })
}

fn kind(kind: metadata::Kind) -> Result<Kind, String> {
    let metadata::Kind { name, summary, input_schema, output_schema, default_timeout, attributes } = kind;
    if !is_valid_kind(&name) {
        return Err(format!("{:?} is not a kind: lower-case words joined by dots, such as video.cut", clip(&name)));
    }
    let schemas = [&input_schema, &output_schema].into_iter().flatten();
    if schemas.into_iter().any(|schema| schema.len() > MAX_SCHEMA_BYTES) {
        return Err(format!("a schema of {name:?} is longer than {MAX_SCHEMA_BYTES} bytes"));
    }
    Ok(Kind {
        summary: clip_to(summary, MAX_MESSAGE_BYTES),
        input_schema,
        output_schema,
        default_timeout_ms: default_timeout,
        attributes: checked_attributes(attributes)?,
        name,
    })
}
