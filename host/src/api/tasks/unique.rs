//! The part `unique` of a task: which key, and what becomes of a second task with it.

use serde_json::value::RawValue;

use crate::api::body::Fields;
use crate::api::problem::{FieldError, echo};
use crate::task::{self, BadPaths, NewTask, STATE_NAMES, StateSet, UniqueMode, UniqueRule, rules};

/// The modes by name; those with a window need one.
const MODES: [&str; 6] = ["existing", "reject", "replace", "debounce", "throttle", "keep-last-if-active"];

/// Takes `unique` or its short form `unique_key`.
pub(super) fn read(fields: &mut Fields<'_>, prefix: &str, new: &mut NewTask) {
    let short: Option<String> = fields.parse("unique_key", "text");
    if let Some(key) = &short {
        check_len(fields, "unique_key", key);
    }
    let long = fields.raw("unique").filter(|raw| raw.get() != "null");
    if short.is_some() && long.is_some() {
        fields.wrong("unique_key", "cannot be joined with unique: give one of them");
    }
    new.unique_key = short;
    let Some(raw) = long else { return };
    match Fields::of_value(raw, format!("{prefix}/unique")) {
        Ok(mut inner) => {
            new.unique_key = key(&mut inner, new);
            new.unique = rule(&mut inner);
            fields.append(inner.finish());
        }
        Err(error) => fields.append(vec![error]),
    }
}

fn check_len(fields: &mut Fields<'_>, name: &str, key: &str) {
    if let Some(message) = rules::unique_key(key) {
        fields.wrong(name, message);
    }
}

fn key(fields: &mut Fields<'_>, new: &NewTask) -> Option<String> {
    let given = |name: &str| fields.peek(name).is_some_and(|raw| raw.get() != "null");
    let is_given = given("key") || given("paths");
    let key: Option<String> = fields.parse("key", "text");
    let paths: Option<Vec<String>> = fields.parse("paths", "an array of JSON Pointers");
    match (&key, &paths) {
        (Some(key), None) => check_len(fields, "key", key),
        (None, Some(paths)) => return key_of_paths(fields, paths, new),
        (Some(_), Some(_)) => fields.wrong("paths", "cannot be joined with key: give one of them"),
        (None, None) if is_given => {}
        (None, None) => fields.wrong("key", "is missing; give a key, or paths into the input"),
    }
    key
}

fn key_of_paths(fields: &mut Fields<'_>, paths: &[String], new: &NewTask) -> Option<String> {
    match task::key_of_paths(&new.kind, &new.input, paths) {
        Ok(key) => return key,
        Err(BadPaths::Count(message)) => fields.wrong("paths", message),
        Err(BadPaths::Missing(missing)) => {
            for at in missing {
                let path = paths.get(at).map_or("", String::as_str);
                let is_pointer = path.is_empty() || path.starts_with('/');
                let wrong =
                    if is_pointer { "does not exist in the input" } else { "is not a JSON Pointer, such as /media" };
                let message = format!("{:?} {wrong}", echo(path));
                fields.append(vec![FieldError::pointer(format!("{}/paths/{at}", fields.prefix()), message)]);
            }
        }
    }
    None
}

fn rule(fields: &mut Fields<'_>) -> UniqueRule {
    let states = states(fields).unwrap_or(StateSet::LIVE);
    let mode = fields.parse::<String>("mode", "text");
    let window: Option<&RawValue> = fields.raw("window_ms").filter(|raw| raw.get() != "null");
    let name = mode.as_deref().unwrap_or("existing");
    // One that is missing or no number is out of the bounds, which are looked at with the rest of the task.
    let window_ms = window.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(0);
    if !matches!(name, "debounce" | "throttle") && window.is_some() {
        fields.wrong("window_ms", format!("means nothing with {:?}; debounce and throttle have one", echo(name)));
    }
    let mode = match name {
        "existing" => UniqueMode::Existing,
        "reject" => UniqueMode::Reject,
        "replace" => UniqueMode::Replace,
        "debounce" => UniqueMode::Debounce(window_ms),
        "throttle" => UniqueMode::Throttle(window_ms),
        "keep-last-if-active" => UniqueMode::KeepLast,
        other => {
            fields.wrong("mode", format!("{:?} is not one of {}", echo(other), MODES.join(", ")));
            UniqueMode::Existing
        }
    };
    UniqueRule { states, mode }
}

fn states(fields: &mut Fields<'_>) -> Option<StateSet> {
    let names: Vec<String> = fields.parse("states", "an array of states")?;
    let set = StateSet::of(names.iter().map(String::as_str));
    if set.is_none() {
        fields.wrong("states", format!("each is one of {}", STATE_NAMES.join(", ")));
    }
    set
}

/// A mode by its name, and its window in milliseconds.
pub(super) fn mode_name(mode: UniqueMode) -> (&'static str, Option<u64>) {
    match mode {
        UniqueMode::Existing => ("existing", None),
        UniqueMode::Reject => ("reject", None),
        UniqueMode::Replace => ("replace", None),
        UniqueMode::Debounce(window_ms) => ("debounce", Some(window_ms)),
        UniqueMode::Throttle(window_ms) => ("throttle", Some(window_ms)),
        UniqueMode::KeepLast => ("keep-last-if-active", None),
    }
}
