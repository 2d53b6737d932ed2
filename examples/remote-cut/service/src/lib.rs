//! A small service that cuts videos: `POST /jobs`, `GET /jobs/{id}`, `GET /jobs/{id}/output`, `DELETE /jobs/{id}`.
//!
//! It takes videos from one taskhost only, and calls only that one back. Jobs are forgotten when it ends.

mod job;
mod work;

use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path as Segment, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use self::job::{Job, Jobs, Order, Refusal};

/// The largest request: an order is small.
const ORDER_BYTES: usize = 64 * 1024;

/// Serves until it is dropped; no ffmpeg outlives that.
pub async fn serve(listener: TcpListener, taskhost: &str, data: &Path) -> anyhow::Result<()> {
    tokio::fs::create_dir_all(data).await?;
    let all = CancellationToken::new();
    let _end = all.clone().drop_guard();
    let jobs = Arc::new(Jobs::new(taskhost.trim_end_matches('/').to_owned(), data.canonicalize()?, all));
    let router = Router::new()
        .route("/jobs", post(start))
        .route("/jobs/{id}", get(status).delete(stop))
        .route("/jobs/{id}/output", get(output))
        .layer(DefaultBodyLimit::max(ORDER_BYTES))
        .with_state(jobs);
    Ok(axum::serve(listener, router).await?)
}

async fn start(State(jobs): State<Arc<Jobs>>, Json(order): Json<Order>) -> Response {
    match jobs.start(order) {
        Ok(id) => (StatusCode::ACCEPTED, Json(json!({ "job": id }))).into_response(),
        Err(Refusal::Wrong(why)) => (StatusCode::BAD_REQUEST, why).into_response(),
        Err(Refusal::Full) => (StatusCode::SERVICE_UNAVAILABLE, "there are too many jobs").into_response(),
    }
}

async fn status(State(jobs): State<Arc<Jobs>>, Segment(id): Segment<String>) -> Response {
    jobs.find(&id).map_or_else(unknown, |job| Json(job.status()).into_response())
}

async fn stop(State(jobs): State<Arc<Jobs>>, Segment(id): Segment<String>) -> Response {
    let Some(job) = jobs.find(&id) else { return unknown() };
    job.stop();
    StatusCode::NO_CONTENT.into_response()
}

async fn output(State(jobs): State<Arc<Jobs>>, Segment(id): Segment<String>) -> Response {
    let Some(path) = jobs.find(&id).as_deref().and_then(Job::output) else { return unknown() };
    match tokio::fs::File::open(path).await {
        Ok(file) => ([(header::CONTENT_TYPE, "video/mp4")], Body::from_stream(ReaderStream::new(file))).into_response(),
        Err(_) => unknown(),
    }
}

fn unknown() -> Response {
    (StatusCode::NOT_FOUND, "there is no such job, or it has no output").into_response()
}
