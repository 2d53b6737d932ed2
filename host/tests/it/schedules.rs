//! What happens by itself.

use std::collections::HashSet;

use serde_json::{Value, json};
use taskhost::schedule::{Action, CatchUp, Overlap, ScheduleSpec};

use crate::support::folder::fixture;
use crate::support::{Home, TestHost, list};

fn every(name: &str, every_ms: u64, action: Action) -> ScheduleSpec {
    ScheduleSpec::every(name, every_ms, action)
}

fn enqueue(kind: &str, input: &str) -> Action {
    Action::Enqueue { kind: kind.to_owned(), input: input.to_owned() }
}

fn dispatch(plugin: &str, batch: u32, capacity: u32) -> Action {
    Action::Dispatch { plugin: plugin.to_owned(), batch, capacity }
}

async fn host_with(schedule: ScheduleSpec) -> TestHost {
    let home = Home::new().fixture("ok");
    home.plugins().put("count", &fixture("count"), Some("[grant]\nqueue = { kinds = [\"ok\"] }\n"));
    home.configure(|config| config.schedules = vec![schedule]).start().await
}

#[tokio::test]
async fn i12_an_interval_fires_once_for_each_nominal_time() {
    let host = host_with(every("beat", 200, enqueue("ok", "{\"from\":\"beat\"}"))).await;
    let mut events = host.events().await;
    let mut nominal = Vec::new();
    let mut created = 0;
    while nominal.len() < 6 {
        let event = events.next().await.unwrap();
        match event.name.as_str() {
            "schedule.fired" => nominal.push(event.data["nominal"].as_str().unwrap().to_owned()),
            "task.queued" => created += 1,
            _ => {}
        }
    }
    let distinct: HashSet<_> = nominal.iter().collect();
    assert_eq!(distinct.len(), nominal.len(), "{nominal:?}");
    let millis = nominal.iter().map(|at| at.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    assert!(millis.clone().all(|at| at % 200 == 0), "{nominal:?}");
    assert!(millis.is_sorted(), "{nominal:?}");
    assert!((nominal.len() - 1..=nominal.len()).contains(&created), "{created} tasks for {nominal:?}");
    host.stop().await;
}

#[tokio::test]
async fn i12_c1_a_restart_fires_no_nominal_time_again() {
    let mut host = host_with(every("beat", 500, enqueue("ok", "{}"))).await;
    for _ in 0..3 {
        let mut events = host.events().await;
        events.until(|event| event.name == "schedule.fired").await;
        host = host.restart().await;
    }
    let schedules = host.get("/v1/schedules").await;
    let fired = list(&schedules)[0]["fired"].as_u64().unwrap();
    let tasks = host.get("/v1/tasks?limit=100").await;
    let fired_later = list(&host.get("/v1/schedules").await)[0]["fired"].as_u64().unwrap();
    let created = list(&tasks).len() as u64;
    assert!((fired..=fired_later).contains(&created), "{created} tasks for {fired} to {fired_later} firings");
    host.stop().await;
}

#[tokio::test]
async fn i13_a_dispatcher_goes_on_where_it_was_across_restarts_without_a_gap_or_a_double() {
    // The fixture counts in its cursor: every dispatch gives the next numbers.
    let host = host_with(every("count", 300, dispatch("count", 5, 100))).await;
    let mut events = host.events().await;
    for _ in 0..2 {
        events.until(|event| event.name == "task.succeeded").await;
    }
    let host = host.restart().await;
    let mut events = host.events().await;
    events.until(|event| event.name == "schedule.fired").await;
    events.until(|event| event.name == "task.succeeded").await;
    let host = host.restart().await;
    let tasks = host.get("/v1/tasks?limit=100&kind=ok").await;
    let mut numbers: Vec<_> = list(&tasks).iter().map(|task| task["input"]["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    let expected: Vec<_> = (numbers[0]..numbers[0] + numbers.len() as u64).collect();
    assert_eq!(numbers, expected);
    host.stop().await;
}

#[tokio::test]
async fn v5_never_more_tasks_of_a_schedule_live_than_its_capacity() {
    let host = host_with(every("count", 200, dispatch("count", 3, 4))).await;
    let mut events = host.events_of("?kind=ok", None).await;
    let (mut live, mut most, mut ended) = (0_i64, 0, 0);
    while ended < 12 {
        let event = events.next().await.unwrap();
        match event.name.as_str() {
            "task.queued" => live += 1,
            "task.succeeded" => {
                live -= 1;
                ended += 1;
            }
            _ => {}
        }
        most = most.max(live);
    }
    assert!((1..=4).contains(&most), "{most}");
    host.stop().await;
}

#[tokio::test]
async fn a_schedule_whose_plugin_is_missing_says_so() {
    let host = host_with(every("lost", 200, dispatch("nobody", 3, 4))).await;
    let said = last_error(&host).await;
    assert!(said.contains("nobody"), "{said}");
    host.stop().await;
}

#[tokio::test]
async fn v7_a_dispatcher_that_emits_more_than_asked_for_creates_nothing_and_is_named() {
    let home = Home::new().fixture("ok").fixture("dispatch-too-many");
    let schedule = every("greedy", 200, dispatch("dispatch-too-many", 3, 4));
    let host = home.configure(|config| config.schedules = vec![schedule]).start().await;
    let said = last_error(&host).await;
    assert!(said.contains("4 tasks") && said.contains('3'), "{said}");
    assert!(list(&host.get("/v1/tasks").await).is_empty());
    host.stop().await;
}

/// Why the latest pass of the only schedule failed, as soon as it is known.
async fn last_error(host: &TestHost) -> String {
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
    let said = async {
        loop {
            pace.tick().await;
            let schedules = host.get("/v1/schedules").await;
            if let Some(error) = list(&schedules)[0]["last_error"].as_str() {
                return error.to_owned();
            }
        }
    };
    tokio::time::timeout(crate::support::events::PATIENCE, said).await.expect("the error is recorded")
}

async fn said(host: &TestHost, name: &str) -> Value {
    host.get(&format!("/v1/schedules/{name}")).await
}

#[tokio::test]
async fn c3_what_was_missed_while_the_host_was_down_is_caught_up_and_counted() {
    let spec = ScheduleSpec { catch_up: CatchUp::All(3), ..every("beat", 100, enqueue("ok", "{}")) };
    let host = host_with(spec).await;
    let mut events = host.events().await;
    events.until(|event| event.name == "schedule.fired").await;
    let host = host.restart().await;
    let mut events = host.events().await;
    events.until(|event| event.name == "schedule.fired").await;
    let tasks = host.get("/v1/tasks?limit=1000").await;
    let beat = said(&host, "beat").await;
    let millis = |at: &Value| at.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let nominal: HashSet<_> = list(&tasks).iter().map(|task| millis(&task["attributes"]["nominal"])).collect();
    assert_eq!(nominal.len(), list(&tasks).len(), "each nominal time once");
    let count = (millis(&beat["last_fired_at"]) - nominal.iter().min().unwrap()) / 100 + 1;
    let accounted = beat["fired"].as_i64().unwrap() + beat["missed"].as_i64().unwrap();
    assert_eq!(accounted, count, "nothing is lost without a trace: {beat}");
    host.stop().await;
}

#[tokio::test]
async fn a_queued_firing_starts_as_soon_as_the_one_before_has_ended() {
    // The guest spins until its time is over; the next firing waits for that, and nothing polls.
    let spec = ScheduleSpec { overlap: Overlap::QueueOne, ..every("slow", 100, enqueue("ok", "{}")) };
    let host = host_with(spec).await;
    let mut events = host.events().await;
    let (mut live, mut most, mut ended) = (0_i64, 0, 0);
    while ended < 6 {
        let event = events.next().await.unwrap();
        match event.name.as_str() {
            "task.queued" => live += 1,
            "task.succeeded" => {
                live -= 1;
                ended += 1;
            }
            _ => {}
        }
        most = most.max(live);
    }
    assert_eq!(most, 1, "one at a time");
    host.stop().await;
}

#[tokio::test]
async fn a_dispatching_schedule_fires_by_hand_while_it_is_paused() {
    let host = host_with(every("count", 3_600_000, dispatch("count", 2, 100))).await;
    let mut events = host.events().await;
    host.post("/v1/schedules/count/pause", &json!({})).await;
    host.post("/v1/schedules/count/trigger", &json!({})).await;
    events.until(|event| event.name == "schedule.fired").await;
    events.until(|event| event.name == "task.succeeded").await;
    let count = said(&host, "count").await;
    assert_eq!((&count["by_hand"], &count["fired"], count["paused"].is_object()), (&json!(1), &json!(1), true));
    host.stop().await;
}

#[tokio::test]
async fn passes_that_fail_in_a_row_pause_their_schedule() {
    let spec = ScheduleSpec { pause_on_failure: Some(3), ..every("lost", 100, dispatch("nobody", 3, 4)) };
    let host = host_with(spec).await;
    let mut pace = tokio::time::interval(std::time::Duration::from_millis(20));
    let paused = async {
        loop {
            pace.tick().await;
            let lost = said(&host, "lost").await;
            if lost["paused"].is_object() {
                return lost;
            }
        }
    };
    let lost = tokio::time::timeout(crate::support::events::PATIENCE, paused).await.expect("it pauses");
    assert_eq!((&lost["paused"]["reason"], &lost["fired"]), (&json!("3 in a row failed"), &json!(3)));
    host.stop().await;
}
