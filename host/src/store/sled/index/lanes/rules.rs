//! Which lane a task belongs to, and what changes that.

use std::collections::HashMap;

use super::buckets::{Buckets, Charged, Slot};
use super::classes::Class;
use super::groups::Groups;
use super::waiting::{Held, Place, Waiting};
use super::{Kind, Lane, LaneKey, Lanes, Queue, Stand};
use crate::limit::{Fairness, LimitRule, Values};
use crate::task::NewTask;
use crate::time::Timestamp;

impl Lanes {
    /// The key of a task's lane, and the rules without a key that it is subject to.
    pub(super) fn key_of(&mut self, new: &NewTask) -> (LaneKey, u64) {
        let kind = match self.kind_names.get(new.kind.as_str()) {
            Some(kind) => *kind,
            None => self.open_kind(&new.kind),
        };
        let queue = match self.queue_names.get(new.queue.as_str()) {
            Some(queue) => *queue,
            None => self.open_queue(&new.queue),
        };
        let Self { buckets, groups, .. } = self;
        let values = Values::of(new);
        let (mut keyed, mut rules) = (Vec::new(), 0);
        for at in 0..buckets.slots.len() {
            let Some(slot) = buckets.slots.get(at) else { continue };
            match slot.rule.key.as_ref().filter(|_| slot.rule.covers(&new.kind, &new.queue)) {
                Some(path) => keyed.extend(values.get(path).map(|value| buckets.of(at, &value))),
                None if slot.rule.key.is_none() && slot.rule.covers(&new.kind, &new.queue) => rules |= 1 << at,
                None => {}
            }
        }
        let group = groups.fairness.as_ref().and_then(|fairness| values.get(&fairness.key));
        let group = groups.of(group.as_deref().unwrap_or_default());
        (LaneKey { kind, queue, group, keyed: keyed.into() }, rules)
    }

    /// The key of a lane that there may be.
    pub(super) fn find_key(&self, new: &NewTask) -> Option<LaneKey> {
        let kind = *self.kind_names.get(new.kind.as_str())?;
        let queue = *self.queue_names.get(new.queue.as_str())?;
        let values = Values::of(new);
        let mut keyed = Vec::new();
        for (at, slot) in self.buckets.slots.iter().enumerate() {
            if let Some(path) = slot.rule.key.as_ref().filter(|_| slot.rule.covers(&new.kind, &new.queue))
                && let Some(value) = values.get(path)
            {
                keyed.push(self.buckets.find(at, &value)?);
            }
        }
        let group = self.groups.fairness.as_ref().and_then(|fairness| values.get(&fairness.key));
        let group = self.groups.find(group.as_deref().unwrap_or_default())?;
        Some(LaneKey { kind, queue, group, keyed: keyed.into() })
    }

    fn open_kind(&mut self, name: &str) -> u32 {
        let at = self.kinds.insert(Kind { name: name.into(), ..Kind::default() });
        self.kind_names.insert(name.into(), at);
        at
    }

    fn open_queue(&mut self, name: &str) -> u32 {
        let at = self.queues.insert(Queue { name: name.into(), lanes: 0 });
        self.queue_names.insert(name.into(), at);
        at
    }

    /// Opens a lane. What it refers to stays as long as it does.
    pub(super) fn open(&mut self, key: LaneKey, rules: u64) -> u32 {
        let class = self.class(key.kind, rules);
        for bucket in &key.keyed {
            self.buckets.enlist(*bucket);
        }
        self.groups.enlist(key.group);
        if let Some(queue) = self.queues.get_mut(key.queue) {
            queue.lanes += 1;
        }
        if let Some(kind) = self.kinds.get_mut(key.kind) {
            kind.lanes += 1;
        }
        let at = self.lanes.insert(Lane { key: key.clone(), class, stand: Stand::Idle, ready: 0, later: 0 });
        self.by_key.insert(key, at);
        at
    }

    fn class(&mut self, kind: u32, rules: u64) -> u32 {
        let known = self.kinds.get(kind).into_iter().flat_map(|kind| &kind.classes).copied();
        let known = known.into_iter().find(|at| self.classes.get(*at).is_some_and(|class| class.rules == rules));
        let at = known.unwrap_or_else(|| {
            let slots = (0..self.buckets.slots.len()).filter(|at| rules >> at & 1 == 1);
            let shared: Box<[u32]> = slots.map(|at| self.buckets.of(at, "")).collect();
            for bucket in &shared {
                self.buckets.enlist(*bucket);
            }
            let at = self.classes.insert(Class::new(kind, rules, shared));
            if let Some(kind) = self.kinds.get_mut(kind) {
                kind.classes.push(at);
            }
            at
        });
        if let Some(class) = self.classes.get_mut(at) {
            class.lanes += 1;
        }
        at
    }

    /// Forgets a lane without tasks, and what nobody refers to any more.
    pub(super) fn close_if_empty(&mut self, at: u32) {
        if self.lanes.get(at).is_none_or(|lane| lane.ready > 0 || lane.later > 0) {
            return;
        }
        let Some(Lane { key, class: class_at, .. }) = self.lanes.remove(at) else { return };
        self.by_key.remove(&key);
        for bucket in &key.keyed {
            self.buckets.dismiss(*bucket);
        }
        self.groups.dismiss(key.group);
        let class = self.classes.get_mut(class_at).map(|class| {
            class.lanes -= 1;
            class.lanes
        });
        if class == Some(0)
            && let Some(class) = self.classes.remove(class_at)
        {
            class.shared.iter().for_each(|bucket| self.buckets.dismiss(*bucket));
            if let Some(kind) = self.kinds.get_mut(class.kind) {
                kind.classes.retain(|at| *at != class_at);
            }
        }
        if let Some(queue) = self.queues.get_mut(key.queue) {
            queue.lanes -= 1;
            if queue.lanes == 0
                && let Some(queue) = self.queues.remove(key.queue)
            {
                self.queue_names.remove(&queue.name);
            }
        }
        if let Some(kind) = self.kinds.get_mut(key.kind) {
            kind.lanes -= 1;
            if kind.lanes == 0
                && let Some(kind) = self.kinds.remove(key.kind)
            {
                self.kind_names.remove(&kind.name);
            }
        }
    }

    /// The buckets of a task that runs already, which is counted from now on.
    pub(in super::super) fn occupy(&mut self, new: &NewTask) -> Box<[u32]> {
        let values = Values::of(new);
        let mut taken = Vec::new();
        for at in 0..self.buckets.slots.len() {
            let Some(slot) = self.buckets.slots.get(at) else { continue };
            if !slot.rule.covers(&new.kind, &new.queue) {
                continue;
            }
            match &slot.rule.key {
                Some(path) => taken.extend(values.get(path).map(|value| self.buckets.of(at, &value))),
                None => taken.push(self.buckets.of(at, "")),
            }
        }
        taken.iter().for_each(|bucket| self.buckets.begin(*bucket));
        taken.into()
    }

    /// A task runs no more.
    pub(in super::super) fn vacate(&mut self, taken: &[u32]) {
        taken.iter().for_each(|bucket| self.buckets.end(*bucket));
    }

    /// Token buckets whose state changed since this was asked last.
    pub(in super::super) fn charged(&mut self) -> Vec<Charged> {
        self.buckets.charged()
    }

    /// Forgets some token buckets that have become full.
    pub(in super::super) fn forget_full(&mut self, now: Timestamp, limit: usize) {
        self.tick(now);
        self.buckets.forget_full(limit);
    }

    /// Sets what is left of a rate, as it was kept. Answers `false` when no rule wants to know.
    pub(in super::super) fn restore(&mut self, charged: &Charged, now: Timestamp) -> bool {
        let slots = &self.buckets.slots;
        let named = |slot: &Slot| slot.rule.name == charged.rule && slot.rule.rate.is_some();
        let Some(at) = slots.iter().position(named) else { return false };
        let Some(tokens) = charged.tokens else { return false };
        let bucket = self.buckets.of(at, &charged.value);
        self.buckets.start(now);
        self.buckets.put_tokens(bucket, tokens);
        true
    }

    /// Whether these rules count and share as those of today do, whatever their numbers are.
    pub(in super::super) fn counts_like(&self, rules: &[LimitRule], fairness: Option<&Fairness>) -> bool {
        let slots = &self.buckets.slots;
        let same = |slot: &Slot| rules.iter().any(|rule| rule.name == slot.rule.name && rule.counts_like(&slot.rule));
        let key = |fairness: &Fairness| fairness.key.clone();
        slots.len() == rules.len()
            && slots.iter().all(same)
            && self.groups.fairness.as_ref().map(key) == fairness.map(key)
    }

    /// Other numbers for a rule that counts as before.
    pub(in super::super) fn renumber(&mut self, rule: LimitRule) {
        if let Some(at) = self.buckets.slots.iter().position(|slot| slot.rule.name == rule.name) {
            self.buckets.renumber(at, rule);
        }
    }

    /// Other weights for the same key.
    pub(in super::super) fn reweigh(&mut self, fairness: Fairness) {
        self.groups.reweigh(fairness);
    }

    /// Counts by these rules and shares by this key from now on. Nothing competes or runs until it is put in
    /// again: what waited is answered by [`Self::unplaced`], slice by slice. Tokens of rules that count as before stay.
    pub(in super::super) fn reset(&mut self, rules: Vec<LimitRule>, fairness: Option<Fairness>) {
        let stays = |old: &LimitRule| rules.iter().any(|rule| rule.name == old.name && rule.key == old.key);
        let kept = self.buckets.slots.iter().filter(|slot| stays(&slot.rule));
        let kept: Vec<_> = kept.map(|slot| slot.rule.name.clone()).collect();
        let tokens: Vec<_> = self.buckets.unfilled().into_iter().filter(|it| kept.contains(&it.rule)).collect();
        let slots = rules.into_iter().map(|rule| Slot { rule, by_value: HashMap::new() }).collect();
        let mut before = std::mem::take(self);
        let now = before.buckets.now();
        *self = Self {
            aging_ms: before.aging_ms,
            buckets: Buckets::new(slots, now),
            groups: Groups::new(fairness),
            paused_kinds: std::mem::take(&mut before.paused_kinds),
            paused_queues: std::mem::take(&mut before.paused_queues),
            earlier: std::mem::take(&mut before.earlier),
            heard: before.heard,
            ..Self::default()
        };
        if !before.by_key.is_empty() {
            self.earlier.push(before);
        }
        for charged in tokens {
            self.restore(&charged, now);
        }
    }

    /// Takes out tasks that wait by rules of before, for [`Self::insert`].
    pub(in super::super) fn unplaced(&mut self, limit: usize) -> Vec<Waiting> {
        let mut taken = Vec::new();
        while let Some(earlier) = self.earlier.first_mut() {
            let Self { ready, kinds, aging_ms, .. } = earlier;
            while taken.len() < limit
                && let Some(ready) = ready.pop_first()
            {
                taken.push(ready.waiting(*aging_ms));
            }
            for kind in kinds.values_mut() {
                while taken.len() < limit
                    && let Some(later) = kind.later.pop_first()
                {
                    taken.push(later.waiting());
                }
            }
            if taken.len() >= limit {
                break;
            }
            self.earlier.remove(0);
        }
        taken
    }

    /// How many times the rules were changed while tasks wait by rules of before.
    pub(in super::super) fn generations_behind(&self) -> usize {
        self.earlier.len()
    }

    /// Pauses a kind or lets it go on.
    pub(in super::super) fn pause_kind(&mut self, name: &str, paused: bool) {
        if paused {
            self.paused_kinds.insert(name.into());
        } else {
            self.paused_kinds.remove(name);
        }
    }

    /// Pauses a queue or lets it go on.
    pub(in super::super) fn pause_queue(&mut self, name: &str, paused: bool) {
        if paused {
            self.paused_queues.insert(name.into());
            return;
        }
        self.paused_queues.remove(name);
        let Some(queue) = self.queue_names.get(name).copied() else { return };
        let place = Place::Queue(queue);
        while let Some(held) = self.held.range(Held::first(place, 0)..).next().copied().filter(|it| it.place == place) {
            self.unhold(held);
            self.reseat(held.lane);
        }
    }
}
