//! The real binary is killed at many moments of a change of a plugin over HTTP. The next start finds what was live before
//! or what was to be, the component with the manifest that belongs to it, and nothing half or left over.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::reload::sha256;
use crate::support::admin::Admin;
use crate::support::binary::{Place, Served};
use crate::support::folder::{padded, variant};
use crate::support::{expect_json, files, wait_task};

/// Rounds when `TASKHOST_CHANGE_KILL_ROUNDS` does not say.
const ROUNDS: usize = 28;
/// Components that take turns, so that most are compiled already.
const VERSIONS: u64 = 5;
/// Changes of the folders that one request makes, and some more: then it is killed after the answer.
const MAX_CHANGES: usize = 16;
/// The longest life after a request, in milliseconds, where the moment is left to chance.
const MAX_LIFE_MS: u64 = 60;
/// Makes writing a component take a moment.
const PADDING: usize = 400_000;
/// What a manifest has unless it says otherwise.
const DEFAULT_CONCURRENCY: u64 = 64;

/// What is live: the digest, and the number in the manifest that belongs to it.
type Live = Option<(String, u64)>;

#[derive(Clone, Copy, Debug)]
enum Change {
    Component,
    Form,
    Manifest,
    RollBack,
    Delete,
}

/// In turns; a way back leads somewhere each time.
const CHANGES: [Change; 7] = [
    Change::Form,
    Change::Component,
    Change::RollBack,
    Change::Manifest,
    Change::Form,
    Change::Delete,
    Change::RollBack,
];

fn rounds() -> usize {
    #[expect(clippy::disallowed_methods, reason = "the number of rounds is for whoever runs the tests")]
    let rounds = std::env::var("TASKHOST_CHANGE_KILL_ROUNDS");
    rounds.map_or(ROUNDS, |rounds| rounds.parse().expect("TASKHOST_CHANGE_KILL_ROUNDS is a number"))
}

fn output(number: u64) -> String {
    format!("v{number:02}")
}

/// Version `number` of the fixture, which says so.
fn component(number: u64) -> Vec<u8> {
    padded(&variant("version", "v00", &output(number)), PADDING)
}

fn manifest(number: u64) -> String {
    format!("[limits]\nconcurrency = {number}\n")
}

/// The request that makes a change.
fn request(admin: &Admin, change: Change, number: u64) -> RequestBuilder {
    match change {
        Change::Component => admin.upload("version", component(number)),
        Change::Form => {
            let parts = [("component", component(number)), ("manifest", manifest(number).into_bytes())];
            admin.form("version", &parts.each_ref().map(|(name, bytes)| (*name, bytes.as_slice())))
        }
        Change::Manifest => admin.manifest("version", &manifest(number)),
        Change::RollBack => admin.rollback("version"),
        Change::Delete => admin.removal("version"),
    }
}

/// What is live when the change has been made; several when the history does not tell them apart.
fn wanted(change: Change, number: u64, before: &Live, history: &Value) -> Vec<Live> {
    let digest = sha256(&component(number));
    let concurrency = before.as_ref().map_or(DEFAULT_CONCURRENCY, |(_, concurrency)| *concurrency);
    match change {
        Change::Component => vec![Some((digest, concurrency))],
        Change::Form => vec![Some((digest, number))],
        Change::Manifest => vec![before.clone().map(|(digest, _)| (digest, number))],
        Change::Delete => vec![None],
        Change::RollBack => {
            let generations = history["generations"].as_array().into_iter().flatten();
            let back = generations.filter(|it| it["digest"] == history["rollback_to"]);
            back.map(|it| Some((text(&it["digest"]), number_of(&it["manifest_digest"])))).collect()
        }
    }
}

/// The binary with the folders that a change touches.
struct Scene {
    place: Place,
    components: BTreeMap<String, u64>,
}

impl Scene {
    fn kept(&self) -> PathBuf {
        self.place.path("data").join("generations/version")
    }

    fn folders(&self) -> [PathBuf; 2] {
        [self.place.path("plugins"), self.kept()]
    }

    /// What a host that has just started shows, and that everything fits together.
    async fn inspect(&self, host: &Served, told: &str) -> Live {
        let plugins = get(host, "/v1/plugins").await.1;
        let plugin = plugins["plugins"].as_array().unwrap().first().cloned().unwrap_or_default();
        assert!(plugin["error"].is_null(), "{told}: {plugin:#}");
        let digest = plugin["live"]["digest"].as_str().map(str::to_owned);
        let live = digest.map(|digest| (digest, plugin["live"]["kinds"][0]["concurrency"].as_u64().unwrap()));
        let folder = self.place.path("plugins");
        let in_folder = std::fs::read(folder.join("version.wasm")).ok().map(|bytes| sha256(&bytes));
        assert_eq!(in_folder, live.as_ref().map(|(digest, _)| digest.clone()), "{told}: the folder holds what is live");
        let written = std::fs::read_to_string(folder.join("version.toml")).ok();
        let expected = live.as_ref().map(|(_, number)| *number).filter(|number| *number != DEFAULT_CONCURRENCY);
        assert_eq!(written, expected.map(manifest), "{told}: with its manifest");
        for path in files(&folder) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            assert!(["version.wasm", "version.toml"].contains(&name.as_str()), "{told}: {} is left", path.display());
        }
        for path in files(&self.place.path("data")) {
            let left = path.extension().is_some_and(|end| end == "part" || end == "new");
            assert!(!left, "{told}: {} is left", path.display());
        }
        self.inspect_history(host, &live, told).await;
        if let Some((digest, _)) = &live {
            let body = json!({ "kind": "version", "input": {} });
            let made = host.client.post(format!("{}/v1/tasks", host.base)).json(&body).send().await.unwrap();
            let id = text(&expect_json(made).await["id"]);
            let task = wait_task(&host.client, &host.base, &id).await;
            assert_eq!(task["output"], output(self.components[digest]), "{told}: {task:#}");
        }
        live
    }

    /// The history agrees with what is live, and with the files that are kept.
    async fn inspect_history(&self, host: &Served, live: &Live, told: &str) {
        let (status, history) = get(host, "/v1/plugins/version/history").await;
        let generations = history["generations"].as_array().cloned().unwrap_or_default();
        assert!(status == StatusCode::OK || live.is_none(), "{told}: {history:#}");
        let lives: Vec<_> = generations.iter().filter(|it| it["ended_at"].is_null()).collect();
        let shown: Vec<_> = lives.iter().map(|it| (text(&it["digest"]), number_of(&it["manifest_digest"]))).collect();
        assert_eq!(shown, live.iter().cloned().collect::<Vec<_>>(), "{told}: {history:#}");
        let kept = generations.iter().filter(|it| it["kept"] == true).flat_map(|it| {
            let manifest = it["manifest_digest"].as_str().map(|digest| format!("{digest}.toml"));
            std::iter::once(format!("{}.wasm", text(&it["digest"]))).chain(manifest)
        });
        let kept: BTreeSet<String> = kept.collect();
        let there: BTreeSet<String> = files(&self.kept()).iter().map(|path| named(path)).collect();
        let there: BTreeSet<_> = there.into_iter().filter(|name| name != "history.json").collect();
        assert_eq!(there, kept, "{told}: {history:#}");
        for name in &kept {
            let bytes = std::fs::read(self.kept().join(name)).unwrap();
            assert_eq!(name.split('.').next().unwrap(), sha256(&bytes), "{told}");
        }
    }
}

fn named(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("text, not {value}")).to_owned()
}

/// The number in the manifest with this digest.
fn number_of(digest: &Value) -> u64 {
    let found = (1..=VERSIONS).find(|number| *digest == sha256(manifest(*number).as_bytes()));
    found.unwrap_or(DEFAULT_CONCURRENCY)
}

async fn get(host: &Served, path: &str) -> (StatusCode, Value) {
    crate::support::answer(host.client.get(format!("{}{path}", host.base))).await
}

/// Everything in these folders, while it changes.
fn listing(folders: &[PathBuf]) -> BTreeSet<(PathBuf, u64)> {
    let mut left: Vec<PathBuf> = folders.to_vec();
    let mut found = BTreeSet::new();
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().map_while(Result::ok) {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                left.push(entry.path());
            }
            found.insert((entry.path(), metadata.ino()));
        }
    }
    found
}

/// Kills a process when its folders have changed so many times, or when it has nothing more to do.
fn kill_at(pid: u32, folders: &[PathBuf], changes: usize, done: &AtomicBool) -> usize {
    let mut last = listing(folders);
    let mut seen = 0;
    while seen < changes && !done.load(Ordering::Relaxed) {
        let now = listing(folders);
        if now != last {
            (last, seen) = (now, seen + 1);
        }
    }
    kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
    seen
}

/// A change that is interrupted: the status of its answer, if there was one.
async fn interrupted(scene: &Scene, mut host: Served, request: RequestBuilder, changes: usize) -> Option<StatusCode> {
    let done = Arc::new(AtomicBool::new(false));
    let (watched, folders, pid) = (Arc::clone(&done), scene.folders(), host.pid());
    let killer = (changes > 0).then(|| {
        // It looks before the request is sent, so that it misses nothing.
        let (ready, looks) = tokio::sync::oneshot::channel();
        let killer = tokio::task::spawn_blocking(move || {
            ready.send(()).unwrap();
            kill_at(pid, &folders, changes, &watched)
        });
        (killer, looks)
    });
    let Some((killer, looks)) = killer else {
        let death = async move {
            host.live_for(Duration::from_millis(fastrand::u64(0..MAX_LIFE_MS))).await;
            host.kill().await;
        };
        let (sent, ()) = tokio::join!(request.send(), death);
        return sent.ok().map(|answer| answer.status());
    };
    looks.await.unwrap();
    let answer = request.send().await.ok().map(|answer| answer.status());
    done.store(true, Ordering::Relaxed);
    killer.await.unwrap();
    host.kill().await;
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i15_i11_a_kill_at_any_moment_of_a_change_leaves_one_whole_generation() {
    let components = (1..=VERSIONS).map(|number| (sha256(&component(number)), number)).collect();
    let scene = Scene { place: Place::with(&[]), components };
    let mut host = scene.place.start().await;
    let mut before = None;
    let (mut made, mut unmade) = (0, 0);
    for round in 0..rounds() {
        let (change, number) = (CHANGES[round % CHANGES.len()], fastrand::u64(1..=VERSIONS));
        let changes = fastrand::usize(0..=MAX_CHANGES);
        let history = get(&host, "/v1/plugins/version/history").await.1;
        let expected = wanted(change, number, &before, &history);
        let request = request(&Admin::at(&host, &scene.place), change, number);
        let answer = interrupted(&scene, host, request, changes).await;
        host = scene.place.start().await;
        let told = format!("round {round}: {change:?} to {number} at change {changes}, answered {answer:?}");
        let after = scene.inspect(&host, &told).await;
        let told = format!("{told}: {before:?} became {after:?}, {expected:?} was wanted");
        match answer {
            Some(status) if status.is_success() => assert!(expected.contains(&after), "{told}"),
            Some(_) => assert_eq!(after, before, "{told}"),
            None => assert!(after == before || expected.contains(&after), "{told}"),
        }
        *(if expected.contains(&after) { &mut made } else { &mut unmade }) += 1;
        before = after;
    }
    assert!(made > 0 && unmade > 0, "{made} changes were made and {unmade} were not: the moments differ");
    host.kill().await;
}
