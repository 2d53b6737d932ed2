//! How a schedule stands, and what a look at it starts: pure.

use serde::{Deserialize, Serialize};

use super::timetable::{Timetable, due_at};
use super::{CatchUp, MAX_PREVIEW, ON_TIME_MS, Overlap, ScheduleSpec};
use crate::time::Timestamp;

/// Who declared a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The configuration: it is read-only for clients.
    Config,
    /// A client.
    Client,
}

/// Why a schedule does not fire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub since: Timestamp,
    /// For people.
    pub reason: String,
}

/// A firing that waits for the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its nominal time; of one by hand, when it was asked for.
    pub nominal: Timestamp,
    /// Somebody asked for it: a pause does not hold it back, and it does not count against
    /// `max_fires`.
    pub by_hand: bool,
}

/// A schedule and how it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// As declared.
    pub spec: ScheduleSpec,
    /// By whom.
    pub origin: Origin,
    /// Raised when the declaration changes.
    pub revision: u64,
    /// The next nominal time; none when it never fires again.
    pub next_at: Option<Timestamp>,
    /// The latest nominal time that fired.
    pub last_fired_at: Option<Timestamp>,
    /// Firings so far, by hand or not; also the number of the latest pass, which fences its
    /// dispatches.
    pub fired: u64,
    /// Firings by hand among them.
    pub by_hand: u64,
    /// Tasks that a backfill created.
    pub backfilled: u64,
    /// Firings that were left out because the one before had not ended.
    pub overlapped: u64,
    /// Nominal times that passed while the host was down or late and were left out.
    pub missed: u64,
    /// Nominal times that passed during a pause.
    pub skipped: u64,
    /// Firings that wait for the one before, in order.
    pub waiting: Vec<Waiting>,
    /// It does not fire.
    pub paused: Option<Pause>,
    /// Tasks or passes in a row that failed; counted when the schedule pauses on failure.
    pub failures: u32,
    /// Where the dispatcher goes on; stored in one commit with the tasks it produced (invariant I13).
    #[serde(with = "crate::task::text::bytes")]
    pub cursor: Option<Vec<u8>>,
    /// Why the latest pass failed, if it did.
    pub last_error: Option<String>,
}

/// What becomes of a nominal time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It happens.
    Run,
    /// It is left out.
    Overlapped,
}

/// A nominal time and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firing {
    /// The nominal time.
    pub nominal: Timestamp,
    /// What becomes of it.
    pub start: Start,
}

/// What a look at a schedule comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What becomes of what was due or waited, in order.
    pub firings: Vec<Firing>,
    /// The live tasks of the schedule are to be cancelled.
    pub cancel: bool,
}

impl Look {
    fn note(&mut self, nominal: Timestamp, start: Start) {
        self.firings.push(Firing { nominal, start });
    }
}

impl Schedule {
    /// A schedule declared at `now`: its first firing is its next nominal time.
    pub fn declared(spec: ScheduleSpec, origin: Origin, now: Timestamp) -> Self {
        let mut schedule = Self {
            spec,
            origin,
            revision: 1,
            next_at: None,
            last_fired_at: None,
            fired: 0,
            by_hand: 0,
            backfilled: 0,
            overlapped: 0,
            missed: 0,
            skipped: 0,
            waiting: Vec::new(),
            paused: None,
            failures: 0,
            cursor: None,
            last_error: None,
        };
        schedule.plan(now);
        schedule
    }

    /// Takes over another declaration. The progress stays; a changed trigger goes on after `now`,
    /// and never before what has fired already (invariant I12).
    pub fn redeclare(&mut self, spec: ScheduleSpec, origin: Origin, now: Timestamp) {
        let times = |spec: &ScheduleSpec| (spec.trigger.clone(), spec.start, spec.end, spec.max_fires);
        let is_same = times(&self.spec) == times(&spec);
        self.spec = spec;
        self.origin = origin;
        self.revision += 1;
        if !is_same {
            self.plan(now);
        }
    }

    /// When it has to be looked at by itself; a paused one never.
    pub fn due_at(&self) -> Option<Timestamp> {
        let next = self.next_at.filter(|_| self.paused.is_none())?;
        Some(due_at(&self.spec, next))
    }

    /// Looks at what is due at `now`: advances past it, once (invariant I12), and answers what
    /// happens. `busy`: the firing before has not ended.
    pub fn look(&mut self, mut busy: bool, now: Timestamp) -> Look {
        let mut look = Look::default();
        self.release(&mut busy, &mut look);
        if self.due_at().is_some_and(|due| due <= now) {
            for nominal in self.take_due(now) {
                self.place(nominal, &mut busy, &mut look);
            }
            if self.is_used_up() {
                self.next_at = None;
            }
        }
        look
    }

    /// Stops firing.
    pub fn pause(&mut self, reason: String, now: Timestamp) {
        if self.paused.is_none() {
            self.paused = Some(Pause { since: now, reason });
            self.revision += 1;
        }
    }

    /// Fires again, from the next nominal time after `now` on.
    pub fn resume(&mut self, now: Timestamp) {
        if self.paused.take().is_none() {
            return;
        }
        self.revision += 1;
        self.failures = 0;
        if let Some(next) = self.next_at.filter(|next| *next <= now)
            && let Ok(timetable) = Timetable::of(&self.spec)
        {
            let due = timetable.due(next, 1, now);
            self.skipped += due.before + due.times.len() as u64;
            self.next_at = due.next;
        }
    }

    /// Fires by hand at `now`: the nominal times stay as they are, and a pause does not matter.
    /// A second one waits for the end of the first if firings of this schedule exclude each other.
    pub fn trigger(&mut self, now: Timestamp) {
        self.waiting.push(Waiting { nominal: now, by_hand: true });
    }

    /// A task or a pass has ended. Answers whether anything has changed.
    pub fn ended(&mut self, failed: bool, now: Timestamp) -> bool {
        let Some(bound) = self.spec.pause_on_failure else { return false };
        let before = self.failures;
        self.failures = if failed { before.saturating_add(1) } else { 0 };
        if self.failures >= bound {
            self.pause(format!("{} in a row failed", self.failures), now);
        }
        self.failures != before
    }

    /// Starts what waits, as far as nothing runs.
    fn release(&mut self, busy: &mut bool, look: &mut Look) {
        let is_held = self.paused.is_some();
        while let Some(at) = self.waiting.iter().position(|waiting| waiting.by_hand || !is_held)
            && (!*busy || self.spec.overlap == Overlap::Allow)
        {
            let Waiting { nominal, by_hand } = self.waiting.remove(at);
            self.by_hand += u64::from(by_hand);
            self.run(nominal, look);
            *busy = true;
        }
    }

    /// Advances past everything that is due at `now`, and answers what of it happens.
    fn take_due(&mut self, now: Timestamp) -> Vec<Timestamp> {
        let Some(first) = self.next_at.take() else { return Vec::new() };
        let timetable = match Timetable::of(&self.spec) {
            Ok(timetable) => timetable,
            Err(why) => {
                // The zone database of this machine no longer knows the zone.
                self.last_error = Some(why);
                return Vec::new();
            }
        };
        let (keep, max_late_ms) = match self.spec.catch_up {
            CatchUp::Skip => (1, ON_TIME_MS),
            CatchUp::Latest => (1, u64::MAX),
            CatchUp::All(count) => (usize::try_from(count).unwrap_or(MAX_PREVIEW), u64::MAX),
            CatchUp::Window(window_ms) => (MAX_PREVIEW, window_ms.max(ON_TIME_MS)),
        };
        let due = timetable.due(first, keep, now);
        let count = due.before + due.times.len() as u64;
        let kept: Vec<_> = due.times.into_iter().filter(|at| now.millis_since(*at) <= max_late_ms).collect();
        self.next_at = due.next;
        self.missed = self.missed.saturating_add(count - kept.len() as u64);
        kept
    }

    /// Starts a firing, lets it wait or leaves it out.
    fn place(&mut self, nominal: Timestamp, busy: &mut bool, look: &mut Look) {
        if self.is_used_up() {
            return;
        }
        if !*busy || self.spec.overlap == Overlap::Allow {
            *busy = true;
            return self.run(nominal, look);
        }
        let room = match self.spec.overlap {
            Overlap::Skip | Overlap::Allow => 0,
            Overlap::QueueOne => 1,
            Overlap::QueueAll(cap) => usize::try_from(cap).unwrap_or(usize::MAX),
            Overlap::CancelOther => {
                look.cancel = true;
                // The newest wins over those that wait, too.
                let older: Vec<_> = self.waiting.extract_if(.., |waiting| !waiting.by_hand).collect();
                for waiting in older {
                    self.leave_out(waiting.nominal, look);
                }
                1
            }
        };
        if self.waiting_by_clock() < room {
            self.waiting.push(Waiting { nominal, by_hand: false });
        } else {
            self.leave_out(nominal, look);
        }
    }

    fn run(&mut self, nominal: Timestamp, look: &mut Look) {
        self.fired = self.fired.saturating_add(1);
        // One that waited may be older than what fired by hand meanwhile.
        self.last_fired_at = self.last_fired_at.max(Some(nominal));
        look.note(nominal, Start::Run);
    }

    fn leave_out(&mut self, nominal: Timestamp, look: &mut Look) {
        self.overlapped = self.overlapped.saturating_add(1);
        look.note(nominal, Start::Overlapped);
    }

    fn is_used_up(&self) -> bool {
        let waiting = self.waiting_by_clock() as u64;
        self.spec.max_fires.is_some_and(|max| self.fired - self.by_hand + waiting >= max)
    }

    fn waiting_by_clock(&self) -> usize {
        self.waiting.iter().filter(|waiting| !waiting.by_hand).count()
    }

    /// Finds the next nominal time after `now`, and after what has fired.
    fn plan(&mut self, now: Timestamp) {
        let after = self.last_fired_at.map_or(now, |fired| fired.max(now));
        match Timetable::of(&self.spec) {
            Ok(timetable) => self.next_at = timetable.next_after(after).filter(|_| !self.is_used_up()),
            Err(why) => {
                self.next_at = None;
                self.last_error = Some(why);
            }
        }
    }
}
