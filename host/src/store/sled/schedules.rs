//! Verbs on schedules as declarations: who may change them, and what is known about them.

use std::collections::HashSet;
use std::ops::Bound;

use super::core::{Core, Halt, MAX_PAGE, Verdict};
use crate::event::{Change, ScheduleChange};
use crate::schedule::{Origin, Schedule, ScheduleSpec};
use crate::store::request::Page;
use crate::store::schedules::{MAX_SCHEDULES, MAX_WAITING};
use crate::store::{Obstacle, StoreError};
use crate::time::Timestamp;

impl Core {
    /// See [`crate::store::Store::declare_schedules`].
    pub(super) fn declare_schedules(&mut self, specs: Vec<ScheduleSpec>, now: Timestamp) -> Verdict<()> {
        let names: HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        if names.len() != specs.len() {
            return Err(Obstacle::Exists.because("two schedules have the same name").into());
        }
        let mut gone = Vec::new();
        for record in self.trees.schedule.range(Bound::Unbounded, Bound::Unbounded) {
            let old: Schedule = self.trees.schedule.decode(&record?.1)?;
            if old.origin == Origin::Config && !names.contains(old.spec.name.as_str()) {
                gone.push(old);
            }
        }
        for old in gone {
            self.forget_schedule(&old, now)?;
        }
        for spec in specs {
            let (schedule, change) = match self.trees.schedule.get(spec.name.as_bytes())? {
                None => (Schedule::declared(spec, Origin::Config, now), ScheduleChange::Declared),
                Some(old) if old.spec == spec && old.origin == Origin::Config => continue,
                Some(mut old) => {
                    old.redeclare(spec, Origin::Config, now);
                    (old, ScheduleChange::Changed)
                }
            };
            self.keep_schedule(&schedule, change, now)?;
        }
        Ok(())
    }

    /// See [`crate::store::Store::schedules`].
    pub(super) fn schedules(&self, after: Option<&str>, limit: u32) -> Verdict<Page<Schedule>> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).clamp(1, MAX_PAGE);
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_bytes()));
        let mut page = Page { items: Vec::new(), next: None };
        for record in self.trees.schedule.range(from, Bound::Unbounded) {
            if page.items.len() == limit {
                page.next = page.items.last().map(|schedule: &Schedule| schedule.spec.name.clone());
                break;
            }
            page.items.push(self.trees.schedule.decode(&record?.1)?);
        }
        Ok(page)
    }

    /// See [`crate::store::Store::schedule`].
    pub(super) fn find_schedule(&self, name: &str) -> Verdict<Option<Schedule>> {
        self.trees.schedule.get(name.as_bytes())
    }

    /// See [`crate::store::Store::create_schedule`].
    pub(super) fn create_schedule(&mut self, spec: ScheduleSpec, now: Timestamp) -> Verdict<Schedule> {
        if self.trees.schedule.contains(spec.name.as_bytes())? {
            return Err(Obstacle::Exists.because(format!("there is a schedule called `{}` already", spec.name)).into());
        }
        if self.agenda.len() >= MAX_SCHEDULES {
            return Err(StoreError::Full(format!("there are {MAX_SCHEDULES} schedules already")).into());
        }
        let schedule = Schedule::declared(spec, Origin::Client, now);
        self.keep_schedule(&schedule, ScheduleChange::Declared, now)?;
        Ok(schedule)
    }

    /// See [`crate::store::Store::replace_schedule`].
    pub(super) fn replace_schedule(&mut self, spec: ScheduleSpec, revision: u64, now: Timestamp) -> Verdict<Schedule> {
        let mut schedule = self.own_schedule(&spec.name, revision)?;
        schedule.redeclare(spec, Origin::Client, now);
        self.keep_schedule(&schedule, ScheduleChange::Changed, now)?;
        Ok(schedule)
    }

    /// See [`crate::store::Store::delete_schedule`].
    pub(super) fn delete_schedule(&mut self, name: &str, revision: u64, now: Timestamp) -> Verdict<()> {
        let schedule = self.own_schedule(name, revision)?;
        self.forget_schedule(&schedule, now)
    }

    /// See [`crate::store::Store::pause_schedule`].
    pub(super) fn pause_schedule(&mut self, name: &str, reason: String, now: Timestamp) -> Verdict<Schedule> {
        let mut schedule = self.schedule(name)?;
        if schedule.paused.is_none() {
            schedule.pause(reason.clone(), now);
            self.keep_schedule(&schedule, ScheduleChange::Paused { reason }, now)?;
        }
        Ok(schedule)
    }

    /// See [`crate::store::Store::resume_schedule`].
    pub(super) fn resume_schedule(&mut self, name: &str, now: Timestamp) -> Verdict<Schedule> {
        let mut schedule = self.schedule(name)?;
        if schedule.paused.is_some() {
            let before = schedule.skipped;
            schedule.resume(now);
            let skipped = schedule.skipped - before;
            self.keep_schedule(&schedule, ScheduleChange::Resumed { skipped }, now)?;
        }
        Ok(schedule)
    }

    /// See [`crate::store::Store::trigger_schedule`].
    pub(super) fn trigger_schedule(&mut self, name: &str, now: Timestamp) -> Verdict<Schedule> {
        let mut schedule = self.schedule(name)?;
        if schedule.waiting.len() >= MAX_WAITING {
            return Err(StoreError::Full(format!("{MAX_WAITING} firings of `{name}` wait already")).into());
        }
        schedule.trigger(now);
        self.keep_schedule(&schedule, ScheduleChange::Triggered, now)?;
        Ok(schedule)
    }

    /// A schedule, or that there is none.
    pub(super) fn schedule(&self, name: &str) -> Verdict<Schedule> {
        self.trees.schedule.get(name.as_bytes())?.ok_or(Halt::Refused(StoreError::NotFound))
    }

    /// Writes a schedule that somebody has changed, and tells the ticker.
    fn keep_schedule(&mut self, schedule: &Schedule, change: ScheduleChange, now: Timestamp) -> Verdict<()> {
        self.put_schedule(schedule)?;
        self.emit_schedule(schedule, change, now);
        self.wake_ticker();
        Ok(())
    }

    /// An event about a schedule as such.
    pub(super) fn emit_schedule(&mut self, schedule: &Schedule, change: ScheduleChange, now: Timestamp) {
        let (name, revision) = (schedule.spec.name.clone(), schedule.revision);
        self.emit(now, Change::ScheduleState { name, revision, change });
    }

    /// Counts the end of a task or of a pass; a schedule may pause itself then. Answers whether anything has changed.
    pub(super) fn count_end(&mut self, schedule: &mut Schedule, failed: bool, now: Timestamp) -> bool {
        let was_paused = schedule.paused.is_some();
        let counted = schedule.ended(failed, now);
        if let Some(pause) = schedule.paused.as_ref().filter(|_| !was_paused) {
            self.emit_schedule(schedule, ScheduleChange::Paused { reason: pause.reason.clone() }, now);
        }
        counted
    }

    /// Writes a schedule whose ticker knows already.
    pub(super) fn put_schedule(&mut self, schedule: &Schedule) -> Verdict<()> {
        let live = self.index.outstanding(&schedule.spec.name) > 0;
        self.agenda.update(schedule, live);
        self.trees.schedule.put(schedule.spec.name.as_bytes(), schedule)
    }

    fn forget_schedule(&mut self, schedule: &Schedule, now: Timestamp) -> Verdict<()> {
        let name = &schedule.spec.name;
        self.agenda.forget(name);
        self.trees.schedule.remove(name.as_bytes())?;
        self.emit_schedule(schedule, ScheduleChange::Deleted, now);
        Ok(())
    }

    /// A schedule that a client may change, if it still is what the client saw.
    fn own_schedule(&self, name: &str, revision: u64) -> Verdict<Schedule> {
        let schedule = self.schedule(name)?;
        if schedule.origin == Origin::Config {
            let text = format!("`{name}` is declared in the configuration: change it there");
            return Err(Obstacle::Declared.because(text).into());
        }
        if schedule.revision != revision {
            return Err(StoreError::Stale.into());
        }
        Ok(schedule)
    }
}
