//! Cutting real videos with the real plugin and the real ffmpeg.

use serde_json::{Value, json};

use crate::support::binary::holding;
use crate::support::{Home, TestHost, video};

async fn cutter() -> TestHost {
    Home::new().built("video-cut").start().await
}

/// Cuts a second and a half out of the clip and gives back the whole task and the output.
async fn cut(host: &TestHost, accuracy: &str, start: Value, end: Value) -> (Value, Vec<u8>) {
    let media = host.upload("clip.mp4", video::clip()).await;
    let input = json!({ "media": media["id"], "start": start, "end": end, "accuracy": accuracy });
    let task = host.run("video.cut", &input).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    let output = host.content(task["output"]["media"].as_str().unwrap()).await;
    assert_eq!(task["output"]["size"], output.len());
    (task, output)
}

#[tokio::test]
async fn an_exact_cut_has_exactly_the_frames_that_were_asked_for() {
    let host = cutter().await;
    let (task, output) = cut(&host, "exact", json!(1.2), json!("00:00:02.700")).await;
    let probed = video::probe(&output);
    // 1.5 s at 25 frames a second; a frame more or less depends on where the limits fall.
    let frames = video::frames(&probed);
    assert!((37..=39).contains(&frames), "{frames} frames");
    assert!((video::seconds(&probed) - 1.5).abs() < 0.12, "{probed:#}");
    let duration = task["output"]["duration_ms"].as_f64().unwrap();
    assert!((duration - 1_500.0).abs() < 120.0, "{duration} ms");
    host.stop().await;
}

#[tokio::test]
async fn a_keyframe_cut_starts_at_or_before_and_copies_the_streams() {
    let host = cutter().await;
    let (_, output) = cut(&host, "keyframe", json!("0:02"), json!(4)).await;
    let probed = video::probe(&output);
    let seconds = video::seconds(&probed);
    assert!((2.0..=3.2).contains(&seconds), "{seconds} s from the keyframe at or before the start");
    let codecs: Vec<_> = probed["streams"].as_array().unwrap().iter().map(|stream| &stream["codec_name"]).collect();
    assert!(codecs.contains(&&json!("h264")) && codecs.contains(&&json!("aac")), "{codecs:?}");
    host.stop().await;
}

#[tokio::test]
async fn l16_progress_rises_on_the_way() {
    let host = cutter().await;
    let media = host.upload("heavy.mp4", video::heavy()).await;
    let mut events = host.events().await;
    let input = json!({ "media": media["id"], "start": 0, "end": 8, "accuracy": "exact" });
    let id = host.enqueue("video.cut", &input).await;
    let seen = events.until(|event| event.name == "task.succeeded" && event.task() == id).await;
    let reports = seen.iter().filter(|event| event.name == "task.progress" && event.task() == id);
    let percent: Vec<_> = reports.map(|event| event.data["progress"]["percent"].as_u64().unwrap()).collect();
    assert!(percent.len() >= 2, "{percent:?}");
    assert!(percent.is_sorted() && percent[0] < percent[percent.len() - 1], "{percent:?}");
    host.stop().await;
}

#[tokio::test]
async fn c6_c7_cancelling_a_cut_ends_ffmpeg_and_leaves_nothing() {
    let host = cutter().await;
    let media = host.upload("heavy.mp4", video::heavy()).await;
    let before = host.files("media").len();
    let mut events = host.events().await;
    let input = json!({ "media": media["id"], "start": 0, "end": 59, "accuracy": "exact" });
    let id = host.enqueue("video.cut", &input).await;
    events.task(&id, "task.progress").await;
    assert!(ffmpeg_is_at_work(&host));
    host.cancel(&id).await;
    assert_eq!(host.wait_task(&id).await["state"], "cancelled");
    // A process needs a moment to die; it may not be polite first.
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(5));
    let gone = async {
        while ffmpeg_is_at_work(&host) || host.files("media").len() != before {
            pace.tick().await;
        }
    };
    let gone = tokio::time::timeout(std::time::Duration::from_secs(5), gone).await;
    assert!(gone.is_ok(), "left: {:?} {:?}", holding(&host.data()), host.files("media"));
    host.stop().await;
}

#[tokio::test]
async fn i14_c16_a_cut_that_a_shutdown_interrupts_is_done_after_the_restart() {
    let home = Home::new().built("video-cut").configure(|config| config.runner.shutdown_grace_ms = 0);
    let host = home.start().await;
    let media = host.upload("heavy.mp4", video::heavy()).await;
    let mut events = host.events().await;
    let input = json!({ "media": media["id"], "start": 0, "end": 5, "accuracy": "exact" });
    let id = host.enqueue("video.cut", &input).await;
    events.task(&id, "task.started").await;
    let data = host.data();
    let home = host.stop().await;
    assert_eq!(holding(&data), [] as [String; 0], "a host that has stopped leaves no process behind");
    let host = home.start().await;
    let task = host.wait_task(&id).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    assert_eq!((&task["failures"], &task["crashes"]), (&json!(0), &json!(0)), "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn a_start_that_is_not_before_the_end_is_refused() {
    let host = cutter().await;
    let media = host.upload("clip.mp4", video::clip()).await;
    for (start, end) in [(json!(2), json!(2)), (json!(3), json!("00:01")), (json!("00:00:05.5"), json!(5.4))] {
        let task = refused(&host, &media, &start, &end).await;
        assert_eq!(task["error"]["code"], "empty-range", "{task:#}");
        assert!(task["error"]["message"].as_str().unwrap().contains("start"), "{task:#}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_range_beyond_the_end_is_refused_with_the_length() {
    let host = cutter().await;
    let media = host.upload("clip.mp4", video::clip()).await;
    let task = refused(&host, &media, &json!(100), &json!(101)).await;
    assert!(!task["error"]["message"].as_str().unwrap().is_empty(), "{task:#}");
    assert_eq!(super::support::attempts(&task).len(), 1, "trying again would not help");
    host.stop().await;
}

#[tokio::test]
async fn times_that_are_no_times_are_refused_at_the_door_or_by_the_plugin() {
    let host = cutter().await;
    let media = host.upload("clip.mp4", video::clip()).await;
    for start in [json!(-1), json!("1:2:3:4"), json!("NaN"), json!("00:99"), json!({}), json!("1e9999"), json!(1e300)] {
        refused(&host, &media, &start, &json!(5)).await;
    }
    host.stop().await;
}

#[tokio::test]
async fn a_name_that_is_a_path_stays_a_name() {
    let host = cutter().await;
    let media = host.upload("clip.mp4", video::clip()).await;
    let name = "../../../../tmp/taskhost-escape.mp4";
    let input = json!({ "media": media["id"], "start": 0, "end": 1, "accuracy": "keyframe", "name": name });
    let (status, created) = host.post("/v1/tasks", &json!({ "kind": "video.cut", "input": input })).await;
    if status.is_success() {
        host.wait_task(created["id"].as_str().unwrap()).await;
    }
    assert!(!std::path::Path::new("/tmp/taskhost-escape.mp4").exists());
    host.stop().await;
}

fn ffmpeg_is_at_work(host: &TestHost) -> bool {
    holding(&host.data()).iter().any(|name| name.starts_with("ffmpeg"))
}

/// A cut that must not be done: refused at once, as if it had failed, or failed for good.
async fn refused(host: &TestHost, media: &Value, start: &Value, end: &Value) -> Value {
    let input = json!({ "media": media["id"], "start": start, "end": end, "accuracy": "exact" });
    let (status, answer) = host.post("/v1/tasks", &json!({ "kind": "video.cut", "input": input })).await;
    if !status.is_success() {
        assert_eq!(status, 422, "{answer:#}");
        return json!({ "error": answer });
    }
    let task = host.wait_task(answer["id"].as_str().unwrap()).await;
    assert_eq!(task["state"], "failed", "{start} to {end}: {task:#}");
    task
}
