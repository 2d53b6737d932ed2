//! The tables of `[grant]`: `name = true`, or a table that says how much.

mod http;

use std::ops::RangeInclusive;

use crate::plugin::link::{FfmpegGrant, Grants, HttpGrant, HttpLimits, LibraryGrant, QueueGrant, StateGrant};
use crate::task::is_valid_kind;

use super::table::{Conflict, Key, Slot, Table, Words};

/// What a plugin may keep, in bytes.
const STATE_QUOTA: RangeInclusive<u64> = 1024..=1024 * 1024 * 1024;
/// Patterns in one queue grant at most.
const MAX_QUEUE_KINDS: usize = 64;
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
        let Self { state, queue, library, ffmpeg, http: HttpGrant { rules, limits } } = self;
        vec![
            Key::grant("state", state, "Durable key-value state of its own."),
            Key::grant("queue", queue, "Creating tasks. `true` means of any kind."),
            Key::grant("library", library, "Reading the media library."),
            Key::grant("ffmpeg", ffmpeg, "Probing and cutting media of the library, and taking pictures of it."),
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
        Self { kinds: vec!["*".to_owned()] }
    }
}

impl Table for QueueGrant {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self { kinds } = self;
        let about = "Kinds of the tasks that it may create.";
        vec![Key::texts("kinds", kinds, (&KIND_PATTERN, MAX_QUEUE_KINDS), about)]
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
        let Self {} = self;
        Vec::new()
    }
}
