//! Plugins that were built for released versions of the contract (`cargo xtask wit release` keeps them): they load and run
//! ever after.

use std::path::{Path, PathBuf};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use taskhost::schedule::{Action, ScheduleSpec};

use crate::support::component::text;
use crate::support::{Home, answer};

/// A folder for each version.
fn versions() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/released");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}

/// Loads every plugin of a folder and asks each what `tasks.json` says. Answers what is wrong.
async fn try_all(folder: &Path) -> Vec<String> {
    let action = Action::Dispatch { plugin: "video-clear".to_owned(), batch: 10, capacity: 10 };
    let mut home = Home::new();
    let mut names = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let end = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if end == "wasm" || end == "wat" {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let manifest = std::fs::read_to_string(path.with_extension("toml")).ok();
            let component = wat::parse_bytes(&std::fs::read(&path).unwrap()).unwrap().into_owned();
            home.plugins().put(&name, &component, manifest.as_deref());
            names.push(name);
        }
    }
    let clears = names.iter().any(|name| name == "video-clear");
    if clears {
        home = home.configure(|config| config.schedules = vec![ScheduleSpec::every("clear", 200, action)]);
    }
    let host = home.start().await;
    let mut wrong = Vec::new();
    for name in &names {
        let plugin = host.plugin(name).await.unwrap_or_default();
        if !plugin["live"].is_object() || plugin["error"].is_object() {
            wrong.push(format!("{name} is not live: {plugin:#}"));
        }
    }
    let tasks: Vec<Value> = serde_json::from_slice(&std::fs::read(folder.join("tasks.json")).unwrap()).unwrap();
    for asked in &tasks {
        let task = host.run(asked["kind"].as_str().unwrap(), &asked["input"]).await;
        if task["output"] != asked["output"] {
            wrong.push(format!("{asked} came to {task:#}"));
        }
    }
    if clears {
        let media = host.upload("doomed.bin", "x").await;
        let path = format!("/v1/media/{}", media["id"].as_str().unwrap());
        let mut events = host.events().await;
        let (status, _) = answer(host.request(Method::DELETE, &format!("{path}?grace=0"))).await;
        assert!(status.is_success(), "{status}");
        events.until(|event| event.name == "media.purged").await;
        let (status, _) = answer(host.request(Method::GET, &path)).await;
        if status != StatusCode::NOT_FOUND {
            wrong.push(format!("video-clear has purged nothing: {status}"));
        }
    }
    host.stop().await;
    wrong
}

#[tokio::test]
async fn plugins_of_every_released_version_load_and_run() {
    let versions = versions();
    assert!(!versions.is_empty(), "no released version is kept");
    for folder in versions {
        let wrong = try_all(&folder).await;
        assert!(wrong.is_empty(), "{}: {}", folder.display(), wrong.join("\n"));
    }
}

#[tokio::test]
async fn a_plugin_that_answers_otherwise_or_does_not_load_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    put("ok.wat", &text("ok"));
    put("tasks.json", &json!([{ "plugin": "ok", "kind": "ok", "input": [1], "output": [1] }]).to_string());
    assert_eq!(try_all(dir.path()).await, [] as [&str; 0]);
    put("tasks.json", &json!([{ "plugin": "ok", "kind": "ok", "input": [1], "output": [2] }]).to_string());
    put("old.wat", &text("snooze").replace("(case \"cancelled\")", "(case \"stopped\")"));
    let wrong = try_all(dir.path()).await;
    assert!(wrong.len() == 2 && wrong[0].starts_with("old is not live"), "{wrong:?}");
    assert!(wrong[0].contains("`cancelled` is `stopped` in the plugin"), "{wrong:?}");
}
