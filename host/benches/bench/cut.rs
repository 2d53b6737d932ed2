//! A cut through the host against bare ffmpeg with the very arguments that the host gave it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::live::Live;
use crate::report::Report;
use crate::rig::{built, quantile, runtime};

/// Seconds of the clip that an exact cut encodes again: a job of ten seconds and more on two cores.
const EXACT_SECONDS: u32 = 24;
const CLIP_SECONDS: u32 = 25;
const ROUNDS: usize = 3;

/// Twenty-five seconds of a full-HD test pattern with sound.
fn clip(folder: &Path) -> PathBuf {
    let path = folder.join("clip.mp4");
    let pattern = format!("testsrc2=size=1920x1080:rate=30:duration={CLIP_SECONDS}");
    let tone = format!("sine=frequency=440:duration={CLIP_SECONDS}");
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y", "-f", "lavfi", "-i", &pattern, "-f", "lavfi", "-i", &tone])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-pix_fmt", "yuv420p", "-c:a", "aac"])
        .arg(&path)
        .status()
        .expect("ffmpeg is installed (apt-get install ffmpeg)");
    assert!(status.success());
    path
}

/// The command line of an ffmpeg that this process has started and that runs now.
fn spied() -> Option<Vec<String>> {
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc").unwrap().filter_map(Result::ok).find_map(|process| {
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        if !name.ends_with("(ffmpeg") || rest.split_whitespace().nth(1)? != own {
            return None;
        }
        let line = std::fs::read(process.path().join("cmdline")).ok()?;
        let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        // Right after its start the process still has the helper's command line.
        words.first()?.ends_with("ffmpeg").then_some(words)
    })
}

/// The time of a cut through the host, and the command line that it ran.
async fn through_host(live: &Live, media: &str, accuracy: &str) -> (Duration, Option<Vec<String>>) {
    let input = json!({ "media": media, "start": 0, "end": EXACT_SECONDS, "accuracy": accuracy });
    let begin = Instant::now();
    let id = live.enqueue("video.cut", &input).await;
    let mut pace = tokio::time::interval(Duration::from_millis(2));
    let mut command = None;
    let ended = live.wait(&id);
    tokio::pin!(ended);
    let task = loop {
        tokio::select! {
            biased;
            task = &mut ended => break task,
            _ = pace.tick(), if command.is_none() => command = spied(),
        }
    };
    let took = begin.elapsed();
    assert_eq!(task["state"], "succeeded", "{task:#}");
    (took, command)
}

/// The same command with the same file, its output elsewhere.
fn bare(command: &[String], clip: &Path, folder: &Path) -> Duration {
    let (program, rest) = command.split_first().unwrap();
    let (_, arguments) = rest.split_last().unwrap();
    let begin = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .arg(folder.join("bare.mp4"))
        .stdin(Stdio::from(File::open(clip).unwrap()))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    begin.elapsed()
}

async fn compare(report: &mut Report, live: &Live, accuracy: &str) {
    let clip = clip(live.scratch());
    let bytes = std::fs::read(&clip).unwrap();
    let upload = live.client.post(format!("{}/v1/media?name=clip.mp4", live.base)).header("content-type", "video/mp4");
    let media: serde_json::Value = upload.body(bytes).send().await.unwrap().json().await.unwrap();
    let media = media["id"].as_str().unwrap();
    let (mut hosts, mut bares, mut command) = (Vec::new(), Vec::new(), None);
    for _ in 0..ROUNDS {
        let (took, seen) = through_host(live, media, accuracy).await;
        hosts.push(took);
        command = command.or(seen);
        let command = command.as_deref().expect("ffmpeg was seen at work");
        bares.push(bare(command, &clip, live.scratch()));
    }
    let (host, bare) = (quantile(&mut hosts, 0.5), quantile(&mut bares, 0.5));
    report.add("cut", &format!("{accuracy}_bare"), bare.as_secs_f64(), "s", None);
    let ratio = host.as_secs_f64() / bare.as_secs_f64();
    report.add("cut", accuracy, host.as_secs_f64(), "s", Some((ratio, "bare ffmpeg")));
}

/// An exact cut, which the bar is about, and a keyframe cut, which is over before one looks.
pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        let (component, manifest) = built("video-cut");
        let live = Live::start(&[("video-cut", component, manifest)]).await;
        compare(report, &live, "exact").await;
        compare(report, &live, "keyframe").await;
        live.stop().await;
    });
}
