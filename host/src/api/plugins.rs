//! `/v1/plugins`: what is live, what is wrong with what is not, what was live before, and changes of that.

mod change;
mod history;
mod upload;
mod wire;

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};

pub use self::change::PluginControl;
use self::wire::{PluginList, PluginWire};
use super::problem::{Problem, echo};
use super::{AppState, Shared};

/// The routes of plugins.
pub fn routes() -> Router<Arc<AppState>> {
    Router::new()
        .route("/v1/plugins", get(list))
        .route("/v1/plugins/{name}", get(read).put(change::put).delete(change::remove))
        .route("/v1/plugins/{name}/manifest", put(change::put_manifest))
        .route("/v1/plugins/{name}/rollback", post(change::roll_back))
        .route("/v1/plugins/{name}/history", get(history::read))
}

/// `GET /v1/plugins`: every file in the plugins folder, what is live of it and what is wrong with it.
async fn list(State(state): Shared) -> Response {
    let plugins = state.plugins.list().await;
    Json(PluginList { plugins: plugins.iter().map(|plugin| PluginWire::new(plugin, &*state.plugins)).collect() })
        .into_response()
}

/// `GET /v1/plugins/{name}`: one of them, with every limit and grant that holds and where it comes from.
async fn read(State(state): Shared, Path(name): Path<String>) -> Result<Response, Problem> {
    let plugins = state.plugins.list().await;
    let plugin = plugins.iter().find(|plugin| plugin.name == name).ok_or_else(|| {
        Problem::not_found("plugin-not-found", format!("there is no plugin {:?} in the plugins folder", echo(&name)))
    })?;
    let wire = Json(PluginWire::new(plugin, &*state.plugins).with_effective(plugin));
    Ok(match &plugin.live {
        Some(live) => ([(header::ETAG, format!("\"{}\"", live.digest))], wire).into_response(),
        None => wire.into_response(),
    })
}
