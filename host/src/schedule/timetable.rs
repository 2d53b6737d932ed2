//! The nominal times of a schedule within its bounds, and when each is due.

use super::trigger::Clock;
use super::{MAX_PREVIEW, ScheduleSpec};
use crate::time::Timestamp;

/// Nominal times that one look goes through: more than it keeps, and few enough that thousands of
/// expressions are caught up soon. An interval needs no steps for what it leaves out.
const MAX_STEPS: usize = MAX_PREVIEW + 1;

/// When a schedule fires, ready to be asked.
#[derive(Clone, Debug)]
pub struct Timetable<'a> {
    clock: Clock<'a>,
    spec: &'a ScheduleSpec,
}

/// Nominal times that have come due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The latest of them, in order.
    pub times: Vec<Timestamp>,
    /// How many came before these. After a very long time an expression's are counted in part.
    pub before: u64,
    /// The one that comes next.
    pub next: Option<Timestamp>,
}

impl<'a> Timetable<'a> {
    /// Reads the trigger. The error says what is wrong with it.
    pub fn of(spec: &'a ScheduleSpec) -> Result<Self, String> {
        Ok(Self { clock: spec.trigger.clock()?, spec })
    }

    /// The first nominal time strictly after `after`.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let start = self.spec.start.and_then(|start| start.as_millis().checked_sub(1)).map(Timestamp::from_millis);
        let next = self.clock.next_after(start.map_or(after, |start| start.max(after)))?;
        self.spec.end.is_none_or(|end| next <= end).then_some(next)
    }

    /// The next nominal times strictly after `after`, at most `count`.
    pub fn preview(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        let first = self.next_after(after);
        std::iter::successors(first, |latest| self.next_after(*latest)).take(count.min(MAX_PREVIEW)).collect()
    }

    /// When a firing happens: at its nominal time, or a little later.
    pub fn due_at(&self, nominal: Timestamp) -> Timestamp {
        due_at(self.spec, nominal)
    }

    /// What has come due at `now`, beginning with the nominal time `first`; the latest `keep` of it.
    pub fn due(&self, first: Timestamp, keep: usize, now: Timestamp) -> Due {
        let keep = keep.clamp(1, MAX_PREVIEW);
        let (mut before, mut next) = self.skip(first, keep, now);
        let mut times = std::collections::VecDeque::new();
        for _ in 0..MAX_STEPS {
            let Some(nominal) = next.filter(|nominal| self.due_at(*nominal) <= now) else {
                return Due { times: times.into(), before, next };
            };
            times.push_back(nominal);
            if times.len() > keep {
                times.pop_front();
                before += 1;
            }
            next = self.next_after(nominal);
        }
        before += times.len() as u64;
        let times = self.latest(keep, now);
        let next = self.next_after(times.last().copied().unwrap_or(now));
        Due { times, before, next }
    }

    /// Leaves out what an interval need not count step by step.
    fn skip(&self, first: Timestamp, keep: usize, now: Timestamp) -> (u64, Option<Timestamp>) {
        let Clock::Interval { every_ms, .. } = &self.clock else { return (0, Some(first)) };
        let last = self.spec.end.map_or(now, |end| end.min(now));
        let settled = last.as_millis().saturating_sub(self.spec.jitter_ms);
        let past = settled.saturating_sub(first.as_millis()) / every_ms;
        let skipped = past.saturating_sub(keep as u64);
        (skipped, Some(first.plus_millis(skipped.saturating_mul(*every_ms))))
    }

    /// The latest due nominal times, looked for in longer and longer spans before `now`.
    fn latest(&self, keep: usize, now: Timestamp) -> Vec<Timestamp> {
        let mut found = Vec::new();
        let mut span_ms = 1_000;
        while found.len() < keep && span_ms < now.as_millis() {
            let from = Timestamp::from_millis(now.as_millis() - span_ms);
            let all = std::iter::successors(self.next_after(from), |latest| self.next_after(*latest));
            let due: Vec<_> = all.take_while(|nominal| self.due_at(*nominal) <= now).take(MAX_STEPS + 1).collect();
            if due.len() > MAX_STEPS {
                break;
            }
            found = due;
            span_ms *= 4;
        }
        found.split_off(found.len().saturating_sub(keep))
    }
}

/// When the firing of a nominal time happens: the same for the same name and time, always.
pub fn due_at(spec: &ScheduleSpec, nominal: Timestamp) -> Timestamp {
    if spec.jitter_ms == 0 {
        return nominal;
    }
    // FNV-1a, finished like SplitMix64: the high bits of a short text are spread, too.
    let bytes = spec.name.bytes().chain(nominal.as_millis().to_be_bytes());
    let hash = bytes
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    nominal.plus_millis((hash ^ (hash >> 31)) % (spec.jitter_ms + 1))
}
