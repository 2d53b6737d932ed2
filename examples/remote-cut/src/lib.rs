//! Executes the kind `video.remote-cut`: has another service cut a video, and brings the cut into the library.
//!
//! The service is in `service`. Where it listens is the operator's: `url` under `[config]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use taskhost_sdk::{
    Actuator, Collector, Context, Descriptor, Failure, Kind, Plugin, Report, StopMode, TaskError, config, http, library,
};

/// Bytes of the cut that are handed on at once.
const CHUNK_BYTES: u64 = 256 * 1024;
/// How often to look when the service does not call back.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(20);

/// The component has no state: this type only carries the roles.
#[derive(Debug)]
pub struct RemoteCut;

/// What to cut: a file of the library, and the seconds between which the cut lies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    media: String,
    start: f64,
    end: f64,
}

/// The service's name of the job.
#[derive(Debug, Deserialize, Serialize)]
pub struct Handle {
    job: String,
}

/// How large the cut is.
#[derive(Debug, Deserialize, Serialize)]
pub struct Found {
    bytes: u64,
}

/// The cut, in the library.
#[derive(Debug, Serialize)]
pub struct Brought {
    media: String,
    size: u64,
}

/// What the service says about a job.
#[derive(Debug, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum Status {
    Running,
    Done { bytes: u64 },
    Failed { message: String },
    Stopped,
}

impl Plugin for RemoteCut {
    fn describe() -> Descriptor {
        let kind = Kind::new("video.remote-cut", "Has a service cut a part out of a video");
        Descriptor::new("remote-cut", "1.0.0", "Steers a micro-service that cuts videos").with(kind)
    }
}

impl Actuator for RemoteCut {
    type Input = Input;
    type Handle = Handle;
    type Output = Found;

    fn start(input: Input, context: &Context) -> Result<Handle, TaskError> {
        let task = context.task();
        let callback = context.callback().map(|callback| json!({ "task": task.id, "token": callback.token }));
        let job = json!({
            // The same on every attempt: the service answers the job that it has already.
            "key": task.idempotency_key,
            "media": input.media,
            "start": input.start,
            "end": input.end,
            "callback": callback,
        });
        Ok(http::post(&url("")).timeout(PATIENCE).json(&job)?.send()?.success()?.json()?)
    }

    fn status(handle: &Handle) -> Result<Report<Found>, Failure> {
        let answer = http::get(&url(&handle.job)).timeout(PATIENCE).send().map_err(unreachable)?;
        if answer.status() == 404 {
            return Ok(Report::failed(TaskError::retry("lost", "the service does not know the job any more")));
        }
        let status = answer.success().and_then(http::Response::json).map_err(unreachable)?;
        Ok(match status {
            Status::Running => Report::running().poll_after(LOOK_EVERY),
            Status::Done { bytes } => Report::succeeded(Found { bytes }),
            Status::Failed { message } => Report::failed(TaskError::retry("not-cut", message)),
            Status::Stopped => Report::failed(TaskError::Cancelled),
        })
    }

    fn stop(handle: &Handle, _: StopMode) -> Result<(), Failure> {
        // The service knows one way: it ends ffmpeg.
        let answer = http::delete(&url(&handle.job)).timeout(PATIENCE).send().map_err(unreachable)?;
        if answer.status() == 404 {
            return Ok(());
        }
        answer.success().map(drop).map_err(unreachable)
    }
}

impl Collector for RemoteCut {
    type Found = Found;
    type Brought = Brought;

    fn collect(handle: &Handle, found: Found, _: &Context) -> Result<Brought, TaskError> {
        let mut answer = http::get(&url(&format!("{}/output", handle.job))).timeout(PATIENCE).send()?.success()?;
        let writer = library::add("cut.mp4", Some("video/mp4"))?;
        let mut size = 0;
        while let Some(bytes) = answer.chunk(CHUNK_BYTES)? {
            size += bytes.len() as u64;
            writer.write(&bytes)?;
        }
        if size != found.bytes {
            let message = format!("{size} bytes have come, not {}", found.bytes);
            return Err(TaskError::retry("short", message));
        }
        Ok(Brought { media: library::Writer::finish(writer)?, size })
    }
}

/// The service's jobs, or one of them.
fn url(job: &str) -> String {
    let base = config::get("url").unwrap_or_default();
    if job.is_empty() { format!("{base}/jobs") } else { format!("{base}/jobs/{job}") }
}

/// The look failed: that says nothing about the work.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn unreachable(error: http::Error) -> Failure {
    Failure::new("unreachable", error.to_string())
}

taskhost_sdk::export!(RemoteCut, actuator, collector);
