//! One task of a request: every mistake is reported at once, each with its JSON Pointer.

use serde_json::value::RawValue;

use super::after::{self, Draft};
use super::{idempotency, unique};
use crate::api::body::Fields;
use crate::api::problem::{FieldError, Problem, echo};
use crate::retry::{Backoff, Growth, Jitter};
use crate::task::rules::{MAX_ATTEMPTS, MAX_DELAY_MS, MAX_TIMEOUT_MS, Mistake};
use crate::task::{self, NewTask, rules};
use crate::time::Timestamp;

const GROWTHS: [(&str, Growth); 2] = [("fixed", Growth::Fixed), ("exponential", Growth::Exponential)];
const JITTERS: [(&str, Jitter); 3] = [("none", Jitter::None), ("equal", Jitter::Equal), ("full", Jitter::Full)];

/// Where a task is in its request, and what bounds it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The JSON Pointer to it.
    pub prefix: &'a str,
    /// Bytes of its input.
    pub max_input_bytes: usize,
    /// The time of the request.
    pub now: Timestamp,
}

/// The task that a body asks for. The kind and its schema are checked by the caller.
pub fn parse(bytes: &[u8], key: Option<&str>, max_input_bytes: usize, now: Timestamp) -> Result<Draft, Problem> {
    let place = Place { prefix: "", max_input_bytes, now };
    let raw = Fields::value_of(bytes)?;
    let mut fields = Fields::of_value(raw, "").map_err(|error| Problem::invalid("invalid-body", vec![error]))?;
    let input_len = fields.peek("input").map_or(0, |raw| raw.get().len());
    if input_len > max_input_bytes {
        return Err(Problem::too_large("input-too-large", too_long(&place, input_len)));
    }
    let draft = read(&mut fields, raw, &place, key);
    after::require_alone(&mut fields, &draft.links);
    let errors = fields.finish();
    if errors.is_empty() { Ok(draft) } else { Err(Problem::invalid("invalid-task", errors)) }
}

/// The task that a value of a body asks for.
pub fn of_value(raw: &RawValue, place: &Place<'_>, key: Option<&str>) -> Result<Draft, Vec<FieldError>> {
    let mut fields = Fields::of_value(raw, place.prefix).map_err(|error| vec![error])?;
    let input_len = fields.peek("input").map_or(0, |raw| raw.get().len());
    let draft = read(&mut fields, raw, place, key);
    if input_len > place.max_input_bytes {
        fields.wrong("input", format!("has {input_len} bytes; an input has at most {}", place.max_input_bytes));
    }
    let errors = fields.finish();
    if errors.is_empty() { Ok(draft) } else { Err(errors) }
}

fn too_long(place: &Place<'_>, len: usize) -> String {
    format!("{}/input: has {len} bytes; an input has at most {}", place.prefix, place.max_input_bytes)
}

fn read(fields: &mut Fields<'_>, raw: &RawValue, place: &Place<'_>, key: Option<&str>) -> Draft {
    let kind = kind(fields);
    let input = fields.raw("input").map_or("{}", RawValue::get);
    let mut new = NewTask::new(kind, input);
    if let Some(priority) = fields.number("priority", 0..=u64::from(task::MAX_PRIORITY)) {
        new.priority = u8::try_from(priority).unwrap_or(task::MAX_PRIORITY);
    }
    if let Some(attempts) = fields.number("max_attempts", 1..=u64::from(MAX_ATTEMPTS)) {
        new.max_attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
    }
    new.timeout_ms = fields.number("timeout_ms", 1..=MAX_TIMEOUT_MS);
    new.run_at = run_at(fields, place.now);
    new.deadline = instant(fields, "deadline");
    new.queue = fields.parse("queue", "text").unwrap_or(new.queue);
    new.attributes = attributes(fields, place.prefix);
    new.backoff = backoff(fields, place.prefix);
    unique::read(fields, place.prefix, &mut new);
    for Mistake { field, entry, message } in rules::check(&new, place.now) {
        match entry {
            Some(entry) => fields.wrong_in(field, &entry, message),
            None => fields.append(vec![FieldError::pointer(format!("{}/{field}", place.prefix), message)]),
        }
    }
    let links = after::read(fields, &mut new);
    let key = idempotency::of_task(fields, key);
    new.idempotency = key.map(|key| idempotency::request(key, raw)).into_iter().collect();
    Draft { new, links }
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
    let is_given = fields.peek("run_at").is_some_and(|raw| raw.get() != "null");
    let run_at = instant(fields, "run_at");
    let delay_ms = fields.number("delay_ms", 0..=MAX_DELAY_MS);
    if is_given && delay_ms.is_some() {
        fields.wrong("delay_ms", "cannot be joined with run_at: give one of them");
    }
    run_at.or_else(|| delay_ms.map(|delay_ms| now.plus_millis(delay_ms)))
}

/// An instant.
pub(super) fn instant(fields: &mut Fields<'_>, name: &'static str) -> Option<Timestamp> {
    let text: String = fields.parse(name, "text")?;
    let millis = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
    let Some(millis) = millis else {
        let message = format!(
            "{:?} is not an RFC 3339 instant from 1970 to 9999-12-30, such as 2030-01-31T08:00:00Z",
            echo(&text)
        );
        fields.wrong(name, message);
        return None;
    };
    Some(Timestamp::from_millis(millis))
}

/// Labels of a task.
pub(super) fn attributes(fields: &mut Fields<'_>, prefix: &str) -> Vec<(String, String)> {
    let Some(raw) = fields.raw("attributes").filter(|raw| raw.get() != "null") else { return Vec::new() };
    match Fields::of_value(raw, format!("{prefix}/attributes")) {
        Ok(mut inner) => {
            let entries = inner.texts();
            fields.append(inner.finish());
            entries.into_iter().collect()
        }
        Err(error) => {
            fields.append(vec![error]);
            Vec::new()
        }
    }
}

fn backoff(fields: &mut Fields<'_>, prefix: &str) -> Backoff {
    let default = Backoff::default();
    let Some(raw) = fields.raw("backoff").filter(|raw| raw.get() != "null") else { return default };
    let mut inner = match Fields::of_value(raw, format!("{prefix}/backoff")) {
        Ok(inner) => inner,
        Err(error) => {
            fields.append(vec![error]);
            return default;
        }
    };
    let growth = inner.choice("kind", &GROWTHS).unwrap_or_default();
    let jitter = inner.choice("jitter", &JITTERS).unwrap_or_default();
    let base_ms = inner.number("base_ms", 0..=MAX_DELAY_MS).unwrap_or(default.base_ms);
    let cap_ms = inner.number("cap_ms", 0..=MAX_DELAY_MS).unwrap_or(default.cap_ms.max(base_ms));
    fields.append(inner.finish());
    Backoff { base_ms, cap_ms, growth, jitter }
}

/// A growth and a jitter by their names.
pub(super) fn backoff_names(backoff: Backoff) -> (&'static str, &'static str) {
    let growth = GROWTHS.iter().find(|(_, growth)| *growth == backoff.growth);
    let jitter = JITTERS.iter().find(|(_, jitter)| *jitter == backoff.jitter);
    (growth.map_or("", |(name, _)| name), jitter.map_or("", |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::retry::{Backoff, Growth, Jitter};
    use crate::task::NewTask;
    use crate::time::Timestamp;

    /// In the year 2001.
    const NOW_MS: u64 = 1_000_000_000_000;

    fn now() -> Timestamp {
        Timestamp::from_millis(NOW_MS)
    }

    #[test]
    fn the_input_passes_unchanged_and_everything_else_has_a_default() {
        let text = br#"{"kind": "echo", "input": {"a" :  1.0e2, "a": [ ] }}"#;
        assert_eq!(parse(text, None, 100, now()).unwrap().new, NewTask::new("echo", r#"{"a" :  1.0e2, "a": [ ] }"#));
        assert_eq!(
            parse(br#"{"kind":"echo","priority":null}"#, None, 2, now()).unwrap().new,
            NewTask::new("echo", "{}")
        );
    }

    #[test]
    fn every_field_arrives() {
        let text = br#"{"kind":"video.cut","input":[1],"priority":9,"max_attempts":1,"timeout_ms":5,
            "run_at":"1970-01-01T01:00:01.5+01:00","unique_key":"k","attributes":{"b":"2","a":"1"},
            "backoff":{"base_ms":7000000,"kind":"fixed","jitter":"none"},"queue":"slow.1","deadline":"2002-01-01T00:00:00Z"}"#;
        let expected = NewTask {
            priority: 9,
            max_attempts: 1,
            timeout_ms: Some(5),
            run_at: Some(Timestamp::from_millis(1_500)),
            unique_key: Some("k".to_owned()),
            attributes: vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())],
            backoff: Backoff { base_ms: 7_000_000, cap_ms: 7_000_000, growth: Growth::Fixed, jitter: Jitter::None },
            queue: "slow.1".to_owned(),
            deadline: Some(Timestamp::from_millis(1_009_843_200_000)),
            ..NewTask::new("video.cut", "[1]")
        };
        assert_eq!(parse(text, None, 100, now()).unwrap().new, expected);
        let delayed = parse(br#"{"kind":"echo","delay_ms":5}"#, None, 100, Timestamp::from_millis(1)).unwrap().new;
        assert_eq!(delayed.run_at, Some(Timestamp::from_millis(6)));
    }

    #[test]
    fn mistakes_are_reported_together() {
        let text =
            br#"{"kind":"Echo","priority":10,"max_attempts":0,"timeout_ms":1.5,"run_at":"tomorrow","delay_ms":-1,
            "unique_key":"","attributes":{"":"x"},"backoff":{"base_ms":5,"cap_ms":4,"x":1,"kind":"linear","jitter":1},"retries":3,
            "queue":"A b","deadline":"2001-01-01T00:00:00Z","idempotency_key":""}"#;
        let problem = format!("{:?}", parse(text, None, 100, now()).unwrap_err());
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
            "/backoff/kind",
            "/backoff/jitter",
            "/queue",
            "/deadline",
            "/idempotency_key",
            "/retries",
        ] {
            assert!(problem.contains(&format!("Pointer({pointer:?})")), "{pointer} in {problem}");
        }
    }
}
