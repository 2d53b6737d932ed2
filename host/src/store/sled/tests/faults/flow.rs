//! Flows of victims: nobody waits for a parent that has ended, and no callback is missing or doubled.

use std::collections::HashMap;

use crate::store::conformance::{at, new_task, request};
use crate::store::{Batch, Finish, LinkedTask, NewBatch, Store};
use crate::task::{AttemptReport, Callbacks, Failure, NewTask, Outcome, State, Task, TaskId};

/// Batches that a victim makes at most.
const BATCHES: usize = 20;

fn of_kind(kind: &str) -> NewTask {
    NewTask { kind: kind.to_owned(), ..new_task() }
}

/// Makes batches of a parent and two that come after it, and ends what it can get, well or badly.
pub(super) async fn live(store: &dyn Store) {
    for round in 0..BATCHES {
        let linked = |kind, earlier| LinkedTask { new: of_kind(kind), earlier };
        let tasks = vec![linked("parent", vec![]), linked("after", vec![0]), linked("after", vec![0])];
        let callbacks = Callbacks { on_complete: Some(of_kind("called")), ..Callbacks::default() };
        store.create_batch(NewBatch { tasks, callbacks, ..NewBatch::default() }, at(1)).await.unwrap();
        let claim = store.claim(request(&["parent", "after"], 4, 1), at(1)).await.unwrap();
        for (number, one) in claim.claimed.into_iter().enumerate() {
            let outcome = if (round + number) % 4 == 3 {
                Outcome::Fatal(Failure::new("bad", "no"))
            } else {
                Outcome::Succeeded { output: "{}".to_owned(), outbox: Vec::new() }
            };
            let finish = Finish {
                id: one.id,
                attempt: one.status.attempt,
                outcome,
                jitter: 0.5,
                report: AttemptReport::default(),
            };
            store.finish(finish, at(2)).await.unwrap();
        }
    }
}

/// Looks at every flow. Answers how many events there are beside those of plain tasks.
pub(super) async fn check(store: &dyn Store, tasks: &[Task]) -> u64 {
    let by_id: HashMap<TaskId, &Task> = tasks.iter().map(|task| (task.id, task)).collect();
    let mut events = 0;
    for task in tasks.iter().filter(|task| !task.spec.new.after.is_empty()) {
        if task.status.state == State::Waiting {
            let lives = |parent: &TaskId| !by_id[parent].status.state.is_terminal();
            assert!(task.spec.new.after.iter().any(lives), "{} waits for nobody", task.id);
        } else {
            // It was released, or ended with its parent.
            events += 1;
        }
    }
    let mut before = None;
    loop {
        let page = store.batches(before, 100).await.unwrap();
        for batch in &page.items {
            events += one_batch(batch, tasks);
        }
        let Some(next) = page.next else { return events };
        before = Some(next.parse().unwrap());
    }
}

fn one_batch(batch: &Batch, tasks: &[Task]) -> u64 {
    let members: Vec<_> = tasks.iter().filter(|task| task.spec.new.batch == Some(batch.id)).collect();
    assert_eq!(members.len(), batch.spec.members as usize, "a batch and its members are one commit");
    let ended = members.iter().filter(|task| task.status.state.is_terminal()).count();
    let tally = &batch.tally;
    assert_eq!(tally.ended() as usize, ended, "an end and its count are one commit");
    assert_eq!(tally.completed_at.is_some(), ended == members.len());
    let id = batch.id.to_string();
    let is_called = |task: &&Task| task.spec.new.kind == "called" && task.spec.new.attributes[0].1 == id;
    let called: Vec<_> = tasks.iter().filter(is_called).map(|task| task.id).collect();
    assert_eq!(called, tally.on_complete.into_iter().collect::<Vec<_>>());
    assert_eq!(called.len(), usize::from(ended == members.len()), "neither missing nor doubled");
    let reached = [tally.failing_at, tally.succeeded_at, tally.completed_at];
    1 + reached.into_iter().flatten().count() as u64
}
