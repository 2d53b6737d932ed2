//! The part `unique` of a task: which key, and what becomes of a second task with it.

use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::create::MAX_DELAY_MS;
use crate::api::body::Fields;
use crate::api::problem::{FieldError, echo};
use crate::task::{Digest, NewTask, STATE_NAMES, StateSet, UniqueMode, UniqueRule};

/// Bytes of a unique key.
pub(super) const MAX_KEY_LEN: usize = 256;
/// Paths that a key is made of.
const MAX_PATHS: usize = 16;
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
    if key.is_empty() || key.len() > MAX_KEY_LEN {
        fields.wrong(name, format!("has {} bytes; a key has 1 to {MAX_KEY_LEN}", key.len()));
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

/// Tasks of one kind have the same key when what is at these paths is the same.
fn key_of_paths(fields: &mut Fields<'_>, paths: &[String], new: &NewTask) -> Option<String> {
    if paths.is_empty() || paths.len() > MAX_PATHS {
        fields.wrong("paths", format!("has {} entries; 1 to {MAX_PATHS}", paths.len()));
        return None;
    }
    // Input that is not JSON is reported as such elsewhere.
    let input: Value = serde_json::from_str(&new.input).ok()?;
    let mut hash = Sha256::new();
    hash.update(&new.kind);
    for (at, path) in paths.iter().enumerate() {
        let Some(value) = input.pointer(path) else {
            let is_pointer = path.is_empty() || path.starts_with('/');
            let wrong =
                if is_pointer { "does not exist in the input" } else { "is not a JSON Pointer, such as /media" };
            let message = format!("{:?} {wrong}", echo(path));
            fields.append(vec![FieldError::pointer(format!("{}/paths/{at}", fields.prefix()), message)]);
            continue;
        };
        let text = value.to_string();
        hash.update([0]);
        hash.update(path);
        hash.update([0]);
        hash.update(text);
    }
    Some(format!("paths:{}", Digest(hash.finalize().into())))
}

fn rule(fields: &mut Fields<'_>) -> UniqueRule {
    let states = states(fields).unwrap_or(StateSet::LIVE);
    let mode = fields.parse::<String>("mode", "text");
    let window: Option<&RawValue> = fields.raw("window_ms").filter(|raw| raw.get() != "null");
    let name = mode.as_deref().unwrap_or("existing");
    let needs_window = matches!(name, "debounce" | "throttle");
    let window_ms = window.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or(0);
    let fits = (1..=MAX_DELAY_MS).contains(&window_ms);
    if needs_window && !fits {
        fields.wrong("window_ms", format!("is a whole number from 1 to {MAX_DELAY_MS}; {name} needs it"));
    } else if !needs_window && window.is_some() {
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
    match set {
        None => fields.wrong("states", format!("each is one of {}", STATE_NAMES.join(", "))),
        Some(set) if !set.contains("queued") => {
            fields.wrong("states", "\"queued\" is missing; a waiting task always holds its key");
        }
        Some(_) => {}
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
