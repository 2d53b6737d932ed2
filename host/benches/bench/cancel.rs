//! How soon a guest is stopped, whatever it does: from the request over HTTP to the durable end.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::live::Live;
use crate::report::Report;
use crate::responsiveness::running;
use crate::rig::{built, fixture, hostile, millis, quantile, runtime};

const SAMPLES: usize = 200;
/// Of those in ffmpeg, each of which decodes a second or two before it is stopped.
const CUTS: usize = 50;
/// So much time that only a cancel ends a guest.
const MANIFEST: &str = "[limits]\ncpu = \"1h\"\nwall = \"1h\"\n";

/// What a guest does when it is cancelled, and the kind that does it: computes, sleeps and listens, waits in WASI where it
/// hears nothing, and listens but begins to wait again.
const STATES: [(&str, &str); 4] = [
    ("spinning", "spin"),
    ("sleeping", "wait"),
    ("blocked_in_wasi", "blocks-for-ever"),
    ("sleeping_again", "sleeps-after-cancel"),
];

async fn cancelled(live: &Live, id: &str) -> Duration {
    let begin = Instant::now();
    live.post(&format!("/v1/tasks/{id}/cancel"), &Value::Null).await;
    let task = live.wait(id).await;
    let took = begin.elapsed();
    assert_eq!(task["state"], "cancelled", "{task:#}");
    took
}

fn told(report: &mut Report, state: &str, samples: &mut [Duration]) {
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
        report.add("cancel", &format!("{state}_{name}"), millis(quantile(samples, share)), "ms", None);
    }
}

/// A minute of a test pattern, whose exact cut takes much longer than anybody waits here.
async fn clip(live: &Live) -> String {
    let path = live.scratch().join("clip.mp4");
    let status = Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-loglevel",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=1280x720:rate=30:duration=60",
        ])
        .args(["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"])
        .arg(&path)
        .status()
        .expect("ffmpeg is installed (apt-get install ffmpeg)");
    assert!(status.success());
    let upload = live.client.post(format!("{}/v1/media?name=clip.mp4", live.base)).header("content-type", "video/mp4");
    let media: Value = upload.body(std::fs::read(&path).unwrap()).send().await.unwrap().json().await.unwrap();
    media["id"].as_str().unwrap().to_owned()
}

/// Cancels cuts once ffmpeg works: it has reported progress by then.
async fn in_ffmpeg(live: &Live) -> Vec<Duration> {
    let media = clip(live).await;
    let mut samples = Vec::new();
    for _ in 0..CUTS {
        let mut events = live.host.store().subscribe();
        let input = json!({ "media": media, "start": 0, "end": 59, "accuracy": "exact" });
        let id = live.enqueue("video.cut", &input).await;
        while live.host.store().task(id.parse().unwrap()).await.unwrap().unwrap().status.progress.is_none() {
            // Missed events are as good a reason to look again.
            let _ = events.recv().await;
        }
        samples.push(cancelled(live, &id).await);
    }
    samples
}

/// Everything over HTTP, as clients see it.
pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        let text = |kind: &'static str| if ["spin", "wait"].contains(&kind) { fixture(kind) } else { hostile(kind) };
        let mut plugins: Vec<_> = STATES.iter().map(|(_, kind)| (*kind, text(kind), MANIFEST.to_owned())).collect();
        let (component, manifest) = built("video-cut");
        plugins.push(("video-cut", component, manifest));
        let live = Live::start(&plugins).await;
        for (state, kind) in STATES {
            let mut samples = Vec::new();
            for _ in 0..SAMPLES {
                let id = live.enqueue(kind, &json!({})).await;
                running(&live, 1).await;
                samples.push(cancelled(&live, &id).await);
            }
            told(report, state, &mut samples);
        }
        told(report, "in_ffmpeg", &mut in_ffmpeg(&live).await);
        live.stop().await;
    });
}
