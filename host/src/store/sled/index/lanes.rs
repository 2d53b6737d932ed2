//! Queued tasks: who is next.
//!
//! Due tasks wait in lanes, one for each kind, queue, group of the fairness key and set of values of the
//! keyed rules: all tasks of a lane are subject to the same buckets, and only its head competes. A
//! lane whose head a bucket or a pause holds back leaves the competition and waits there; it comes
//! back when there may be room for it. Rules without a key hold back a class of lanes as a whole.
//! So a claim costs the logarithm of what waits, and what is over its limit costs nothing.
//!
//! Of the lanes that wait at a bucket, only the best of each class comes back at a time: it brings the next
//! one along when it was served or is held back elsewhere. So a bucket that many lanes share
//! does not make them run back and forth.

mod buckets;
mod classes;
mod groups;
mod rules;
mod seats;
mod usage;
mod waiting;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap, HashSet};

pub(in super::super) use self::buckets::Charged;
use self::buckets::{Buckets, Shut};
use self::classes::Class;
use self::groups::Groups;
pub(in super::super) use self::waiting::Waiting;
use self::waiting::{Head, Held, Later, Place, Ready, Turn};
use super::Pick;
use super::slab::Slab;
use crate::store::request::GenerationRoom;
use crate::task::NewTask;
use crate::time::Timestamp;

/// What makes a lane.
#[derive(Clone, PartialEq, Eq, Hash)]
struct LaneKey {
    kind: u32,
    queue: u32,
    group: u32,
    /// Buckets of rules with a key.
    keyed: Box<[u32]>,
}

/// Where a lane's head is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// Nothing is due.
    Idle,
    /// It competes.
    Active(Turn),
    /// It is held back.
    Held(Held),
}

struct Lane {
    key: LaneKey,
    class: u32,
    stand: Stand,
    ready: u32,
    /// Its tasks among those of the kind that are due later.
    later: u32,
}

#[derive(Default)]
struct Kind {
    name: Box<str>,
    later: BTreeSet<Later>,
    classes: Vec<u32>,
    lanes: u32,
}

struct Queue {
    name: Box<str>,
    lanes: u32,
}

/// Whose turn it is in a class.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    pass: u64,
    head: Head,
}

/// See the module.
#[derive(Default)]
#[expect(clippy::struct_field_names, reason = "lanes are what there is")]
pub(super) struct Lanes {
    aging_ms: u64,
    kinds: Slab<Kind>,
    kind_names: HashMap<Box<str>, u32>,
    queues: Slab<Queue>,
    queue_names: HashMap<Box<str>, u32>,
    classes: Slab<Class>,
    lanes: Slab<Lane>,
    by_key: HashMap<LaneKey, u32>,
    ready: BTreeSet<Ready>,
    held: BTreeSet<Held>,
    buckets: Buckets,
    groups: Groups,
    paused_kinds: HashSet<Box<str>>,
    paused_queues: HashSet<Box<str>>,
    /// By rules of before, the oldest first: their tasks are still to be put into lanes of today. Until then they do not
    /// compete.
    earlier: Vec<Self>,
    /// The instant that was heard of last: what is due by then need not wait to become so.
    heard: Timestamp,
}

impl Lanes {
    /// Without tasks and rules.
    pub(super) fn new(aging_ms: u64) -> Self {
        Self { aging_ms, ..Self::default() }
    }

    /// A task waits.
    pub(super) fn insert(&mut self, new: &NewTask, task: Waiting) {
        let (key, rules) = self.key_of(new);
        let lane = match self.by_key.get(&key) {
            Some(lane) => *lane,
            None => self.open(key, rules),
        };
        if task.due_at <= self.heard {
            // Here rather than with the next claim, which a million of them would hold up.
            self.make_ready(lane, task);
        } else {
            self.wait(lane, task);
        }
    }

    /// Hears of the time.
    pub(super) fn hear(&mut self, now: Timestamp) {
        self.heard = now;
    }

    /// A task that waits does so no more.
    pub(super) fn remove(&mut self, new: &NewTask, task: Waiting) {
        if !self.earlier.iter_mut().any(|earlier| earlier.take_out(new, task)) {
            self.take_out(new, task);
        }
    }

    /// Whether it was there.
    fn take_out(&mut self, new: &NewTask, task: Waiting) -> bool {
        let Some(at) = self.find_key(new).and_then(|key| self.by_key.get(&key).copied()) else { return false };
        let Some(lane) = self.lanes.get_mut(at) else { return false };
        let mut was_there = true;
        if let Some(kind) = self.kinds.get_mut(lane.key.kind)
            && kind.later.remove(&Later::new(task, at))
        {
            lane.later -= 1;
        } else if self.ready.remove(&Ready::new(task, at, self.aging_ms)) {
            lane.ready -= 1;
            let keyed = lane.key.keyed.clone();
            if self.reseat(at) {
                // Others may have counted on it to bring them along.
                keyed.iter().for_each(|bucket| self.buckets.reopen(*bucket));
            }
        } else {
            was_there = false;
        }
        self.close_if_empty(at);
        was_there
    }

    fn wait(&mut self, at: u32, task: Waiting) {
        if let Some(lane) = self.lanes.get_mut(at)
            && let Some(kind) = self.kinds.get_mut(lane.key.kind)
        {
            lane.later += 1;
            kind.later.insert(Later::new(task, at));
        }
    }

    /// Takes due tasks out, and counts them as running. Answers also when it is worth asking again.
    pub(super) fn pick(
        &mut self,
        generations: &[GenerationRoom],
        limit: usize,
        now: Timestamp,
    ) -> (Vec<Pick>, Option<Timestamp>) {
        self.tick(now);
        let mut rooms: Vec<u32> = generations.iter().map(|generation| generation.room).collect();
        let mut classes = Vec::new();
        for (at, generation) in generations.iter().enumerate().filter(|(_, generation)| generation.room > 0) {
            classes.extend(self.classes_of(generation, now).into_iter().map(|class| (at, class)));
        }
        // What has just become due may go before what it waits with.
        self.offer_opened();
        let mut heads = BinaryHeap::new();
        for (at, class) in classes {
            heads.extend(self.candidate(class, now).map(|candidate| Reverse((candidate, at, class))));
        }
        let mut picks = Vec::new();
        while picks.len() < limit
            && let Some(Reverse((candidate, at, class))) = heads.pop()
        {
            let (Some(generation), Some(room)) = (generations.get(at), rooms.get_mut(at)) else { continue };
            if *room == 0 {
                continue;
            }
            // It may have changed: a group has heads in several classes, a kind may be named twice.
            let mut current = self.candidate(class, now);
            if current == Some(candidate) {
                let Some((task, buckets)) = self.take(candidate) else { continue };
                *room -= 1;
                picks.push(Pick { task, digest: generation.digest, buckets });
                current = self.candidate(class, now);
            }
            heads.extend(current.map(|candidate| Reverse((candidate, at, class))));
        }
        if picks.len() >= limit {
            return (picks, None);
        }
        let open = generations.iter().zip(&rooms).filter(|(_, room)| **room > 0);
        let mut next_due = self.buckets.timers.first().map(|(when, _)| *when);
        for kind in open.flat_map(|(generation, _)| &generation.kinds) {
            next_due = [next_due, self.next_due(kind)].into_iter().flatten().min();
        }
        (picks, next_due)
    }

    /// Hears of the time, and lets those compete again who may.
    fn tick(&mut self, now: Timestamp) {
        self.hear(now);
        self.buckets.wake(now);
        self.offer_opened();
    }

    /// Lets those compete again who wait at a bucket that may take more, or who have become more urgent.
    fn offer_opened(&mut self) {
        let mut opened = std::mem::take(&mut self.buckets.opened);
        opened.sort_unstable();
        opened.dedup();
        for bucket in opened {
            self.offer(bucket, None);
        }
    }

    /// The classes of a generation's kinds, once what is due of them competes.
    fn classes_of(&mut self, generation: &GenerationRoom, now: Timestamp) -> Vec<u32> {
        let mut classes = Vec::new();
        for name in &generation.kinds {
            let known = self.kind_names.get(name.as_str()).copied();
            let Some(kind) = known.filter(|_| !self.paused_kinds.contains(name.as_str())) else { continue };
            self.advance(kind, now);
            classes.extend(self.kinds.get(kind).into_iter().flat_map(|kind| &kind.classes));
        }
        classes
    }

    /// Moves what has become due into its lane.
    fn advance(&mut self, kind: u32, now: Timestamp) {
        while let Some(kind) = self.kinds.get_mut(kind)
            && let Some(first) = kind.later.first().copied().filter(|first| first.due_at <= now)
        {
            kind.later.remove(&first);
            if let Some(lane) = self.lanes.get_mut(first.lane) {
                lane.later -= 1;
            }
            self.make_ready(first.lane, first.waiting());
        }
    }

    /// A due task competes, or is held back with its lane.
    fn make_ready(&mut self, at: u32, task: Waiting) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        lane.ready += 1;
        let ready = Ready::new(task, at, self.aging_ms);
        self.ready.insert(ready);
        let is_head = match lane.stand {
            Stand::Idle => true,
            Stand::Active(turn) | Stand::Held(Held { turn, .. }) => ready.turn < turn,
        };
        if is_head {
            self.reseat(at);
        }
    }

    /// The head whose turn it is in a class, if it may be claimed at `now`.
    fn candidate(&mut self, class: u32, now: Timestamp) -> Option<Candidate> {
        loop {
            let Self { classes, groups, buckets, .. } = self;
            let class = classes.get_mut(class)?;
            if class.shared.iter().any(|bucket| buckets.check(*bucket).is_err()) {
                return None;
            }
            let (pass, head) = class.first(|group| groups.pass(group))?;
            let ready = self.first_ready(head.lane)?;
            let task = ready.waiting(self.aging_ms);
            if task.due_at > now {
                // The wall clock was set back: it waits again.
                self.ready.remove(&ready);
                if let Some(lane) = self.lanes.get_mut(head.lane) {
                    lane.ready -= 1;
                }
                self.wait(head.lane, task);
                if self.reseat(head.lane) {
                    self.pass_on(head.lane, None);
                }
            } else if let Some((place, shut)) = self.obstacle(head.lane) {
                self.hold(head.lane, place, pass);
                if let (Place::Bucket(bucket), Some(until)) = (place, shut.until) {
                    self.buckets.remind(bucket, until);
                }
                self.pass_on(head.lane, Some(place));
            } else {
                return Some(Candidate { pass, head });
            }
        }
    }

    /// What holds a lane back.
    fn obstacle(&self, at: u32) -> Option<(Place, Shut)> {
        let lane = self.lanes.get(at)?;
        let queue = self.queues.get(lane.key.queue)?;
        if self.paused_queues.contains(&queue.name) {
            return Some((Place::Queue(lane.key.queue), Shut { until: None }));
        }
        let shut = |bucket: &u32| self.buckets.check(*bucket).err().map(|shut| (Place::Bucket(*bucket), shut));
        lane.key.keyed.iter().find_map(shut)
    }

    /// Takes a candidate: it runs.
    fn take(&mut self, candidate: Candidate) -> Option<(Waiting, Box<[u32]>)> {
        let at = candidate.head.lane;
        let ready = self.first_ready(at)?;
        self.ready.remove(&ready);
        let lane = self.lanes.get_mut(at)?;
        lane.ready -= 1;
        let shared = self.classes.get(lane.class).map(|class| &*class.shared).unwrap_or_default();
        let taken: Box<[u32]> = lane.key.keyed.iter().chain(shared).copied().collect();
        for bucket in &taken {
            self.buckets.begin(*bucket);
            self.buckets.charge(*bucket);
        }
        self.groups.serve(candidate.head.group);
        self.reseat(at);
        self.pass_on(at, None);
        self.close_if_empty(at);
        Some((ready.waiting(self.aging_ms), taken))
    }

    /// When a kind is worth looking at again: a task of it becomes due, or a rule without a key has a
    /// token.
    fn next_due(&self, name: &str) -> Option<Timestamp> {
        let kind = self.kinds.get(*self.kind_names.get(name)?).filter(|_| !self.paused_kinds.contains(name))?;
        let waiting = kind.classes.iter().filter_map(|class| self.classes.get(*class)).filter(|it| !it.is_silent());
        let tokens = waiting.filter_map(|class| {
            // It is shut until the last of them opens, or for as long as no running task ends.
            let shut = class.shared.iter().filter_map(|bucket| self.buckets.check(*bucket).err());
            shut.map(|shut| shut.until).reduce(|a, b| Some(a?.max(b?))).flatten()
        });
        kind.later.first().map(|later| later.due_at).into_iter().chain(tokens).min()
    }
}
