//! How a plugin's file gets into the folder: by copy, by rename, slowly, through links.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::reload::sha256;
use crate::support::folder::{fixture, variant};
use crate::support::{Home, TestHost};

/// What the fixture answers, as it stands in its text.
const OUTPUT: &str = "v00";

fn version(output: &str) -> Vec<u8> {
    variant("version", OUTPUT, output)
}

/// The folder of the plugins, and one beside it.
fn folders(host: &TestHost) -> (PathBuf, PathBuf) {
    let plugins = host.plugins().component("version").parent().unwrap().to_owned();
    let elsewhere = plugins.with_file_name("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    (plugins, elsewhere)
}

async fn until_live(host: &TestHost, bytes: &[u8]) -> Value {
    host.plugin_until("version", |plugin| plugin["live"]["digest"] == sha256(bytes)).await
}

/// Never refused on the way, whoever asks.
async fn until_live_unseen(host: &TestHost, bytes: &[u8]) {
    let live = host.plugin_until("version", |plugin| {
        assert!(plugin["error"].is_null(), "{plugin:#}");
        plugin["live"]["digest"] == sha256(bytes)
    });
    live.await;
}

#[tokio::test]
async fn a_file_is_taken_by_copy_by_rename_and_when_it_is_written_slowly() {
    let host = Home::new().start().await;
    let (plugins, elsewhere) = folders(&host);
    let target = plugins.join("version.wasm");
    fs::write(elsewhere.join("one"), version("v01")).unwrap();
    fs::copy(elsewhere.join("one"), &target).unwrap();
    until_live_unseen(&host, &version("v01")).await;

    fs::write(elsewhere.join("two"), version("v02")).unwrap();
    fs::rename(elsewhere.join("two"), &target).unwrap();
    until_live_unseen(&host, &version("v02")).await;

    let (slow, mut pace) = (version("v03"), tokio::time::interval(Duration::from_millis(100)));
    let mut file = fs::File::create(&target).unwrap();
    for part in slow.chunks(slow.len() / 8 + 1) {
        pace.tick().await;
        file.write_all(part).unwrap();
        let plugin = host.plugin("version").await.unwrap();
        assert_eq!(plugin["live"]["digest"], sha256(&version("v02")), "{plugin:#}");
        assert!(plugin["error"].is_null(), "half of it was tried: {plugin:#}");
    }
    drop(file);
    until_live_unseen(&host, &slow).await;
    host.stop().await;
}

#[tokio::test]
async fn links_are_followed_wherever_they_lead_from_now_on() {
    let host = Home::new().start().await;
    let (plugins, elsewhere) = folders(&host);
    for output in ["v01", "v02", "v03"] {
        fs::write(elsewhere.join(output), version(output)).unwrap();
    }
    let link = plugins.join("version.wasm");
    symlink(elsewhere.join("v01"), &link).unwrap();
    until_live(&host, &version("v01")).await;
    // Another link in its place, as `ln -sfn` makes it.
    retarget(&elsewhere.join("v02"), &link);
    until_live(&host, &version("v02")).await;
    // A link behind the link, where the host watches nothing.
    let current = elsewhere.join("current");
    symlink(elsewhere.join("v02"), &current).unwrap();
    retarget(&current, &link);
    retarget(&elsewhere.join("v03"), &current);
    until_live(&host, &version("v03")).await;
    // One that leads nowhere takes the plugin away.
    retarget(&elsewhere.join("nowhere"), &link);
    let gone = async {
        while host.plugin("version").await.is_some_and(|plugin| plugin["live"].is_object()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::support::events::PATIENCE, gone).await.expect("the plugin goes");
    host.stop().await;
}

/// What a Kubernetes volume does: the files are links through `..data`, which is exchanged for another folder at once.
#[tokio::test]
async fn a_volume_that_is_exchanged_as_a_whole_is_followed() {
    let host = Home::new().start().await;
    let (plugins, _) = folders(&host);
    for (folder, output, concurrency) in [("..1", "v01", 3), ("..2", "v02", 5)] {
        let folder = plugins.join(folder);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("version.wasm"), version(output)).unwrap();
        fs::write(folder.join("version.toml"), format!("[limits]\nconcurrency = {concurrency}\n")).unwrap();
    }
    symlink("..1", plugins.join("..data")).unwrap();
    symlink("..data/version.toml", plugins.join("version.toml")).unwrap();
    symlink("..data/version.wasm", plugins.join("version.wasm")).unwrap();
    let first = until_live(&host, &version("v01")).await;
    assert_eq!(first["live"]["kinds"][0]["concurrency"], 3, "{first:#}");
    retarget(Path::new("..2"), &plugins.join("..data"));
    let second = until_live(&host, &version("v02")).await;
    assert_eq!(second["live"]["kinds"][0]["concurrency"], 5, "both files at once: {second:#}");
    assert_eq!(host.run("version", &json!({})).await["output"], "v02");
    host.stop().await;
}

/// Exchanges a link for another one, with a rename.
fn retarget(target: &Path, link: &Path) {
    let new = link.with_file_name("..new");
    symlink(target, &new).unwrap();
    fs::rename(new, link).unwrap();
}

#[tokio::test]
async fn a_manifest_alone_makes_a_new_generation_of_the_same_component_without_compiling() {
    let host = TestHost::with(&["version"]).await;
    let old = host.plugin("version").await.unwrap();
    assert_eq!(old["live"]["compiled"]["cached"], false, "{old:#}");
    fs::write(
        host.plugins().component("version").with_extension("toml"),
        "[limits]\nconcurrency = 7\n[config]\na = 1\n",
    )
    .unwrap();
    let new = host.plugin_until("version", |plugin| plugin["live"]["kinds"][0]["concurrency"] == 7).await;
    assert_eq!((&new["live"]["digest"], &new["live"]["compiled"]["cached"]), (&old["live"]["digest"], &json!(true)));
    assert_ne!(new["live"]["loaded_at"], old["live"]["loaded_at"]);
    let history = host.get("/v1/plugins/version/history").await;
    let [live, before] = &history["generations"].as_array().unwrap()[..] else { panic!("{history:#}") };
    assert_eq!(live["digest"], before["digest"]);
    assert_ne!(live["manifest_digest"], before["manifest_digest"]);
    assert_eq!(host.run("version", &json!({})).await["output"].to_string(), format!("{OUTPUT:?}"));
    assert_eq!(sha256(&fixture("version")), live["digest"].as_str().unwrap());
    host.stop().await;
}
