//! A disk that runs full: intake stops, work goes on, intake resumes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use taskhost::task::NewTask;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::reload::sha256;
use crate::support::admin::Admin;
use crate::support::events::PATIENCE;
use crate::support::folder::padded;
use crate::support::{Home, TestHost, files, list};

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
    /// `None` without the right to; whoever runs the tests is told.
    #[expect(clippy::print_stderr, reason = "whoever runs the tests has to know what was not tested")]
    fn mount_or_say() -> Option<Self> {
        let disk = Self::mount();
        disk.inspect_err(|why| eprintln!("skipped: a small disk needs the right to mount one ({})", why.trim())).ok()
    }

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

/// Leaves no room at all.
fn fill_up(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [MIB, 4096] {
        let block = vec![1; usize::try_from(size).unwrap()];
        while file.write_all(&block).is_ok() {}
    }
}

fn fill(path: &Path, mib: u64) {
    std::fs::write(path, vec![1; usize::try_from(mib * MIB).unwrap()]).unwrap();
}

#[tokio::test]
async fn intake_stops_and_resumes_with_the_space_on_a_real_disk() {
    let Some(disk) = Disk::mount_or_say() else { return };
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

/// The fixture `version`, which answers `output`, as a file of two mebibytes.
fn version(output: &str) -> Vec<u8> {
    padded(&crate::support::folder::variant("version", "v00", output), 2 << 20)
}

/// Every file of a folder with its digest.
fn digests(folder: &Path) -> BTreeMap<PathBuf, String> {
    files(folder).into_iter().map(|path| (path.clone(), sha256(&std::fs::read(path).unwrap()))).collect()
}

#[tokio::test]
async fn i11_a_full_plugins_folder_refuses_changes_and_keeps_what_is_live() {
    let Some(disk) = Disk::mount_or_say() else { return };
    let folder = disk.path("plugins");
    let host = Home::new().configure(|config| config.plugins.dir.clone_from(&folder)).start().await;
    let admin = Admin::of(&host);
    let manifest: (&str, &[u8]) = ("manifest", b"[limits]\nconcurrency = 3\n");
    for output in ["v01", "v02"] {
        let (status, told) = admin.put_form("version", &[("component", &version(output)), manifest]).await;
        assert!(status.is_success(), "{told:#}");
    }
    let (before, history) = (digests(&folder), host.get("/v1/plugins/version/history").await);
    fill_up(&disk.path("ballast"));
    let other: (&str, &[u8]) = ("manifest", b"[limits]\nconcurrency = 4\n");
    let third = version("v03");
    for request in [
        admin.upload("version", third.clone()),
        admin.form("version", &[("component", &third), other]),
        admin.manifest("version", "[limits]\nconcurrency = 4\n"),
        admin.rollback("version"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::INSUFFICIENT_STORAGE);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(problem["code"], "no-space", "{problem:#}");
        assert!(problem["detail"].as_str().unwrap().contains("No space left on device"), "{problem:#}");
        assert_eq!(digests(&folder), before, "nothing is changed, nothing is left over");
        assert_eq!(host.get("/v1/plugins/version/history").await, history);
        assert_eq!(host.run("version", &json!({})).await["output"], "v02");
    }
    let plugins = host.get("/v1/plugins").await;
    assert!(list(&plugins).len() == 1 && plugins["plugins"][0]["error"].is_null(), "{plugins:#}");
    std::fs::remove_file(disk.path("ballast")).unwrap();
    assert_eq!(admin.roll_back("version").await.0, StatusCode::OK);
    assert_eq!(host.run("version", &json!({})).await["output"], "v01");
    assert_eq!(admin.put("version", third).await.0, StatusCode::OK);
    assert_eq!(host.run("version", &json!({})).await["output"], "v03");
    host.stop().await;
}

/// What cannot be kept costs the way back to it, nothing else.
#[tokio::test]
async fn a_generation_that_cannot_be_kept_is_live_all_the_same() {
    let Some(disk) = Disk::mount_or_say() else { return };
    let (home, kept) = (Home::new(), disk.path("kept"));
    std::fs::create_dir(&kept).unwrap();
    let home = home.configure(|config| {
        std::fs::create_dir_all(&config.data).unwrap();
        std::os::unix::fs::symlink(&kept, config.data.join("generations")).unwrap();
    });
    let host = home.start().await;
    let admin = Admin::of(&host);
    assert_eq!(admin.put("version", version("v01")).await.0, StatusCode::CREATED);
    fill_up(&disk.path("ballast"));
    let before = digests(&kept);
    assert_eq!(admin.put("version", version("v02")).await.0, StatusCode::OK);
    assert_eq!(host.run("version", &json!({})).await["output"], "v02");
    assert_eq!(digests(&kept), before, "nothing half is left");
    let history = host.get("/v1/plugins/version/history").await;
    let told: Vec<_> = list(&history).iter().map(|it| it["kept"].as_bool().unwrap()).collect();
    assert_eq!((told, &history["rollback_to"]), (vec![false, true], &json!(sha256(&version("v01")))));
    assert_eq!(admin.roll_back("version").await.0, StatusCode::OK);
    assert_eq!(host.run("version", &json!({})).await["output"], "v01");

    std::fs::remove_file(disk.path("ballast")).unwrap();
    assert_eq!(admin.put("version", version("v03")).await.0, StatusCode::OK);
    let host = host.restart().await;
    let history = host.get("/v1/plugins/version/history").await;
    assert_eq!((&list(&history)[0]["kept"], &history["rollback_to"]), (&json!(true), &json!(sha256(&version("v01")))));
    host.stop().await;
}
