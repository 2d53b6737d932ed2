//! A disk that runs full: intake stops, work goes on, intake resumes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use taskhost::task::NewTask;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::support::events::PATIENCE;
use crate::support::{Home, TestHost};

const MIB: u64 = 1 << 20;

/// Waits until `GET /readyz` has this status, and answers its body.
async fn ready_is(host: &TestHost, status: StatusCode) -> String {
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    let ready = async {
        loop {
            pace.tick().await;
            let answer = host.request(Method::GET, "/readyz").send().await.unwrap();
            if answer.status() == status {
                return answer.text().await.unwrap();
            }
        }
    };
    timeout(PATIENCE, ready).await.expect("it becomes so in time")
}

/// Neither tasks nor files are taken in, and clients are told when to come back.
async fn refuses(host: &TestHost) {
    let body = json!({ "kind": "echo", "input": {} }).to_string();
    for (path, body) in [("/v1/tasks", body), ("/v1/media", "content".to_owned())] {
        let request = host.request(Method::POST, path).header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(answer.headers()["retry-after"], "10", "{path}");
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "low-disk-space", "{path}: {problem:#}");
        assert!(problem["detail"].as_str().unwrap().contains("MiB are free"), "{path}: {problem:#}");
    }
    let ready = ready_is(host, StatusCode::SERVICE_UNAVAILABLE).await;
    assert!(ready.contains("\"disk\""), "{ready}");
}

#[tokio::test]
async fn below_the_bound_nothing_is_taken_in_and_what_is_there_runs() {
    let home = Home::new().built("echo").configure(|config| config.store.min_free_bytes = 1 << 60);
    let host = home.start().await;
    refuses(&host).await;
    let added = host.store().enqueue(vec![NewTask::new("echo", "{}")], taskhost::time::now()).await.unwrap();
    let task = host.wait_task(&added[0].id.to_string()).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    host.stop().await;
}

/// A small disk of its own; only root can have one.
struct Disk {
    dir: TempDir,
}

impl Disk {
    fn mount() -> Result<Self, String> {
        let dir = TempDir::new().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(dir.path()).output();
        match mount {
            Ok(output) if output.status.success() => Ok(Self { dir }),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The folder below is removed in any case.
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

fn fill(path: &Path, mib: u64) {
    std::fs::write(path, vec![1; usize::try_from(mib * MIB).unwrap()]).unwrap();
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "whoever runs the tests has to know what was not tested")]
async fn intake_stops_and_resumes_with_the_space_on_a_real_disk() {
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => return eprintln!("skipped: a small disk needs the right to mount one ({})", why.trim()),
    };
    let home = Home::new().built("echo").configure(|config| {
        config.data = disk.path("data");
        config.store.min_free_bytes = 24 * MIB;
    });
    let host = home.start().await;
    ready_is(&host, StatusCode::OK).await;
    let mut events = host.events().await;
    let running = host.enqueue("echo", &json!({ "sleep_ms": 1_500 })).await;
    events.task(&running, "task.started").await;
    fill(&disk.path("ballast"), 40);
    ready_is(&host, StatusCode::SERVICE_UNAVAILABLE).await;
    refuses(&host).await;
    let task = host.wait_task(&running).await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("succeeded"), &json!(1)), "{task:#}");
    std::fs::remove_file(disk.path("ballast")).unwrap();
    ready_is(&host, StatusCode::OK).await;
    let task = host.run("echo", &json!({ "sleep_ms": 0 })).await;
    assert_eq!(task["state"], "succeeded", "{task:#}");
    host.stop().await;
}
