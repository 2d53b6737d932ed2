//! Verbs on work that lives outside of the host: its handle is kept apart from the task's status, which is written often.

use super::core::{Core, Halt, Verdict};
use super::keys;
use crate::event::TaskChange;
use crate::store::request::{AttachRequest, Attached, Claimed, NewMedia, WorkRecord};
use crate::store::{Obstacle, StoreError};
use crate::task::{AddedFile, Lease, MAX_HANDLE_BYTES, Status, Task, TaskId, WorkPhase};
use crate::time::Timestamp;

/// Attempts that one call takes up at most.
const MAX_ATTACH: usize = 1_024;

impl Core {
    /// See [`crate::store::Store::keep_work`].
    pub(super) fn keep_work(&mut self, id: TaskId, attempt: u32, handle: Vec<u8>, now: Timestamp) -> Verdict<()> {
        let (spec, mut status) = self.attempt(id, attempt)?;
        if handle.len() > MAX_HANDLE_BYTES {
            let text = format!("the handle has {} bytes, the limit is {MAX_HANDLE_BYTES}", handle.len());
            return Err(Obstacle::Unfit.because(text).into());
        }
        if status.keep_work(attempt, now).is_err() {
            return Err(Obstacle::Exists.because("the attempt has outside work already").into());
        }
        self.trees.work.put(&keys::task(id), &WorkRecord { handle, output: None })?;
        self.restate(id, &status)?;
        self.emit_task(now, id, (&spec, attempt), TaskChange::WorkStarted);
        Ok(())
    }

    /// See [`crate::store::Store::work`].
    pub(super) fn work(&self, id: TaskId) -> Verdict<Option<WorkRecord>> {
        self.trees.work.get(&keys::task(id))
    }

    /// See [`crate::store::Store::begin_export`].
    pub(super) fn begin_export(&mut self, id: TaskId, attempt: u32, output: String, now: Timestamp) -> Verdict<()> {
        let (spec, mut status) = self.attempt(id, attempt)?;
        status.begin_export(attempt, now).map_err(|_| StoreError::Stale)?;
        let record = self.work(id)?.ok_or_else(|| Halt::Broken(format!("task {id} has work without a handle")))?;
        self.trees.work.put(&keys::task(id), &WorkRecord { output: Some(output), ..record })?;
        self.restate(id, &status)?;
        self.index.vacate(id);
        self.emit_task(now, id, (&spec, attempt), TaskChange::Exporting);
        self.wake();
        Ok(())
    }

    /// See [`crate::store::Store::attach`].
    pub(super) fn attach(&mut self, request: &AttachRequest, now: Timestamp) -> Verdict<Attached> {
        let mut room = request.limit;
        let mut attached = Attached::default();
        for id in self.index.detached() {
            let Some(run) = self.index.running(id) else { continue };
            let (spec, mut status) = (run.spec.clone(), run.status.clone());
            let Some(of) = request.rooms.iter().find(|of| of.kinds.contains(&spec.new.kind)) else { continue };
            let goes_on = status.work_phase() == Some(WorkPhase::Running);
            if attached.claimed.len() >= MAX_ATTACH || (goes_on && room == 0) {
                attached.more = true;
                continue;
            }
            room -= u32::from(goes_on);
            let lease = Lease { boot: request.boot, until: request.lease_until, digest: of.digest };
            let attempt = status.attach(lease).map_err(|_| Halt::Broken(format!("task {id} cannot be attached")))?;
            self.restate(id, &status)?;
            self.emit_task(now, id, (&spec, attempt), TaskChange::Attached { digest: of.digest });
            attached.claimed.push(Claimed { id, spec, status });
        }
        Ok(attached)
    }

    /// See [`crate::store::Store::call_back`].
    pub(super) fn call_back(&mut self, id: TaskId, attempt: u32, now: Timestamp) -> Verdict<()> {
        let Some(run) = self.index.running(id) else {
            let known = self.trees.body.contains(&keys::task(id))?;
            return Err(if known { StoreError::Stale } else { StoreError::NotFound }.into());
        };
        let (spec, mut status) = (run.spec.clone(), run.status.clone());
        if status.call_back(attempt, now).map_err(|_| StoreError::Stale)? {
            self.restate(id, &status)?;
            self.emit_task(now, id, (&spec, status.attempt), TaskChange::CalledBack);
        }
        Ok(())
    }

    /// Nobody looks after the outside work of a running task any more, see [`Status::let_go`].
    pub(super) fn let_go(&mut self, id: TaskId, lost: bool, now: Timestamp) -> Verdict<Task> {
        let run = self.index.running(id).ok_or(StoreError::NotFound)?;
        let (spec, mut status) = (run.spec.clone(), run.status.clone());
        if !status.is_detached() {
            status.let_go(lost);
            self.restate(id, &status)?;
            self.emit_task(now, id, (&spec, status.attempt), TaskChange::Detached);
        }
        Ok(Task { id, spec, status })
    }

    /// A running task's outside work has ended, if it had any.
    pub(super) fn forget_work(&mut self, id: TaskId, before: &Status) -> Verdict<()> {
        if before.works.current.is_some() {
            self.trees.work.remove(&keys::task(id))?;
        }
        Ok(())
    }

    /// Files of an attempt that succeeded get their records.
    pub(super) fn adopt_files(&mut self, task: TaskId, files: Vec<AddedFile>, now: Timestamp) -> Verdict<()> {
        for file in &files {
            if self.trees.media.contains(file.id.as_bytes())? {
                return Err(Obstacle::Exists.because(format!("media {} exists already", file.id)).into());
            }
        }
        for AddedFile { id, name, content_type, size } in files {
            self.add_media(NewMedia { id, name, content_type, size, task: Some(task) }, now)?;
        }
        Ok(())
    }

    fn restate(&mut self, id: TaskId, status: &Status) -> Verdict<()> {
        self.trees.live.put(&keys::task(id), status)?;
        self.index.restate(id, status.clone());
        Ok(())
    }
}
