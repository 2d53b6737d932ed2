//! Dispatchers that mean harm: a pass ends, creates what is right or nothing, and says what was wrong.

use std::time::Duration;

use serde_json::{Value, json};

use super::scene::{MANIFEST, Scene};
use crate::support::events::PATIENCE;
use crate::support::folder::hostile;
use crate::support::list;

const LONGEST: Duration = Duration::from_secs(8);

/// Declares a schedule that only fires by hand, fires it, and answers its record when `wanted` accepts it.
async fn pass(scene: &Scene, plugin: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    scene.place.plugins().put(plugin, &hostile(plugin), Some(MANIFEST));
    assert!(scene.judged(plugin).await["live"].is_object());
    let action = json!({ "type": "dispatch", "plugin": plugin, "batch": 5, "capacity": 20 });
    scene.post("/v1/schedules", &json!({ "name": plugin, "every_ms": 3_600_000, "action": action })).await;
    scene.post(&format!("/v1/schedules/{plugin}/trigger"), &json!({})).await;
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let found = async {
        loop {
            pace.tick().await;
            let schedules = scene.get("/v1/schedules").await;
            let schedule = list(&schedules).iter().find(|schedule| schedule["name"] == plugin).unwrap();
            if wanted(schedule) {
                return schedule.clone();
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("the pass of {plugin} goes on"))
}

/// How many tasks a schedule has made, as far as they are still known.
async fn made(scene: &Scene, plugin: &str) -> usize {
    let tasks = scene.get("/v1/tasks?kind=ok&limit=500").await;
    list(&tasks).iter().filter(|task| task["source"]["schedule"] == plugin).count()
}

#[tokio::test]
async fn a_dispatcher_that_breaks_its_contract_creates_nothing() {
    let scene = Scene::start(|_| {}).await;
    for (name, reason) in [
        ("dispatch-huge-input", "contract-violation"),
        ("dispatch-huge-batch", "contract-violation"),
        ("dispatch-huge-cursor", "the limit is 65536"),
        ("dispatch-for-ever", "promised more"),
    ] {
        let failed = pass(&scene, name, |schedule| schedule["last_error"].is_string());
        let (schedule, cost) = scene.beside_others(failed).await;
        let said = schedule["last_error"].as_str().unwrap();
        assert!(said.contains(reason), "19 {name}: {said}");
        cost.check(name, LONGEST);
        assert_eq!(made(&scene, name).await, 0, "19 {name}");
    }
    scene.stop().await;
}

#[tokio::test]
async fn a_dispatcher_that_repeats_itself_keeps_nobody_from_working() {
    let scene = Scene::start(|_| {}).await;
    let fired = |schedule: &Value| schedule["fired"] == 1;
    pass(&scene, "dispatch-duplicates", fired).await;
    let one = async {
        while made(&scene, "dispatch-duplicates").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, one).await.unwrap();
    assert_eq!(made(&scene, "dispatch-duplicates").await, 1, "equal keys are one task");
    // It gives the same task again and again, as long as it is asked.
    pass(&scene, "dispatch-backwards", fired).await;
    let others = async {
        for _ in 0..20 {
            scene.other().await;
        }
    };
    let ((), cost) = scene.beside_others(others).await;
    cost.check("dispatch-backwards", LONGEST * 5);
    scene.stop().await;
}
