//! The `[grant]` section: `name = true`, or a table that says how much.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use crate::plugin::link::{FfmpegGrant, Grants, LibraryGrant, QueueGrant, StateGrant};
use crate::quantity::show_bytes;
use crate::task::is_valid_kind;

use super::place::Source;
use super::quantity::Size;
use super::{ManifestError, STATE_QUOTA_BYTES};

/// Bytes of state when the grant does not say.
const DEFAULT_STATE_QUOTA_BYTES: u64 = 16 * 1024 * 1024;
/// Patterns in one queue grant at most.
const MAX_QUEUE_KINDS: usize = 64;

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
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LibraryTable {
    #[serde(default)]
    add: bool,
    #[serde(default)]
    write: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FfmpegTable {}

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
            library: self.library.0.map(|table| LibraryGrant { add: table.add, write: table.write }),
            ffmpeg: self.ffmpeg.0.map(|FfmpegTable {}| FfmpegGrant {}),
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
        let Some(kinds) = self.kinds else { return Ok(QueueGrant { kinds: vec!["*".to_owned()] }) };
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
        Ok(QueueGrant { kinds: kinds.into_iter().map(Spanned::into_inner).collect() })
    }
}

fn is_kind_pattern(pattern: &str) -> bool {
    pattern == "*" || is_valid_kind(pattern.strip_suffix(".*").unwrap_or(pattern))
}
