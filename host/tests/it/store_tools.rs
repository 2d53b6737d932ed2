//! `taskhost store`: what the binary says about a data directory, and how it ends.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::support::binary::Place;
use crate::support::{expect_json, wait_task};

/// Runs `taskhost store …` on a data directory.
fn tool(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskhost"));
    command.arg("store").args(arguments).arg("--data").arg(data).stdin(Stdio::null()).output().unwrap()
}

/// Its exit code and everything it said.
fn told(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn a_data_directory_moves_through_an_export() {
    let (old, new) = (Place::with(&[]).built("echo"), Place::with(&[]).built("echo"));
    let (data, target) = (old.path("data"), new.path("data"));
    let host = old.start().await;
    let body = json!({ "kind": "echo", "input": { "text": "é" } });
    let answer = host.client.post(format!("{}/v1/tasks", host.base)).json(&body).send().await.unwrap();
    let id = expect_json(answer).await["id"].as_str().unwrap().to_owned();
    let before = wait_task(&host.client, &host.base, &id).await;
    for arguments in [&["check"][..], &["export", "-"]] {
        let (code, text) = told(&tool(&data, arguments));
        let expected = format!("another taskhost (pid {}) is using", host.pid());
        assert!(code == Some(74) && text.contains(&expected), "{code:?} {text}");
    }
    assert!(host.terminate().await.success());

    let (code, text) = told(&tool(&data, &["check"]));
    assert!(code == Some(0) && text.contains("1 tasks") && text.ends_with("no problem found\n"), "{code:?} {text}");
    let file = old.path("backup.jsonl");
    let (code, text) = told(&tool(&data, &["export", file.to_str().unwrap()]));
    assert!(code == Some(0) && text.starts_with("exported 1 tasks"), "{code:?} {text}");
    let piped = tool(&data, &["export", "-"]);
    let exported = std::fs::read(&file).unwrap();
    assert!(piped.stdout == exported, "the same, wherever it goes");
    let first: Value = serde_json::from_slice(exported.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(first["header"]["format"], "taskhost-export");

    let cut = old.path("cut.jsonl");
    std::fs::write(&cut, &exported[..exported.len() - 9]).unwrap();
    let (code, text) = told(&tool(&target, &["import", cut.to_str().unwrap()]));
    let line = exported.iter().fold(0, |lines, byte| lines + u32::from(*byte == b'\n'));
    assert!(code == Some(1) && text.contains(&format!("line {line}: the export was cut off here")), "{code:?} {text}");
    assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "all or nothing");
    let (code, text) = told(&tool(&target, &["import", file.to_str().unwrap(), "--keep-epoch"]));
    assert!(code == Some(0) && text.starts_with("imported 1 tasks"), "{code:?} {text}");
    assert!(tool(&target, &["export", "-"]).stdout == exported, "the same bytes again");
    let (code, text) = told(&tool(&target, &["import", file.to_str().unwrap()]));
    assert!(code == Some(74) && text.contains("is not empty"), "{code:?} {text}");

    let host = new.start().await;
    let after = host.client.get(format!("{}/v1/tasks/{id}", host.base)).send().await.unwrap();
    assert_eq!(expect_json(after).await, before);
    host.kill().await;
}

#[test]
fn what_is_missing_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&["check"][..], &["export", "-"]] {
        let (code, text) = told(&tool(&dir.path().join("data"), arguments));
        assert!(code == Some(74) && text.contains("there is no store in"), "{code:?} {text}");
    }
    let (code, text) = told(&tool(dir.path(), &["import", "/does/not/exist"]));
    assert!(code == Some(1) && text.contains("/does/not/exist: No such file"), "{code:?} {text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Runs the host on a store that it must refuse, and every tool.
async fn refused(place: &Place, expected: &str) {
    let (success, said) = place.spawn().ended().await;
    assert!(!success && said.contains(expected), "{expected:?} in {said}");
    for arguments in [&["check"][..], &["export", "-"]] {
        let (code, text) = told(&tool(&place.path("data"), arguments));
        assert!(code == Some(74) && text.contains(expected), "{code:?}: {expected:?} in {text}");
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_by_host_and_tools_and_left_alone() {
    let place = Place::with(&[]);
    assert!(place.start().await.terminate().await.success());
    let path = place.path("data/store/sled");
    let rewrite = move || {
        let database: sled::Db<64> = sled::Config::new().path(path).open().unwrap();
        // A version of a record, then the format and the epoch, both as varints.
        database.open_tree("meta").unwrap().insert(b"format", [1, 99, 1]).unwrap();
        database.flush().unwrap();
    };
    // sled's frames are large in unoptimised builds.
    std::thread::Builder::new().stack_size(16 << 20).spawn(rewrite).unwrap().join().unwrap();
    refused(&place, "the store has format 99, this taskhost knows up to 1: use the newer one").await;
}

#[tokio::test]
async fn i15_a_damaged_database_is_refused_by_host_and_tools() {
    let place = Place::with(&[]);
    assert!(place.start().await.terminate().await.success());
    let metadata = place.path("data/store/sled/metadata");
    for entry in std::fs::read_dir(&metadata).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("snapshot_") {
            std::fs::write(path, b"not what it was").unwrap();
        }
    }
    refused(&place, "the store is damaged").await;
}
