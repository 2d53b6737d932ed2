//! The video site's scheduler: runner, dispatcher, executor, delayed deletion.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use taskhost::config::Config;
use taskhost::host::Host;
use taskhost::schedule::{Overlap, ScheduleSpec};
use tokio::time::timeout;

use super::{count_home, dispatch, echo_host, failing, instant, schedule_until};
use crate::support::binary::Place;
use crate::support::folder::variant;
use crate::support::{Home, TestHost, answer, attempts, list};

/// Trashes this many files at once; answers their ids.
async fn trashed(host: &TestHost, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let media = host.upload(&format!("{number}.bin"), "some bytes").await;
        let id = media["id"].as_str().unwrap().to_owned();
        let (status, _) = answer(host.request(Method::DELETE, &format!("/v1/media/{id}?grace=0"))).await;
        assert!(status.is_success(), "{status}");
        ids.push(id);
    }
    ids
}

/// A host whose executor is busy, and `video-clear` that finds what was trashed again and again.
async fn clearing_host(home: Home) -> TestHost {
    let every = ScheduleSpec::every("clear", 100, dispatch("video-clear", 2, 100));
    let clear = ScheduleSpec { overlap: Overlap::Allow, ..every };
    home.built("video-clear").configure(|config| config.schedules = vec![clear]).start().await
}

#[tokio::test]
async fn v1_what_waits_already_is_dispatched_again_but_not_twice() {
    let home = Home::new().built("echo").configure(|config| config.runner.concurrency = 1);
    let host = clearing_host(home).await;
    let mut events = host.events_of("?kind=echo", None).await;
    let blocker = host.enqueue("echo", &json!({ "sleep_ms": 600_000 })).await;
    events.task(&blocker, "task.started").await;
    let doomed = trashed(&host, 5).await;
    let seen = schedule_until(&host, "clear", |clear| clear["fired"].as_u64() >= Some(1)).await;
    // Three more passes find the same files while the first tasks wait.
    let fired = seen["fired"].as_u64().unwrap();
    schedule_until(&host, "clear", |clear| clear["fired"].as_u64() > Some(fired + 3)).await;
    host.cancel(&blocker).await;
    let mut cleared = HashSet::new();
    for task in list(&host.get("/v1/tasks?kind=video.clear&limit=100").await) {
        let task = host.wait_task(task["id"].as_str().unwrap()).await;
        assert_eq!((&task["state"], attempts(&task).len()), (&json!("succeeded"), 1), "{task:#}");
        assert!(cleared.insert(task["input"]["media"].as_str().unwrap().to_owned()), "twice: {task:#}");
    }
    assert_eq!(cleared, doomed.into_iter().collect());
    host.stop().await;
}

#[tokio::test]
async fn v2_the_error_of_every_attempt_is_kept_however_many_fail_at_once() {
    let host = echo_host(8).await;
    let mut events = host.events().await;
    let ids = super::create_all(&host, &vec![failing("retry", 3); 40]).await;
    for id in &ids {
        let task = host.wait_task(id).await;
        let ends: Vec<_> = attempts(&task).iter().map(|one| (&one["outcome"], &one["error"])).collect();
        let error = json!({ "code": "asked-to", "message": "the input asked for a failure" });
        assert_eq!(ends, vec![(&json!("failed"), &error); 3], "{task:#}");
        assert_eq!(task["error"], error);
    }
    let mut failed = HashSet::new();
    while failed.len() < ids.len() {
        let event = events.next().await.unwrap();
        if event.name == "task.failed" {
            assert_eq!(event.data["error"]["code"], "asked-to", "{event:?}");
            failed.insert(event.task().to_owned());
        }
    }
    host.stop().await;
}

#[tokio::test]
async fn v3_what_fails_is_tried_at_the_pace_of_its_backoff_whatever_ticks() {
    const BASE_MS: i64 = 150;
    let host = count_home(ScheduleSpec::every("count", 100, dispatch("count", 5, 100))).built("echo").start().await;
    let mut task = failing("retry", 4);
    task["backoff"] = json!({ "kind": "exponential", "jitter": "none", "base_ms": BASE_MS, "cap_ms": 10_000 });
    let id = host.create(&task).await;
    let task = host.wait_task(&id).await;
    let times: Vec<_> =
        attempts(&task).iter().map(|one| (instant(&one["started_at"]), instant(&one["ended_at"]))).collect();
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1].0 - pair[0].1).collect();
    assert_eq!(pauses.len(), 3, "{task:#}");
    for (at, pause) in pauses.iter().enumerate() {
        assert!(*pause >= BASE_MS << at, "{pauses:?}");
    }
    // It has ended: nobody picks it up again, however often the schedule fires.
    let count = host.get("/v1/schedules/count").await["fired"].as_u64().unwrap();
    schedule_until(&host, "count", |schedule| schedule["fired"].as_u64() > Some(count + 3)).await;
    assert_eq!(host.task(&id).await, task);
    host.stop().await;
}

#[tokio::test]
async fn v5_a_tick_during_a_pass_starts_no_second_one() {
    let home = count_home(ScheduleSpec::every("count", 100, dispatch("count", 1, 1)));
    let host = home.built("echo").configure(|config| config.runner.concurrency = 1).start().await;
    let mut events = host.events().await;
    let blocker = host.create(&json!({ "kind": "echo", "input": { "sleep_ms": 600_000 }, "priority": 9 })).await;
    events.task(&blocker, "task.started").await;
    // The pass waits for room now, and ticks go by.
    let waiting = schedule_until(&host, "count", |count| count["overlapped"].as_u64() >= Some(4)).await;
    let fired = waiting["fired"].clone();
    schedule_until(&host, "count", |count| count["overlapped"].as_u64() >= Some(8)).await;
    assert_eq!(host.get("/v1/schedules/count").await["fired"], fired, "one pass at a time");
    assert_eq!(list(&host.get("/v1/tasks?kind=ok&state=queued").await).len(), 1, "one loop, one task");
    host.cancel(&blocker).await;
    schedule_until(&host, "count", |count| count["fired"].as_u64() > fired.as_u64()).await;
    let tasks = host.get("/v1/tasks?kind=ok&limit=1000").await;
    let numbers: Vec<_> = list(&tasks).iter().map(|task| task["input"]["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len(), "no number twice: {numbers:?}");
    host.stop().await;
}

/// How long the threads of a process have run, or waited for a processor that others had.
fn wanted_to_run(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may end meanwhile.
    let times = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
    let nanos = times.map(|text| text.split(' ').take(2).map(|part| part.parse::<u64>().unwrap()).sum::<u64>());
    Duration::from_nanos(nanos.sum())
}

#[tokio::test]
async fn v6_l14_a_host_that_waits_does_not_spin() {
    let place = Place::with(&[]).built("echo").built("video-clear");
    let mut host = place.start().await;
    for body in [
        json!({ "kind": "echo", "delay_ms": 3_600_000 }),
        json!({ "kind": "echo", "delay_ms": 3_600_000, "deadline": (jiff::Timestamp::now() + Duration::from_hours(2)).to_string() }),
    ] {
        let answer = host.client.post(format!("{}/v1/tasks", host.base)).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
    }
    let action = json!({ "type": "dispatch", "plugin": "video-clear" });
    let schedule = json!({ "name": "far", "every_ms": 36_000_000, "action": action });
    let answer = host.client.post(format!("{}/v1/schedules", host.base)).json(&schedule).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let before = wanted_to_run(host.pid());
    host.live_for(Duration::from_secs(2)).await;
    let used = wanted_to_run(host.pid()).saturating_sub(before);
    // A loop that looks up every millisecond takes twice this, one that never sleeps five times.
    assert!(used < Duration::from_millis(400), "{used:?} of 2 s: something spins");
    host.kill().await;
}

#[tokio::test]
async fn v8_v9_a_dispatcher_that_goes_down_costs_its_pass_and_the_next_tick_comes() {
    let home = Home::new().built("echo");
    let down = variant("dispatch-too-many", "(local.set $at (i32.const 32768))", "(unreachable)");
    home.plugins().put("down", &down, None);
    let schedule = ScheduleSpec::every("down", 100, dispatch("down", 3, 4));
    let host = home.configure(|config| config.schedules = vec![schedule]).start().await;
    let down = schedule_until(&host, "down", |down| down["fired"].as_u64() >= Some(5)).await;
    let said = down["last_error"].as_str().unwrap_or_else(|| panic!("an error in {down:#}"));
    assert!(said.contains("unreachable"), "{said}");
    assert_eq!(host.run("echo", &json!([1])).await["state"], "succeeded");
    host.stop().await;
}

#[tokio::test]
async fn v12_a_file_that_could_not_be_deleted_is_not_forgotten() {
    let host = clearing_host(Home::new()).await;
    let media = host.upload("a.bin", "some bytes").await;
    let path = host.files("media").pop().unwrap();
    // A folder of this name is what nobody can unlink.
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("x"), "x").unwrap();
    let id = media["id"].as_str().unwrap();
    let mut events = host.events_of("?kind=video.clear", None).await;
    let mut of_media = host.events_of(&format!("?media={id}"), None).await;
    answer(host.request(Method::DELETE, &format!("/v1/media/{id}?grace=0"))).await;
    let seen = events.until(|event| event.name == "task.retrying").await;
    let failed = seen.last().unwrap();
    let message = failed.data["error"]["message"].as_str().unwrap();
    assert!(message.contains("the file cannot be deleted"), "{message}");
    let (status, record) = answer(host.request(Method::GET, &format!("/v1/media/{id}"))).await;
    assert_eq!((status, &record["state"]), (StatusCode::OK, &json!("trashed")), "{record:#}");

    // Once it can be deleted, the same task deletes it: the record, the file and the event that says so.
    std::fs::remove_dir_all(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    let task = host.wait_task(failed.task()).await;
    assert_eq!((&task["state"], &task["output"]), (&json!("succeeded"), &json!({ "purged": true })), "{task:#}");
    assert!(host.files("media").is_empty(), "{:?}", host.files("media"));
    assert_eq!(answer(host.request(Method::GET, &format!("/v1/media/{id}"))).await.0, StatusCode::NOT_FOUND);
    let told = of_media.until(|event| event.name == "media.purged").await;
    let names: Vec<_> = told.iter().map(|event| event.name.as_str()).filter(|name| *name != "hello").collect();
    assert_eq!(names, ["media.trashed", "media.purged"]);
    host.stop().await;
}

#[tokio::test]
async fn v13_l19_nothing_is_changed_by_a_get() {
    let host = count_home(ScheduleSpec::every("count", 3_600_000, dispatch("count", 1, 1))).built("echo").start().await;
    let task = host.create(&json!({ "kind": "echo", "delay_ms": 3_600_000 })).await;
    let media = host.upload("a.bin", "some bytes").await;
    let media = media["id"].as_str().unwrap();
    let written = async || {
        let last = host.store().events(u64::MAX, 0).await.unwrap().last;
        (
            last,
            host.task(&task).await,
            host.get("/v1/schedules/count").await,
            host.get("/v1/media").await,
            host.get("/v1/queues").await,
        )
    };
    let before = written().await;
    for path in [
        format!("/v1/tasks/{task}/cancel"),
        format!("/v1/tasks/{task}/retry"),
        "/v1/tasks/redrive".to_owned(),
        "/v1/tasks/batch".to_owned(),
        format!("/v1/media/{media}/restore"),
        "/v1/queues/default/pause".to_owned(),
        "/v1/kinds/echo/pause".to_owned(),
        "/v1/schedules/count/trigger".to_owned(),
        "/v1/schedules/count/pause".to_owned(),
        "/v1/schedules/count/resume".to_owned(),
        "/v1/schedules/count/backfill".to_owned(),
        "/video-delete-record/1".to_owned(),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = host.request(method.clone(), &path).send().await.unwrap();
            assert!(answer.status().is_client_error(), "{method} {path}: {}", answer.status());
        }
    }
    assert_eq!(written().await, before);
    host.stop().await;
}

#[tokio::test]
async fn v16_an_address_that_is_taken_ends_the_start() {
    let host = Home::new().start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config { data: dir.path().join("data"), ..Config::default() };
    config.plugins.dir = dir.path().join("plugins");
    std::fs::create_dir(&config.plugins.dir).unwrap();
    config.server.listen = host.base().trim_start_matches("http://").parse().unwrap();
    let Err(error) = Host::start(config).await else { panic!("two hosts listen at one address") };
    let said = format!("{error:?} {error}");
    assert!(said.contains(host.base().trim_start_matches("http://")), "{said}");
    host.stop().await;
}

/// Sockets, media and the like that a process has open. Logs are kept open for a while, up to a bound of their own.
fn open_files(pid: u32) -> usize {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let targets = open.filter_map(|one| std::fs::read_link(one.ok()?.path()).ok());
    targets.filter(|target| target.extension().is_none_or(|end| end != "jsonl")).count()
}

#[tokio::test]
async fn v16_nothing_stays_open_after_requests_and_attempts() {
    let place = Place::with(&["trap"]).built("echo");
    let host = place.start().await;
    let post = async |path: &str, body: Value| {
        let answer = host.client.post(format!("{}{path}", host.base)).json(&body).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let round = async || {
        for input in [json!({}), json!({ "fail": "retry" }), json!({ "fail": "fatal" })] {
            let task = post("/v1/tasks", json!({ "kind": "echo", "input": input, "max_attempts": 1 })).await;
            crate::support::wait_task(&host.client, &host.base, task["id"].as_str().unwrap()).await;
        }
        let task = post("/v1/tasks", json!({ "kind": "trap", "max_attempts": 1 })).await;
        crate::support::wait_task(&host.client, &host.base, task["id"].as_str().unwrap()).await;
        post("/v1/tasks", json!({ "kind": "nobody" })).await;
        let form = host.client.post(format!("{}/v1/media?name=a", host.base)).body("x").send().await.unwrap();
        let media: Value = form.json().await.unwrap();
        let content = format!("{}/v1/media/{}/content", host.base, media["id"].as_str().unwrap());
        // Half of an answer, and the other half never read.
        drop(host.client.get(&content).send().await.unwrap());
        host.client.get(format!("{}/v1/media/none/content", host.base)).send().await.unwrap().text().await.unwrap();
    };
    round().await;
    let before = open_files(host.pid());
    for _ in 0..25 {
        round().await;
    }
    let mut interval = tokio::time::interval(Duration::from_millis(10));
    let settled = async {
        while open_files(host.pid()) > before + 8 {
            interval.tick().await;
        }
    };
    let settled = timeout(Duration::from_secs(20), settled).await;
    assert!(settled.is_ok(), "{before} were open, now {}", open_files(host.pid()));
    host.kill().await;
}
