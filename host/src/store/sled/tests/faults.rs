//! The process ends at every point of a commit, again and again. Whatever was acknowledged is
//! there, at most what was in flight is there besides, and each group as a whole.

mod flow;
mod kept;

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::super::fault::{self, Point};
use super::super::{Settings, SledStore};
use super::{Directory, open};
use crate::store::conformance::{at, new_task, request};
use crate::store::{Finish, Store, TaskQuery};
use crate::task::{AttemptReport, BootId, NewTask, Outcome, Task};

/// Rounds when `TASKHOST_FAULT_ROUNDS` does not say.
const ROUNDS: usize = 40;
/// What the victim is told, each in a variable.
const DIRECTORY: &str = "STORE_FAULT_TEST_DIRECTORY";
const POINT: &str = "STORE_FAULT_TEST_POINT";
const COUNT: &str = "STORE_FAULT_TEST_COUNT";
const ROUND: &str = "STORE_FAULT_TEST_ROUND";
/// The victim's name among the tests.
const VICTIM: &str = "store::sled::tests::faults::victim";
/// [`Point::Answered`] among [`fault::ALL`].
const ANSWERED: usize = 5;
/// Callers at the same time, so that commits are groups.
const WRITERS: usize = 4;
/// Batches that a caller makes at most; a point that was not met by then is met in another round.
const BATCHES: usize = 30;

pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.into_string().unwrap())
}

pub(super) fn say(what: &str) {
    writeln!(std::io::stdout(), "\n{what}").unwrap();
}

#[tokio::test]
async fn victim() {
    let Some(dir) = variable(DIRECTORY).map(PathBuf::from) else { return };
    let number = |name| variable(name).unwrap().parse::<u64>().unwrap();
    fault::arm(fault::ALL[usize::try_from(number(POINT)).unwrap()], number(COUNT));
    let settings = Settings { max_growth_bytes: 20_000, ..Settings::new(dir, BootId(fastrand::u64(..))) };
    let store: Arc<dyn Store> = SledStore::open(settings, at(0)).unwrap();
    let writers = (0..WRITERS).map(|writer| write(&*store, format!("{}-{writer}", number(ROUND))));
    tokio::join!(futures_util::future::join_all(writers), work(&*store), flow::live(&*store), kept::live(&*store));
}

/// Makes pairs of tasks: one commit each.
async fn write(store: &dyn Store, name: String) {
    for batch in 0..BATCHES {
        let task = |half| NewTask { unique_key: Some(format!("{name}-{batch}-{half}")), ..new_task() };
        store.enqueue(vec![task('a'), task('b')], at(1)).await.unwrap();
        say(&format!("added {name}-{batch}"));
    }
}

/// Ends tasks; each leaves another one behind, in one commit.
async fn work(store: &dyn Store) {
    for _ in 0..BATCHES {
        let claim = store.claim(request(&["echo"], 2, 1), at(1)).await.unwrap();
        for one in claim.claimed {
            let outbox = vec![NewTask { kind: "child".to_owned(), input: format!("\"{}\"", one.id), ..new_task() }];
            let outcome = Outcome::Succeeded { output: "{}".to_owned(), outbox };
            let finish = Finish {
                id: one.id,
                attempt: one.status.attempt,
                outcome,
                jitter: 0.5,
                report: AttemptReport::default(),
            };
            store.finish(finish, at(2)).await.unwrap();
            say(&format!("ended {}", one.id));
        }
    }
}

/// What victims said.
#[derive(Default)]
pub(super) struct Said {
    added: HashSet<String>,
    ended: HashSet<String>,
    /// The latest count.
    kept: u64,
}

impl Said {
    /// A line of a victim; others are of the harness.
    pub(super) fn hear(&mut self, line: &str) {
        match line.trim_end().split_once(' ') {
            Some(("added", name)) => self.added.insert(name.to_owned()),
            Some(("ended", id)) => self.ended.insert(id.to_owned()),
            Some(("kept", count)) => {
                self.kept = count.parse().unwrap();
                true
            }
            _ => false,
        };
    }
}

fn victim_in<'a>(command: &'a mut Command, dir: &Path, (point, count): (usize, u64), round: usize) -> &'a mut Command {
    command.args(["--exact", VICTIM, "--nocapture", "--test-threads", "1"]);
    command.env(DIRECTORY, dir).env(POINT, point.to_string());
    command.env(COUNT, count.to_string()).env(ROUND, round.to_string())
}

/// How many rounds a test makes.
pub(super) fn rounds(name: &str, default: usize) -> usize {
    variable(name).map_or(default, |rounds| rounds.parse().unwrap())
}

/// The rest of a command that runs a victim to its end.
pub(super) fn unharmed<'a>(command: &'a mut Command, dir: &Path, round: usize) -> &'a mut Command {
    victim_in(command, dir, (0, u64::MAX), round)
}

fn live_and_die(dir: &Path, (point, count): (usize, u64), round: usize, said: &mut Said) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let victim = victim_in(&mut command, dir, (point, count), round);
    let mut victim = victim.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    for line in BufReader::new(victim.stdout.take().unwrap()).lines() {
        said.hear(&line.unwrap());
    }
    let status = victim.wait().unwrap();
    let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    assert!(killed || status.success(), "{status} at {:?}", fault::ALL[point]);
    killed
}

async fn everything(store: &dyn Store) -> Vec<Task> {
    let mut query = TaskQuery { limit: 1_000, ..TaskQuery::default() };
    let mut tasks = Vec::new();
    loop {
        let page = store.tasks(query.clone()).await.unwrap();
        tasks.extend(page.items);
        let Some(next) = page.next else { return tasks };
        query.before = Some(next.parse().unwrap());
    }
}

/// Compares what is there with what was said; `rounds` victims have lived.
pub(super) async fn check(dir: &Path, said: &Said, rounds: usize) {
    let report = super::super::offline::check(dir).unwrap();
    assert_eq!(report.problems, Vec::<String>::new());
    let store = open(dir).unwrap();
    let tasks = everything(&*store).await;
    let mut halves: HashMap<&str, usize> = HashMap::new();
    for key in tasks.iter().filter_map(|task| task.spec.new.unique_key.as_deref()) {
        *halves.entry(key.rsplit_once('-').unwrap().0).or_default() += 1;
    }
    for name in &said.added {
        assert!(halves.contains_key(name.as_str()), "{name} was acknowledged");
    }
    assert!(halves.values().all(|count| *count == 2), "both or none: {halves:?}");
    // Each victim had at most one batch of each caller in flight.
    assert!(halves.len() <= said.added.len() + WRITERS * rounds, "{} of {}", halves.len(), said.added.len());
    let is_ended = |task: &&Task| task.spec.new.kind == "echo" && task.status.state.name() == "succeeded";
    let ended: HashSet<_> = tasks.iter().filter(is_ended).map(|task| task.id.to_string()).collect();
    assert!(ended.is_superset(&said.ended), "an end that was acknowledged is missing");
    assert!(ended.len() <= said.ended.len() + rounds, "{} of {}", ended.len(), said.ended.len());
    let is_child = |task: &&Task| task.spec.new.kind == "child";
    let parent = |task: &Task| task.spec.new.input.trim_matches('"').to_owned();
    let children: HashSet<_> = tasks.iter().filter(is_child).map(parent).collect();
    assert_eq!(children, ended, "an end and its outbox are one commit");
    let changes = |task: &Task| 1 + u64::from(task.status.attempt) + task.status.history.len() as u64;
    let last = store.events(0, 1).await.unwrap().last;
    let of_flows = flow::check(&*store, &tasks).await;
    let of_others = kept::check(&*store, said.kept, rounds).await;
    let expected = tasks.iter().map(changes).sum::<u64>() + of_flows + of_others;
    assert_eq!(last, expected, "records and events are one commit");
    store.close().await;
}

#[tokio::test]
async fn i1_i15_l9_a_kill_at_every_point_of_a_commit_loses_nothing_and_tears_nothing() {
    let rounds = rounds("TASKHOST_FAULT_ROUNDS", ROUNDS);
    let (mut dir, mut said, mut lived) = (Directory::new(), Said::default(), 0);
    let mut met = HashSet::new();
    for round in 0..rounds {
        if round % 10 == 0 {
            // A fresh one, so that the checks stay short.
            (dir, said, lived) = (Directory::new(), Said::default(), 0);
        }
        let at = round % fault::ALL.len();
        let count = match fault::ALL[at] {
            Point::MarkEmptied | Point::Reclaimed => 1,
            Point::MarkWritten | Point::Reopening => fastrand::u64(1..3),
            Point::Taken | Point::Applied | Point::Sealed | Point::Flushed | Point::Published | Point::Answered => {
                fastrand::u64(1..25)
            }
        };
        if fault::ALL[at] == Point::Reclaimed {
            // Leaves attempts that run; a check would take them back.
            lived += 1;
            live_and_die(dir.path(), (ANSWERED, fastrand::u64(5..30)), round + rounds, &mut said);
        }
        lived += 1;
        if live_and_die(dir.path(), (at, count), round, &mut said) {
            met.insert(at);
        }
        check(dir.path(), &said, lived).await;
    }
    let missing: Vec<_> = fault::ALL.iter().enumerate().filter(|(at, _)| !met.contains(at)).collect();
    assert!(rounds < ROUNDS || missing.is_empty(), "never met: {missing:?}");
}
