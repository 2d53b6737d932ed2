//! Verbs on schedules.

use std::collections::HashSet;
use std::ops::Bound;

use super::core::{Core, Halt, Verdict};
use crate::event::Change;
use crate::schedule::{Action, Schedule, ScheduleSpec};
use crate::store::StoreError;
use crate::store::request::{Dispatched, Enqueued};
use crate::task::{NewTask, Source};
use crate::time::Timestamp;

impl Core {
    /// See [`crate::store::Store::declare_schedules`].
    pub(super) fn declare_schedules(&mut self, specs: Vec<ScheduleSpec>, now: Timestamp) -> Verdict<()> {
        let names: HashSet<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
        if names.len() != specs.len() {
            return Err(StoreError::Conflict("two schedules have the same name".to_owned()).into());
        }
        for old in self.schedules()? {
            if !names.contains(old.spec.name.as_str()) {
                self.trees.schedule.remove(old.spec.name.as_bytes())?;
            }
        }
        for spec in specs {
            let schedule = match self.trees.schedule.get(spec.name.as_bytes())? {
                None => Schedule::declared(spec, now),
                Some(old) if old.spec == spec => continue,
                Some(old) => {
                    let next_at = if old.spec.every_ms == spec.every_ms { old.next_at } else { spec.next_after(now) };
                    Schedule { spec, next_at, ..old }
                }
            };
            self.put_schedule(&schedule)?;
        }
        Ok(())
    }

    /// See [`crate::store::Store::schedules`]. Bounded by what was declared.
    pub(super) fn schedules(&self) -> Verdict<Vec<Schedule>> {
        let records = self.trees.schedule.range(Bound::Unbounded, Bound::Unbounded);
        records.map(|record| self.trees.schedule.decode(&record?.1)).collect()
    }

    /// See [`crate::store::Store::fire`].
    pub(super) fn fire(
        &mut self,
        name: &str,
        nominal: Timestamp,
        overlapped: bool,
        now: Timestamp,
    ) -> Verdict<Schedule> {
        let mut schedule = self.schedule(name)?;
        if !schedule.advance(nominal, now, overlapped) {
            return Err(StoreError::Stale.into());
        }
        let task = match &schedule.spec.action {
            Action::Enqueue { kind, input } if !overlapped => {
                Some(NewTask { source: Source::Schedule(name.to_owned()), ..NewTask::new(kind, input) })
            }
            Action::Enqueue { .. } | Action::Dispatch { .. } => None,
        };
        self.check_room(task.as_slice(), None, now)?;
        self.put_schedule(&schedule)?;
        self.emit(now, Change::Schedule { name: name.to_owned(), nominal, overlapped });
        if let Some(task) = task {
            self.create(task, now)?;
        }
        Ok(schedule)
    }

    /// See [`crate::store::Store::dispatched`].
    pub(super) fn dispatched(&mut self, batch: Dispatched, now: Timestamp) -> Verdict<Vec<Enqueued>> {
        let mut schedule = self.schedule(&batch.schedule)?;
        if schedule.fired != batch.pass {
            return Err(StoreError::Stale.into());
        }
        self.check_room(&batch.tasks, None, now)?;
        if schedule.cursor != batch.cursor {
            schedule.cursor = batch.cursor;
            self.put_schedule(&schedule)?;
        }
        let source = Source::Schedule(batch.schedule);
        batch.tasks.into_iter().map(|new| self.create(NewTask { source: source.clone(), ..new }, now)).collect()
    }

    /// See [`crate::store::Store::record_pass`].
    pub(super) fn record_pass(&mut self, name: &str, error: Option<String>) -> Verdict<()> {
        let mut schedule = self.schedule(name)?;
        if schedule.last_error != error {
            schedule.last_error = error;
            self.put_schedule(&schedule)?;
        }
        Ok(())
    }

    fn schedule(&self, name: &str) -> Verdict<Schedule> {
        self.trees.schedule.get(name.as_bytes())?.ok_or(Halt::Refused(StoreError::NotFound))
    }

    fn put_schedule(&self, schedule: &Schedule) -> Verdict<()> {
        self.trees.schedule.put(schedule.spec.name.as_bytes(), schedule)
    }
}
