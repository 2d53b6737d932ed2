//! Every key: its name, its place in [`Config`] and what it accepts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{Config, DAY_MS, Format, GIB, KIB, Kept, Level, MIB, SECOND_MS};
use crate::quantity::{parse_bytes, parse_millis, show_bytes, show_millis};

const HOUR_MS: u64 = 3_600_000;
const TIB: u64 = 1 << 40;
/// Entries of a list of strings.
const MAX_TEXTS: usize = 64;

/// A key that an operator may set.
pub(super) struct Key {
    /// With its section, such as `server.listen`.
    pub(super) name: &'static str,
    slot: fn(&mut Config) -> Slot<'_>,
}

/// Where a value goes, and its bounds.
enum Slot<'a> {
    Flag(&'a mut bool),
    Path(&'a mut PathBuf),
    /// An empty text means none.
    OptionalPath(&'a mut Option<PathBuf>),
    Address(&'a mut SocketAddr),
    Url(&'a mut String),
    Count(&'a mut u32, u32, u32),
    Bytes(&'a mut u64, u64, u64),
    Millis(&'a mut u64, u64, u64),
    Level(&'a mut Level),
    Format(&'a mut Format),
    /// Texts that fit a rule, which says what would be right.
    Texts(&'a mut Vec<String>, fn(&str) -> Result<(), String>),
}

/// A value as it was written.
pub(super) enum Raw {
    /// A string.
    Text(String),
    /// An integer.
    Integer(i64),
    /// True or false.
    Flag(bool),
    /// An array of strings.
    Texts(Vec<String>),
    /// A value that no key accepts; what it is.
    Other(&'static str),
    /// Words of the environment, which have no type.
    Untyped(String),
}

const LEVELS: [(&str, Level); 6] = [
    ("off", Level::Off),
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
    ("trace", Level::Trace),
];
const FORMATS: [(&str, Format); 3] = [("auto", Format::Auto), ("text", Format::Text), ("json", Format::Json)];

/// Every key, in the order in which they are shown; keys of a section stand together.
pub(super) const KEYS: &[Key] = &[
    Key { name: "data", slot: |c| Slot::Path(&mut c.data) },
    Key { name: "server.listen", slot: |c| Slot::Address(&mut c.server.listen) },
    Key { name: "server.public_url", slot: |c| Slot::Url(&mut c.server.public_url) },
    Key { name: "server.max_connections", slot: |c| Slot::Count(&mut c.server.max_connections, 1, 65_536) },
    Key { name: "server.max_requests", slot: |c| Slot::Count(&mut c.server.max_requests, 1, 65_536) },
    Key { name: "server.max_streams", slot: |c| Slot::Count(&mut c.server.max_streams, 1, 65_536) },
    Key { name: "server.max_uploads", slot: |c| Slot::Count(&mut c.server.max_uploads, 1, 65_536) },
    Key { name: "server.max_event_clients", slot: |c| Slot::Count(&mut c.server.max_event_clients, 1, 65_536) },
    Key { name: "server.max_body", slot: |c| Slot::Bytes(&mut c.server.max_body_bytes, KIB, 64 * MIB) },
    Key { name: "server.max_batch", slot: |c| Slot::Bytes(&mut c.server.max_batch_bytes, KIB, 256 * MIB) },
    Key { name: "server.max_input", slot: |c| Slot::Bytes(&mut c.server.max_input_bytes, KIB, 16 * MIB) },
    Key { name: "server.admin_token_file", slot: |c| Slot::Path(&mut c.server.admin_token_file) },
    Key { name: "store.cache", slot: |c| Slot::Bytes(&mut c.store.cache_bytes, 8 * MIB, 64 * GIB) },
    Key { name: "store.max_live_tasks", slot: |c| Slot::Count(&mut c.store.max_live_tasks, 1, 100_000_000) },
    Key { name: "store.accept_data_loss", slot: |c| Slot::Flag(&mut c.store.accept_data_loss) },
    Key { name: "store.min_free", slot: |c| Slot::Bytes(&mut c.store.min_free_bytes, 0, 64 * TIB) },
    Key { name: "history.succeeded_max_age", slot: |c| age(&mut c.history.succeeded) },
    Key {
        name: "history.succeeded_max_tasks",
        slot: |c| Slot::Count(&mut c.history.succeeded.max_tasks, 0, 100_000_000),
    },
    Key { name: "history.succeeded_max_bytes", slot: |c| Slot::Bytes(&mut c.history.succeeded.max_bytes, 0, 64 * TIB) },
    Key { name: "history.failed_max_age", slot: |c| age(&mut c.history.failed) },
    Key { name: "history.failed_max_tasks", slot: |c| Slot::Count(&mut c.history.failed.max_tasks, 0, 100_000_000) },
    Key { name: "history.failed_max_bytes", slot: |c| Slot::Bytes(&mut c.history.failed.max_bytes, 0, 64 * TIB) },
    Key { name: "history.cancelled_max_age", slot: |c| age(&mut c.history.cancelled) },
    Key {
        name: "history.cancelled_max_tasks",
        slot: |c| Slot::Count(&mut c.history.cancelled.max_tasks, 0, 100_000_000),
    },
    Key { name: "history.cancelled_max_bytes", slot: |c| Slot::Bytes(&mut c.history.cancelled.max_bytes, 0, 64 * TIB) },
    Key { name: "history.max_events", slot: |c| Slot::Count(&mut c.history.max_events, 1_000, 1_000_000_000) },
    Key { name: "runner.concurrency", slot: |c| Slot::Count(&mut c.runner.concurrency, 1, 4_096) },
    Key { name: "runner.aging", slot: |c| Slot::Millis(&mut c.runner.aging_ms, 0, DAY_MS) },
    Key { name: "runner.lease", slot: |c| Slot::Millis(&mut c.runner.lease_ms, SECOND_MS, HOUR_MS) },
    Key { name: "runner.breaker_poisoned", slot: |c| Slot::Count(&mut c.runner.breaker.poisoned, 1, 1_000) },
    Key { name: "runner.breaker_window", slot: |c| Slot::Millis(&mut c.runner.breaker.window_ms, SECOND_MS, DAY_MS) },
    Key { name: "runner.breaker_cool_down", slot: |c| Slot::Millis(&mut c.runner.breaker.cool_down_ms, 1, DAY_MS) },
    Key { name: "runner.stop_grace", slot: |c| Slot::Millis(&mut c.runner.stop_grace_ms, 100, HOUR_MS) },
    Key { name: "runner.shutdown_grace", slot: |c| Slot::Millis(&mut c.runner.shutdown_grace_ms, 0, HOUR_MS) },
    Key { name: "plugins.dir", slot: |c| Slot::Path(&mut c.plugins.dir) },
    Key { name: "plugins.threads", slot: |c| Slot::Count(&mut c.plugins.threads, 0, 1_024) },
    Key { name: "plugins.max_instances", slot: |c| Slot::Count(&mut c.plugins.max_instances, 1, 16_384) },
    Key { name: "plugins.memory_total", slot: |c| Slot::Bytes(&mut c.plugins.memory_total_bytes, 16 * MIB, 16 * TIB) },
    Key { name: "plugins.max_component", slot: |c| Slot::Bytes(&mut c.plugins.max_component_bytes, KIB, GIB) },
    Key { name: "plugins.cancel_grace", slot: |c| Slot::Millis(&mut c.plugins.cancel_grace_ms, 1, 60 * SECOND_MS) },
    Key { name: "plugins.compile_time", slot: |c| Slot::Millis(&mut c.plugins.compile_time_ms, SECOND_MS, HOUR_MS) },
    Key { name: "plugins.compile_memory", slot: |c| Slot::Bytes(&mut c.plugins.compile_memory_bytes, 256 * MIB, TIB) },
    Key { name: "plugins.http_ca_file", slot: |c| Slot::OptionalPath(&mut c.plugins.http_ca_file) },
    Key { name: "plugins.trusted_keys", slot: |c| Slot::Texts(&mut c.plugins.trusted_keys, is_public_key) },
    Key { name: "plugins.require_signature", slot: |c| Slot::Flag(&mut c.plugins.require_signature) },
    Key { name: "media.max_upload", slot: |c| Slot::Bytes(&mut c.media.max_upload_bytes, KIB, 64 * TIB) },
    Key { name: "media.trash_grace", slot: |c| Slot::Millis(&mut c.media.trash_grace_ms, 0, 3_650 * DAY_MS) },
    Key { name: "media.min_free", slot: |c| Slot::Bytes(&mut c.media.min_free_bytes, 0, 64 * TIB) },
    Key { name: "ffmpeg.ffmpeg", slot: |c| Slot::Path(&mut c.ffmpeg.ffmpeg) },
    Key { name: "ffmpeg.ffprobe", slot: |c| Slot::Path(&mut c.ffmpeg.ffprobe) },
    Key { name: "ffmpeg.jobs", slot: |c| Slot::Count(&mut c.ffmpeg.jobs, 0, 1_024) },
    Key { name: "ffmpeg.threads", slot: |c| Slot::Count(&mut c.ffmpeg.threads, 0, 1_024) },
    Key { name: "ffmpeg.max_output", slot: |c| Slot::Bytes(&mut c.ffmpeg.max_output_bytes, KIB, 64 * TIB) },
    Key { name: "log.level", slot: |c| Slot::Level(&mut c.log.level) },
    Key { name: "log.format", slot: |c| Slot::Format(&mut c.log.format) },
    Key { name: "log.task_log", slot: |c| Slot::Bytes(&mut c.log.task_log_bytes, 4 * KIB, GIB) },
];

fn age(kept: &mut Kept) -> Slot<'_> {
    Slot::Millis(&mut kept.max_age_ms, SECOND_MS, 3_650 * DAY_MS)
}

impl Key {
    /// The key called `name`, if there is one.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The section, empty for a key at the top, and the rest of the name.
    pub(super) fn split(&self) -> (&'static str, &'static str) {
        self.name.split_once('.').unwrap_or(("", self.name))
    }

    /// The value as it is written in a file.
    pub(super) fn show(&self, config: &mut Config) -> String {
        match (self.slot)(config) {
            Slot::Flag(at) => at.to_string(),
            Slot::Path(at) => quote(&at.to_string_lossy()),
            Slot::OptionalPath(at) => quote(&at.as_deref().unwrap_or(Path::new("")).to_string_lossy()),
            Slot::Address(at) => quote(&at.to_string()),
            Slot::Url(at) => quote(at),
            Slot::Count(at, ..) => at.to_string(),
            Slot::Bytes(at, ..) => quote(&show_bytes(*at)),
            Slot::Millis(at, ..) => quote(&show_millis(*at)),
            Slot::Level(at) => quote(word_of(&LEVELS, at)),
            Slot::Format(at) => quote(word_of(&FORMATS, at)),
            Slot::Texts(at, _) => format!("[{}]", at.iter().map(|text| quote(text)).collect::<Vec<_>>().join(", ")),
        }
    }

    /// Puts the value into the configuration, or says why not and what would be right.
    pub(super) fn set(&self, config: &mut Config, raw: Raw) -> Result<(), String> {
        match (self.slot)(config) {
            Slot::Flag(at) => *at = flag(&raw)?,
            Slot::Path(at) => *at = path(raw)?,
            Slot::OptionalPath(at) => {
                let none = matches!(&raw, Raw::Text(text) | Raw::Untyped(text) if text.is_empty());
                *at = if none { None } else { Some(path(raw)?) };
            }
            Slot::Address(at) => *at = address(raw)?,
            Slot::Url(at) => *at = url(raw)?,
            Slot::Count(at, min, max) => *at = count(&raw, min, max)?,
            Slot::Bytes(at, min, max) => *at = quantity(raw, min, max, parse_bytes, show_bytes)?,
            Slot::Millis(at, min, max) => *at = quantity(raw, min, max, parse_millis, show_millis)?,
            Slot::Level(at) => *at = choice(raw, &LEVELS)?,
            Slot::Format(at) => *at = choice(raw, &FORMATS)?,
            Slot::Texts(at, rule) => *at = texts(raw, rule)?,
        }
        Ok(())
    }
}

/// A string that is written in a file.
pub(super) fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A whole number within bounds.
pub(super) fn count(raw: &Raw, min: u32, max: u32) -> Result<u32, String> {
    let number = integer(raw).map_err(|found| format!("expected an integer from {min} to {max}, found {found}"))?;
    u32::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("{number} is out of range: {min} to {max}"))
}

/// A duration within bounds, in milliseconds.
pub(super) fn millis(raw: Raw, min: u64, max: u64) -> Result<u64, String> {
    quantity(raw, min, max, parse_millis, show_millis)
}

/// True or false.
pub(super) fn flag(raw: &Raw) -> Result<bool, String> {
    match raw {
        Raw::Flag(flag) => Ok(*flag),
        Raw::Untyped(word) if word == "true" => Ok(true),
        Raw::Untyped(word) if word == "false" => Ok(false),
        Raw::Text(_) | Raw::Integer(_) | Raw::Texts(_) | Raw::Other(_) | Raw::Untyped(_) => {
            Err(format!("expected true or false, found {}", raw.name()))
        }
    }
}

/// A string.
pub(super) fn text(raw: Raw) -> Result<String, String> {
    match raw {
        Raw::Text(text) | Raw::Untyped(text) => Ok(text),
        Raw::Integer(_) | Raw::Flag(_) | Raw::Texts(_) | Raw::Other(_) => {
            Err(format!("expected a string, found {}", raw.name()))
        }
    }
}

impl Raw {
    /// What it is, for messages.
    fn name(&self) -> String {
        match self {
            Self::Text(text) | Self::Untyped(text) => format!("`{}`", abridged(text)),
            Self::Integer(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Texts(_) => "an array".to_owned(),
            Self::Other(name) => (*name).to_owned(),
        }
    }
}

/// A message repeats no more of a value than a line can show.
pub(super) fn abridged(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let mut shown: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().count() > MAX_CHARS {
        shown.push('…');
    }
    shown
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: &T) -> &'static str {
    words.iter().find(|(_, candidate)| candidate == value).map_or("", |(word, _)| word)
}

/// Strings; in the environment, with commas between them.
fn texts(raw: Raw, rule: fn(&str) -> Result<(), String>) -> Result<Vec<String>, String> {
    let texts = match raw {
        Raw::Texts(texts) => texts,
        Raw::Untyped(words) => words.split(',').map(|word| word.trim().to_owned()).filter(|w| !w.is_empty()).collect(),
        Raw::Text(_) | Raw::Integer(_) | Raw::Flag(_) | Raw::Other(_) => {
            return Err(format!("expected an array of strings, found {}", raw.name()));
        }
    };
    if texts.len() > MAX_TEXTS {
        return Err(format!("{} entries are too many: at most {MAX_TEXTS}", texts.len()));
    }
    texts.iter().try_for_each(|text| rule(text))?;
    Ok(texts)
}

/// A public key of minisign, or the path of a file that holds one.
fn is_public_key(text: &str) -> Result<(), String> {
    const KEY_CHARS: usize = 56;
    let base64 = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    let key = text.len() == KEY_CHARS && text.starts_with("RW") && text.chars().all(base64);
    let path = !text.contains(char::is_control) && (text.contains('/') || Path::new(text).extension().is_some());
    if key || path {
        return Ok(());
    }
    let right = "a public key, `RW` and 54 more characters, or the path of a file with one, such as `./release.pub`";
    Err(format!("`{}` is neither: expected {right}", abridged(text)))
}

fn choice<T: Copy>(raw: Raw, words: &[(&'static str, T)]) -> Result<T, String> {
    let all = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    let found = text(raw).map_err(|error| format!("{error}; one of {all} is right"))?;
    words
        .iter()
        .find(|(word, _)| *word == found)
        .map(|(_, value)| *value)
        .ok_or_else(|| format!("`{}` is not one of {all}", abridged(&found)))
}

fn path(raw: Raw) -> Result<PathBuf, String> {
    let path = text(raw)?;
    if path.is_empty() || path.contains('\0') {
        return Err(format!("expected a path, found `{}`", abridged(&path)));
    }
    Ok(path.into())
}

fn address(raw: Raw) -> Result<SocketAddr, String> {
    let text = text(raw)?;
    let wrong =
        |_| format!("`{}` is not an IP address and a port, such as `127.0.0.1:7420` or `[::1]:0`", abridged(&text));
    text.parse().map_err(wrong)
}

/// The address of a server: what follows the host is a path at most.
fn url(raw: Raw) -> Result<String, String> {
    let text = text(raw)?;
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let is_plain = |rest: &str| {
        let authority = rest.split('/').next().unwrap_or_default();
        !authority.is_empty()
            && !authority.contains('@')
            && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"".contains(&byte))
    };
    if text.is_empty() || rest.is_some_and(is_plain) {
        return Ok(text);
    }
    Err(format!("`{}` is not the address of a server, such as `https://tasks.example`", abridged(&text)))
}

/// A size or a duration: text with a unit, or an integer of the smallest one.
fn quantity(
    raw: Raw,
    min: u64,
    max: u64,
    parse: fn(&str) -> Result<u64, String>,
    show: fn(u64) -> String,
) -> Result<u64, String> {
    let (number, written) = match raw {
        Raw::Text(text) => (parse(&text).map(Some), text),
        Raw::Untyped(text) => (text.parse().or_else(|_| parse(&text)).map(Some), text),
        Raw::Integer(_) | Raw::Flag(_) | Raw::Texts(_) | Raw::Other(_) => match integer(&raw) {
            Ok(number) => (Ok(u64::try_from(number).ok()), number.to_string()),
            Err(found) => return parse("").map_err(|rule| format!("found {found}: {rule}")),
        },
    };
    let written = abridged(&written);
    let number = number.map_err(|rule| format!("`{written}`: {rule}"))?;
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("{written} is out of range: {} to {}", show(min), show(max)))
}

/// An integer, or what was found instead.
fn integer(raw: &Raw) -> Result<i64, String> {
    match raw {
        Raw::Integer(number) => Ok(*number),
        Raw::Untyped(word) => word.parse().map_err(|_| raw.name()),
        Raw::Text(_) | Raw::Flag(_) | Raw::Texts(_) | Raw::Other(_) => Err(raw.name()),
    }
}
