//! Limits, pauses and shares.

use std::collections::BTreeMap;

use super::{Harness, MANY, add, at, claim, finish, new_task, request, success};
use crate::limit::{Declaration, Fairness, LimitRule, Rate};
use crate::store::limits::{Backlog, LimitUse, Pausable};
use crate::store::request::Claimed;
use crate::store::{Store, StoreError};
use crate::task::{NewTask, TaskId};

/// So many at the same time, of each value of a key.
fn most(name: &str, concurrency: u64, key: Option<&str>) -> LimitRule {
    let key = key.map(str::to_owned);
    Declaration { concurrency: Some(concurrency), key, ..Declaration::default() }.check(name).unwrap()
}

fn rate(name: &str, tasks: u32, per_ms: u64, key: Option<&str>) -> LimitRule {
    let rate = Some(Rate { tasks, per_ms, burst: tasks });
    LimitRule { concurrency: None, rate, ..most(name, 1, key) }
}

fn of(tenant: &str) -> NewTask {
    NewTask { attributes: vec![("tenant".to_owned(), tenant.to_owned())], ..new_task() }
}

async fn add_all(store: &dyn Store, tenants: &str) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for (now, tenant) in (0..).zip(tenants.chars()) {
        ids.push(add(store, of(&tenant.to_string()), now).await);
    }
    ids
}

/// The tenants whose tasks were claimed, in order.
fn tenants(claimed: &[Claimed]) -> String {
    claimed.iter().map(|one| one.spec.new.attributes.first().map_or("-", |(_, tenant)| tenant.as_str())).collect()
}

async fn end(store: &dyn Store, one: &Claimed, now: u64) {
    finish(store, (one.id, one.status.attempt), success(), now).await.unwrap();
}

async fn usage(store: &dyn Store, name: &str, now: u64) -> LimitUse {
    let limits = store.limits(at(now)).await.unwrap().limits;
    limits.into_iter().find(|usage| usage.limit.rule.name == name).unwrap()
}

const TENANT: Option<&str> = Some("attributes.tenant");

pub(crate) async fn i6_a_key_over_its_limit_waits_and_holds_up_nobody(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    store.declare_limits(vec![most("tenant", 2, TENANT), most("all", 4, None)], None, at(0)).await.unwrap();
    add_all(&*store, "aaaaabbc").await;
    add(&*store, new_task(), 9).await;
    let claim_at = 50;
    let first = claim(&*store, 9, claim_at).await;
    assert_eq!((tenants(&first.claimed).as_str(), first.next_due), ("aabb", None));
    let used = usage(&*store, "tenant", claim_at).await;
    let values: Vec<_> = used.busiest.iter().map(|it| (it.value.as_str(), it.running, it.held)).collect();
    assert_eq!(values, [("a", 2, 3), ("b", 2, 0), ("c", 0, 0)]);
    let all = usage(&*store, "all", claim_at).await;
    assert_eq!((all.running, all.held, all.values), (4, 5, 1), "the one without a tenant, too");

    // No task begins, whatever is asked, and nothing is written or told.
    let last = store.events(0, 100).await.unwrap().last;
    assert_eq!(claim(&*store, 9, claim_at).await.claimed.len(), 0);
    assert_eq!(store.events(0, 100).await.unwrap().last, last);

    end(&*store, &first.claimed[0], 51).await;
    let mut wakeups = store.wakeups();
    wakeups.mark_unchanged();
    let second = claim(&*store, 9, 52).await;
    assert_eq!(tenants(&second.claimed), "a");
    end(&*store, &first.claimed[2], 53).await;
    wakeups.changed().await.unwrap();
    end(&*store, &first.claimed[3], 53).await;
    let third = claim(&*store, 9, 54).await;
    assert_eq!(tenants(&third.claimed), "c-", "the tasks of `a` stand before, and hold up nobody");
}

pub(crate) async fn i6_a_restart_counts_what_runs_and_every_end_gives_back(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    store.declare_limits(vec![most("tenant", 1, TENANT)], None, at(0)).await.unwrap();
    add_all(&*store, "abcd").await;
    let claimed = claim(&*store, 9, 10).await.claimed;
    assert_eq!(tenants(&claimed), "abcd");
    add_all(&*store, "abcd").await;
    assert_eq!(claim(&*store, 9, 10).await.claimed.len(), 0);
    let attempt = |at: usize| (claimed[at].id, claimed[at].status.attempt);
    finish(&*store, attempt(0), super::failure(1_000), 20).await.unwrap();
    store.request_cancel(claimed[1].id, at(20)).await.unwrap();
    finish(&*store, attempt(1), crate::task::Outcome::Cancelled, 20).await.unwrap();
    assert_eq!(tenants(&claim(&*store, 9, 20).await.claimed), "ab");
    assert_eq!(store.reclaim_expired(at(110)).await.unwrap(), 2, "the leases of `c` and `d`");
    assert_eq!(tenants(&claim(&*store, 9, 110).await.claimed), "cd");
    assert_eq!(usage(&*store, "tenant", 110).await.running, 4);
    store.close().await;
    drop(store);
    // The same start again: its leases go on.
    let store = harness.open(1, MANY, at(111));
    assert_eq!(usage(&*store, "tenant", 111).await.running, 4);
    assert_eq!(claim(&*store, 9, 2_000).await.claimed.len(), 0);
    drop(store);
    let store = harness.open(2, MANY, at(120));
    assert_eq!(usage(&*store, "tenant", 120).await.running, 0);
    assert_eq!(tenants(&claim(&*store, 9, 2_000).await.claimed), "cdab", "who has waited longer");
}

pub(crate) async fn a_rate_lets_tasks_begin_when_its_tokens_come_and_survives_a_restart(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    store.declare_limits(vec![rate("tenant", 2, 1_000, TENANT)], None, at(0)).await.unwrap();
    add_all(&*store, "aaaaab").await;
    let first = claim(&*store, 9, 10).await;
    assert_eq!((tenants(&first.claimed).as_str(), first.next_due), ("aab", Some(at(510))));
    assert_eq!(claim(&*store, 9, 509).await.claimed.len(), 0);
    for one in &first.claimed {
        end(&*store, one, 509).await;
    }
    let second = claim(&*store, 9, 510).await;
    assert_eq!((tenants(&second.claimed).as_str(), second.next_due), ("a", Some(at(1_010))));
    store.close().await;
    drop(store);
    let store = harness.open(2, MANY, at(600));
    let again = claim(&*store, 9, 600).await;
    assert_eq!((again.claimed.len(), again.next_due), (0, Some(at(1_010))), "a restart fills nothing");
    assert_eq!(usage(&*store, "tenant", 1_010).await.busiest[0].tokens, Some(1));
    assert_eq!(claim(&*store, 9, 1_010).await.claimed.len(), 1);
    // The clock is set back by a day: the rest waits for its rate, not for the old time.
    let day = 86_400_000;
    add_all(&*store, "aa").await;
    assert_eq!(claim(&*store, 9, day).await.claimed.len(), 2, "the burst");
    let back = claim(&*store, 9, 100).await;
    assert_eq!((back.claimed.len(), back.next_due), (0, Some(at(600))));
}

pub(crate) async fn a_limit_is_changed_while_tasks_wait_and_run(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    add_all(&*store, "aaaabbbb").await;
    let mut wakeups = store.wakeups();
    let limit = store.put_limit(most("mine", 1, TENANT), None, at(10)).await.unwrap();
    wakeups.changed().await.unwrap();
    let claimed = claim(&*store, 9, 10).await.claimed;
    assert_eq!((tenants(&claimed).as_str(), limit.revision), ("ab", 1));
    let more = store.put_limit(most("mine", 3, TENANT), Some(1), at(10)).await.unwrap();
    assert_eq!(more.revision, 2);
    assert_eq!(tenants(&claim(&*store, 3, 10).await.claimed), "aab");
    // Fewer than run: none is stopped, none begins.
    store.put_limit(most("mine", 1, TENANT), Some(2), at(10)).await.unwrap();
    assert_eq!(claim(&*store, 9, 10).await.claimed.len(), 0);
    assert_eq!(usage(&*store, "mine", 10).await.running, 5);
    // Counted by another key: all tasks together.
    store.put_limit(most("mine", 6, None), Some(3), at(10)).await.unwrap();
    assert_eq!(tenants(&claim(&*store, 9, 10).await.claimed), "a");
    let stale = store.put_limit(most("mine", 9, None), Some(3), at(10)).await;
    assert!(matches!(stale, Err(StoreError::Stale)));
    assert!(matches!(store.put_limit(most("mine", 9, None), None, at(10)).await, Err(StoreError::Stale)));
    assert!(matches!(store.put_limit(most("other", 9, None), Some(1), at(10)).await, Err(StoreError::Stale)));
    assert!(matches!(store.delete_limit("mine", 3, at(10)).await, Err(StoreError::Stale)));
    assert!(matches!(store.delete_limit("other", 3, at(10)).await, Err(StoreError::NotFound)));
    store.declare_limits(vec![most("config", 5, None)], None, at(0)).await.unwrap();
    assert!(matches!(store.put_limit(most("config", 9, None), Some(1), at(10)).await, Err(StoreError::Conflict(_))));
    drop(store);
    let store = harness.open(1, MANY, at(20));
    assert_eq!((usage(&*store, "mine", 20).await.limit.revision, usage(&*store, "config", 20).await.running), (4, 6));
    store.declare_limits(Vec::new(), None, at(0)).await.unwrap();
    assert_eq!(claim(&*store, 9, 20).await.claimed.len(), 0);
    store.delete_limit("mine", 4, at(10)).await.unwrap();
    assert_eq!(claim(&*store, 9, 20).await.claimed.len(), 2);
    assert_eq!(store.limits(at(20)).await.unwrap().limits, []);
}

pub(crate) async fn i8_limits_are_bounded(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let rules: Vec<_> = (0..64).map(|at| most(&format!("rule-{at}"), 1, TENANT)).collect();
    store.declare_limits(rules, None, at(0)).await.unwrap();
    assert!(matches!(store.put_limit(most("one-more", 1, None), None, at(10)).await, Err(StoreError::Full(_))));
    add_all(&*store, "aab").await;
    assert_eq!(tenants(&claim(&*store, 9, 10).await.claimed), "ab", "a task may be subject to all of them");
    let twice = vec![most("a", 1, None), most("a", 2, None)];
    assert!(matches!(store.declare_limits(twice, None, at(0)).await, Err(StoreError::Conflict(_))));
}

pub(crate) async fn a_paused_queue_or_kind_begins_nothing_until_it_is_resumed(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let waiting = |queue: &str, kind: &str| {
        let (queue, kind) = (queue.to_owned(), kind.to_owned());
        NewTask { queue, kind, run_at: Some(at(5)), ..new_task() }
    };
    let (slow, kind) = (Pausable::Queue("slow".to_owned()), Pausable::Kind("other".to_owned()));
    for (queue, of) in [("slow", "echo"), ("fast", "echo"), ("fast", "other")] {
        add(&*store, waiting(queue, of), 0).await;
    }
    let paused = store.pause(slow.clone(), "full disk".to_owned(), at(7)).await.unwrap();
    assert_eq!(paused.paused.as_ref().map(|pause| (pause.since, pause.reason.as_str())), Some((at(7), "full disk")));
    assert_eq!((paused.queued, paused.running, paused.oldest_due), (1, 0, Some(at(5))));
    assert_eq!(store.pause(slow.clone(), "again".to_owned(), at(8)).await.unwrap(), paused);
    store.pause(kind.clone(), String::new(), at(7)).await.unwrap();
    drop(store);
    let store = harness.open(2, MANY, at(9));
    let both = || request(&["echo", "other"], 9, 10);
    let claimed = store.claim(both(), at(10)).await.unwrap();
    assert_eq!(claimed.claimed.iter().map(|one| one.spec.new.queue.as_str()).collect::<Vec<_>>(), ["fast"]);
    assert_eq!(claimed.next_due, None, "there is nothing to wait for");
    let line = |name: &str, queued, running, oldest_due| Backlog {
        name: name.to_owned(),
        queued,
        running,
        oldest_due,
        paused: None,
    };
    let queues = store.queues(at(10)).await.unwrap();
    let unpaused: Vec<_> = queues.into_iter().map(|queue| Backlog { paused: None, ..queue }).collect();
    assert_eq!(unpaused, [line("fast", 1, 1, Some(at(5))), line("slow", 1, 0, Some(at(5)))]);
    let mut wakeups = store.wakeups();
    wakeups.mark_unchanged();
    store.resume(slow, at(11)).await.unwrap();
    wakeups.changed().await.unwrap();
    assert_eq!(store.claim(both(), at(11)).await.unwrap().claimed.len(), 1);
    store.resume(kind.clone(), at(12)).await.unwrap();
    assert_eq!(store.claim(both(), at(12)).await.unwrap().claimed.len(), 1);
    assert_eq!(store.kinds(at(12)).await.unwrap(), [line("echo", 0, 2, None), line("other", 0, 1, None)]);
    // A queue without tasks can be paused, and is listed then.
    let empty = store.pause(Pausable::Queue("empty".to_owned()), String::new(), at(13)).await.unwrap();
    assert_eq!(store.queues(at(13)).await.unwrap()[0], empty);
}

pub(crate) async fn groups_are_served_by_their_weights_before_priority(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let fairness = Fairness::check("attributes.tenant", BTreeMap::from([("a".to_owned(), 2)])).unwrap();
    store.declare_limits(Vec::new(), Some(fairness.clone()), at(0)).await.unwrap();
    let urgent = |tenant: &str| NewTask { priority: 9, ..of(tenant) };
    for _ in 0..30 {
        add(&*store, urgent("b"), 0).await;
    }
    for _ in 0..30 {
        add(&*store, of("a"), 1).await;
        add(&*store, NewTask { kind: "other".to_owned(), ..of("c") }, 1).await;
    }
    let mut served = BTreeMap::<char, u32>::new();
    for _ in 0..10 {
        let claimed = store.claim(request(&["echo", "other"], 4, 5), at(5)).await.unwrap().claimed;
        tenants(&claimed).chars().for_each(|tenant| *served.entry(tenant).or_default() += 1);
    }
    assert_eq!(served.into_values().collect::<Vec<_>>(), [20, 10, 10], "across kinds and claims");
    // Whoever comes later does not have the turns that it did not want.
    for _ in 0..9 {
        add(&*store, of("d"), 6).await;
    }
    let claimed = store.claim(request(&["echo", "other"], 10, 7), at(7)).await.unwrap().claimed;
    let turns = tenants(&claimed).matches('d').count();
    assert!((1..=3).contains(&turns), "{}", tenants(&claimed));
    assert_eq!(store.limits(at(7)).await.unwrap().fairness, Some(fairness));
}

pub(crate) async fn what_waits_behind_two_limits_is_let_go_by_the_last(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let rules = vec![most("path", 1, Some("/path")), most("region", 2, Some("attributes.tenant"))];
    store.declare_limits(rules, None, at(0)).await.unwrap();
    let on = |path: &str| NewTask { input: format!("{{\"path\":\"{path}\"}}"), ..of("eu") };
    let mut ids = Vec::new();
    for (now, path) in (0..).zip(["x", "x", "y", "z", "x"]) {
        ids.push(add(&*store, on(path), now).await);
    }
    let claimed = claim(&*store, 9, 10).await.claimed;
    assert_eq!(claimed.iter().map(|one| one.id).collect::<Vec<_>>(), [ids[0], ids[2]]);
    end(&*store, &claimed[1], 11).await;
    let next = claim(&*store, 9, 11).await.claimed;
    assert_eq!(next.iter().map(|one| one.id).collect::<Vec<_>>(), [ids[3]], "`x` still runs");
    end(&*store, &claimed[0], 12).await;
    assert_eq!(claim(&*store, 9, 12).await.claimed[0].id, ids[1]);
    end(&*store, &next[0], 13).await;
    assert_eq!(claim(&*store, 9, 13).await.claimed.len(), 0, "the region has room, the path has not");
}

pub(crate) async fn a_task_that_comes_while_others_wait_has_its_turn_all_the_same(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    store.declare_limits(vec![most("tenant", 1, TENANT)], None, at(0)).await.unwrap();
    let new = |queue: &str, priority| NewTask { queue: queue.to_owned(), priority, ..of("a") };
    add(&*store, new("q0", 9), 0).await;
    add(&*store, new("q1", 2), 1).await;
    add(&*store, new("q2", 0), 2).await;
    let first = claim(&*store, 9, 3).await.claimed;
    assert_eq!(first.len(), 1);
    end(&*store, &first[0], 4).await;
    // Somebody looks: the one of priority 2 may begin.
    usage(&*store, "tenant", 5).await;
    let urgent = add(&*store, new("q2", 5), 6).await;
    let second = claim(&*store, 9, 7).await.claimed;
    assert_eq!(second.iter().map(|one| one.id).collect::<Vec<_>>(), [urgent], "behind one that it goes before");
    end(&*store, &second[0], 8).await;
    usage(&*store, "tenant", 9).await;
    // One that is added before it is due, too.
    let due_at = 20;
    let later = add(&*store, NewTask { run_at: Some(at(due_at)), ..new("q2", 5) }, 10).await;
    let third = claim(&*store, 9, due_at).await.claimed;
    assert_eq!(third.iter().map(|one| one.id).collect::<Vec<_>>(), [later]);
}
