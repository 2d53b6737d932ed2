//! What the rules count: running tasks and tokens, by rule and value of its key.
//!
//! The running tasks of a bucket are those of the index that carry its number: they enter with their
//! lease and leave with it.

use std::collections::{BTreeSet, HashMap};

use super::super::slab::Slab;
use crate::limit::{LimitRule, SLACK_MS, TokenBucket};
use crate::time::Timestamp;

/// A rule and its buckets.
pub(super) struct Slot {
    pub(super) rule: LimitRule,
    pub(super) by_value: HashMap<Box<str>, u32>,
}

/// What one rule counts under one value.
pub(super) struct Bucket {
    pub(super) slot: usize,
    pub(super) value: Box<str>,
    pub(super) running: u32,
    /// Absent when it is full.
    pub(super) tokens: Option<TokenBucket>,
    /// Lanes that are held back here.
    pub(super) held: u32,
    /// Lanes and classes that it counts.
    users: u32,
    /// When it is to be looked at again.
    timer: Option<Timestamp>,
    /// When it is full, as it is listed.
    full_at: Option<Timestamp>,
}

/// A bucket that takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shut {
    /// Until then; absent when a running task has to end first.
    pub(super) until: Option<Timestamp>,
}

/// A token bucket and where it belongs.
pub(in super::super::super) struct Charged {
    /// The rule.
    pub(in super::super::super) rule: String,
    /// The value of its key; empty without one.
    pub(in super::super::super) value: String,
    /// How it stands; absent when it is full.
    pub(in super::super::super) tokens: Option<TokenBucket>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Buckets {
    pub(super) slots: Vec<Slot>,
    pub(super) slab: Slab<Bucket>,
    /// Those that wait for a token.
    pub(super) timers: BTreeSet<(Timestamp, u32)>,
    /// Those that are not full, by when they will be.
    filling: BTreeSet<(Timestamp, u32)>,
    /// Those whose tokens changed since that was asked.
    charged: BTreeSet<u32>,
    /// Those that may take more than when that was looked at.
    pub(super) opened: Vec<u32>,
    /// The latest instant that was heard of. When the clock goes back a little, nothing is given or taken until it
    /// has caught up.
    now: Timestamp,
}

impl Buckets {
    pub(super) fn new(slots: Vec<Slot>, now: Timestamp) -> Self {
        Self { slots, now, ..Self::default() }
    }

    /// The bucket of a rule and a value, if there is one.
    pub(super) fn find(&self, slot: usize, value: &str) -> Option<u32> {
        self.slots.get(slot)?.by_value.get(value).copied()
    }

    /// The bucket of a rule and a value.
    pub(super) fn of(&mut self, slot: usize, value: &str) -> u32 {
        if let Some(at) = self.find(slot, value) {
            return at;
        }
        let value: Box<str> = value.into();
        let bucket = Bucket {
            slot,
            value: value.clone(),
            running: 0,
            tokens: None,
            held: 0,
            users: 0,
            timer: None,
            full_at: None,
        };
        let at = self.slab.insert(bucket);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.by_value.insert(value, at);
        }
        at
    }

    /// One more lane or class.
    pub(super) fn enlist(&mut self, at: u32) {
        if let Some(bucket) = self.slab.get_mut(at) {
            bucket.users += 1;
        }
    }

    /// One lane or class less.
    pub(super) fn dismiss(&mut self, at: u32) {
        if let Some(bucket) = self.slab.get_mut(at) {
            bucket.users -= 1;
        }
        self.drop_if_idle(at);
    }

    fn rule(&self, bucket: &Bucket) -> Option<&LimitRule> {
        self.slots.get(bucket.slot).map(|slot| &slot.rule)
    }

    /// Whether a task may begin.
    pub(super) fn check(&self, at: u32) -> Result<(), Shut> {
        let Some(bucket) = self.slab.get(at) else { return Ok(()) };
        let Some(rule) = self.rule(bucket) else { return Ok(()) };
        if rule.concurrency.is_some_and(|most| bucket.running >= most) {
            return Err(Shut { until: None });
        }
        if let (Some(rate), Some(tokens)) = (rule.rate, &bucket.tokens) {
            let next = tokens.next_at(rate, self.now);
            if next > self.now {
                return Err(Shut { until: Some(next) });
            }
        }
        Ok(())
    }

    /// A task runs.
    pub(super) fn begin(&mut self, at: u32) {
        if let Some(bucket) = self.slab.get_mut(at) {
            bucket.running += 1;
        }
    }

    /// A task that begins costs a token.
    pub(super) fn charge(&mut self, at: u32) {
        let rate = self.slab.get(at).and_then(|bucket| self.rule(bucket)?.rate);
        let (Some(rate), Some(bucket)) = (rate, self.slab.get_mut(at)) else { return };
        let mut tokens = bucket.tokens.unwrap_or(TokenBucket::full(rate, self.now));
        tokens.take(rate, self.now);
        self.put_tokens(at, tokens);
        self.charged.insert(at);
    }

    /// A task runs no more.
    pub(super) fn end(&mut self, at: u32) {
        if let Some(bucket) = self.slab.get_mut(at) {
            bucket.running -= 1;
        }
        self.reopen(at);
        self.drop_if_idle(at);
    }

    /// Who waits here is to be looked at.
    pub(super) fn reopen(&mut self, at: u32) {
        if self.slab.get(at).is_some_and(|bucket| bucket.held > 0) {
            self.opened.push(at);
        }
    }

    /// Sets what is left of a rate.
    pub(super) fn put_tokens(&mut self, at: u32, tokens: TokenBucket) {
        let rate = self.slab.get(at).and_then(|bucket| self.rule(bucket)?.rate);
        let (Some(rate), Some(bucket)) = (rate, self.slab.get_mut(at)) else { return };
        bucket.tokens = Some(tokens);
        let full_at = tokens.full_at(rate, self.now);
        if let Some(before) = bucket.full_at.replace(full_at) {
            self.filling.remove(&(before, at));
        }
        self.filling.insert((full_at, at));
    }

    /// The rule of a slot has other numbers.
    pub(super) fn renumber(&mut self, at: usize, rule: LimitRule) {
        let Some(slot) = self.slots.get_mut(at) else { return };
        let has_rate = rule.rate.is_some();
        slot.rule = rule;
        for bucket in slot.by_value.values().copied().collect::<Vec<_>>() {
            if let Some(tokens) = self.slab.get(bucket).and_then(|bucket| bucket.tokens) {
                if has_rate {
                    // It will be full at another time.
                    self.put_tokens(bucket, tokens);
                } else {
                    self.forget_tokens(bucket);
                }
            }
            self.opened.push(bucket);
            self.drop_if_idle(bucket);
        }
    }

    /// A bucket is full, or has no rate any more.
    fn forget_tokens(&mut self, at: u32) {
        if let Some(bucket) = self.slab.get_mut(at) {
            bucket.tokens = None;
            if let Some(when) = bucket.full_at.take() {
                self.filling.remove(&(when, at));
            }
        }
    }

    /// Looks at a bucket again at an instant.
    pub(super) fn remind(&mut self, at: u32, when: Timestamp) {
        let Some(bucket) = self.slab.get_mut(at) else { return };
        if let Some(before) = bucket.timer.replace(when) {
            self.timers.remove(&(before, at));
        }
        self.timers.insert((when, at));
    }

    /// Hears of the time, and notes the buckets whose time has come. When the clock was set back, all that wait
    /// for one.
    pub(super) fn wake(&mut self, now: Timestamp) {
        let set_back = self.now.millis_since(now) > SLACK_MS;
        self.now = if set_back { now } else { now.max(self.now) };
        let latest = if set_back { Timestamp::MAX } else { self.now };
        while let Some((when, at)) = self.timers.first().copied().filter(|(when, _)| *when <= latest) {
            self.timers.remove(&(when, at));
            if let Some(bucket) = self.slab.get_mut(at) {
                bucket.timer = None;
            }
            self.reopen(at);
        }
    }

    /// Forgets some that have become full.
    pub(super) fn forget_full(&mut self, limit: usize) {
        for _ in 0..limit {
            let Some((_, at)) = self.filling.first().copied().filter(|(when, _)| *when <= self.now) else { return };
            self.forget_tokens(at);
            self.charged.insert(at);
        }
    }

    /// Hears of the time when there is nobody yet to whom it matters.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.now = now.max(self.now);
    }

    /// The latest instant that was heard of.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Those whose tokens changed, how they stand now.
    pub(super) fn charged(&mut self) -> Vec<Charged> {
        let charged = std::mem::take(&mut self.charged);
        let found: Vec<_> = charged.iter().filter_map(|at| self.tokens_of(*at)).collect();
        charged.into_iter().for_each(|at| self.drop_if_idle(at));
        found
    }

    /// Every bucket that is not full.
    pub(super) fn unfilled(&self) -> Vec<Charged> {
        self.filling.iter().filter_map(|(_, at)| self.tokens_of(*at)).collect()
    }

    fn tokens_of(&self, at: u32) -> Option<Charged> {
        let bucket = self.slab.get(at)?;
        let rule = self.rule(bucket)?.name.clone();
        Some(Charged { rule, value: bucket.value.clone().into(), tokens: bucket.tokens })
    }

    fn drop_if_idle(&mut self, at: u32) {
        let Some(bucket) = self.slab.get(at) else { return };
        if bucket.users > 0 || bucket.running > 0 || bucket.tokens.is_some() || self.charged.contains(&at) {
            return;
        }
        let Some(bucket) = self.slab.remove(at) else { return };
        if let Some(when) = bucket.timer {
            self.timers.remove(&(when, at));
        }
        if let Some(slot) = self.slots.get_mut(bucket.slot) {
            slot.by_value.remove(&bucket.value);
        }
    }
}
