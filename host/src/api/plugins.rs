//! `/v1/plugins`: what is live, and what is wrong with what is not.

mod wire;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};

use self::wire::{PluginList, PluginWire};
use super::{AppState, Shared};

/// The routes of plugins.
pub fn routes() -> Router<Arc<AppState>> {
    Router::new().route("/v1/plugins", get(list))
}

/// `GET /v1/plugins`: every file in the plugins folder, what is live of it and what is wrong with it.
async fn list(State(state): Shared) -> Response {
    let plugins = state.plugins.list();
    Json(PluginList { plugins: plugins.iter().map(|plugin| PluginWire::new(plugin, &*state.plugins)).collect() })
        .into_response()
}
