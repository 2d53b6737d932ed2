//! Plugins as JSON.

use serde::Serialize;

use crate::api::PluginDirectory;
use crate::api::tasks::wire::{Rfc3339, Text, Verbatim};
use crate::limiter::BreakerInfo;
use crate::plugin::{Draining, GenerationInfo, KindInfo, LoadFailure, PluginInfo};
use crate::task::Digest;
use crate::time::Timestamp;

/// Every file of the folder.
#[derive(Serialize)]
pub(super) struct PluginList<'a> {
    pub(super) plugins: Vec<PluginWire<'a>>,
}

/// One file of the folder.
#[derive(Serialize)]
pub(super) struct PluginWire<'a> {
    name: &'a str,
    /// The generation that takes new attempts.
    live: Option<GenerationWire<'a>>,
    /// Older generations that still run attempts.
    draining: Vec<DrainingWire>,
    /// A version that is on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    loading: Option<LoadingWire>,
    /// Why the file that is in the folder now is not live.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<LoadFailureWire<'a>>,
}

#[derive(Serialize)]
struct GenerationWire<'a> {
    digest: Text<Digest>,
    version: &'a str,
    summary: &'a str,
    roles: &'a [&'static str],
    kinds: Vec<KindWire<'a>>,
    grants: &'a [String],
    /// Who signed the component.
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<SignedWire<'a>>,
    loaded_at: Rfc3339,
    /// What it took to compile it, or to find it compiled.
    compiled: EffortWire,
    running: u32,
    /// Every limit and grant that holds, and where it comes from; in the plugin's own document only.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct SignedWire<'a> {
    key_id: String,
    trusted_comment: &'a str,
}

#[derive(Serialize)]
struct EffortWire {
    cached: bool,
    took_ms: u64,
}

#[derive(Serialize)]
struct LoadingWire {
    digest: Text<Digest>,
    /// `queued`, `compiling` or `checking`.
    stage: &'static str,
    since: Rfc3339,
}

#[derive(Serialize)]
struct KindWire<'a> {
    name: &'a str,
    summary: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_schema: Option<Verbatim<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<Verbatim<'a>>,
    concurrency: u32,
    /// No task of the kind begins: too many took the guest down.
    #[serde(skip_serializing_if = "Option::is_none")]
    breaker: Option<BreakerWire>,
}

#[derive(Serialize)]
struct BreakerWire {
    state: &'static str,
    poisoned: u32,
    /// When one attempt is let through.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Rfc3339>,
}

impl From<BreakerInfo> for BreakerWire {
    fn from(info: BreakerInfo) -> Self {
        let until = info.until_ms.map(|until_ms| Rfc3339(Timestamp::from_millis(until_ms)));
        Self { state: if until.is_some() { "open" } else { "half-open" }, poisoned: info.poisoned, until }
    }
}

/// A generation that still runs attempts.
#[derive(Serialize)]
pub(super) struct DrainingWire {
    digest: Text<Digest>,
    running: u32,
    /// When it was replaced or removed.
    since: Rfc3339,
    /// When its attempts are asked to yield.
    yield_at: Rfc3339,
    /// When those that go on are interrupted.
    interrupt_at: Rfc3339,
}

impl From<&Draining> for DrainingWire {
    fn from(old: &Draining) -> Self {
        Self {
            digest: Text(old.digest),
            running: old.running,
            since: Rfc3339(old.since),
            yield_at: Rfc3339(old.yield_at),
            interrupt_at: Rfc3339(old.interrupt_at),
        }
    }
}

#[derive(Serialize)]
struct LoadFailureWire<'a> {
    at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Text<Digest>>,
    message: &'a str,
}

impl<'a> PluginWire<'a> {
    /// With what the breakers say of its kinds.
    pub(super) fn new(plugin: &'a PluginInfo, plugins: &dyn PluginDirectory) -> Self {
        Self {
            name: &plugin.name,
            live: plugin.live.as_ref().map(|live| GenerationWire::new(live, plugins)),
            draining: plugin.draining.iter().map(Into::into).collect(),
            loading: plugin.loading.map(|loading| LoadingWire {
                digest: Text(loading.digest),
                stage: loading.stage.name(),
                since: Rfc3339(loading.since),
            }),
            error: plugin.error.as_ref().map(Into::into),
        }
    }

    /// With every limit and grant that holds.
    pub(super) fn with_effective(mut self, plugin: &PluginInfo) -> Self {
        if let (Some(shown), Some(live)) = (&mut self.live, &plugin.live) {
            shown.effective = Some(live.effective.to_json());
        }
        self
    }
}

impl<'a> GenerationWire<'a> {
    fn new(generation: &'a GenerationInfo, plugins: &dyn PluginDirectory) -> Self {
        Self {
            digest: Text(generation.digest),
            version: &generation.version,
            summary: &generation.summary,
            roles: &generation.roles,
            kinds: generation.kinds.iter().map(|kind| KindWire::new(kind, plugins)).collect(),
            grants: &generation.grants,
            signature: generation
                .signed
                .as_ref()
                .map(|signed| SignedWire { key_id: signed.key.to_string(), trusted_comment: &signed.comment }),
            loaded_at: Rfc3339(generation.loaded_at),
            compiled: EffortWire { cached: generation.compiled.cached, took_ms: generation.compiled.took_ms },
            running: generation.running,
            effective: None,
        }
    }
}

impl<'a> KindWire<'a> {
    fn new(kind: &'a KindInfo, plugins: &dyn PluginDirectory) -> Self {
        Self {
            name: &kind.name,
            summary: &kind.summary,
            input_schema: kind.input_schema.as_deref().map(Verbatim),
            output_schema: kind.output_schema.as_deref().map(Verbatim),
            concurrency: kind.concurrency,
            breaker: plugins.breaker(&kind.name).map(Into::into),
        }
    }
}

impl<'a> From<&'a LoadFailure> for LoadFailureWire<'a> {
    fn from(failure: &'a LoadFailure) -> Self {
        Self { at: Rfc3339(failure.at), digest: failure.digest.map(Text), message: &failure.message }
    }
}
