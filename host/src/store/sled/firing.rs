//! Verbs that make schedules fire: advancing one and creating its tasks are one commit.

use super::core::{Core, Halt, Verdict};
use crate::event::{Change, ScheduleChange};
use crate::schedule::{Action, Schedule, Start, Timetable};
use crate::store::request::{Dispatched, Enqueued};
use crate::store::schedules::{Backfill, Backfilled, DueQuery, FiredDue};
use crate::store::{Obstacle, StoreError};
use crate::task::{NewTask, Source, Spec, State};
use crate::time::Timestamp;

impl Core {
    /// See [`crate::store::Store::fire_due`].
    pub(super) fn fire_due(&mut self, query: &DueQuery, now: Timestamp) -> Verdict<FiredDue> {
        let mut fired = FiredDue::default();
        for name in self.agenda.due(now, &query.busy, query.limit) {
            match self.fire(&name, query, now) {
                Ok(pass) => fired.passes.extend(pass),
                // It stays due. The others go on: one of them may be what makes room.
                Err(Halt::Refused(StoreError::Full(why))) => fired.full = Some(why),
                Err(halt) => return Err(halt),
            }
        }
        let started = fired.passes.iter().map(|pass| pass.spec.name.clone());
        let busy: Vec<_> = query.busy.iter().cloned().chain(started).collect();
        fired.more = fired.full.is_none() && !self.agenda.due(now, &busy, 1).is_empty();
        fired.next_at = self.agenda.next_at();
        Ok(fired)
    }

    /// Fires what is due of one schedule. Answers it when a pass is to be started.
    fn fire(&mut self, name: &str, query: &DueQuery, now: Timestamp) -> Verdict<Option<Schedule>> {
        let mut schedule = self.schedule(name)?;
        let dispatches = matches!(schedule.spec.action, Action::Dispatch { .. });
        let busy =
            if dispatches { query.busy.iter().any(|busy| busy == name) } else { self.index.outstanding(name) > 0 };
        let missed_before = schedule.missed;
        let look = schedule.look(busy, now);
        let tasks: Vec<_> = look
            .firings
            .iter()
            .map(|firing| (firing.start == Start::Run).then(|| task_of(&schedule, firing.nominal, false)).flatten())
            .collect();
        let wanted: Vec<_> = tasks.iter().flatten().cloned().collect();
        self.check_room(&wanted, None, now)?;
        let missed = schedule.missed - missed_before;
        if missed > 0 {
            self.emit_schedule(&schedule, ScheduleChange::Missed { times: missed }, now);
        }
        for (firing, task) in look.firings.iter().zip(tasks) {
            let overlapped = firing.start == Start::Overlapped;
            self.emit(now, Change::Schedule { name: name.to_owned(), nominal: firing.nominal, overlapped });
            if let Some(task) = task {
                self.create(task, now)?;
            }
        }
        // Before the tasks that it is about: their end may let it go on at once.
        self.put_schedule(&schedule)?;
        if look.cancel {
            for id in self.index.of_schedule(name) {
                self.request_cancel(id, now)?;
            }
        }
        let starts = dispatches && look.firings.iter().any(|firing| firing.start == Start::Run);
        Ok(starts.then_some(schedule))
    }

    /// See [`crate::store::Store::backfill`].
    pub(super) fn backfill(&mut self, request: &Backfill, now: Timestamp) -> Verdict<Backfilled> {
        let mut schedule = self.schedule(&request.name)?;
        let timetable = Timetable::of(&schedule.spec).map_err(|why| Obstacle::Unfit.because(why))?;
        let until = request.until.min(now);
        // The first one is inclusive; before the epoch there is nothing.
        let after = request.from.as_millis().checked_sub(1).map_or(request.from, Timestamp::from_millis);
        let mut times = timetable.preview(after, request.limit.saturating_add(1));
        times.retain(|nominal| *nominal <= until);
        let next = times.get(request.limit).copied();
        times.truncate(request.limit);
        let tasks: Vec<_> = times.iter().filter_map(|nominal| task_of(&schedule, *nominal, true)).collect();
        self.check_room(&tasks, None, now)?;
        let mut done = Backfilled { created: 0, duplicates: 0, next };
        for task in tasks {
            let duplicate = self.create(task, now)?.duplicate;
            done.duplicates += u64::from(duplicate);
            done.created += u64::from(!duplicate);
        }
        if done.created > 0 {
            schedule.backfilled += done.created;
            self.put_schedule(&schedule)?;
            self.emit_schedule(&schedule, ScheduleChange::Backfilled { tasks: done.created }, now);
        }
        Ok(done)
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
    pub(super) fn record_pass(&mut self, name: &str, error: Option<String>, now: Timestamp) -> Verdict<()> {
        let mut schedule = self.schedule(name)?;
        // A pass that goes well says nothing about the tasks that failed before.
        let counts = error.is_some() || schedule.last_error.is_some();
        let counted = counts && self.count_end(&mut schedule, error.is_some(), now);
        if counted || schedule.last_error != error {
            schedule.last_error = error;
            self.put_schedule(&schedule)?;
        }
        Ok(())
    }

    /// A task has ended: firings of its schedule may have waited for that, or count failures.
    pub(super) fn schedule_task_ended(&mut self, spec: &Spec, state: &State, now: Timestamp) -> Verdict<()> {
        let Source::Schedule(name) = &spec.new.source else { return Ok(()) };
        let interest = self.agenda.interest(name);
        let failed = match state {
            State::Succeeded { .. } => Some(false),
            State::Failed { .. } => Some(true),
            State::Waiting | State::Queued { .. } | State::Running { .. } | State::Cancelled { .. } => None,
        };
        if let Some(failed) = failed.filter(|_| interest.counts)
            && let Some(mut schedule) = self.find_schedule(name)?
            && self.count_end(&mut schedule, failed, now)
        {
            self.put_schedule(&schedule)?;
        }
        if interest.waits && self.index.outstanding(name) == 0 {
            self.agenda.release(name);
            self.wake_ticker();
        }
        Ok(())
    }
}

/// The task of a firing, if its action creates one.
fn task_of(schedule: &Schedule, nominal: Timestamp, backfilled: bool) -> Option<NewTask> {
    let Action::Enqueue { kind, input } = &schedule.spec.action else { return None };
    let name = &schedule.spec.name;
    let attributes =
        [("schedule", name.clone()), ("nominal", nominal.to_string()), ("backfilled", backfilled.to_string())];
    Some(NewTask {
        source: Source::Schedule(name.clone()),
        attributes: attributes.map(|(key, value)| (key.to_owned(), value)).into(),
        // A span that is asked for twice makes no second task while the first one lives.
        unique_key: backfilled.then(|| format!("schedule/{name}/{nominal}")),
        ..NewTask::new(kind, input)
    })
}
