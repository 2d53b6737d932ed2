//! What survives the sudden end of a process. The victim is this test program, started again.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Directory, open};
use crate::store::conformance::{add, at, claim_one, finish, new_task, success};
use crate::store::{Store, TaskQuery};
use crate::task::{NewTask, TaskId};

/// Names the victim's directory; without it, the victim has nothing to do.
const DIRECTORY: &str = "STORE_CRASH_TEST_DIRECTORY";
/// The victim's name among the tests.
const VICTIM: &str = "store::sled::tests::crash::victim";

/// Lives tasks until it is killed, and says what was acknowledged.
#[tokio::test]
async fn victim() {
    let Some(dir) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let store = open(&dir).unwrap();
    let input = format!("{:?}", "x".repeat(500));
    loop {
        let id = add(&*store, NewTask { input: input.clone(), ..new_task() }, 0).await;
        say("added", id);
        let attempt = claim_one(&*store, 1).await;
        finish(&*store, attempt, success(), 2).await.unwrap();
        say("ended", attempt.0);
    }
}

fn say(what: &str, id: TaskId) {
    writeln!(std::io::stdout(), "\n{what} {id}").unwrap();
}

fn victim_in(dir: &Path, shell: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("{shell} exec \"$0\" --exact {VICTIM} --nocapture --test-threads 1")])
        .arg(std::env::current_exe().unwrap())
        .env(DIRECTORY, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What the victim said.
#[derive(Default)]
struct Said {
    added: Vec<TaskId>,
    ended: Vec<TaskId>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        let Some((what, id)) = line.split_once(' ') else { return };
        match (what, id.parse()) {
            ("added", Ok(id)) => self.added.push(id),
            ("ended", Ok(id)) => self.ended.push(id),
            _ => {}
        }
    }
}

/// Whatever was acknowledged is there, and every commit is there as a whole.
///
/// A victim has one task at a time in hand, so each of the `ends` of a victim leaves one unended at most.
async fn check(dir: &Path, said: &Said, ends: usize) {
    let store = open(dir).unwrap();
    let mut query = TaskQuery { limit: 1_000, ..TaskQuery::default() };
    let mut tasks = std::collections::BTreeMap::new();
    loop {
        let page = store.tasks(query.clone()).await.unwrap();
        tasks.extend(page.items.into_iter().map(|task| (task.id, task)));
        let Some(next) = page.next else { break };
        query.before = Some(next.parse().unwrap());
    }
    for id in &said.added {
        assert!(tasks.contains_key(id), "{id} was acknowledged");
    }
    for id in &said.ended {
        assert_eq!(tasks[id].status.state.name(), "succeeded", "the end of {id} was acknowledged");
    }
    // One event when a task is created, one a claim, one an end of an attempt.
    let changes = |task: &crate::task::Task| 1 + u64::from(task.status.attempt) + task.status.history.len() as u64;
    let last = store.events(0, 1).await.unwrap().last;
    assert_eq!(last, tasks.values().map(changes).sum::<u64>(), "records and events are one commit");
    let ended = tasks.values().filter(|task| task.status.state.is_terminal()).count();
    assert_eq!(store.reclaim_expired(at(1_000_000)).await.unwrap(), 0, "no attempt of the victim runs");
    assert!(tasks.len() - ended <= ends, "{ended} of {} ended after {ends} ends of a victim", tasks.len());
    store.close().await;
}

#[tokio::test]
async fn i1_i15_acknowledged_changes_survive_a_kill_and_commits_are_whole() {
    let dir = Directory::new();
    let mut said = Said::default();
    for round in 1..=4 {
        let mut victim = victim_in(dir.path(), "");
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        for line in lines.by_ref().take(round * 90) {
            said.hear(&line.unwrap());
        }
        victim.kill().unwrap();
        for line in lines {
            said.hear(&line.unwrap());
        }
        victim.wait().unwrap();
        check(dir.path(), &said, round).await;
    }
    assert!(said.ended.len() > 100, "{} tasks ended", said.ended.len());
}

#[tokio::test]
async fn i15_l11_a_failed_flush_ends_the_process_and_loses_nothing() {
    let dir = Directory::new();
    // No file may grow beyond 64 blocks, and the signal about it is ignored: writes fail.
    let mut victim = victim_in(dir.path(), "trap '' XFSZ; ulimit -f 64;");
    let mut said = Said::default();
    for line in BufReader::new(victim.stdout.take().unwrap()).lines() {
        said.hear(&line.unwrap());
    }
    assert_eq!(victim.wait().unwrap().code(), Some(74));
    assert!(!said.added.is_empty());
    check(dir.path(), &said, 1).await;
}
