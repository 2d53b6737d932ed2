//! The bodies of requests on schedules: every mistake is reported at once, each with its JSON Pointer.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::wire::DeclaredWire;
use crate::api::body::Fields;
use crate::api::problem::{FieldError, Problem, echo};
use crate::schedule::{Action, Declaration, MAX_NAME_LEN, MAX_PREVIEW, ScheduleSpec, Wrong, is_valid_name};
use crate::store::Backfill;
use crate::task::{MAX_KIND_LEN, is_valid_kind};
use crate::time::Timestamp;

/// Tasks asked of a dispatcher at once when nothing is said.
const DEFAULT_BATCH: u64 = 100;
const MAX_BATCH: u64 = 10_000;
/// Live tasks of a dispatching schedule when nothing is said.
const DEFAULT_CAPACITY: u64 = 1_000;
const MAX_CAPACITY: u64 = 1_000_000;
/// Tasks of one backfill when nothing is said.
const DEFAULT_BACKFILL: u64 = 100;
/// Fields that belong to one trigger only.
const OF_TRIGGERS: [(&str, &[&str]); 3] =
    [("every_ms", &["every_ms", "phase_ms"]), ("cron", &["cron", "zone", "dst"]), ("at", &["at"])];
/// Fields that belong to one policy only.
const OF_POLICIES: [(&str, &[&str]); 2] =
    [("overlap", &["overlap_cap"]), ("catch_up", &["catch_up_cap", "catch_up_window_ms"])];

/// A whole declaration; `name` is that of the path, if there is one.
pub fn declare(bytes: &[u8], name: Option<&str>, max_input_bytes: usize) -> Result<ScheduleSpec, Problem> {
    let mut fields = Fields::of_body(bytes)?;
    let given: Option<String> = fields.parse("name", "text");
    let found = given.as_deref().or(name).unwrap_or_default().to_owned();
    if !is_valid_name(&found) {
        let what = given.map_or_else(|| "is missing".to_owned(), |given| format!("{:?} is not a name", echo(&given)));
        fields.wrong("name", format!("{what}: 1 to {MAX_NAME_LEN} of a-z, 0-9, -, _ and ."));
    } else if name.is_some_and(|name| name != found) {
        fields.wrong("name", "is not the name in the path; a schedule keeps its name");
    }
    let action = if let Some(raw) = fields.raw("action") {
        action(raw, &mut fields, max_input_bytes)?
    } else {
        fields.wrong("action", "is missing; it says what happens, such as {\"type\":\"enqueue\",\"kind\":\"echo\"}");
        None
    };
    finish(fields, &found, action)
}

/// A declaration with some fields changed, as RFC 7396 says. The action is replaced as a whole; another
/// trigger or policy takes the place of the one before with all its fields.
pub fn change(bytes: &[u8], spec: &ScheduleSpec, max_input_bytes: usize) -> Result<ScheduleSpec, Problem> {
    // For the mistakes that a merge would hide.
    drop(Fields::of_body(bytes)?);
    let patch: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request("invalid-json", format!("the body is not JSON: {error}")))?;
    let mut action = Some(spec.action.clone());
    {
        let mut fields = Fields::of_body(bytes)?;
        if let Some(raw) = fields.raw("action") {
            action = self::action(raw, &mut fields, max_input_bytes)?;
            if action.is_none() {
                return Err(Problem::invalid("invalid-schedule", own_errors(fields)));
            }
        }
    }
    let Ok(Value::Object(mut merged)) = serde_json::to_value(DeclaredWire::from(spec)) else {
        return Err(Problem::internal("a schedule is not an object"));
    };
    let is_set = |name: &str| patch.get(name).is_some_and(|value| !value.is_null());
    let triggers = OF_TRIGGERS.iter().any(|(name, _)| is_set(name));
    let stale_triggers = OF_TRIGGERS.iter().filter(|(name, _)| triggers && !is_set(name)).map(|(_, fields)| *fields);
    let stale_policies = OF_POLICIES.iter().filter(|(name, _)| patch.contains_key(*name)).map(|(_, fields)| *fields);
    for field in stale_triggers.chain(stale_policies).flatten() {
        merged.remove(*field);
    }
    for (name, value) in patch {
        if name == "action" {
            continue;
        }
        match (merged.get_mut(&name), value) {
            (_, Value::Null) => {
                merged.remove(&name);
            }
            (Some(Value::Object(old)), Value::Object(new)) => old.extend(new),
            (_, value) => {
                merged.insert(name, value);
            }
        }
    }
    let merged = serde_json::to_vec(&merged).map_err(Problem::internal)?;
    let mut fields = Fields::of_body(&merged)?;
    if fields.parse::<String>("name", "text").is_some_and(|name| name != spec.name) {
        fields.wrong("name", "cannot be changed; declare another schedule");
    }
    finish(fields, &spec.name, action)
}

/// The span of a backfill.
pub fn backfill(bytes: &[u8], name: &str, now: Timestamp) -> Result<Backfill, Problem> {
    let mut fields = Fields::of_body(bytes)?;
    let mut instant = |field: &'static str| -> Option<Timestamp> {
        let Some(text) = fields.parse::<String>(field, "text") else {
            fields.wrong(field, "is missing: an RFC 3339 instant");
            return None;
        };
        let millis = text.parse::<jiff::Timestamp>().ok().and_then(|at| u64::try_from(at.as_millisecond()).ok());
        if millis.is_none() {
            fields.wrong(field, format!("{:?} is not an RFC 3339 instant, such as 2030-01-31T08:00:00Z", echo(&text)));
        }
        millis.map(Timestamp::from_millis)
    };
    let (from, until) = (instant("start"), instant("end"));
    if let (Some(from), Some(until)) = (from, until) {
        if until < from {
            fields.wrong("end", format!("{until} is before the start, {from}"));
        } else if until > now {
            fields.wrong("end", format!("{until} is still to come: what comes then fires by itself"));
        }
    }
    let limit = fields.number("limit", 1..=MAX_PREVIEW as u64 - 1).unwrap_or(DEFAULT_BACKFILL);
    let limit = usize::try_from(limit).unwrap_or(1);
    let errors = fields.finish();
    match (from, until) {
        (Some(from), Some(until)) if errors.is_empty() => Ok(Backfill { name: name.to_owned(), from, until, limit }),
        _ => Err(Problem::invalid("invalid-backfill", errors)),
    }
}

/// The rest of a declaration, checked as a whole when each field is right by itself.
fn finish(mut fields: Fields<'_>, name: &str, action: Option<Action>) -> Result<ScheduleSpec, Problem> {
    let declaration = declaration(&mut fields);
    let mut errors = fields.finish();
    let checked = action.filter(|_| errors.is_empty()).map(|action| declaration.check(name, action));
    let mut code = "invalid-schedule";
    match checked {
        Some(Ok(spec)) => return Ok(spec),
        Some(Err(wrong)) => {
            if wrong.iter().all(|wrong| wrong.never_fires) {
                code = "never-fires";
            }
            errors.extend(wrong.into_iter().map(placed));
        }
        None => {}
    }
    Err(Problem::invalid(code, errors))
}

fn declaration(fields: &mut Fields<'_>) -> Declaration {
    let any = 0..=u64::MAX;
    let (dst_gap, dst_overlap) = dst(fields);
    Declaration {
        every_ms: fields.number("every_ms", any.clone()),
        phase_ms: fields.number("phase_ms", any.clone()),
        cron: fields.parse("cron", "text"),
        zone: fields.parse("zone", "text"),
        dst_gap,
        dst_overlap,
        at: fields.parse("at", "a list of texts"),
        overlap: fields.parse("overlap", "text"),
        overlap_cap: fields.number("overlap_cap", any.clone()),
        catch_up: fields.parse("catch_up", "text"),
        catch_up_cap: fields.number("catch_up_cap", any.clone()),
        catch_up_window_ms: fields.number("catch_up_window_ms", any.clone()),
        jitter_ms: fields.number("jitter_ms", any.clone()),
        start: fields.parse("start", "text"),
        end: fields.parse("end", "text"),
        max_fires: fields.number("max_fires", any.clone()),
        pause_on_failure: fields.number("pause_on_failure", any),
    }
}

fn dst(fields: &mut Fields<'_>) -> (Option<String>, Option<String>) {
    let Some(raw) = fields.raw("dst").filter(|raw| raw.get() != "null") else { return (None, None) };
    match Fields::of_value(raw, "/dst") {
        Ok(mut inner) => {
            let words = (inner.parse("gap", "text"), inner.parse("overlap", "text"));
            fields.append(inner.finish());
            words
        }
        Err(error) => {
            fields.append(vec![error]);
            (None, None)
        }
    }
}

/// What a firing does. What is wrong with it is noted in `fields`.
fn action(raw: &RawValue, fields: &mut Fields<'_>, max_input_bytes: usize) -> Result<Option<Action>, Problem> {
    let mut inner = match Fields::of_value(raw, "/action") {
        Ok(inner) => inner,
        Err(error) => {
            fields.append(vec![error]);
            return Ok(None);
        }
    };
    let what: Option<String> = inner.parse("type", "text");
    let action = match what.as_deref() {
        Some("dispatch") => dispatch(&mut inner),
        Some("enqueue") => enqueue(&mut inner, max_input_bytes)?,
        _ => {
            inner.wrong("type", "\"dispatch\" or \"enqueue\" is right");
            None
        }
    };
    let errors = if what.is_some() { inner.finish() } else { own_errors(inner) };
    let is_right = errors.is_empty();
    fields.append(errors);
    Ok(action.filter(|_| is_right))
}

fn dispatch(fields: &mut Fields<'_>) -> Option<Action> {
    let plugin: Option<String> = fields.parse("plugin", "text");
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let plugin = plugin.filter(|name| (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(fits));
    if plugin.is_none() {
        fields.wrong("plugin", "a plugin's name is 1 to 64 of a-z, 0-9 and -, like its file without .wasm");
    }
    let batch = fields.number("batch", 1..=MAX_BATCH).unwrap_or(DEFAULT_BATCH);
    let capacity = fields.number("capacity", 1..=MAX_CAPACITY).unwrap_or(DEFAULT_CAPACITY);
    let (batch, capacity) = (u32::try_from(batch).ok()?, u32::try_from(capacity).ok()?);
    plugin.map(|plugin| Action::Dispatch { plugin, batch, capacity })
}

fn enqueue(fields: &mut Fields<'_>, max_input_bytes: usize) -> Result<Option<Action>, Problem> {
    let kind: Option<String> = fields.parse("kind", "text");
    let kind = kind.filter(|kind| is_valid_kind(kind));
    if kind.is_none() {
        fields.wrong("kind", format!("a kind is lower-case words joined by dots, at most {MAX_KIND_LEN} bytes"));
    }
    let input = fields.raw("input").map_or("{}", RawValue::get);
    if input.len() > max_input_bytes {
        let detail = format!("/action/input: has {} bytes; an input has at most {max_input_bytes}", input.len());
        return Err(Problem::too_large("input-too-large", detail));
    }
    Ok(kind.map(|kind| Action::Enqueue { kind, input: input.to_owned() }))
}

/// Only what was noted: what is left is not unknown, it was not looked at.
fn own_errors(fields: Fields<'_>) -> Vec<FieldError> {
    let unknown = |error: &FieldError| error.message.starts_with("unknown field");
    fields.finish().into_iter().filter(|error| !unknown(error)).collect()
}

/// A mistake at its place in the body: durations are in milliseconds there.
fn placed(wrong: Wrong) -> FieldError {
    let pointer = match wrong.field {
        field @ ("every" | "phase" | "jitter" | "catch_up_window") => format!("/{field}_ms"),
        field => format!("/{}", field.replace('.', "/")),
    };
    FieldError::pointer(pointer, wrong.message)
}
