//! What is told about limits and queues.

use std::collections::HashMap;

use super::Lanes;
use super::waiting::Ready;
use crate::limit::{Rate, TokenBucket};
use crate::store::limits::ValueUse;
use crate::task::urgency::urgency;
use crate::time::Timestamp;

/// Waiting tasks that are looked at in one lane to find the oldest.
const MAX_LOOKED: usize = 1_000;

impl Lanes {
    /// Lets everything that is due count as due.
    pub(in super::super) fn advance_all(&mut self, now: Timestamp) {
        self.tick(now);
        let kinds: Vec<_> = self.kinds.iter().map(|(at, _)| at).collect();
        kinds.into_iter().for_each(|kind| self.advance(kind, now));
    }

    /// Due tasks that are subject to each bucket.
    pub(in super::super) fn due_by_bucket(&self) -> HashMap<u32, u64> {
        let mut due: HashMap<u32, u64> = HashMap::new();
        for (_, lane) in self.lanes.iter().filter(|(_, lane)| lane.ready > 0) {
            let shared = self.classes.get(lane.class).map(|class| &*class.shared).unwrap_or_default();
            for bucket in lane.key.keyed.iter().chain(shared) {
                *due.entry(*bucket).or_default() += u64::from(lane.ready);
            }
        }
        due
    }

    /// What each value of a rule occupies, the busiest first.
    pub(in super::super) fn values(&self, rule: &str, due: &HashMap<u32, u64>) -> Vec<ValueUse> {
        let Some(slot) = self.buckets.slots.iter().find(|slot| slot.rule.name == rule) else { return Vec::new() };
        let now = self.buckets.now();
        #[expect(clippy::borrowed_box, reason = "what the map yields")]
        let told = |(value, at): (&Box<str>, &u32)| {
            let bucket = self.buckets.slab.get(*at)?;
            let is_shut = self.buckets.check(*at).is_err();
            let left = |rate: Rate| bucket.tokens.map_or(rate.burst, |tokens: TokenBucket| tokens.tokens(rate, now));
            Some(ValueUse {
                value: value.to_string(),
                running: bucket.running,
                held: due.get(at).copied().filter(|_| is_shut).unwrap_or(0),
                tokens: slot.rule.rate.map(left),
            })
        };
        let mut values: Vec<_> = slot.by_value.iter().filter_map(told).collect();
        values.sort_by(|a, b| (b.held, b.running, &a.value).cmp(&(a.held, a.running, &b.value)));
        values
    }

    /// Since when the oldest task waits that is due, by kind and by queue.
    pub(in super::super) fn oldest(&self) -> (HashMap<&str, Timestamp>, HashMap<&str, Timestamp>) {
        let (mut kinds, mut queues) = (HashMap::new(), HashMap::new());
        let all = std::iter::once(self).chain(&self.earlier);
        for (of, at, lane) in all.flat_map(|of| of.lanes.iter().map(move |(at, lane)| (of, at, lane))) {
            let Some(oldest) = of.oldest_of(at).filter(|_| lane.ready > 0) else { continue };
            let (Some(kind), Some(queue)) = (of.kinds.get(lane.key.kind), of.queues.get(lane.key.queue)) else {
                continue;
            };
            for (map, name) in [(&mut kinds, &*kind.name), (&mut queues, &*queue.name)] {
                let since = map.entry(name).or_insert(oldest);
                *since = oldest.min(*since);
            }
        }
        (kinds, queues)
    }

    fn oldest_of(&self, lane: u32) -> Option<Timestamp> {
        let mut oldest: Option<Timestamp> = None;
        let ready = self.ready.range(Ready::first(lane)..).take_while(|ready| ready.lane == lane);
        for ready in ready.take(MAX_LOOKED) {
            let due_at = ready.waiting(self.aging_ms).due_at;
            // An older one of the highest priority would stand before this.
            if oldest.is_some_and(|oldest| ready.turn.0 > urgency(0, oldest, self.aging_ms)) {
                break;
            }
            oldest = Some(oldest.map_or(due_at, |oldest| oldest.min(due_at)));
        }
        oldest
    }
}
