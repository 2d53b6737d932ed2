//! What a job does: fetches the video, has ffmpeg cut it, calls back.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::job::{Job, Status};

/// The largest video.
const MAX_SOURCE_BYTES: u64 = 2 << 30;
const CHUNK_BYTES: usize = 64 * 1024;
/// The longest that a fetch, or a cut, may take.
const MAX_TIME: Duration = Duration::from_hours(1);
const CALL_TIME: Duration = Duration::from_secs(10);
/// Bytes of ffmpeg's complaints that are told.
const SHOWN_BYTES: usize = 500;

/// Does the job, and tells the taskhost when it has ended.
pub(crate) async fn run(job: Arc<Job>, taskhost: Arc<str>, at_work: Arc<Semaphore>) {
    let done = tokio::select! {
        done = cut_in_turn(&job, &taskhost, &at_work) => Some(done),
        // What runs is dropped, and ffmpeg killed.
        () = job.stopped.cancelled() => None,
    };
    let status = match done {
        Some(Ok(bytes)) => Status::Done { bytes },
        Some(Err(error)) => Status::Failed { message: format!("{error:#}") },
        None => Status::Stopped,
    };
    if !matches!(status, Status::Done { .. }) {
        job.remove_files();
    }
    tracing::info!(key = job.order.key, ?status, "ended");
    job.end(status);
    let called = tokio::task::spawn_blocking(move || call_back(&job, &taskhost)).await;
    if let Ok(Err(error)) = called {
        // The host looks by itself, later.
        tracing::warn!("the callback failed: {error:#}");
    }
}

async fn cut_in_turn(job: &Arc<Job>, taskhost: &str, at_work: &Semaphore) -> Result<u64> {
    let _turn = at_work.acquire().await?;
    let url = format!("{taskhost}/v1/media/{}/content", job.order.media);
    let fetched = Arc::clone(job);
    tokio::task::spawn_blocking(move || fetch(&url, &fetched.source, &fetched.stopped)).await??;
    let cut = tokio::time::timeout(MAX_TIME, cut(job)).await;
    cut.context("ffmpeg took too long")??;
    // Only the cut is kept.
    let _ = tokio::fs::remove_file(&job.source).await;
    Ok(tokio::fs::metadata(&job.target).await?.len())
}

fn agent(time: Duration) -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(time)).max_redirects(0).build().into()
}

fn fetch(url: &str, to: &Path, stopped: &CancellationToken) -> Result<()> {
    let answer = agent(MAX_TIME).get(url).call().with_context(|| format!("cannot fetch {url}"))?;
    let mut body = answer.into_body().into_reader();
    let mut file = File::create(to)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = MAX_SOURCE_BYTES;
    loop {
        ensure!(!stopped.is_cancelled(), "stopped");
        let read = body.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        left = left.checked_sub(read as u64).context("the video is too large")?;
        file.write_all(&chunk[..read])?;
    }
}

async fn cut(job: &Job) -> Result<()> {
    let length = job.order.end - job.order.start;
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"])
        // Nothing that names other files, such as a playlist.
        .args(["-protocol_whitelist", "file", "-format_whitelist", "mov,matroska"])
        .args(["-ss", &job.order.start.to_string(), "-i"])
        .arg(&job.source)
        .args(["-t", &length.to_string(), "-c:v", "libx264", "-c:a", "aac", "-movflags", "+faststart"])
        .args(["-f", "mp4"])
        .arg(&job.target)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .context("cannot run ffmpeg")?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr[..output.stderr.len().min(SHOWN_BYTES)]).into_owned();
        bail!("ffmpeg failed: {}", told.trim());
    }
    Ok(())
}

fn call_back(job: &Job, taskhost: &str) -> Result<()> {
    let Some(callback) = &job.order.callback else { return Ok(()) };
    let url = format!("{taskhost}/v1/tasks/{}/callback", callback.task);
    agent(CALL_TIME).post(&url).header("authorization", format!("Bearer {}", callback.token)).send_empty()?;
    Ok(())
}
