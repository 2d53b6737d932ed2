//! Random sequences of verbs.

use proptest::prelude::*;
use proptest::sample::Index;

use super::new_task;
use crate::store::LinkedTask;
use crate::task::{Failure, Idempotency, NewTask, OnParentFailure, Outcome, Progress, TaskId, UniqueMode, UniqueRule};

/// Kinds that occur.
pub(crate) const KINDS: [&str; 3] = ["a", "b", "c"];

/// One step of a plan. An [`Index`] picks one of the tasks known so far.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Enqueue(Vec<Draft>),
    Claim {
        kinds: Vec<usize>,
        room: u32,
        limit: u32,
    },
    Beat {
        task: Index,
        stale: bool,
        lease_ms: u64,
        done: Option<u64>,
    },
    Finish {
        task: Index,
        stale: bool,
        end: End,
    },
    Cancel(Index),
    Redrive(Index),
    Purge(Index),
    Checkpoint {
        task: Index,
        stale: bool,
        byte: u8,
    },
    Reclaim,
    Expire,
    Prune {
        max_tasks: u64,
        max_age_ms: u64,
    },
    Wait {
        millis: u64,
    },
    /// Somebody sets the clock.
    SetClock {
        millis: i64,
    },
    Reopen,
}

/// A task to be created.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    kind: usize,
    priority: u8,
    key: Option<u8>,
    delay_ms: Option<u64>,
    max_attempts: u32,
    extra: Extra,
    links: Links,
}

/// Which tasks it comes after.
#[derive(Clone, Debug, Default)]
struct Links {
    /// Of those known so far.
    known: Vec<Index>,
    /// Of the earlier ones of the call.
    earlier: Vec<Index>,
    rule: usize,
}

/// Rules that occur.
const RULES: [OnParentFailure; 3] = [OnParentFailure::Fail, OnParentFailure::Run, OnParentFailure::Cancel];

/// What only some tasks have.
#[derive(Clone, Debug)]
struct Extra {
    queue: u8,
    mode: usize,
    deadline_ms: Option<u64>,
    /// The key of the request, and its fingerprint.
    request: Option<(u8, u8)>,
}

/// Modes that occur.
const MODES: [UniqueMode; 3] = [UniqueMode::Existing, UniqueMode::Reject, UniqueMode::Replace];

impl Draft {
    /// The task, created at `now`.
    pub(crate) fn at(&self, now: u64) -> NewTask {
        NewTask {
            kind: KINDS[self.kind].to_owned(),
            priority: self.priority,
            unique_key: self.key.map(|key| format!("key-{key}")),
            run_at: self.delay_ms.map(|delay| super::at((now + delay).saturating_sub(20))),
            max_attempts: self.max_attempts,
            queue: format!("queue-{}", self.extra.queue),
            unique: UniqueRule { mode: MODES[self.extra.mode], ..UniqueRule::default() },
            deadline: self.extra.deadline_ms.map(|after| super::at(now + after)),
            idempotency: self.extra.request.map(|it| request(it, self.extra.mode, self.key)).into_iter().collect(),
            ..new_task()
        }
    }

    /// The task as the call's task number `at`, when these tasks are known.
    pub(crate) fn linked(&self, now: u64, at: usize, known: &[TaskId]) -> LinkedTask {
        let mut new = self.at(now);
        if new.unique.mode.replaces() {
            return LinkedTask { new, earlier: Vec::new() };
        }
        new.on_parent_failure = RULES[self.links.rule];
        // Without any there is one that nobody knows.
        let unknown = [TaskId::from_u128(1)];
        let known = if known.is_empty() { &unknown } else { known };
        for parent in self.links.known.iter().map(|index| *index.get(known)) {
            if !new.after.contains(&parent) {
                new.after.push(parent);
            }
        }
        let earlier = if at == 0 { &[][..] } else { &self.links.earlier };
        LinkedTask { new, earlier: earlier.iter().map(|index| index.index(at)).collect() }
    }
}

/// A request; what is asked for otherwise has another fingerprint.
fn request((key, fingerprint): (u8, u8), mode: usize, unique: Option<u8>) -> Idempotency {
    let mode = u8::try_from(mode).unwrap();
    Idempotency {
        key: format!("request-{key}"),
        fingerprint: [fingerprint + 2 * mode + 8 * unique.map_or(0, |key| key + 1); 16],
    }
}

/// How an attempt ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Succeed(Vec<Draft>),
    Retry { after_ms: Option<u64> },
    Fatal,
    Crash,
    Snooze { after_ms: u64 },
    Cancel,
    Kill,
    Yield,
    Interrupt,
}

impl End {
    /// The outcome at `now`.
    pub(crate) fn at(&self, now: u64) -> Outcome {
        let failure = Failure::new("code", "message");
        match self {
            Self::Succeed(drafts) => {
                // Tasks of a guest have no idempotency keys: they are there once, with its success.
                let plain = |draft: &Draft| NewTask { idempotency: Vec::new(), ..draft.at(now) };
                let outbox = drafts.iter().map(plain).collect();
                Outcome::Succeeded { output: "{}".to_owned(), outbox }
            }
            Self::Retry { after_ms } => Outcome::Retry { failure, after_ms: *after_ms },
            Self::Fatal => Outcome::Fatal(failure),
            Self::Crash => Outcome::Crashed(failure),
            Self::Snooze { after_ms } => Outcome::Snoozed { after_ms: *after_ms },
            Self::Cancel => Outcome::Cancelled,
            Self::Kill => Outcome::Killed,
            Self::Yield => Outcome::Yielded,
            Self::Interrupt => Outcome::Interrupted,
        }
    }
}

/// The progress that `done` stands for.
pub(crate) fn progress(done: u64) -> Progress {
    Progress { done, total: None, unit: "frames".to_owned(), message: None }
}

fn drafts(max: usize) -> impl Strategy<Value = Vec<Draft>> {
    let seldom = |weight| prop::bool::weighted(weight);
    let extra = (0..3_u8, 0..MODES.len(), seldom(0.1), 0..80_u64, seldom(0.1), (0..6_u8, 0..2_u8));
    let extra = extra.prop_map(|(queue, mode, is_limited, deadline, is_requested, request)| Extra {
        queue,
        mode,
        deadline_ms: is_limited.then_some(deadline),
        request: is_requested.then_some(request),
    });
    let some = |weight| prop::option::weighted(weight, prop::collection::vec(any::<Index>(), 1..3));
    let links = (some(0.3), some(0.2), 0..RULES.len());
    let links = links.prop_map(|(known, earlier, rule)| Links {
        known: known.unwrap_or_default(),
        earlier: earlier.unwrap_or_default(),
        rule,
    });
    let key = prop::option::of(0..3_u8);
    let draft = (0..KINDS.len(), 0..4_u8, key, prop::option::of(0..80_u64), 1..4_u32, extra, links);
    let draft = draft.prop_map(|(kind, priority, key, delay_ms, max_attempts, extra, links)| Draft {
        kind,
        priority,
        key,
        delay_ms,
        max_attempts,
        extra,
        links,
    });
    prop::collection::vec(draft, 0..=max)
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => drafts(2).prop_map(End::Succeed),
        2 => prop::option::of(0..50_u64).prop_map(|after_ms| End::Retry { after_ms }),
        1 => Just(End::Fatal),
        1 => Just(End::Crash),
        1 => (900..1_100_u64).prop_map(|after_ms| End::Snooze { after_ms }),
        1 => Just(End::Cancel),
        1 => Just(End::Kill),
        1 => Just(End::Yield),
        1 => Just(End::Interrupt),
    ]
}

/// One in ten is aimed at an attempt that is not the current one.
fn stale() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.1)
}

fn step() -> impl Strategy<Value = Step> {
    let task = any::<Index>;
    let claim = (prop::sample::subsequence(vec![0, 1, 2], 0..=3), 0..4_u32, 0..6_u32);
    let beat = (task(), stale(), 0..60_u64, prop::option::of(0..3_u64));
    prop_oneof![
        6 => drafts(4).prop_map(Step::Enqueue),
        6 => claim.prop_map(|(kinds, room, limit)| Step::Claim { kinds, room, limit }),
        2 => beat.prop_map(|(task, stale, lease_ms, done)| Step::Beat { task, stale, lease_ms, done }),
        7 => (task(), stale(), end()).prop_map(|(task, stale, end)| Step::Finish { task, stale, end }),
        2 => task().prop_map(Step::Cancel),
        2 => task().prop_map(Step::Redrive),
        1 => task().prop_map(Step::Purge),
        1 => (task(), stale(), any::<u8>()).prop_map(|(task, stale, byte)| Step::Checkpoint { task, stale, byte }),
        1 => Just(Step::Reclaim),
        1 => Just(Step::Expire),
        1 => (0..20_u64, 0..300_u64).prop_map(|(max_tasks, max_age_ms)| Step::Prune { max_tasks, max_age_ms }),
        4 => (0..60_u64).prop_map(|millis| Step::Wait { millis }),
        1 => (-20_000_000..20_000_000_i64).prop_map(|millis| Step::SetClock { millis }),
        1 => Just(Step::Reopen),
    ]
}

/// A whole plan.
pub(crate) fn plan() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..80)
}
