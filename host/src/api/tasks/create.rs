//! The body of `POST /v1/tasks`: every mistake is reported at once, each with its JSON Pointer.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::api::body::Fields;
use crate::api::problem::{FieldError, Problem, echo};
use crate::retry::Backoff;
use crate::task::{self, NewTask};
use crate::time::Timestamp;

/// Attempts that a task may have.
const MAX_ATTEMPTS: u64 = 1_000;
/// The longest wall time of one attempt: a week, in milliseconds.
const MAX_TIMEOUT_MS: u64 = 7 * 24 * 3_600_000;
/// The longest delay: ten years, in milliseconds.
const MAX_DELAY_MS: u64 = 315_360_000_000;
/// Bytes of a unique key.
const MAX_UNIQUE_KEY_LEN: usize = 256;
/// Attributes of a task.
const MAX_ATTRIBUTES: usize = 32;
/// Bytes of an attribute's key.
const MAX_ATTRIBUTE_KEY_LEN: usize = 64;
/// Bytes of an attribute's value.
const MAX_ATTRIBUTE_VALUE_LEN: usize = 512;

/// The task that a body asks for. The kind and its schema are checked by the caller.
pub fn parse(bytes: &[u8], max_input_bytes: usize, now: Timestamp) -> Result<NewTask, Problem> {
    let mut fields = Fields::of_body(bytes)?;
    let kind = kind(&mut fields);
    let input = fields.raw("input").map_or("{}", RawValue::get);
    if input.len() > max_input_bytes {
        let detail = format!("/input: has {} bytes; an input has at most {max_input_bytes}", input.len());
        return Err(Problem::too_large("input-too-large", detail));
    }
    let mut new = NewTask::new(kind, input);
    if let Some(priority) = fields.number("priority", 0..=u64::from(task::MAX_PRIORITY)) {
        new.priority = u8::try_from(priority).unwrap_or(task::MAX_PRIORITY);
    }
    if let Some(attempts) = fields.number("max_attempts", 1..=MAX_ATTEMPTS) {
        new.max_attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    }
    new.timeout_ms = fields.number("timeout_ms", 1..=MAX_TIMEOUT_MS);
    new.run_at = run_at(&mut fields, now);
    new.unique_key = unique_key(&mut fields);
    new.attributes = attributes(&mut fields);
    new.backoff = backoff(&mut fields);
    let errors = fields.finish();
    if errors.is_empty() { Ok(new) } else { Err(Problem::invalid("invalid-task", errors)) }
}

fn kind(fields: &mut Fields<'_>) -> String {
    let Some(raw) = fields.raw("kind") else {
        fields.wrong("kind", "is missing; it says what sort of task, such as \"video.cut\"");
        return String::new();
    };
    let kind: String = serde_json::from_str(raw.get()).unwrap_or_default();
    if !task::is_valid_kind(&kind) {
        let message = format!(
            "{} is not a kind: lower-case words joined by dots, at most {} bytes",
            echo(raw.get()),
            task::MAX_KIND_LEN
        );
        fields.wrong("kind", message);
    }
    kind
}

fn run_at(fields: &mut Fields<'_>, now: Timestamp) -> Option<Timestamp> {
    let text: Option<String> = fields.parse("run_at", "text");
    let delay_ms = fields.number("delay_ms", 0..=MAX_DELAY_MS);
    let Some(text) = text else { return delay_ms.map(|delay_ms| now.plus_millis(delay_ms)) };
    if delay_ms.is_some() {
        fields.wrong("delay_ms", "cannot be joined with run_at: give one of them");
    }
    let millis = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    if millis.is_none() {
        let message = format!(
            "{:?} is not an RFC 3339 instant from 1970 to 9999-12-30, such as 2030-01-31T08:00:00Z",
            echo(&text)
        );
        fields.wrong("run_at", message);
    }
    millis.map(Timestamp::from_millis)
}

fn unique_key(fields: &mut Fields<'_>) -> Option<String> {
    let key: String = fields.parse("unique_key", "text")?;
    if key.is_empty() || key.len() > MAX_UNIQUE_KEY_LEN {
        fields.wrong("unique_key", format!("has {} bytes; a key has 1 to {MAX_UNIQUE_KEY_LEN}", key.len()));
    }
    Some(key)
}

fn attributes(fields: &mut Fields<'_>) -> Vec<(String, String)> {
    let given = fields.parse("attributes", "an object of texts");
    let given: BTreeMap<String, String> = given.unwrap_or_default();
    if given.len() > MAX_ATTRIBUTES {
        fields.wrong("attributes", format!("has {} entries; at most {MAX_ATTRIBUTES} are kept", given.len()));
    }
    for (key, value) in &given {
        if key.is_empty() || key.len() > MAX_ATTRIBUTE_KEY_LEN {
            let message = format!("the key {:?} has {} bytes; 1 to {MAX_ATTRIBUTE_KEY_LEN}", echo(key), key.len());
            fields.wrong("attributes", message);
        } else if value.len() > MAX_ATTRIBUTE_VALUE_LEN {
            let message = format!("{:?} has {} bytes; at most {MAX_ATTRIBUTE_VALUE_LEN}", echo(key), value.len());
            fields.wrong("attributes", message);
        }
    }
    given.into_iter().collect()
}

fn backoff(fields: &mut Fields<'_>) -> Backoff {
    let default = Backoff::default();
    let Some(raw) = fields.raw("backoff").filter(|raw| raw.get() != "null") else { return default };
    let mut inner = match Fields::of_value(raw, "/backoff") {
        Ok(inner) => inner,
        Err(error) => {
            fields.append(vec![error]);
            return default;
        }
    };
    let base_ms = inner.number("base_ms", 0..=MAX_DELAY_MS).unwrap_or(default.base_ms);
    let cap_ms = inner.number("cap_ms", 0..=MAX_DELAY_MS).unwrap_or(default.cap_ms.max(base_ms));
    if cap_ms < base_ms {
        inner.wrong("cap_ms", format!("{cap_ms} is less than base_ms, {base_ms}"));
    }
    let errors: Vec<FieldError> = inner.finish();
    fields.append(errors);
    Backoff { base_ms, cap_ms }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::retry::Backoff;
    use crate::task::NewTask;
    use crate::time::Timestamp;

    const NOW: Timestamp = Timestamp::MAX;

    #[test]
    fn the_input_passes_unchanged_and_everything_else_has_a_default() {
        let text = br#"{"kind": "echo", "input": {"a" :  1.0e2, "a": [ ] }}"#;
        assert_eq!(parse(text, 100, NOW).unwrap(), NewTask::new("echo", r#"{"a" :  1.0e2, "a": [ ] }"#));
        assert_eq!(parse(br#"{"kind":"echo","priority":null}"#, 2, NOW).unwrap(), NewTask::new("echo", "{}"));
    }

    #[test]
    fn every_field_arrives() {
        let text = br#"{"kind":"video.cut","input":[1],"priority":9,"max_attempts":1,"timeout_ms":5,
            "run_at":"1970-01-01T01:00:01.5+01:00","unique_key":"k","attributes":{"b":"2","a":"1"},
            "backoff":{"base_ms":7000000}}"#;
        let expected = NewTask {
            priority: 9,
            max_attempts: 1,
            timeout_ms: Some(5),
            run_at: Some(Timestamp::from_millis(1_500)),
            unique_key: Some("k".to_owned()),
            attributes: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())],
            backoff: Backoff { base_ms: 7_000_000, cap_ms: 7_000_000 },
            ..NewTask::new("video.cut", "[1]")
        };
        assert_eq!(parse(text, 100, NOW).unwrap(), expected);
        let delayed = parse(br#"{"kind":"echo","delay_ms":5}"#, 100, Timestamp::from_millis(1)).unwrap();
        assert_eq!(delayed.run_at, Some(Timestamp::from_millis(6)));
    }

    #[test]
    fn mistakes_are_reported_together() {
        let text =
            br#"{"kind":"Echo","priority":10,"max_attempts":0,"timeout_ms":1.5,"run_at":"tomorrow","delay_ms":-1,
            "unique_key":"","attributes":{"":"x"},"backoff":{"base_ms":5,"cap_ms":4,"x":1},"retries":3}"#;
        let problem = format!("{:?}", parse(text, 100, NOW).unwrap_err());
        for pointer in [
            "/kind",
            "/priority",
            "/max_attempts",
            "/timeout_ms",
            "/run_at",
            "/delay_ms",
            "/unique_key",
            "/attributes",
            "/backoff/cap_ms",
            "/backoff/x",
            "/retries",
        ] {
            assert!(problem.contains(&format!("Pointer({pointer:?})")), "{pointer} in {problem}");
        }
    }
}
