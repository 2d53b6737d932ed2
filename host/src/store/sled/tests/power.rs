//! Power loss: the file operations of a store are recorded, its directory is rebuilt as a disk may
//! have it at a moment in between (what was not synced is dropped, torn or kept in any order), and
//! whatever was acknowledged until that moment has to be there, at the next start and at the one after.

mod disk;
mod trace;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use tokio::process::Command;

use self::disk::{Disk, LOSSES, Loss};
use self::trace::{CALLS, Call};
use super::faults::{self, Said};
use super::{Directory, open};
use crate::store::Store;
use crate::store::conformance::{add, new_task};

/// Crashes when `TASKHOST_POWER_ROUNDS` does not say.
const ROUNDS: usize = 30;
/// Victims that live on what a crash has left of the one before.
const GENERATIONS: usize = 3;
/// What an inspector is told, each in a variable: a directory, what was acknowledged, by how many victims.
const DIRECTORY: &str = "STORE_POWER_TEST_DIRECTORY";
const SAID: &str = "STORE_POWER_TEST_SAID";
const VICTIMS: &str = "STORE_POWER_TEST_VICTIMS";
/// The inspector's name among the tests.
const INSPECTOR: &str = "store::sled::tests::power::inspector";
/// An opening that takes longer never ends.
const PATIENCE: Duration = Duration::from_mins(2);
/// Where the store is below the root of a disk.
const STORE: &str = "store";

/// Looks at what a crash has left. In a process of its own: a store that meets damage ends its process.
#[tokio::test]
async fn inspector() {
    let Some(dir) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let mut said = Said::default();
    std::fs::read_to_string(std::env::var_os(SAID).unwrap()).unwrap().lines().for_each(|line| said.hear(line));
    let victims = faults::variable(VICTIMS).unwrap().parse().unwrap();
    drop(open(&dir).unwrap());
    faults::check(&dir, &said, victims).await;
    let store = open(&dir).unwrap();
    add(&*store, new_task(), 0).await;
    store.close().await;
    drop(store);
    // What the first opening has spoiled, the next ones find.
    faults::check(&dir, &said, victims).await;
    faults::say("intact");
}

/// What a crash has left, and what was acknowledged before.
struct Remains {
    root: Directory,
    said: Vec<String>,
    victims: usize,
    /// How it came about.
    story: String,
}

/// Whether everything is there; else what the inspector says.
async fn inspect(remains: &Remains) -> Result<(), String> {
    let said = remains.root.path().join("said");
    std::fs::write(&said, remains.said.join("\n")).unwrap();
    let mut inspector = Command::new(std::env::current_exe().unwrap());
    inspector.args(["--exact", INSPECTOR, "--nocapture", "--test-threads", "1"]);
    inspector.env(DIRECTORY, remains.root.path().join(STORE)).env(SAID, said);
    inspector.env(VICTIMS, remains.victims.to_string()).env("RUST_BACKTRACE", "0");
    let inspector = inspector.stdin(Stdio::null()).kill_on_drop(true).output();
    let Ok(output) = tokio::time::timeout(PATIENCE, inspector).await else { return Err("it never ends".to_owned()) };
    let output = output.unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && stdout.lines().any(|line| line == "intact") {
        return Ok(());
    }
    Err(format!("{}\n{stdout}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
}

/// Runs a victim on the store below `root` to its end and records it. `None` without strace.
fn record(root: &Path, victim: usize) -> Option<Vec<Call>> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut strace = std::process::Command::new("strace");
    strace.args(["-f", "-y", "-xx", "-s", "100000000", "-e", CALLS, "-o"]).arg(log.path());
    strace.arg(std::env::current_exe().unwrap());
    let output = faults::unharmed(&mut strace, &root.join(STORE), victim).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(trace::parse(&std::fs::read_to_string(log.path()).unwrap()))
}

/// Which syncs do nothing.
type Ignored = fn(&Call) -> bool;

/// Replays calls up to moments that it is told, in order.
struct Player<'a> {
    calls: &'a [Call],
    disk: Disk,
    said: Vec<String>,
    next: usize,
    /// Syncs that do nothing: none, for an honest disk.
    is_ignored: Ignored,
}

impl Player<'_> {
    fn play(&mut self, to: usize) {
        for call in &self.calls[self.next..=to] {
            if let Some(text) = call.said() {
                self.said.extend(text.lines().map(str::to_owned));
            } else if !(call.is_sync() && (self.is_ignored)(call)) {
                call.replay(&mut self.disk);
            }
        }
        self.next = to + 1;
    }
}

/// Moments of a crash: a third of them where names of files change, the rest anywhere.
fn moments(calls: &[Call], root: &Path, count: usize) -> Vec<usize> {
    let namings: Vec<_> = (0..calls.len()).filter(|at| calls[*at].is_naming(root)).collect();
    let mut moments: Vec<_> = (0..count)
        .map(|number| match number % 3 {
            0 => namings[fastrand::usize(..namings.len())],
            _ => fastrand::usize(..calls.len()),
        })
        .collect();
    moments.sort_unstable();
    moments
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "whoever runs the tests has to know what was not tested")]
async fn i15_acknowledged_changes_survive_a_power_loss() {
    let rounds = faults::rounds("TASKHOST_POWER_ROUNDS", ROUNDS);
    let (mut root, mut said) = (Directory::new(), Vec::new());
    let mut uncertain = 0;
    let mut failures = Vec::new();
    for victim in 1..=GENERATIONS {
        let disk = Disk::load(root.path());
        let Some(calls) = record(root.path(), victim) else {
            return eprintln!("skipped: there is no strace here; `apt install strace` brings it");
        };
        let mut player = Player { calls: &calls, disk, said, next: 0, is_ignored: |_| false };
        let mut crashes = Vec::new();
        for (round, moment) in moments(&calls, root.path(), rounds.div_ceil(GENERATIONS)).into_iter().enumerate() {
            player.play(moment.max(player.next.saturating_sub(1)));
            let loss = LOSSES[(round + victim) % LOSSES.len()];
            let left = Directory::new();
            player.disk.crash(left.path(), loss);
            uncertain += usize::from(player.disk.uncertain() > 0);
            let story = format!("victim {victim}, call {moment} of {}, {loss:?}", calls.len());
            crashes.push(Remains { root: left, said: player.said.clone(), victims: victim, story });
        }
        let looks = stream::iter(&crashes).map(|remains| async move { (remains, inspect(remains).await) });
        let looks: Vec<_> = looks.buffer_unordered(2).collect().await;
        let lost = looks.into_iter().filter_map(|(remains, look)| Some((remains, look.err()?)));
        failures.extend(lost.map(|(remains, why)| format!("{}: {why}", remains.story)));
        // The next one begins where this one may have ended at its last crash, with nobody in between.
        let left = Directory::new();
        player.disk.crash(left.path(), Loss::Scattered);
        (root, said) = (left, player.said);
    }
    assert!(failures.is_empty(), "{} of {rounds} crashes:\n{}", failures.len(), failures.join("\n\n"));
    assert!(said.len() > 100, "only {} lines were acknowledged", said.len());
    assert!(uncertain > rounds / 3, "only {uncertain} of {rounds} crashes could lose anything");
}

#[tokio::test]
async fn i15_each_sort_of_sync_is_needed_and_its_absence_is_noticed() {
    let root = Directory::new();
    let Some(calls) = record(root.path(), 1) else { return };
    let absences: [(&str, Ignored); 4] = [
        ("any", |_| true),
        ("of pages", |call| call.path().components().any(|part| part.as_os_str() == "slabs")),
        ("of the log", |call| call.path().file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"log_"))),
        ("of names", |call| call.path().ends_with("metadata")),
    ];
    for (what, is_ignored) in absences {
        // Not every moment shows it: the log is short after its content went into pages.
        let mut is_noticed = false;
        for eighth in (1..=8).rev() {
            let disk = Disk::empty(root.path());
            let mut player = Player { calls: &calls, disk, said: Vec::new(), next: 0, is_ignored };
            player.play((calls.len() - 1) * eighth / 8);
            let left = Directory::new();
            player.disk.crash(left.path(), Loss::Dropped);
            let remains = Remains { root: left, said: player.said, victims: 1, story: String::new() };
            is_noticed = inspect(&remains).await.is_err();
            if is_noticed {
                break;
            }
        }
        assert!(is_noticed, "without a sync {what}, something must be missing");
    }
}
