//! Verbs on schedules as declarations: who may change them, and what is known about them.

use std::collections::HashSet;
use std::ops::Bound;

use super::core::{Core, Halt, MAX_PAGE, Verdict};
use crate::schedule::{Origin, Schedule, ScheduleSpec};
use crate::store::StoreError;
use crate::store::request::Page;
use crate::store::schedules::{MAX_SCHEDULES, MAX_WAITING};
use crate::time::Timestamp;

impl Core {
    /// See [`crate::store::Store::declare_schedules`].
    pub(super) fn declare_schedules(&mut self, specs: Vec<ScheduleSpec>, now: Timestamp) -> Verdict<()> {
        let names: HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        if names.len() != specs.len() {
            return Err(StoreError::Conflict("two schedules have the same name".to_owned()).into());
        }
        let mut gone = Vec::new();
        for record in self.trees.schedule.range(Bound::Unbounded, Bound::Unbounded) {
            let old: Schedule = self.trees.schedule.decode(&record?.1)?;
            if old.origin == Origin::Config && !names.contains(old.spec.name.as_str()) {
                gone.push(old.spec.name);
            }
        }
        for name in gone {
            self.forget_schedule(&name)?;
        }
        for spec in specs {
            let schedule = match self.trees.schedule.get(spec.name.as_bytes())? {
                None => Schedule::declared(spec, Origin::Config, now),
                Some(old) if old.spec == spec && old.origin == Origin::Config => continue,
                Some(mut old) => {
                    old.redeclare(spec, Origin::Config, now);
                    old
                }
            };
            self.keep_schedule(&schedule)?;
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
            return Err(StoreError::Conflict(format!("there is a schedule called `{}` already", spec.name)).into());
        }
        if self.agenda.len() >= MAX_SCHEDULES {
            return Err(StoreError::Full(format!("there are {MAX_SCHEDULES} schedules already")).into());
        }
        let schedule = Schedule::declared(spec, Origin::Client, now);
        self.keep_schedule(&schedule)?;
        Ok(schedule)
    }

    /// See [`crate::store::Store::replace_schedule`].
    pub(super) fn replace_schedule(&mut self, spec: ScheduleSpec, revision: u64, now: Timestamp) -> Verdict<Schedule> {
        let mut schedule = self.own_schedule(&spec.name, revision)?;
        schedule.redeclare(spec, Origin::Client, now);
        self.keep_schedule(&schedule)?;
        Ok(schedule)
    }

    /// See [`crate::store::Store::delete_schedule`].
    pub(super) fn delete_schedule(&mut self, name: &str, revision: u64) -> Verdict<()> {
        self.own_schedule(name, revision)?;
        self.forget_schedule(name)
    }

    /// See [`crate::store::Store::pause_schedule`].
    pub(super) fn pause_schedule(&mut self, name: &str, reason: String, now: Timestamp) -> Verdict<Schedule> {
        let mut schedule = self.schedule(name)?;
        if schedule.paused.is_none() {
            schedule.pause(reason, now);
            self.keep_schedule(&schedule)?;
        }
        Ok(schedule)
    }

    /// See [`crate::store::Store::resume_schedule`].
    pub(super) fn resume_schedule(&mut self, name: &str, now: Timestamp) -> Verdict<Schedule> {
        let mut schedule = self.schedule(name)?;
        if schedule.paused.is_some() {
            schedule.resume(now);
            self.keep_schedule(&schedule)?;
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
        self.keep_schedule(&schedule)?;
        Ok(schedule)
    }

    /// A schedule, or that there is none.
    pub(super) fn schedule(&self, name: &str) -> Verdict<Schedule> {
        self.trees.schedule.get(name.as_bytes())?.ok_or(Halt::Refused(StoreError::NotFound))
    }

    /// Writes a schedule, and tells the ticker.
    pub(super) fn keep_schedule(&mut self, schedule: &Schedule) -> Verdict<()> {
        self.put_schedule(schedule)?;
        self.wake_ticker();
        Ok(())
    }

    /// Writes a schedule whose ticker knows already.
    pub(super) fn put_schedule(&mut self, schedule: &Schedule) -> Verdict<()> {
        let live = self.index.outstanding(&schedule.spec.name) > 0;
        self.agenda.update(schedule, live);
        self.trees.schedule.put(schedule.spec.name.as_bytes(), schedule)
    }

    fn forget_schedule(&mut self, name: &str) -> Verdict<()> {
        self.agenda.forget(name);
        self.trees.schedule.remove(name.as_bytes())?;
        Ok(())
    }

    /// A schedule that a client may change, if it still is what the client saw.
    fn own_schedule(&self, name: &str, revision: u64) -> Verdict<Schedule> {
        let schedule = self.schedule(name)?;
        if schedule.origin == Origin::Config {
            let text = format!("`{name}` is declared in the configuration: change it there");
            return Err(StoreError::Conflict(text).into());
        }
        if schedule.revision != revision {
            return Err(StoreError::Stale.into());
        }
        Ok(schedule)
    }
}
