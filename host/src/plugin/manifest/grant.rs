//! The `[grant]` section: `name = true`, or a table that says how much.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use crate::plugin::link::{FfmpegGrant, FfmpegOperation, Grants, LibraryGrant, QueueGrant, StateGrant};
use crate::plugin::rate::Rate;
use crate::quantity::show_bytes;
use crate::task::is_valid_kind;

use super::command::Commands;
use super::place::{Bounds, Source};
use super::quantity::{PerSecond, Size};
use super::{KIB, MIB, ManifestError, STATE_QUOTA_BYTES};

/// Bytes of state when the grant does not say.
const DEFAULT_STATE_QUOTA_BYTES: u64 = 16 * 1024 * 1024;
/// Patterns in one queue grant at most.
const MAX_QUEUE_KINDS: usize = 64;
/// Presets in one grant at most.
const MAX_PRESETS: usize = 64;
const BURST: Bounds = (1..=100_000, |burst| burst.to_string());
const JOBS: Bounds = (1..=1024, |jobs| jobs.to_string());
const MAX_OUTPUT_BYTES: RangeInclusive<u64> = KIB..=64 * 1024 * 1024 * MIB;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantTable {
    #[serde(default)]
    state: Grant<StateTable>,
    #[serde(default)]
    queue: Grant<QueueTable>,
    #[serde(default)]
    library: Grant<LibraryTable>,
    #[serde(default)]
    ffmpeg: Grant<FfmpegTable>,
    #[serde(default)]
    command: Commands,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateTable {
    quota: Option<Spanned<Size>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct QueueTable {
    kinds: Option<Vec<Spanned<String>>>,
    per_second: Option<Spanned<PerSecond>>,
    burst: Option<Spanned<u32>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LibraryTable {
    #[serde(default)]
    write: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FfmpegTable {
    operations: Option<Vec<Spanned<String>>>,
    presets: Option<Vec<Spanned<String>>>,
    max_output: Option<Spanned<Size>>,
    jobs: Option<Spanned<u32>>,
}

/// `true`, `false` or a table; the table alone means yes.
struct Grant<T>(Option<T>);

impl<T> Default for Grant<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Default + DeserializeOwned> Deserialize<'de> for Grant<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GrantVisitor(PhantomData))
    }
}

struct GrantVisitor<T>(PhantomData<T>);

impl<'de, T: Default + DeserializeOwned> Visitor<'de> for GrantVisitor<T> {
    type Value = Grant<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false or a table")
    }

    fn visit_bool<E: Error>(self, granted: bool) -> Result<Grant<T>, E> {
        Ok(Grant(granted.then(T::default)))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Grant<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|table| Grant(Some(table)))
    }
}

impl GrantTable {
    pub(super) fn check(self, source: Source<'_>) -> Result<Grants, ManifestError> {
        Ok(Grants {
            state: self.state.0.map(|table| table.check(source)).transpose()?,
            queue: self.queue.0.map(|table| table.check(source)).transpose()?,
            library: self.library.0.map(|table| LibraryGrant { write: table.write }),
            ffmpeg: self.ffmpeg.0.map(|table| table.check(source)).transpose()?,
            command: self.command.check(source)?,
        })
    }
}

impl StateTable {
    fn check(self, source: Source<'_>) -> Result<StateGrant, ManifestError> {
        let quota = source.in_range(self.quota, |size: &Size| size.0, "quota", (STATE_QUOTA_BYTES, show_bytes))?;
        Ok(StateGrant { quota_bytes: quota.unwrap_or(DEFAULT_STATE_QUOTA_BYTES) })
    }
}

impl QueueTable {
    fn check(self, source: Source<'_>) -> Result<QueueGrant, ManifestError> {
        let burst_at = self.burst.as_ref().map(|burst| burst.span().start);
        let burst = source.in_range(self.burst, |burst: &u32| u64::from(*burst), "burst", BURST)?;
        let rate = match (self.per_second, burst_at) {
            (Some(per_second), _) => {
                let rate = Rate::new(per_second.get_ref().0, burst.and_then(|burst| u32::try_from(burst).ok()));
                let message = "`per_second` is a number of tasks from 0.001 to 10000".to_owned();
                Some(rate.ok_or_else(|| source.at(per_second.span().start, message))?)
            }
            (None, Some(at)) => {
                let message = "`burst` goes with `per_second`, which says how fast it fills again";
                return Err(source.at(at, message.to_owned()));
            }
            (None, None) => None,
        };
        let Some(kinds) = self.kinds else { return Ok(QueueGrant { kinds: vec!["*".to_owned()], rate }) };
        if let Some(extra) = kinds.get(MAX_QUEUE_KINDS) {
            return Err(source.at(extra.span().start, format!("`kinds` has more than {MAX_QUEUE_KINDS} entries")));
        }
        for kind in &kinds {
            if !is_kind_pattern(kind.get_ref()) {
                let message = format!(
                    "{:?} is not a kind: write one such as \"video.cut\", all below a word as \"video.*\", or \"*\"",
                    kind.get_ref()
                );
                return Err(source.at(kind.span().start, message));
            }
        }
        Ok(QueueGrant { kinds: kinds.into_iter().map(Spanned::into_inner).collect(), rate })
    }
}

impl FfmpegTable {
    fn check(self, source: Source<'_>) -> Result<FfmpegGrant, ManifestError> {
        let operation = |written: Spanned<String>| {
            let named = FfmpegOperation::NAMES.iter().find(|(name, _)| name == written.get_ref());
            named.map(|(_, operation)| *operation).ok_or_else(|| {
                let known: Vec<_> = FfmpegOperation::NAMES.iter().map(|(name, _)| *name).collect();
                let message = format!("{:?} is not one of {}", written.get_ref(), known.join(", "));
                source.at(written.span().start, message)
            })
        };
        let operations = self.operations.map(|list| list.into_iter().map(operation).collect()).transpose()?;
        if let Some(extra) = self.presets.as_ref().and_then(|presets| presets.get(MAX_PRESETS)) {
            return Err(source.at(extra.span().start, format!("`presets` has more than {MAX_PRESETS} entries")));
        }
        let jobs = source.in_range(self.jobs, |jobs: &u32| u64::from(*jobs), "jobs", JOBS)?;
        let max_output = (MAX_OUTPUT_BYTES, show_bytes as fn(u64) -> String);
        Ok(FfmpegGrant {
            operations,
            presets: self.presets.map(|presets| presets.into_iter().map(Spanned::into_inner).collect()),
            max_output_bytes: source.in_range(self.max_output, |size: &Size| size.0, "max_output", max_output)?,
            jobs: jobs.and_then(|jobs| u32::try_from(jobs).ok()),
        })
    }
}

fn is_kind_pattern(pattern: &str) -> bool {
    pattern == "*" || is_valid_kind(pattern.strip_suffix(".*").unwrap_or(pattern))
}
