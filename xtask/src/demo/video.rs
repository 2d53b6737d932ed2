//! Making, uploading, cutting and measuring a video.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Stage, note, step};
use crate::shell::{output, run};

/// Length of the video that is made, in seconds.
const LENGTH_S: u32 = 8;

/// A file of the library, and what it holds.
pub(super) struct Media {
    pub(super) id: String,
    pub(super) bytes: Vec<u8>,
}

/// A cut of two seconds.
pub(super) struct Cut {
    accuracy: &'static str,
    start: &'static str,
    end: &'static str,
    /// How far from two seconds the result's length may be.
    tolerance_s: f64,
}

impl Cut {
    /// On a keyframe, of which the video has one a second. Copied streams end where their packets do, not to the frame.
    pub(super) const KEYFRAME: Self = Self { accuracy: "keyframe", start: "00:03", end: "00:05", tolerance_s: 0.5 };
    /// Between keyframes.
    pub(super) const EXACT: Self = Self { accuracy: "exact", start: "00:03.400", end: "00:05.400", tolerance_s: 0.1 };
}

/// Makes a video and uploads it; answers its id.
pub(super) fn upload(stage: &Stage) -> Result<String> {
    step("Making a video and uploading it");
    let file = stage.dir.join("demo.mp4");
    make(&file)?;
    let media = stage.client.upload("/v1/media?name=demo.mp4", &file, "video/mp4")?.json()?;
    let id = text(&media, "/id")?;
    let size = std::fs::metadata(&file)?.len();
    note(&format!("{LENGTH_S} s of test pattern with sound, {size} bytes, is in the library as {id}"));
    Ok(id)
}

fn make(file: &Path) -> Result<()> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"]);
    ffmpeg.args(["-f", "lavfi", "-i", &format!("testsrc2=size=640x360:rate=25:duration={LENGTH_S}")]);
    ffmpeg.args(["-f", "lavfi", "-i", &format!("sine=frequency=440:sample_rate=48000:duration={LENGTH_S}")]);
    ffmpeg.args(["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-g", "25", "-keyint_min", "25"]);
    ffmpeg.args(["-sc_threshold", "0", "-c:a", "aac", "-shortest", "-movflags", "+faststart"]).arg(file);
    run(&mut ffmpeg)
}

/// Cuts two seconds out of `original`, follows the progress, and measures the result.
pub(super) fn cut(stage: &Stage, original: &str, cut: &Cut) -> Result<Media> {
    step(&format!("Cutting two seconds out of it ({} to {}, {})", cut.start, cut.end, cut.accuracy));
    let name = format!("{}.mp4", cut.accuracy);
    let input = json!({
        "media": original, "start": cut.start, "end": cut.end, "accuracy": cut.accuracy, "name": name,
    });
    let id = create(stage, "video.cut", &input)?;
    follow(stage, &id)?;
    let output = finished(stage, &id)?;
    let media = text(&output, "/output/media")?;
    let bytes = stage.client.get(&format!("/v1/media/{media}/content"), &[])?;
    if !bytes.status.is_success() {
        bail!("the result cannot be read: {}", bytes.status);
    }
    let file = stage.dir.join(&name);
    std::fs::write(&file, &bytes.body)?;
    measure(&file, cut)?;
    let size = output.pointer("/output/size").and_then(Value::as_u64);
    if size != Some(u64::try_from(bytes.body.len())?) {
        bail!("the task says that the result has {size:?} bytes, it has {}", bytes.body.len());
    }
    Ok(Media { id: media, bytes: bytes.body })
}

/// Creates a task and answers its id.
pub(super) fn create(stage: &Stage, kind: &str, input: &Value) -> Result<String> {
    let task = stage.client.post("/v1/tasks", Some(&json!({ "kind": kind, "input": input })))?.json()?;
    text(&task, "/id")
}

/// Shows a task's events until it ends.
fn follow(stage: &Stage, task: &str) -> Result<()> {
    stage.events.find("the task to end", |event| {
        if event.pointer("/task").and_then(Value::as_str) != Some(task) {
            return None;
        }
        match event.pointer("/type").and_then(Value::as_str)? {
            "task.progress" => {
                let percent = event.pointer("/progress/percent").or(event.pointer("/progress/done"));
                note(&format!("{} %", percent.unwrap_or(&Value::Null)));
                None
            }
            "task.succeeded" | "task.failed" | "task.cancelled" => Some(()),
            _ => None,
        }
    })
}

/// Waits for a task to end, and answers it if it succeeded.
pub(super) fn finished(stage: &Stage, id: &str) -> Result<Value> {
    for _ in 0..4 {
        let task = stage.client.get(&format!("/v1/tasks/{id}"), &[("prefer", "wait=30")])?.json()?;
        match text(&task, "/state")?.as_str() {
            "succeeded" => return Ok(task),
            "failed" | "cancelled" => bail!("task {id} did not succeed: {task}"),
            _ => {}
        }
    }
    bail!("task {id} did not end within two minutes")
}

/// Compares what ffprobe says with what was asked for.
fn measure(file: &Path, cut: &Cut) -> Result<()> {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-of", "json", "-show_entries", "format=duration:stream=codec_type"]).arg(file);
    let found: Value = serde_json::from_str(&output(&mut ffprobe)?).context("ffprobe did not answer JSON")?;
    let duration: f64 = text(&found, "/format/duration")?.parse()?;
    let streams = found.pointer("/streams").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for wanted in ["video", "audio"] {
        if !streams.iter().any(|stream| stream["codec_type"] == wanted) {
            bail!("the result has no {wanted} stream: {found}");
        }
    }
    if (duration - 2.0).abs() > cut.tolerance_s {
        bail!("the result is {duration} s long, not 2 s give or take {} s", cut.tolerance_s);
    }
    note(&format!("ffprobe: {duration:.3} s, with pictures and sound"));
    Ok(())
}

/// The text at a JSON Pointer.
pub(super) fn text(json: &Value, pointer: &str) -> Result<String> {
    let found = json.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    found.with_context(|| format!("the host's answer has no text at {pointer}: {json}"))
}
