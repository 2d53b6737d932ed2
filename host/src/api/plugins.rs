//! Plugins as JSON.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::problem::{Problem, echo};
use super::tasks::wire::{Rfc3339, Text, Verbatim};
use super::{PluginDirectory, Shared};
use crate::limiter::BreakerInfo;
use crate::plugin::{GenerationInfo, KindInfo, LoadFailure, PluginInfo};
use crate::task::Digest;
use crate::time::Timestamp;

#[derive(Serialize)]
struct PluginList<'a> {
    plugins: Vec<PluginWire<'a>>,
}

#[derive(Serialize)]
struct PluginWire<'a> {
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

#[derive(Serialize)]
struct DrainingWire {
    digest: Text<Digest>,
    running: u32,
}

#[derive(Serialize)]
struct LoadFailureWire<'a> {
    at: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Text<Digest>>,
    message: &'a str,
}

impl<'a> PluginWire<'a> {
    fn new(plugin: &'a PluginInfo, plugins: &dyn PluginDirectory) -> Self {
        let draining = plugin.draining.iter();
        Self {
            name: &plugin.name,
            live: plugin.live.as_ref().map(|live| GenerationWire::new(live, plugins)),
            draining: draining
                .map(|(digest, running)| DrainingWire { digest: Text(*digest), running: *running })
                .collect(),
            loading: plugin.loading.map(|loading| LoadingWire {
                digest: Text(loading.digest),
                stage: loading.stage.name(),
                since: Rfc3339(loading.since),
            }),
            error: plugin.error.as_ref().map(Into::into),
        }
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

/// `GET /v1/plugins`: every file in the plugins folder, what is live of it and what is wrong with it.
pub async fn list(State(state): Shared) -> Response {
    let plugins = state.plugins.list();
    Json(PluginList { plugins: plugins.iter().map(|plugin| PluginWire::new(plugin, &*state.plugins)).collect() })
        .into_response()
}

/// `GET /v1/plugins/{name}`: one of them, with every limit and grant that holds and where it comes from.
pub async fn read(State(state): Shared, Path(name): Path<String>) -> Result<Response, Problem> {
    let plugins = state.plugins.list();
    let plugin = plugins.iter().find(|plugin| plugin.name == name).ok_or_else(|| {
        Problem::not_found("plugin-not-found", format!("there is no plugin {:?} in the plugins folder", echo(&name)))
    })?;
    let mut wire = PluginWire::new(plugin, &*state.plugins);
    if let (Some(shown), Some(live)) = (&mut wire.live, &plugin.live) {
        shown.effective = Some(live.effective.to_json());
    }
    Ok(Json(wire).into_response())
}
