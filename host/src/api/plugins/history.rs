//! What was live of a plugin, when, and why no longer.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::change::PluginName;
use super::wire::DrainingWire;
use crate::api::Shared;
use crate::api::problem::{Problem, echo};
use crate::api::tasks::wire::{Rfc3339, Text};
use crate::plugin::History;
use crate::plugin::archive::Record;
use crate::task::Digest;

#[derive(Serialize)]
struct HistoryWire<'a> {
    name: &'a str,
    /// What a rollback would bring back.
    rollback_to: Option<Text<Digest>>,
    /// Newest first.
    generations: Vec<RecordWire<'a>>,
}

#[derive(Serialize)]
struct RecordWire<'a> {
    number: u64,
    digest: Text<Digest>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest_digest: Option<Text<Digest>>,
    version: &'a str,
    /// `file`, `upload` or `rollback`.
    cause: &'static str,
    /// The number of the generation that it brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    restores: Option<u64>,
    live_at: Rfc3339,
    /// Absent while it is live.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Rfc3339>,
    /// `replaced`, `rolled-back` or `removed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<&'static str>,
    /// Its files are kept.
    kept: bool,
    /// Attempts still run on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    draining: Option<DrainingWire>,
}

impl<'a> RecordWire<'a> {
    fn new(record: &'a Record, history: &History) -> Self {
        let ended = record.ended;
        let drains = |old: &&crate::plugin::Draining| {
            old.digest == record.digest && ended.is_some_and(|ended| ended.at == old.since)
        };
        Self {
            number: record.number,
            digest: Text(record.digest),
            manifest_digest: record.manifest.map(Text),
            version: &record.version,
            cause: record.cause.name(),
            restores: record.restores,
            live_at: Rfc3339(record.live_at),
            ended_at: ended.map(|ended| Rfc3339(ended.at)),
            end: ended.map(|ended| ended.why.name()),
            kept: record.kept,
            draining: history.draining.iter().find(drains).map(Into::into),
        }
    }
}

/// `GET /v1/plugins/{name}/history`.
pub(super) async fn read(State(state): Shared, PluginName(name): PluginName) -> Result<Response, Problem> {
    let history = state.control.history(&name).ok_or_else(|| {
        Problem::not_found("plugin-not-found", format!("nothing is known of a plugin {:?}", echo(&name)))
    })?;
    let generations = history.records.iter().rev().map(|record| RecordWire::new(record, &history)).collect();
    let rollback_to = history.rollback_to.map(Text);
    Ok(Json(HistoryWire { name: &name, rollback_to, generations }).into_response())
}
