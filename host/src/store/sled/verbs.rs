//! The trait's verbs: each becomes a job of the store's thread.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::SledStore;
use crate::event::{Event, PluginNews};
use crate::limit::{Fairness, Limit, LimitRule};
use crate::schedule::{Schedule, ScheduleSpec};
use crate::store::batches::{Batch, CreatedBatch, NewBatch};
use crate::store::bulk::{CancelledMany, PurgedMany, TaskFilter};
use crate::store::flow::{LinkedTask, Relations, TreeNode};
use crate::store::limits::{Backlog, Limits, Pausable};
use crate::store::request::{
    AttachRequest, Attached, Claim, ClaimRequest, Dispatched, Enqueued, EventPage, Finish, Heartbeat, KindCount,
    MediaQuery, MediaRecord, NewMedia, Page, Pruned, RedriveQuery, Redriven, Retention, StateEntry, StateWrite,
    Swapped, TaskQuery, WorkRecord,
};
use crate::store::schedules::{Backfill, Backfilled, DueQuery, FiredDue};
use crate::store::{Store, StoreError};
use crate::task::{BatchId, NewTask, Outcome, Task, TaskId};
use crate::time::Timestamp;

#[async_trait]
impl Store for SledStore {
    async fn enqueue(&self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<Enqueued>, StoreError> {
        self.write(weight(&tasks), move |core| core.enqueue(tasks, now)).await
    }

    async fn enqueue_linked(&self, tasks: Vec<LinkedTask>, now: Timestamp) -> Result<Vec<Enqueued>, StoreError> {
        let bytes = tasks.iter().map(|task| weight(std::slice::from_ref(&task.new))).sum();
        self.write(bytes, move |core| core.enqueue_linked(tasks, now)).await
    }

    async fn known_request(&self, key: &str) -> Result<Option<(TaskId, [u8; 16])>, StoreError> {
        let key = key.to_owned();
        self.read(move |core| core.known_request(&key)).await
    }

    async fn claim(&self, request: ClaimRequest, now: Timestamp) -> Result<Claim, StoreError> {
        self.write(0, move |core| core.claim(&request, now)).await
    }

    async fn claim_or_wait(
        &self,
        request: ClaimRequest,
        known_due: Option<Timestamp>,
        now: Timestamp,
        withdrawn: &CancellationToken,
    ) -> Result<Claim, StoreError> {
        self.park((request, known_due), now, withdrawn).await
    }

    async fn keep_work(&self, id: TaskId, attempt: u32, handle: Vec<u8>, now: Timestamp) -> Result<(), StoreError> {
        self.write(handle.len(), move |core| core.keep_work(id, attempt, handle, now)).await
    }

    async fn work(&self, id: TaskId) -> Result<Option<WorkRecord>, StoreError> {
        self.read(move |core| core.work(id)).await
    }

    async fn begin_export(&self, id: TaskId, attempt: u32, output: String, now: Timestamp) -> Result<(), StoreError> {
        self.write(output.len(), move |core| core.begin_export(id, attempt, output, now)).await
    }

    async fn attach(&self, request: AttachRequest, now: Timestamp) -> Result<Attached, StoreError> {
        self.write(0, move |core| core.attach(&request, now)).await
    }

    async fn call_back(&self, id: TaskId, attempt: u32, now: Timestamp) -> Result<(), StoreError> {
        self.write(0, move |core| core.call_back(id, attempt, now)).await
    }

    async fn heartbeat(&self, beat: Heartbeat, now: Timestamp) -> Result<bool, StoreError> {
        self.write(0, move |core| core.heartbeat(beat, now)).await
    }

    async fn finish(&self, finish: Finish, now: Timestamp) -> Result<Task, StoreError> {
        let bytes = match &finish.outcome {
            Outcome::Succeeded { output, outbox } => output.len() + weight(outbox),
            Outcome::Retry { .. }
            | Outcome::Fatal(_)
            | Outcome::Crashed(_)
            | Outcome::Snoozed { .. }
            | Outcome::Cancelled
            | Outcome::Killed
            | Outcome::Yielded
            | Outcome::Interrupted => 0,
        };
        self.write(bytes, move |core| core.finish(finish, now)).await
    }

    async fn request_cancel(&self, id: TaskId, now: Timestamp) -> Result<Task, StoreError> {
        self.write(0, move |core| core.request_cancel(id, now)).await
    }

    async fn cancel_matching(&self, filter: TaskFilter, now: Timestamp) -> Result<CancelledMany, StoreError> {
        self.write(0, move |core| core.cancel_matching(&filter, now)).await
    }

    async fn purge(&self, id: TaskId, now: Timestamp) -> Result<(), StoreError> {
        self.write(0, move |core| core.purge(id, now)).await
    }

    async fn purge_matching(&self, filter: TaskFilter, now: Timestamp) -> Result<PurgedMany, StoreError> {
        self.write(0, move |core| core.purge_matching(&filter, now)).await
    }

    async fn redrive(&self, id: TaskId, now: Timestamp) -> Result<Task, StoreError> {
        self.write(0, move |core| core.redrive(id, now)).await
    }

    async fn redrive_failed(&self, query: RedriveQuery, now: Timestamp) -> Result<Redriven, StoreError> {
        self.write(0, move |core| core.redrive_failed(&query, now)).await
    }

    async fn reclaim_expired(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.write(0, move |core| core.reclaim_expired(now)).await
    }

    async fn expire_overdue(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.write(0, move |core| core.expire_overdue(now)).await
    }

    async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError> {
        self.read(move |core| core.task(id)).await
    }

    async fn tasks(&self, query: TaskQuery) -> Result<Page<Task>, StoreError> {
        self.read(move |core| core.tasks(&query)).await
    }

    async fn relations(&self, id: TaskId) -> Result<Relations, StoreError> {
        self.read(move |core| core.relations(id)).await
    }

    async fn tree(&self, id: TaskId) -> Result<TreeNode, StoreError> {
        self.read(move |core| core.tree(id)).await
    }

    async fn live_counts(&self) -> Result<Vec<KindCount>, StoreError> {
        self.read(|core| Ok(core.index.counts())).await
    }

    async fn outstanding(&self, schedule: &str) -> Result<u32, StoreError> {
        let schedule = schedule.to_owned();
        self.read(move |core| Ok(core.index.outstanding(&schedule))).await
    }

    async fn prune(&self, retention: Retention, now: Timestamp) -> Result<Pruned, StoreError> {
        self.write(0, move |core| core.prune(retention, now)).await
    }

    async fn save_checkpoint(&self, id: TaskId, attempt: u32, data: Vec<u8>) -> Result<(), StoreError> {
        self.write(data.len(), move |core| core.save_checkpoint(id, attempt, &data)).await
    }

    async fn checkpoint(&self, id: TaskId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(move |core| core.checkpoint(id)).await
    }

    async fn create_batch(&self, batch: NewBatch, now: Timestamp) -> Result<CreatedBatch, StoreError> {
        let bytes = batch.tasks.iter().map(|task| weight(std::slice::from_ref(&task.new))).sum();
        self.write(bytes, move |core| core.create_batch(batch, now)).await
    }

    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, StoreError> {
        self.read(move |core| core.batch(id)).await
    }

    async fn batches(&self, before: Option<BatchId>, limit: u32) -> Result<Page<Batch>, StoreError> {
        self.read(move |core| core.batches(before, limit)).await
    }

    async fn cancel_batch(&self, id: BatchId, now: Timestamp) -> Result<Batch, StoreError> {
        self.write(0, move |core| core.cancel_batch(id, now)).await
    }

    async fn declare_limits(
        &self,
        rules: Vec<LimitRule>,
        fairness: Option<Fairness>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(0, move |core| core.declare_limits(rules, fairness, now)).await
    }

    async fn limits(&self, now: Timestamp) -> Result<Limits, StoreError> {
        self.write(0, move |core| core.limits(now)).await
    }

    async fn put_limit(&self, rule: LimitRule, revision: Option<u64>, now: Timestamp) -> Result<Limit, StoreError> {
        self.write(0, move |core| core.put_limit(rule, revision, now)).await
    }

    async fn delete_limit(&self, name: &str, revision: u64, now: Timestamp) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(0, move |core| core.delete_limit(&name, revision, now)).await
    }

    async fn pause(&self, line: Pausable, reason: String, now: Timestamp) -> Result<Backlog, StoreError> {
        self.write(0, move |core| core.pause(&line, reason, now)).await
    }

    async fn resume(&self, line: Pausable, now: Timestamp) -> Result<Backlog, StoreError> {
        self.write(0, move |core| core.resume(&line, now)).await
    }

    async fn queues(&self, now: Timestamp) -> Result<Vec<Backlog>, StoreError> {
        self.write(0, move |core| core.queues(now)).await
    }

    async fn kinds(&self, now: Timestamp) -> Result<Vec<Backlog>, StoreError> {
        self.write(0, move |core| core.kinds(now)).await
    }

    async fn declare_schedules(&self, specs: Vec<ScheduleSpec>, now: Timestamp) -> Result<(), StoreError> {
        self.write(0, move |core| core.declare_schedules(specs, now)).await
    }

    async fn schedules(&self, after: Option<&str>, limit: u32) -> Result<Page<Schedule>, StoreError> {
        let after = after.map(str::to_owned);
        self.read(move |core| core.schedules(after.as_deref(), limit)).await
    }

    async fn schedule(&self, name: &str) -> Result<Option<Schedule>, StoreError> {
        let name = name.to_owned();
        self.read(move |core| core.find_schedule(&name)).await
    }

    async fn create_schedule(&self, spec: ScheduleSpec, now: Timestamp) -> Result<Schedule, StoreError> {
        self.write(0, move |core| core.create_schedule(spec, now)).await
    }

    async fn replace_schedule(
        &self,
        spec: ScheduleSpec,
        revision: u64,
        now: Timestamp,
    ) -> Result<Schedule, StoreError> {
        self.write(0, move |core| core.replace_schedule(spec, revision, now)).await
    }

    async fn delete_schedule(&self, name: &str, revision: u64, now: Timestamp) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(0, move |core| core.delete_schedule(&name, revision, now)).await
    }

    async fn pause_schedule(&self, name: &str, reason: String, now: Timestamp) -> Result<Schedule, StoreError> {
        let name = name.to_owned();
        self.write(0, move |core| core.pause_schedule(&name, reason, now)).await
    }

    async fn resume_schedule(&self, name: &str, now: Timestamp) -> Result<Schedule, StoreError> {
        let name = name.to_owned();
        self.write(0, move |core| core.resume_schedule(&name, now)).await
    }

    async fn trigger_schedule(&self, name: &str, now: Timestamp) -> Result<Schedule, StoreError> {
        let name = name.to_owned();
        self.write(0, move |core| core.trigger_schedule(&name, now)).await
    }

    async fn backfill(&self, request: Backfill, now: Timestamp) -> Result<Backfilled, StoreError> {
        self.write(0, move |core| core.backfill(&request, now)).await
    }

    async fn fire_due(&self, query: DueQuery, now: Timestamp) -> Result<FiredDue, StoreError> {
        self.write(0, move |core| core.fire_due(&query, now)).await
    }

    async fn dispatched(&self, batch: Dispatched, now: Timestamp) -> Result<Vec<Enqueued>, StoreError> {
        self.write(weight(&batch.tasks), move |core| core.dispatched(batch, now)).await
    }

    async fn record_pass(&self, name: &str, error: Option<String>, now: Timestamp) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(0, move |core| core.record_pass(&name, error, now)).await
    }

    async fn add_media(&self, media: NewMedia, now: Timestamp) -> Result<MediaRecord, StoreError> {
        self.write(0, move |core| core.add_media(media, now)).await
    }

    async fn media(&self, id: &str) -> Result<Option<MediaRecord>, StoreError> {
        let id = id.to_owned();
        self.read(move |core| core.media(&id)).await
    }

    async fn list_media(&self, query: MediaQuery) -> Result<Page<MediaRecord>, StoreError> {
        self.read(move |core| core.list_media(&query)).await
    }

    async fn trash_media(&self, id: &str, purge_after: Timestamp, now: Timestamp) -> Result<MediaRecord, StoreError> {
        let id = id.to_owned();
        self.write(0, move |core| core.trash_media(&id, purge_after, now)).await
    }

    async fn restore_media(&self, id: &str, now: Timestamp) -> Result<MediaRecord, StoreError> {
        let id = id.to_owned();
        self.write(0, move |core| core.restore_media(&id, now)).await
    }

    async fn purge_media(&self, id: &str, now: Timestamp) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(0, move |core| core.purge_media(&id, now)).await
    }

    async fn state_get(&self, plugin: &str, key: &str, now: Timestamp) -> Result<Option<StateEntry>, StoreError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.read(move |core| core.state_get(&plugin, &key, now)).await
    }

    async fn state_put(&self, write: StateWrite, now: Timestamp) -> Result<Swapped, StoreError> {
        self.write(write.value.len(), move |core| core.state_put(write, now)).await
    }

    async fn state_delete(&self, plugin: &str, key: &str, now: Timestamp) -> Result<bool, StoreError> {
        let (plugin, key) = (plugin.to_owned(), key.to_owned());
        self.write(0, move |core| core.state_delete(&plugin, &key, now)).await
    }

    async fn state_scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(String, StateEntry)>, StoreError> {
        let (plugin, prefix, after) = (plugin.to_owned(), prefix.to_owned(), after.map(str::to_owned));
        self.read(move |core| core.state_scan(&plugin, (&prefix, after.as_deref()), limit, now)).await
    }

    async fn tell_plugins(&self, news: Vec<PluginNews>, now: Timestamp) -> Result<(), StoreError> {
        self.write(0, move |core| {
            core.tell_plugins(news, now);
            Ok(())
        })
        .await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<EventPage, StoreError> {
        self.read(move |core| core.events(after, limit)).await
    }

    fn epoch(&self) -> u32 {
        self.epoch
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<[Event]>> {
        self.events.subscribe()
    }

    fn schedule_wakeups(&self) -> watch::Receiver<u64> {
        self.schedule_wakeups.clone()
    }

    fn wakeups(&self) -> watch::Receiver<u64> {
        self.wakeups.clone()
    }

    async fn close(&self) {
        self.hang_up();
        // An error means that the thread is gone, which is what is waited for.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
        self.join();
    }
}

/// Roughly the bytes of these tasks.
fn weight(tasks: &[NewTask]) -> usize {
    tasks.iter().map(|new| new.input.len() + new.kind.len()).sum()
}
