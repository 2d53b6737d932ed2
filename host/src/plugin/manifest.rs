//! The operator's side of a plugin: `<name>.toml` beside `<name>.wasm`. Without it a plugin has the
//! default limits and no grant.

mod grant;
mod place;
mod quantity;
mod reload;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::Spanned;

use crate::quantity::{show_bytes, show_millis};
use crate::task::Digest;

use super::limits::Limits;
use super::link::Grants;
use grant::GrantTable;
use place::Source;
use quantity::{Millis, Setting, Size};
use reload::ReloadTable;

pub use self::reload::{Canary, Drain, ReloadPolicy};

/// Bytes of a manifest at most.
pub const MAX_MANIFEST_BYTES: u64 = 64 * 1024;
/// Settings of one plugin at most.
const MAX_SETTINGS: usize = 256;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const SECOND_MS: u64 = 1000;
const HOUR_MS: u64 = 3600 * SECOND_MS;

const MEMORY_BYTES: RangeInclusive<u64> = MIB..=4096 * MIB;
const CPU_MS: RangeInclusive<u64> = 1..=24 * HOUR_MS;
const WALL_MS: RangeInclusive<u64> = 1..=7 * 24 * HOUR_MS;
const CONCURRENCY: RangeInclusive<u64> = 1..=1024;
const LOG_BYTES: RangeInclusive<u64> = 0..=64 * MIB;
const OUTPUT_BYTES: RangeInclusive<u64> = KIB..=16 * MIB;
const HANDLES: RangeInclusive<u64> = 1..=65_536;
const HOSTCALL_BYTES: RangeInclusive<u64> = 64 * KIB..=64 * MIB;
const ATTEMPTS_PER_INSTANCE: RangeInclusive<u64> = 1..=100_000;
const STATE_QUOTA_BYTES: RangeInclusive<u64> = KIB..=1024 * MIB;

/// What the operator says about one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Its bounds.
    pub limits: Limits,
    /// What it may ask of the host.
    pub grants: Grants,
    /// Its settings, in key order.
    pub config: Vec<(String, String)>,
    /// The only component that may be loaded under this name.
    pub sha256: Option<Digest>,
    /// How a generation takes over from the one before it.
    pub reload: ReloadPolicy,
}

/// A manifest that is refused as a whole: a half-understood grant would be worse than none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ManifestError {
    /// The file's name.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    sha256: Option<Spanned<String>>,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    grant: GrantTable,
    #[serde(default)]
    config: BTreeMap<String, Setting>,
    #[serde(default)]
    reload: ReloadTable,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsTable {
    memory: Option<Spanned<Size>>,
    cpu: Option<Spanned<Millis>>,
    wall: Option<Spanned<Millis>>,
    concurrency: Option<Spanned<u32>>,
    log_bytes: Option<Spanned<Size>>,
    output_bytes: Option<Spanned<Size>>,
    handles: Option<Spanned<u32>>,
    hostcall_bytes: Option<Spanned<Size>>,
    attempts_per_instance: Option<Spanned<u32>>,
}

impl Manifest {
    /// Reads a manifest; `file` is what messages call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, ManifestError> {
        let source = Source { file, text };
        let document: Document = toml::from_str(text).map_err(|error| source.explain(&error))?;
        if document.config.len() > MAX_SETTINGS {
            return Err(source.at_start(format!("[config] has more than {MAX_SETTINGS} settings")));
        }
        Ok(Self {
            limits: document.limits.check(source)?,
            grants: document.grant.check(source)?,
            config: document.config.into_iter().map(|(key, value)| (key, value.0)).collect(),
            sha256: document.sha256.map(|pin| parse_pin(source, &pin)).transpose()?,
            reload: document.reload.check(source)?,
        })
    }
}

impl LimitsTable {
    fn check(self, source: Source<'_>) -> Result<Limits, ManifestError> {
        let default = Limits::default();
        let size = |value, key, range, default| {
            source.in_range(value, |size: &Size| size.0, key, (range, show_bytes)).map(|v| v.unwrap_or(default))
        };
        let millis = |value, key, range, default| {
            source.in_range(value, |time: &Millis| time.0, key, (range, show_millis)).map(|v| v.unwrap_or(default))
        };
        let count = |value, key, range, default| {
            source.in_range(value, |count: &u32| u64::from(*count), key, (range, |n| n.to_string())).map(|v| {
                // The range ends far below the type's end.
                v.and_then(|v| u32::try_from(v).ok()).unwrap_or(default)
            })
        };
        Ok(Limits {
            memory_bytes: size(self.memory, "memory", MEMORY_BYTES, default.memory_bytes)?,
            cpu_ms: millis(self.cpu, "cpu", CPU_MS, default.cpu_ms)?,
            wall_ms: millis(self.wall, "wall", WALL_MS, default.wall_ms)?,
            concurrency: count(self.concurrency, "concurrency", CONCURRENCY, default.concurrency)?,
            log_bytes: size(self.log_bytes, "log_bytes", LOG_BYTES, default.log_bytes)?,
            output_bytes: size(self.output_bytes, "output_bytes", OUTPUT_BYTES, default.output_bytes)?,
            handles: count(self.handles, "handles", HANDLES, default.handles)?,
            hostcall_bytes: size(self.hostcall_bytes, "hostcall_bytes", HOSTCALL_BYTES, default.hostcall_bytes)?,
            instances: default.instances,
            attempts_per_instance: count(
                self.attempts_per_instance,
                "attempts_per_instance",
                ATTEMPTS_PER_INSTANCE,
                default.attempts_per_instance,
            )?,
        })
    }
}

fn parse_pin(source: Source<'_>, pin: &Spanned<String>) -> Result<Digest, ManifestError> {
    parse_digest(pin.get_ref()).ok_or_else(|| {
        source.at(pin.span().start, "`sha256` is 64 hexadecimal digits, as `sha256sum` prints them".to_owned())
    })
}

fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Digest(digest))
}
