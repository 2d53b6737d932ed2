//! The tables of `[grant]`: `name = true`, or a table that says how much.

mod command;
mod http;

use std::ops::RangeInclusive;

use crate::plugin::link::{
    FfmpegGrant, FfmpegOperation, Grants, HttpGrant, HttpLimits, LibraryGrant, QueueGrant, StateGrant,
};
use crate::plugin::names;
use crate::task::is_valid_kind;

use super::table::{Conflict, Key, Slot, Table, Words};

/// What a plugin may keep, in bytes.
const STATE_QUOTA: RangeInclusive<u64> = 1024..=1024 * 1024 * 1024;
/// Patterns in one queue grant at most.
const MAX_QUEUE_KINDS: usize = 64;
/// Tasks a second, in thousandths, and at once.
const PER_SECOND: RangeInclusive<u64> = 1..=10_000_000;
const BURST: RangeInclusive<u64> = 1..=100_000;
/// What may be asked of ffmpeg, and how much.
const OPERATIONS: Words = Words::OneOf(&FfmpegOperation::NAMES);
const PRESET: Words = Words::Like {
    what: "the name of a preset such as \"web\": 1 to 64 of a-z, 0-9, - and _",
    pattern: "^[a-z0-9_-]{1,64}$",
    fits: |name| (1..=64).contains(&name.len()) && is_valid_kind(name) && !name.contains('.'),
};
const MAX_PRESETS: usize = 64;
const MAX_OUTPUT: RangeInclusive<u64> = 1024..=64 << 40;
const JOBS: RangeInclusive<u64> = 1..=1024;
/// Commands of one plugin at most.
const MAX_COMMANDS: usize = 64;
/// How a command is called.
const COMMAND: Words = Words::Like {
    what: "a command's name such as \"backup\": a-z, 0-9 and -, not starting with a dash, at most 64",
    pattern: "^[a-z0-9][a-z0-9-]{0,63}$",
    fits: names::is_plugin,
};
/// Destinations of one plugin at most.
const MAX_HTTP_RULES: usize = 256;
/// Kinds, or all below a word.
const KIND_PATTERN: Words = Words::Like {
    what: "a kind such as \"video.cut\", all below a word as \"video.*\", or \"*\"",
    pattern: r"^(\*|[a-z0-9_-]+(\.[a-z0-9_-]+)*(\.\*)?)$",
    fits: |pattern| pattern == "*" || is_valid_kind(pattern.strip_suffix(".*").unwrap_or(pattern)),
};

impl Table for Grants {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { state, queue, library, ffmpeg, command, http: HttpGrant { rules, limits } } = self;
        vec![
            Key::grant("state", state, "Durable key-value state of its own."),
            Key::grant("queue", queue, "Creating tasks. `true` means of any kind."),
            Key::grant("library", library, "Reading the media library."),
            Key::grant("ffmpeg", ffmpeg, "ffmpeg over media of the library. `true` means all of it."),
            Key::map("command", command, (&COMMAND, MAX_COMMANDS), "Programs that it may run, by name."),
            Key::list("http", rules, MAX_HTTP_RULES, "Requests over HTTP, one table for each destination."),
            Key::table("http_limits", limits, "How much of the web one attempt may use."),
        ]
    }

    fn check(&self) -> Result<(), Conflict> {
        if self.http.rules.is_empty() && self.http.limits != HttpLimits::default() {
            let message = "`http_limits` bounds nothing: there is no [[grant.http]]".to_owned();
            return Err(Conflict { key: "http_limits", message });
        }
        Ok(())
    }
}

/// The names of what is granted, in the order of their declaration.
pub fn granted(grants: &Grants) -> Vec<String> {
    let mut grants = grants.clone();
    let mut found = Vec::new();
    for key in grants.keys() {
        if let Slot::Grant(grant) = key.slot {
            found.extend(grant.table().map(|_| key.name.to_owned()));
        } else if let Slot::List { at, .. } = key.slot {
            found.extend(at.tables().first().map(|_| key.name.to_owned()));
        } else if let Slot::Map { at, .. } = key.slot {
            found.extend(at.tables().first().map(|_| key.name.to_owned()));
        }
    }
    found
}

/// Everything that can be granted, for a component that is only asked what it is.
pub fn everything() -> Grants {
    let mut grants = Grants::default();
    for key in grants.keys() {
        if let Slot::Grant(grant) = key.slot {
            grant.set(true);
        } else if let Slot::List { at, .. } = key.slot {
            let _added = at.add();
        } else if let Slot::Map { at, .. } = key.slot {
            let _added = at.add("any");
        }
    }
    grants
}

impl Default for StateGrant {
    fn default() -> Self {
        Self { quota_bytes: 16 * 1024 * 1024 }
    }
}

impl Table for StateGrant {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { quota_bytes } = self;
        vec![Key::bytes("quota", quota_bytes, STATE_QUOTA, "Keys and values that it may keep, together.")]
    }
}

impl Default for QueueGrant {
    fn default() -> Self {
        Self { kinds: vec!["*".to_owned()], per_second: None, burst: None }
    }
}

impl Table for QueueGrant {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { kinds, per_second, burst } = self;
        let about = "Kinds of the tasks that it may create.";
        vec![
            Key::texts("kinds", kinds, (&KIND_PATTERN, MAX_QUEUE_KINDS), about),
            Key::per_second("per_second", per_second, PER_SECOND, "Tasks that it may create within a second."),
            Key::count("burst", burst, BURST, "Tasks at once. One second's worth when it is not said."),
        ]
    }

    fn check(&self) -> Result<(), Conflict> {
        if self.burst.is_some() && self.per_second.is_none() {
            let message = "`burst` goes with `per_second`, which says how fast it fills again".to_owned();
            return Err(Conflict { key: "burst", message });
        }
        Ok(())
    }
}

impl Table for LibraryGrant {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { add, write } = self;
        vec![
            Key::flag("add", add, "Adding files too, not only reading."),
            Key::flag("write", write, "Adding, trashing and purging too, not only reading."),
        ]
    }
}

impl Table for FfmpegGrant {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { operations, presets, max_output_bytes, jobs } = self;
        vec![
            Key::texts("operations", operations, (&OPERATIONS, FfmpegOperation::NAMES.len()), "What it may ask for."),
            Key::texts("presets", presets, (&PRESET, MAX_PRESETS), "Presets of the host's that it may transcode with."),
            Key::bytes("max_output", max_output_bytes, MAX_OUTPUT, "One file that it makes, at most."),
            Key::count("jobs", jobs, JOBS, "How many run at the same time, of all its attempts."),
        ]
    }
}
