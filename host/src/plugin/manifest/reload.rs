//! The `[reload]` section: how a generation takes over from the one before it.

use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::Spanned;

use crate::quantity::show_millis;
use crate::task::is_valid_kind;

use super::place::Source;
use super::quantity::Millis;
use super::{HOUR_MS, ManifestError, SECOND_MS};

const DRAIN_MS: RangeInclusive<u64> = 0..=7 * 24 * HOUR_MS;
const YIELD_GRACE_MS: RangeInclusive<u64> = 0..=HOUR_MS;
const CANARY_TIMEOUT_MS: RangeInclusive<u64> = 1..=HOUR_MS;
const DEFAULT_CANARY_TIMEOUT_MS: u64 = 30 * SECOND_MS;

/// What becomes of the attempts that run when a plugin is replaced or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// They go on for so long, in milliseconds; then they are asked to yield.
    pub drain_ms: u64,
    /// They may take so long to do that, in milliseconds; then they are interrupted.
    pub yield_grace_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self { drain_ms: 30 * SECOND_MS, yield_grace_ms: 10 * SECOND_MS }
    }
}

/// A task that a generation has to do before it goes live. Nothing of what it does stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// What sort of task.
    pub kind: String,
    /// Its input, JSON text.
    pub input: String,
    /// How long it may take, in milliseconds; the limits of the plugin hold, too.
    pub timeout_ms: u64,
}

impl Canary {
    /// One with the time that it has when nobody says otherwise.
    pub fn new(kind: String, input: String) -> Self {
        Self { kind, input, timeout_ms: DEFAULT_CANARY_TIMEOUT_MS }
    }
}

/// How a generation takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadPolicy {
    /// For the generation before it.
    pub drain: Drain,
    /// For itself, if there is one.
    pub canary: Option<Canary>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReloadTable {
    drain: Option<Spanned<Millis>>,
    yield_grace: Option<Spanned<Millis>>,
    canary: Option<CanaryTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CanaryTable {
    kind: Spanned<String>,
    input: Spanned<toml::Value>,
    timeout: Option<Spanned<Millis>>,
}

impl ReloadTable {
    pub(super) fn check(self, source: Source<'_>) -> Result<ReloadPolicy, ManifestError> {
        let default = Drain::default();
        let drain = millis(source, self.drain, "drain", DRAIN_MS)?;
        let yield_grace = millis(source, self.yield_grace, "yield_grace", YIELD_GRACE_MS)?;
        Ok(ReloadPolicy {
            drain: Drain {
                drain_ms: drain.unwrap_or(default.drain_ms),
                yield_grace_ms: yield_grace.unwrap_or(default.yield_grace_ms),
            },
            canary: self.canary.map(|table| table.check(source)).transpose()?,
        })
    }
}

impl CanaryTable {
    fn check(self, source: Source<'_>) -> Result<Canary, ManifestError> {
        if !is_valid_kind(self.kind.get_ref()) {
            let message =
                format!("{:?} is not a kind; name one of the plugin's, such as \"video.cut\"", self.kind.get_ref());
            return Err(source.at(self.kind.span().start, message));
        }
        let at = self.input.span().start;
        if let Some(odd) = no_json(self.input.get_ref()) {
            return Err(source.at(at, format!("`input` has to become JSON, which has no {odd}")));
        }
        let timeout = millis(source, self.timeout, "timeout", CANARY_TIMEOUT_MS)?;
        let input = serde_json::to_string(self.input.get_ref())
            .map_err(|error| source.at(at, format!("`input` does not become JSON: {error}")))?;
        Ok(Canary { kind: self.kind.into_inner(), input, timeout_ms: timeout.unwrap_or(DEFAULT_CANARY_TIMEOUT_MS) })
    }
}

fn millis(
    source: Source<'_>,
    value: Option<Spanned<Millis>>,
    key: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, ManifestError> {
    source.in_range(value, |time: &Millis| time.0, key, (range, show_millis))
}

/// What in a value JSON cannot say.
fn no_json(value: &toml::Value) -> Option<&'static str> {
    match value {
        toml::Value::Datetime(_) => Some("dates; write it as a string"),
        toml::Value::Float(number) if !number.is_finite() => Some("infinity and no not-a-number"),
        toml::Value::Array(items) => items.iter().find_map(no_json),
        toml::Value::Table(table) => table.values().find_map(no_json),
        toml::Value::String(_) | toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => None,
    }
}
