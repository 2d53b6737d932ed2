//! What a manifest grants, and how much of it, with a real guest that asks for more.

use serde_json::{Value, json};
use taskhost::config::Config;
use taskhost::ffmpeg::Container;
use taskhost::ffmpeg::preset::{Declaration, Speed};

use crate::support::events::Events;
use crate::support::folder::tester;
use crate::support::{Home, TestHost, attempts, list, video};

/// A host whose plugin `borrower` is granted this of `ffmpeg` and of `queue`.
fn granting(ffmpeg: &str, queue: &str) -> Home {
    let home = Home::new();
    let manifest = format!("[grant]\nffmpeg = {ffmpeg}\nqueue = {queue}\n");
    home.plugins().put("borrower", &tester("borrower"), Some(&manifest));
    home.configure(presets)
}

/// Presets `web`, which makes pictures of 64 pixels at most, and `large`.
fn presets(config: &mut Config) {
    for (name, max_width) in [("web", Some(64)), ("large", None)] {
        let (container, speed) = (Some(Container::Mp4), Some(Speed::Fast));
        let preset = Declaration { container, speed, max_width, ..Declaration::default() };
        config.ffmpeg.presets.insert(name.to_owned(), preset.check().unwrap());
    }
}

/// Runs a task that must fail at its first attempt, for good, and answers the code and the message of its error.
async fn refused(host: &TestHost, input: &Value) -> (String, String) {
    let task = host.run("borrow.ffmpeg", input).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("failed"), 1), "{input}: {task:#}");
    let text = |key: &str| task["error"][key].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

/// Everything that can be asked of ffmpeg about a file, by the name of the operation.
fn operations(media: &Value) -> [(&'static str, Value); 6] {
    [
        ("probe", json!({ "media": media })),
        ("cut", json!({ "media": media, "end_ms": 5_000 })),
        ("transcode", json!({ "media": media, "preset": "large" })),
        ("concat", json!({ "media": [media, media] })),
        ("extract-audio", json!({ "media": media })),
        ("thumbnail", json!({ "media": media })),
    ]
    .map(|(name, mut input)| {
        input["operation"] = name.into();
        (name, input)
    })
}

#[tokio::test]
async fn an_operation_of_ffmpeg_or_a_preset_that_is_not_granted_is_denied_with_the_line_that_would() {
    let host = granting("{ operations = [\"probe\", \"transcode\"], presets = [\"web\"] }", "true").start().await;
    let media = host.upload("clip.mp4", video::clip()).await["id"].clone();
    for (name, input) in operations(&media) {
        if name == "probe" {
            let task = host.run("borrow.ffmpeg", &input).await;
            assert_eq!(task["output"]["size"], video::clip().len(), "{task:#}");
            continue;
        }
        // Transcoding is granted, this preset is not.
        let line = if name == "transcode" {
            "the preset \"large\": add it to `presets` of `ffmpeg` under [grant] in plugins/borrower.toml".to_owned()
        } else {
            format!("{name}: add {name:?} to `operations` of `ffmpeg` under [grant] in plugins/borrower.toml")
        };
        let (code, message) = refused(&host, &input).await;
        assert!(code == "denied" && message.ends_with(&line), "{code}: {message}");
    }
    assert_eq!(list(&host.get("/v1/media").await).len(), 1);

    let input = json!({ "operation": "transcode", "media": media, "preset": "web" });
    let task = host.run("borrow.ffmpeg", &input).await;
    let made = host.content(task["output"]["media"].as_str().unwrap_or_else(|| panic!("{task:#}"))).await;
    let streams = video::probe(&made)["streams"].clone();
    let widths: Vec<_> = streams.as_array().unwrap().iter().filter_map(|stream| stream["width"].as_u64()).collect();
    assert_eq!(widths, [64], "{streams:#}");
    host.stop().await;
}

#[tokio::test]
async fn what_ffmpeg_makes_is_stopped_at_max_output_and_leaves_nothing() {
    let host = granting("{ max_output = \"4KiB\" }", "true").start().await;
    let media = host.upload("clip.mp4", video::clip()).await["id"].clone();
    let before = host.files("media");
    for (name, input) in operations(&media).into_iter().skip(1) {
        let (code, message) = refused(&host, &input).await;
        let line = "`max_output` of `ffmpeg` under [grant] in plugins/borrower.toml raises that";
        assert!(code == "limit" && message.contains("larger than the 4096 bytes"), "{name}: {code}: {message}");
        assert!(message.ends_with(line), "{name}: {message}");
        assert_eq!(host.files("media"), before, "{name} leaves a file");
    }
    assert_eq!(list(&host.get("/v1/media").await).len(), 1);
    host.stop().await;

    // The host's own bound holds, too.
    let home = granting("{ max_output = \"64KiB\" }", "true");
    let host = home.configure(|config| config.ffmpeg.max_output_bytes = 4096).start().await;
    let media = host.upload("clip.mp4", video::clip()).await["id"].clone();
    let (_, message) = refused(&host, &operations(&media)[1].1).await;
    assert!(message.ends_with("`max_output` under [ffmpeg] in the host's configuration raises that"), "{message}");
    host.stop().await;
}

/// Creates a task, and waits until it has begun.
async fn begun(host: &TestHost, events: &mut Events, input: &Value) -> String {
    let id = host.enqueue("borrow.ffmpeg", input).await;
    events.task(&id, "task.started").await;
    id
}

#[tokio::test]
async fn of_a_plugin_with_one_job_the_second_waits_for_the_first_and_nobody_elses_does() {
    let home = granting("{ jobs = 1 }", "true").built("video-cut").configure(|config| config.ffmpeg.jobs = 8);
    let host = home.start().await;
    let clip = host.upload("clip.mp4", video::clip()).await["id"].clone();
    let heavy = host.upload("heavy.mp4", video::heavy()).await["id"].clone();
    let mut events = host.events().await;
    let long = json!({ "operation": "cut", "media": heavy, "end_ms": 59_000 });
    let first = begun(&host, &mut events, &long).await;
    events.task(&first, "task.progress").await;
    let short = json!({ "operation": "probe", "media": clip });
    let second = begun(&host, &mut events, &short).await;
    let third = begun(&host, &mut events, &short).await;

    // Another plugin's job, which takes longer than a look, comes and goes meanwhile.
    let other = json!({ "media": clip, "start": 0, "end": 1, "accuracy": "exact" });
    let other = host.run("video.cut", &other).await;
    assert_eq!(other["state"], "succeeded", "{other:#}");
    for id in [&first, &second, &third] {
        assert_eq!(host.task(id).await["state"], "running");
    }
    // One that waits can be cancelled, and keeps no place.
    host.cancel(&third).await;
    assert_eq!(host.wait_task(&third).await["state"], "cancelled");
    host.cancel(&first).await;
    assert_eq!(host.wait_task(&first).await["state"], "cancelled");
    let task = host.wait_task(&second).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("succeeded"), 1), "{task:#}");
    host.stop().await;
}

/// The numbers of the tasks that a plugin has created, in order.
async fn created(host: &TestHost) -> Vec<u64> {
    let page = host.get("/v1/tasks?kind=borrow.nothing&limit=100").await;
    let mut numbers = Vec::new();
    for task in list(&page) {
        let task = host.task(task["id"].as_str().unwrap()).await;
        numbers.push(task["input"]["number"].as_u64().unwrap());
    }
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn tasks_beyond_the_rate_are_told_how_long_to_wait_and_none_is_lost() {
    let host = granting("true", "{ per_second = 0.5, burst = 2 }").start().await;
    let task = host.run("borrow.queue", &json!({ "tasks": 4, "at_once": 1, "patient": true })).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("succeeded"), 1), "{task:#}");
    let waits: Vec<_> = task["output"]["waits"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
    assert!(!waits.is_empty() && waits.iter().all(|wait| (1..=2_000).contains(wait)), "{waits:?}");
    assert_eq!(created(&host).await, [0, 1, 2, 3]);
    // What no waiting would help is said at once.
    let task = host.run("borrow.queue", &json!({ "tasks": 3, "at_once": 3 })).await;
    assert_eq!((&task["error"]["code"], attempts(&task).len()), (&json!("quota-exceeded"), 1), "{task:#}");
    assert!(task["error"]["message"].as_str().unwrap().contains("`burst`"), "{task:#}");
    host.stop().await;
}

#[tokio::test]
async fn an_attempt_that_fails_beyond_the_rate_is_tried_again_when_there_is_room() {
    // One in a thousand seconds.
    let host = granting("true", "{ per_second = 0.001, burst = 2 }").start().await;
    let mut events = host.events().await;
    let id = host.enqueue("borrow.queue", &json!({ "tasks": 3, "at_once": 1 })).await;
    events.until(|event| event.name.starts_with("task.retr") && event.task() == id).await;
    let task = host.task(&id).await;
    let error = &attempts(&task)[0]["error"];
    assert_eq!((&task["state"], &error["code"]), (&json!("queued"), &json!("rate-exceeded")), "{task:#}");
    assert!(error["message"].as_str().unwrap().contains("`per_second`"), "{task:#}");
    let at = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let wait = at(&task["due_at"]).duration_since(at(&attempts(&task)[0]["ended_at"]));
    assert!((900..=1_000).contains(&wait.as_secs()), "{task:#}");
    // It failed, so its outbox is not.
    assert_eq!(created(&host).await, [] as [u64; 0]);
    host.stop().await;
}
