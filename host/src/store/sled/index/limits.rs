//! Limits, pauses and shares, as far as the index knows them.

use std::collections::HashMap;

use super::lanes::{Charged, Waiting};
use super::tally::Tally;
use super::{Index, Run, occupies};
use crate::limit::{Fairness, LimitRule};
use crate::store::limits::{Pausable, ValueUse};
use crate::task::Spec;
use crate::time::Timestamp;

/// Live tasks of a queue or a kind.
pub(in super::super) struct Count {
    pub(in super::super) name: String,
    pub(in super::super) tally: Tally,
    /// Since when the oldest one waits that is due.
    pub(in super::super) oldest_due: Option<Timestamp>,
}

impl Index {
    /// Counts by these rules from now on. When they count other tasks than before, the waiting ones do not compete
    /// until they are put in anew ([`Self::unplaced`], [`Self::relane`]): none begins against a rule.
    pub(in super::super) fn limit(&mut self, rules: Vec<LimitRule>, fairness: Option<Fairness>) {
        if self.lanes.counts_like(&rules, fairness.as_ref()) {
            rules.into_iter().for_each(|rule| self.lanes.renumber(rule));
            fairness.into_iter().for_each(|fairness| self.lanes.reweigh(fairness));
            return;
        }
        self.lanes.reset(rules, fairness);
        for Run { spec, buckets, .. } in self.running.values_mut().filter(|run| occupies(&run.status)) {
            *buckets = self.lanes.occupy(&spec.new);
        }
    }

    /// Some of the tasks that wait by rules of before, for [`Self::relane`].
    pub(in super::super) fn unplaced(&mut self, limit: usize) -> Vec<Waiting> {
        self.lanes.unplaced(limit)
    }

    /// How many changes of the rules some waiting tasks are behind.
    pub(in super::super) fn generations_behind(&self) -> usize {
        self.lanes.generations_behind()
    }

    /// A task that waited goes on to wait.
    pub(in super::super) fn relane(&mut self, spec: &Spec, task: Waiting) {
        self.lanes.insert(&spec.new, task);
    }

    /// Sets what is left of a rate, as it was kept.
    pub(in super::super) fn restore(&mut self, charged: &Charged, now: Timestamp) -> bool {
        self.lanes.restore(charged, now)
    }

    /// Token buckets whose state changed since this was asked last; some that are full are forgotten.
    pub(in super::super) fn charged(&mut self, now: Timestamp, limit: usize) -> Vec<Charged> {
        self.lanes.forget_full(now, limit);
        self.lanes.charged()
    }

    /// Holds back a queue or a kind, or lets it go on.
    pub(in super::super) fn pause(&mut self, line: &Pausable, paused: bool) {
        match line {
            Pausable::Queue(name) => self.lanes.pause_queue(name, paused),
            Pausable::Kind(name) => self.lanes.pause_kind(name, paused),
        }
    }

    /// What is due counts as due from here on.
    pub(in super::super) fn advance(&mut self, now: Timestamp) {
        self.lanes.advance_all(now);
    }

    /// What each value of each of these rules occupies, the busiest first.
    pub(in super::super) fn values(&self, rules: &[&str]) -> Vec<Vec<ValueUse>> {
        let due = self.lanes.due_by_bucket();
        rules.iter().map(|rule| self.lanes.values(rule, &due)).collect()
    }

    /// Every queue with live tasks, by name.
    pub(in super::super) fn queue_counts(&self) -> Vec<Count> {
        let (_, oldest) = self.lanes.oldest();
        counts(self.queues.all(), &oldest)
    }

    /// Every kind with live tasks, by name.
    pub(in super::super) fn kind_counts(&self) -> Vec<Count> {
        let (oldest, _) = self.lanes.oldest();
        counts(self.kinds.all(), &oldest)
    }
}

fn counts(all: Vec<(String, Tally)>, oldest: &HashMap<&str, Timestamp>) -> Vec<Count> {
    let count = |(name, tally): (String, Tally)| {
        let oldest_due = oldest.get(name.as_str()).copied();
        Count { name, tally, oldest_due }
    };
    all.into_iter().map(count).collect()
}
