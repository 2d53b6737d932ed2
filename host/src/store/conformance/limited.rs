//! Random plans under random limits: what a claim takes is what a look at every task says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Harness, LEASE_MS, MANY, at, digest, failure, finish, new_task, success};
use crate::limit::{Fairness, KeyPath, LimitRule, Rate, TokenBucket, Values};
use crate::store::limits::Pausable;
use crate::store::request::{ClaimRequest, GenerationRoom, TaskQuery};
use crate::store::{Claim, Store, StoreError};
use crate::task::urgency::urgency;
use crate::task::{BootId, NewTask, Outcome, State, Task, TaskId};

const AGING_MS: u64 = 60_000;

/// One step of a plan.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Put { name: u8, rule: Draft },
    Delete(u8),
    Enqueue(Vec<(u8, u8, u8, u8, u64)>),
    Claim { kinds: u8, limit: u32 },
    Finish { task: Index, retry: Option<u64> },
    Cancel(Index),
    Pause { queue: bool, name: u8, paused: bool },
    Wait(u64),
    SetBack(u64),
    Reopen,
}

/// A rule to be put.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    kinds: u8,
    queues: u8,
    key: u8,
    concurrency: Option<u32>,
    rate: Option<(u32, u64, u32)>,
}

impl Draft {
    fn named(&self, name: u8) -> LimitRule {
        let rate = self.rate.map(|(tasks, per_ms, burst)| Rate { tasks, per_ms, burst });
        let one = Some(1).filter(|_| rate.is_none());
        LimitRule {
            name: format!("rule-{name}"),
            queues: chosen(self.queues, "q"),
            kinds: chosen(self.kinds, "k"),
            key: [None, Some("attributes.tenant"), Some("/path")][usize::from(self.key)]
                .map(|key| key.parse().unwrap()),
            concurrency: self.concurrency.or(one),
            rate,
        }
    }
}

/// None means all: 0, or one of two.
fn chosen(which: u8, prefix: &str) -> Vec<String> {
    (1..=2).filter(|at| which == *at).map(|at| format!("{prefix}{at}")).collect()
}

fn draft() -> impl Strategy<Value = Draft> {
    let rate = prop::option::weighted(0.3, (1..4_u32, 5..60_u64, 1..4_u32));
    (0..3_u8, 0..3_u8, 0..3_u8, prop::option::weighted(0.8, 1..4_u32), rate)
        .prop_map(|(kinds, queues, key, concurrency, rate)| Draft { kinds, queues, key, concurrency, rate })
}

/// A whole plan.
pub(crate) fn plan() -> impl Strategy<Value = Vec<Step>> {
    let task = (1..3_u8, 1..3_u8, 0..4_u8, 0..4_u8, 0..30_u64);
    let index = any::<Index>;
    let step = prop_oneof![
        2 => (0..4_u8, draft()).prop_map(|(name, rule)| Step::Put { name, rule }),
        1 => (0..4_u8).prop_map(Step::Delete),
        6 => prop::collection::vec(task, 1..6).prop_map(Step::Enqueue),
        8 => (0..3_u8, 1..6_u32).prop_map(|(kinds, limit)| Step::Claim { kinds, limit }),
        6 => (index(), prop::option::weighted(0.3, 0..20_u64)).prop_map(|(task, retry)| Step::Finish { task, retry }),
        2 => index().prop_map(Step::Cancel),
        1 => (any::<bool>(), 1..3_u8, any::<bool>()).prop_map(|(queue, name, paused)| Step::Pause { queue, name, paused }),
        3 => (0..40_u64).prop_map(Step::Wait),
        1 => (0..40_u64).prop_map(Step::SetBack),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

struct Run<'a, H: Harness> {
    harness: &'a H,
    store: Arc<dyn Store>,
    boot: u64,
    now: u64,
    /// The latest instant that the store has heard of: rates go by it, whatever the clock says.
    heard: u64,
    fairness: Option<Fairness>,
    rules: BTreeMap<String, LimitRule>,
    tokens: BTreeMap<(String, String), TokenBucket>,
    paused: BTreeSet<(bool, String)>,
}

/// Carries a plan out. Shared by tenants when `fair`: then it is not said whose turn it is, but that nobody is
/// left out.
pub(crate) async fn obeys(harness: &impl Harness, plan: &[Step], fair: bool) {
    let store = harness.open(1, MANY, at(0));
    let fairness = fair.then(|| Fairness::check("attributes.tenant", BTreeMap::new()).unwrap());
    store.declare_limits(Vec::new(), fairness.clone(), at(0)).await.unwrap();
    let (rules, tokens, paused) = Default::default();
    let mut run = Run { harness, store, boot: 1, now: 1_000, heard: 1_000, fairness, rules, tokens, paused };
    // The store hears of that instant, too: a plan may begin by setting the clock back.
    run.check_counts().await;
    for step in plan {
        run.heard = run.heard.max(run.now);
        run.step(step).await;
        run.heard = run.heard.max(run.now);
        run.check_counts().await;
    }
}

impl<H: Harness> Run<'_, H> {
    async fn tasks(&self) -> Vec<Task> {
        let mut tasks = self.store.tasks(TaskQuery { limit: 1_000, ..TaskQuery::default() }).await.unwrap().items;
        tasks.reverse();
        tasks
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Put { name, rule } => self.put(rule.named(*name)).await,
            Step::Delete(name) => self.delete(&format!("rule-{name}")).await,
            Step::Enqueue(drafts) => {
                let tasks = drafts.iter().map(|draft| task(*draft, self.now)).collect();
                self.store.enqueue(tasks, at(self.now)).await.unwrap();
            }
            Step::Claim { kinds, limit } => self.claim(*kinds, *limit).await,
            Step::Finish { task, retry } => {
                let tasks = self.tasks().await;
                let running: Vec<_> = tasks.iter().filter(|task| task.status.state.name() == "running").collect();
                if !running.is_empty() {
                    let task = task.get(&running);
                    let outcome = retry.map_or_else(success, failure);
                    finish(&*self.store, (task.id, task.status.attempt), outcome, self.now).await.unwrap();
                }
            }
            Step::Cancel(index) => {
                let tasks = self.tasks().await;
                if !tasks.is_empty() {
                    let task = index.get(&tasks);
                    let task = self.store.request_cancel(task.id, at(self.now)).await.unwrap();
                    if task.status.state.name() == "running" {
                        let attempt = (task.id, task.status.attempt);
                        finish(&*self.store, attempt, Outcome::Cancelled, self.now).await.unwrap();
                    }
                }
            }
            Step::Pause { queue, name, paused } => {
                let (line, of): (fn(String) -> Pausable, _) =
                    if *queue { (Pausable::Queue, "q") } else { (Pausable::Kind, "k") };
                let name = format!("{of}{name}");
                if *paused {
                    self.store.pause(line(name.clone()), String::new(), at(self.now)).await.unwrap();
                    self.paused.insert((*queue, name));
                } else {
                    self.store.resume(line(name.clone()), at(self.now)).await.unwrap();
                    self.paused.remove(&(*queue, name));
                }
            }
            Step::Wait(millis) => self.now += millis,
            Step::SetBack(millis) => self.now = self.now.saturating_sub(*millis),
            Step::Reopen => {
                self.store.close().await;
                self.boot += 1;
                self.heard = self.now;
                self.store = self.harness.open(self.boot, MANY, at(self.now));
                self.store.declare_limits(Vec::new(), self.fairness.clone(), at(self.now)).await.unwrap();
            }
        }
    }

    async fn put(&mut self, rule: LimitRule) {
        let limits = self.store.limits(at(self.now)).await.unwrap().limits;
        let revision = limits.iter().find(|it| it.limit.rule.name == rule.name).map(|it| it.limit.revision);
        self.store.put_limit(rule.clone(), revision, at(self.now)).await.unwrap();
        let old = self.rules.insert(rule.name.clone(), rule.clone());
        if old.is_some_and(|old| old.key != rule.key) || rule.rate.is_none() {
            self.tokens.retain(|(name, _), _| *name != rule.name);
        }
    }

    async fn delete(&mut self, name: &str) {
        let limits = self.store.limits(at(self.now)).await.unwrap().limits;
        if let Some(usage) = limits.iter().find(|usage| usage.limit.rule.name == name) {
            self.store.delete_limit(name, usage.limit.revision, at(self.now)).await.unwrap();
        } else {
            let refused = self.store.delete_limit(name, 1, at(self.now)).await;
            assert!(matches!(refused, Err(StoreError::NotFound)));
        }
        self.rules.remove(name);
        self.tokens.retain(|(rule, _), _| rule != name);
    }

    /// The buckets of a task.
    fn buckets(&self, task: &Task) -> Vec<(&LimitRule, String)> {
        let new = &task.spec.new;
        let values = Values::of(new);
        let value = |key: &Option<KeyPath>| match key {
            Some(path) => values.get(path).map(std::borrow::Cow::into_owned),
            None => Some(String::new()),
        };
        let covering = self.rules.values().filter(|rule| rule.covers(&new.kind, &new.queue));
        covering.filter_map(|rule| Some((rule, value(&rule.key)?))).collect()
    }

    fn running(&self, tasks: &[Task]) -> BTreeMap<(String, String), u32> {
        let mut running = BTreeMap::new();
        for task in tasks.iter().filter(|task| matches!(task.status.state, State::Running { .. })) {
            for (rule, value) in self.buckets(task) {
                *running.entry((rule.name.clone(), value)).or_default() += 1;
            }
        }
        running
    }

    /// Tasks of these kinds that are due and not paused, in their order.
    fn due(&self, tasks: &[Task], kinds: &[String]) -> Vec<Task> {
        let paused = |queue: bool, name: &str| self.paused.contains(&(queue, name.to_owned()));
        let turn = |task: &Task| match task.status.state {
            State::Queued { due_at } if due_at <= at(self.now) => {
                Some((urgency(task.spec.new.priority, due_at, AGING_MS), task.id))
            }
            State::Waiting
            | State::Queued { .. }
            | State::Running { .. }
            | State::Succeeded { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => None,
        };
        let is_open = |task: &&Task| {
            let new = &task.spec.new;
            kinds.contains(&new.kind) && !paused(false, &new.kind) && !paused(true, &new.queue)
        };
        let mut due: Vec<_> =
            tasks.iter().filter(is_open).filter_map(|task| Some((turn(task)?, task.clone()))).collect();
        due.sort_by_key(|(turn, _)| *turn);
        due.into_iter().map(|(_, task)| task).collect()
    }

    async fn claim(&mut self, kinds: u8, limit: u32) {
        let kinds = if kinds == 0 { vec!["k1".to_owned(), "k2".to_owned()] } else { chosen(kinds, "k") };
        let before = self.tasks().await;
        let rooms = vec![GenerationRoom { kinds: kinds.clone(), room: limit, digest: digest() }];
        let request = ClaimRequest { rooms, limit, boot: BootId(self.boot), lease_until: at(self.now + LEASE_MS) };
        let Claim { claimed, next_due } = self.store.claim(request, at(self.now)).await.unwrap();
        let claimed: Vec<_> = claimed.iter().map(|one| one.id).collect();
        let mut running = self.running(&before);
        let due = self.due(&before, &kinds);
        let mut expected: Vec<TaskId> = Vec::new();
        // In the order of the claim, when it is not said whose turn it is.
        let rank = |task: &Task| claimed.iter().position(|id| *id == task.id).unwrap_or(usize::MAX);
        let mut looked = due.clone();
        if self.fairness.is_some() {
            looked.sort_by_key(rank);
        }
        for task in &looked {
            let buckets = self.keyed_buckets(task);
            if expected.len() == limit as usize || !self.shut_ones(&buckets, &running).is_empty() {
                continue;
            }
            expected.push(task.id);
            for (rule, key) in buckets {
                if let Some(rate) = rule.rate {
                    let full = TokenBucket::full(rate, at(self.heard));
                    assert!(self.tokens.entry(key.clone()).or_insert(full).take(rate, at(self.heard)));
                }
                *running.entry(key).or_default() += 1;
            }
        }
        if !claimed.is_empty() {
            // What has become full is forgotten: a restart at an earlier time does not know of it either.
            let rate = |name: &String| self.rules[name].rate;
            self.tokens.retain(|(name, _), tokens| {
                rate(name).is_some_and(|rate| tokens.full_at(rate, at(self.heard)) > at(self.heard))
            });
        }
        assert_eq!(claimed, expected, "of {:?} under {:?}", due.iter().map(|it| it.id).collect::<Vec<_>>(), self.rules);
        if claimed.len() < limit as usize {
            assert!(next_due.is_none_or(|due| due > at(self.now)), "no running in circles");
            // Whoever also waits for a running task to end, one that was claimed just now included, waits for no instant.
            let left = looked.iter().filter(|task| !expected.contains(&task.id));
            let opens = left.filter_map(|task| {
                let shut = self.shut_ones(&self.keyed_buckets(task), &running);
                shut.into_iter().reduce(|a, b| Some(a?.max(b?))).flatten()
            });
            if let Some(token) = opens.min() {
                assert!(next_due.is_some_and(|due| due <= token), "{next_due:?} is after {token}");
            }
        }
    }

    /// The buckets of a task with their names.
    fn keyed_buckets(&self, task: &Task) -> Vec<(LimitRule, (String, String))> {
        let buckets = self.buckets(task).into_iter();
        buckets.map(|(rule, value)| (rule.clone(), (rule.name.clone(), value))).collect()
    }

    /// Until when each of these that takes no more does so.
    fn shut_ones(
        &self,
        buckets: &[(LimitRule, (String, String))],
        running: &BTreeMap<(String, String), u32>,
    ) -> Vec<Option<crate::time::Timestamp>> {
        buckets.iter().filter_map(|(rule, key)| self.shut(rule, key, running)).collect()
    }

    /// Whether a bucket takes no more, and until when.
    fn shut(
        &self,
        rule: &LimitRule,
        key: &(String, String),
        running: &BTreeMap<(String, String), u32>,
    ) -> Option<Option<crate::time::Timestamp>> {
        if rule.concurrency.is_some_and(|most| running.get(key).is_some_and(|running| *running >= most)) {
            return Some(None);
        }
        let next = self.tokens.get(key)?.next_at(rule.rate?, at(self.heard));
        (next > at(self.heard)).then_some(Some(next))
    }

    /// Permits in use are running leases, rule by rule and value by value.
    async fn check_counts(&self) {
        let expected = self.running(&self.tasks().await);
        let limits = self.store.limits(at(self.now)).await.unwrap().limits;
        assert_eq!(limits.len(), self.rules.len());
        let mut found = BTreeMap::new();
        for usage in &limits {
            for value in usage.busiest.iter().filter(|value| value.running > 0) {
                found.insert((usage.limit.rule.name.clone(), value.value.clone()), value.running);
            }
        }
        assert_eq!(found, expected);
    }
}

fn task((kind, queue, tenant, path, delay): (u8, u8, u8, u8, u64), now: u64) -> NewTask {
    // The highest number: without a key.
    let attributes = (tenant < 3).then(|| ("tenant".to_owned(), tenant.to_string())).into_iter().collect();
    let input = if path < 3 { format!("{{\"path\":{path}}}") } else { "{}".to_owned() };
    NewTask {
        kind: format!("k{kind}"),
        queue: format!("q{queue}"),
        priority: tenant,
        run_at: Some(at((now + delay).saturating_sub(10))),
        attributes,
        input,
        max_attempts: 99,
        ..new_task()
    }
}
