//! The example `remote-cut`: the real plugin, its service, and the real ffmpeg.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::binary::holding;
use crate::support::events::PATIENCE;
use crate::support::{Home, TestHost, attempts, folder, video};

/// A host with the plugin, and the service with its folder.
struct Pair {
    host: TestHost,
    service: JoinSet<()>,
    data: TempDir,
}

impl Pair {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let (component, manifest) = folder::built("remote-cut");
        let manifest = manifest.expect("it has a manifest").replace("7430", &port);
        let home = Home::new();
        home.plugins().put("remote-cut", &component, Some(&manifest));
        let host = home.start().await;
        let data = TempDir::new().unwrap();
        let (base, folder) = (host.base().to_owned(), data.path().to_owned());
        let mut service = JoinSet::new();
        service.spawn(async move { remote_cut_service::serve(listener, &base, &folder).await.unwrap() });
        Self { host, service, data }
    }

    fn at_work(&self) -> bool {
        holding(self.data.path()).iter().any(|name| name.starts_with("ffmpeg"))
    }

    async fn until_at_work(&self, wanted: bool) {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        let seen = async {
            while self.at_work() != wanted {
                pace.tick().await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        assert!(seen.is_ok(), "ffmpeg at work: {wanted}, but {:?}", holding(self.data.path()));
    }

    async fn stop(mut self) {
        self.host.stop().await;
        self.service.shutdown().await;
    }
}

#[tokio::test]
async fn a_service_cuts_and_the_cut_comes_into_the_library() {
    let pair = Pair::start().await;
    let host = &pair.host;
    let media = host.upload("clip.mp4", video::clip()).await;
    let task = host.run("video.remote-cut", &json!({ "media": media["id"], "start": 1.2, "end": 2.7 })).await;
    assert_eq!((&task["state"], attempts(&task).len()), (&json!("succeeded"), 1), "{task:#}");
    let output = host.content(task["output"]["media"].as_str().unwrap()).await;
    assert_eq!(task["output"]["size"], output.len());
    let probed = video::probe(&output);
    assert!((video::seconds(&probed) - 1.5).abs() < 0.12, "{probed:#}");
    pair.stop().await;
}

#[tokio::test]
async fn a_cancel_ends_the_ffmpeg_of_the_service_and_leaves_nothing_there() {
    let pair = Pair::start().await;
    let host = &pair.host;
    let media = host.upload("heavy.mp4", video::heavy()).await;
    let id = host.enqueue("video.remote-cut", &json!({ "media": media["id"], "start": 0, "end": 59 })).await;
    pair.until_at_work(true).await;
    host.cancel(&id).await;
    let task = host.wait_task(&id).await;
    assert_eq!((&task["state"], &task["work"]["phase"]), (&json!("cancelled"), &Value::Null), "{task:#}");
    pair.until_at_work(false).await;
    assert_eq!(crate::support::files(pair.data.path()), [] as [std::path::PathBuf; 0]);
    pair.stop().await;
}
