//! The table `[reload]`: how a generation takes over from the one before it.

use std::ops::RangeInclusive;

use crate::task::is_valid_kind;

use super::table::{Conflict, Key, Table, Words};

const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600 * SECOND_MS;

const DRAIN: RangeInclusive<u64> = 0..=7 * 24 * HOUR_MS;
const YIELD_GRACE: RangeInclusive<u64> = 0..=HOUR_MS;
const CANARY_TIMEOUT: RangeInclusive<u64> = 1..=HOUR_MS;
const DEFAULT_CANARY_TIMEOUT_MS: u64 = 30 * SECOND_MS;

const KIND: Words = Words::Like {
    what: "a kind of the plugin such as \"video.cut\"",
    pattern: r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$",
    fits: is_valid_kind,
};

const JSON: Words = Words::Read {
    what: "JSON text such as '{\"id\": \"x\"}'",
    pattern: r"\S",
    check: |text| serde_json::from_str::<serde::de::IgnoredAny>(text).map(drop).map_err(|error| error.to_string()),
};

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
    canary: CanaryTable,
}

impl ReloadPolicy {
    /// What it has to do itself before, if anything.
    pub fn canary(&self) -> Option<Canary> {
        let CanaryTable { kind, input, timeout_ms } = self.canary.clone();
        Some(Canary { kind: kind?, input: input?, timeout_ms })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct CanaryTable {
    kind: Option<String>,
    input: Option<String>,
    timeout_ms: u64,
}

impl Default for CanaryTable {
    fn default() -> Self {
        Self { kind: None, input: None, timeout_ms: DEFAULT_CANARY_TIMEOUT_MS }
    }
}

impl Table for ReloadPolicy {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { drain: Drain { drain_ms, yield_grace_ms }, canary } = self;
        vec![
            Key::millis("drain", drain_ms, DRAIN, "Attempts that run go on for so long, then they are asked to yield."),
            Key::millis(
                "yield_grace",
                yield_grace_ms,
                YIELD_GRACE,
                "They may take so long to do that, then they are interrupted.",
            ),
            Key::table("canary", canary, "A task that a new generation has to do before it goes live."),
        ]
    }
}

impl Table for CanaryTable {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { kind, input, timeout_ms } = self;
        vec![
            Key::text("kind", kind, &KIND, "Its kind."),
            Key::text("input", input, &JSON, "Its input, as JSON text."),
            Key::millis("timeout", timeout_ms, CANARY_TIMEOUT, "How long it may take; the limits hold, too."),
        ]
    }

    fn check(&self) -> Result<(), Conflict> {
        let (key, other) = match (&self.kind, &self.input) {
            (Some(_), None) => ("kind", "input"),
            (None, Some(_)) => ("input", "kind"),
            (Some(_), Some(_)) | (None, None) => return Ok(()),
        };
        Err(Conflict { key, message: format!("a canary needs `kind` and `input`: say `{other}`, too") })
    }
}
