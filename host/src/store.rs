//! What must not be lost: a trait of intent verbs, and the store behind it, on disk or in memory.
//!
//! Every verb is one commit: it answers after the change is durable (invariant I15), and its
//! events are published after that (I2). Reads see durable state only.

pub mod batches;
pub mod bulk;
mod conflict;
#[cfg(test)]
mod conformance;
pub mod dump;
pub mod flow;
pub mod limits;
pub mod memory;
pub mod request;
pub mod schedules;
pub mod sled;
mod work;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

pub use self::batches::{Batch, CreatedBatch, NewBatch};
pub use self::bulk::{CancelledMany, PurgedMany, TaskFilter};
pub use self::conflict::{Conflict, Obstacle};
pub use self::flow::{Brief, LinkedTask, Parent, Relations, TreeNode};
pub use self::limits::{Backlog, LimitUse, Limits, Pausable, ValueUse};
pub use self::request::{
    AttachRequest, Attached, Claim, ClaimRequest, Claimed, Dispatched, Enqueued, EventPage, Expected, Finish,
    GenerationRoom, Heartbeat, Keep, KindCount, MediaQuery, MediaRecord, MediaStatus, NewMedia, Page, Pruned,
    RedriveQuery, Redriven, Related, Retention, StateEntry, StateWrite, Swapped, TakenKey, TaskQuery, WorkRecord,
};
pub use self::schedules::{Backfill, Backfilled, DueQuery, FiredDue};
use crate::event::{Event, PluginNews};
use crate::limit::{Fairness, Limit, LimitRule};
use crate::schedule::{Schedule, ScheduleSpec};
use crate::task::{BatchId, NewTask, Task, TaskId};
use crate::time::Timestamp;

/// Why a verb did nothing, by what the caller can do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing.
    #[error("not found")]
    NotFound,
    /// The attempt, pass or nominal time is not the current one: drop the work.
    #[error("stale: the record has moved on")]
    Stale,
    /// The record is in a state that does not allow it.
    #[error("{0}")]
    Conflict(Conflict),
    /// A task that was to be created wants a key that is another one's.
    #[error("{}", taken(*.key, *.holder))]
    Taken {
        /// Which of the call's tasks, counted from 0.
        at: usize,
        /// Which key.
        key: TakenKey,
        /// Who has it; `None` for an earlier one of the same call.
        holder: Option<TaskId>,
    },
    /// A task that was to be created would come after one that is not there.
    #[error("there is no task {parent} to come after; ended tasks are forgotten in time")]
    NoParent {
        /// Which of the call's tasks, counted from 0.
        at: usize,
        /// Which parent.
        parent: TaskId,
    },
    /// A bound was reached: try again later, with less.
    #[error("{0}")]
    Full(String),
    /// The store is closed or broken: nothing more can be done in this process.
    #[error("the store is closed")]
    Closed,
}

fn taken(key: TakenKey, holder: Option<TaskId>) -> String {
    let holder = holder.map_or_else(|| "an earlier task of this request".to_owned(), |id| format!("task {id}"));
    match key {
        TakenKey::Unique => format!("{holder} holds the unique key"),
        TakenKey::Idempotency => format!("{holder} was created with this idempotency key by another request"),
    }
}

/// Durable tasks, schedules, media records, plugin state and events.
///
/// A store is shared by every part of the host. Each verb is atomic. A verb is handed over when its
/// future is first polled; verbs of one process are applied in the order in which they were handed over.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    // --- tasks ---

    /// Creates tasks, all or none. What becomes of one whose `unique_key` is held, its rule says; one
    /// whose idempotency key is known is answered with the first one's id. [`StoreError::Taken`] for
    /// one that is refused, [`StoreError::Full`] beyond the bound on live tasks.
    async fn enqueue(&self, tasks: Vec<NewTask>, now: Timestamp) -> Result<Vec<Enqueued>, StoreError>;
    /// Like [`Self::enqueue`], for tasks that may come after others of the same call. One waits until
    /// every parent has ended; what then becomes of it is decided in the commit of that end, or in
    /// commits that follow by themselves when there are many. [`StoreError::NoParent`] for a task
    /// that comes after one that is not there.
    async fn enqueue_linked(&self, tasks: Vec<LinkedTask>, now: Timestamp) -> Result<Vec<Enqueued>, StoreError>;
    /// The task that was created with an idempotency key, and that request's fingerprint.
    async fn known_request(&self, key: &str) -> Result<Option<(TaskId, [u8; 16])>, StoreError>;
    /// Claims due tasks of the named kinds, as far as the limits allow (invariant I6): whose turn it is says the
    /// share of its group ([`Fairness`]), then [`crate::task::urgency`]. Those whose deadline has
    /// passed end instead. What is over a limit is not touched and holds up nobody else.
    async fn claim(&self, request: ClaimRequest, now: Timestamp) -> Result<Claim, StoreError>;
    /// Like [`Self::claim`], but waits while there is nothing to claim: what becomes claimable is
    /// claimed in the commit that makes it so, where the store can. Its leases last as long from then on
    /// as `request` says from `now` on. Due times are left to the caller: a claim that knows of the next
    /// one (`known_due`) is answered without attempts when there is an earlier one. So is, at once, one
    /// that is `withdrawn`, unless it was served already: its answer must be waited for. When the future is
    /// dropped, what it was about to be given is given back by the end of its leases.
    async fn claim_or_wait(
        &self,
        request: ClaimRequest,
        known_due: Option<Timestamp>,
        now: Timestamp,
        withdrawn: &CancellationToken,
    ) -> Result<Claim, StoreError>;
    /// Keeps the handle of outside work that an attempt has started, at most [`crate::task::MAX_HANDLE_BYTES`]. From
    /// here on the attempt is neither requeued nor crashed by the end of its lease or of its host, but waits to be
    /// attached. Fenced by the attempt; one attempt has one.
    async fn keep_work(&self, id: TaskId, attempt: u32, handle: Vec<u8>, now: Timestamp) -> Result<(), StoreError>;
    /// What is kept of a task's outside work, while there is any.
    async fn work(&self, id: TaskId) -> Result<Option<WorkRecord>, StoreError>;
    /// The outside work has succeeded with `output` (JSON text): its results are to be brought home, and what the task
    /// occupies of limits is free. Fenced by the attempt.
    async fn begin_export(&self, id: TaskId, attempt: u32, output: String, now: Timestamp) -> Result<(), StoreError>;
    /// Takes up outside work that nobody looks after, oldest task first: attempts go on with their number.
    async fn attach(&self, request: AttachRequest, now: Timestamp) -> Result<Attached, StoreError>;
    /// Somebody outside has news about an attempt's work: whoever looks after it is told by an event.
    /// [`StoreError::Stale`] when that attempt has ended.
    async fn call_back(&self, id: TaskId, attempt: u32, now: Timestamp) -> Result<(), StoreError>;
    /// Extends a lease, keeps the progress and that the guest has seen a cancel. `Ok(true)` when one was
    /// requested.
    async fn heartbeat(&self, beat: Heartbeat, now: Timestamp) -> Result<bool, StoreError>;
    /// Ends an attempt: the task's next state, its output, its outbox and its files in one commit. One that gives way or
    /// is interrupted while it has outside work does not end, unless it has abandoned that: it is let go of, for
    /// [`Self::attach`].
    async fn finish(&self, finish: Finish, now: Timestamp) -> Result<Task, StoreError>;
    /// Asks to stop a task: queued ones end at once, running ones are asked, ended ones stay.
    async fn request_cancel(&self, id: TaskId, now: Timestamp) -> Result<Task, StoreError>;
    /// Asks to stop queued and running tasks, oldest first, at most a slice at a time.
    async fn cancel_matching(&self, filter: TaskFilter, now: Timestamp) -> Result<CancelledMany, StoreError>;
    /// Forgets an ended task with its checkpoint. [`StoreError::Conflict`] while it lives, and while a live
    /// task comes after it.
    async fn purge(&self, id: TaskId, now: Timestamp) -> Result<(), StoreError>;
    /// Forgets ended tasks, oldest first, at most a slice at a time; those that a live task comes after stay.
    async fn purge_matching(&self, filter: TaskFilter, now: Timestamp) -> Result<PurgedMany, StoreError>;
    /// Puts an ended task back with its checkpoint: into the queue, or to wait when a parent lives. [`StoreError::Conflict`]
    /// while it lives, and when a parent did not succeed and its rule says that this ends it.
    async fn redrive(&self, id: TaskId, now: Timestamp) -> Result<Task, StoreError>;
    /// Puts failed tasks back, oldest first, at most a slice at a time. [`StoreError::Full`] when not
    /// even the first fits.
    async fn redrive_failed(&self, query: RedriveQuery, now: Timestamp) -> Result<Redriven, StoreError>;
    /// Requeues running tasks whose lease has expired at `now`; each counts as a crash. (Those with outside work are let go
    /// of.)
    /// Returns how many. (Leases of older starts are reclaimed when the store opens.)
    async fn reclaim_expired(&self, now: Timestamp) -> Result<usize, StoreError>;
    /// Ends waiting tasks whose deadline has passed. Answers the next deadline.
    async fn expire_overdue(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;
    /// One task.
    async fn task(&self, id: TaskId) -> Result<Option<Task>, StoreError>;
    /// Tasks, newest first.
    async fn tasks(&self, query: TaskQuery) -> Result<Page<Task>, StoreError>;
    /// Who is around a task; [`StoreError::NotFound`] without one.
    async fn relations(&self, id: TaskId) -> Result<Relations, StoreError>;
    /// What a task created, and so on, within a bound; [`StoreError::NotFound`] without the task.
    async fn tree(&self, id: TaskId) -> Result<TreeNode, StoreError>;
    /// How many tasks of each kind are queued and running.
    async fn live_counts(&self) -> Result<Vec<KindCount>, StoreError>;
    /// Live tasks that this schedule created.
    async fn outstanding(&self, schedule: &str) -> Result<u32, StoreError>;
    /// Forgets ended tasks beyond the bounds, oldest first, at most a slice at a time; those that a live
    /// task comes after are kept until none does any more.
    async fn prune(&self, retention: Retention, now: Timestamp) -> Result<Pruned, StoreError>;

    /// Keeps a running attempt's checkpoint. Fenced by the attempt. It goes when the task succeeds or is
    /// forgotten; one of a task that failed or was cancelled waits for a redrive.
    async fn save_checkpoint(&self, id: TaskId, attempt: u32, data: Vec<u8>) -> Result<(), StoreError>;
    /// The task's checkpoint.
    async fn checkpoint(&self, id: TaskId) -> Result<Option<Vec<u8>>, StoreError>;

    // --- batches ---

    /// Creates a batch with its members, all or none. A batch without members is complete at once. The
    /// counts of a batch, and the tasks that follow from them, are part of the commit of each end.
    /// [`StoreError::Taken`] for a member that would not be new.
    async fn create_batch(&self, batch: NewBatch, now: Timestamp) -> Result<CreatedBatch, StoreError>;
    /// One batch.
    async fn batch(&self, id: BatchId) -> Result<Option<Batch>, StoreError>;
    /// Batches, newest first, those before `before`.
    async fn batches(&self, before: Option<BatchId>, limit: u32) -> Result<Page<Batch>, StoreError>;
    /// Asks to stop every member of a batch, like [`Self::request_cancel`].
    async fn cancel_batch(&self, id: BatchId, now: Timestamp) -> Result<Batch, StoreError>;

    // --- limits ---

    /// Makes the limits of the configuration equal to these. Limits of clients stay, except that the
    /// configuration takes over a name that it declares.
    async fn declare_limits(
        &self,
        rules: Vec<LimitRule>,
        fairness: Option<Fairness>,
        now: Timestamp,
    ) -> Result<(), StoreError>;
    /// Every limit by name, and how far it is used.
    async fn limits(&self, now: Timestamp) -> Result<Limits, StoreError>;
    /// Declares a client's limit, which the next claim obeys. Without a `revision` it is a new one;
    /// [`StoreError::Stale`] when it has another one, [`StoreError::Conflict`] when the configuration
    /// declares it, or while many waiting tasks are still behind earlier changes.
    async fn put_limit(&self, rule: LimitRule, revision: Option<u64>, now: Timestamp) -> Result<Limit, StoreError>;
    /// Forgets a client's limit. Refuses like [`Self::put_limit`].
    async fn delete_limit(&self, name: &str, revision: u64, now: Timestamp) -> Result<(), StoreError>;
    /// Tasks of a queue or a kind begin no more; those that run go on. Pausing a paused one changes nothing.
    async fn pause(&self, line: Pausable, reason: String, now: Timestamp) -> Result<Backlog, StoreError>;
    /// They begin again.
    async fn resume(&self, line: Pausable, now: Timestamp) -> Result<Backlog, StoreError>;
    /// Queues that have live tasks or are paused, by name.
    async fn queues(&self, now: Timestamp) -> Result<Vec<Backlog>, StoreError>;
    /// Kinds that have live tasks or are paused, by name.
    async fn kinds(&self, now: Timestamp) -> Result<Vec<Backlog>, StoreError>;

    // --- schedules ---

    /// Makes the schedules of the configuration equal to these: keeps the progress of those that stay (a
    /// changed trigger recomputes the next firing), adds and removes the rest. Schedules of clients
    /// stay, except that the configuration takes over a name that it declares.
    async fn declare_schedules(&self, specs: Vec<ScheduleSpec>, now: Timestamp) -> Result<(), StoreError>;
    /// Schedules by name, those after `after`.
    async fn schedules(&self, after: Option<&str>, limit: u32) -> Result<Page<Schedule>, StoreError>;
    /// One schedule.
    async fn schedule(&self, name: &str) -> Result<Option<Schedule>, StoreError>;
    /// Adds a client's schedule. [`StoreError::Conflict`] when the name is taken.
    async fn create_schedule(&self, spec: ScheduleSpec, now: Timestamp) -> Result<Schedule, StoreError>;
    /// Declares a client's schedule anew; the progress stays. [`StoreError::Stale`] when its revision is
    /// another one, [`StoreError::Conflict`] when the configuration declares it.
    async fn replace_schedule(&self, spec: ScheduleSpec, revision: u64, now: Timestamp)
    -> Result<Schedule, StoreError>;
    /// Forgets a client's schedule; its tasks stay. Refuses like [`Self::replace_schedule`].
    async fn delete_schedule(&self, name: &str, revision: u64, now: Timestamp) -> Result<(), StoreError>;
    /// Stops a schedule from firing. Pausing a paused one changes nothing.
    async fn pause_schedule(&self, name: &str, reason: String, now: Timestamp) -> Result<Schedule, StoreError>;
    /// Lets a schedule fire again, from its next nominal time on.
    async fn resume_schedule(&self, name: &str, now: Timestamp) -> Result<Schedule, StoreError>;
    /// Lets a schedule fire once more, with the next [`Self::fire_due`]; also a paused one.
    async fn trigger_schedule(&self, name: &str, now: Timestamp) -> Result<Schedule, StoreError>;
    /// Creates the tasks of nominal times that have passed.
    async fn backfill(&self, request: Backfill, now: Timestamp) -> Result<Backfilled, StoreError>;
    /// Fires everything that is due at `now`, each nominal time once (invariant I12): advancing a
    /// schedule and creating its tasks are one commit. Costs what is due, not what is declared.
    async fn fire_due(&self, query: DueQuery, now: Timestamp) -> Result<FiredDue, StoreError>;
    /// Changes whenever a schedule may have become due otherwise than by time.
    fn schedule_wakeups(&self) -> watch::Receiver<u64>;
    /// A dispatcher's tasks and its cursor, in one commit, fenced by the pass number
    /// ([`Schedule::fired`]).
    async fn dispatched(&self, batch: Dispatched, now: Timestamp) -> Result<Vec<Enqueued>, StoreError>;
    /// Keeps why the latest pass failed, or that it did not.
    async fn record_pass(&self, name: &str, error: Option<String>, now: Timestamp) -> Result<(), StoreError>;

    // --- media records ---

    /// Adds the record of a file that is already durable on disk.
    async fn add_media(&self, media: NewMedia, now: Timestamp) -> Result<MediaRecord, StoreError>;
    /// One record, live or trashed.
    async fn media(&self, id: &str) -> Result<Option<MediaRecord>, StoreError>;
    /// Records in order of creation (ids sort by time).
    async fn list_media(&self, query: MediaQuery) -> Result<Page<MediaRecord>, StoreError>;
    /// Hides a live file until `purge_after`. Trashing a trashed one keeps its first date.
    async fn trash_media(&self, id: &str, purge_after: Timestamp, now: Timestamp) -> Result<MediaRecord, StoreError>;
    /// Brings a trashed file back. Restoring a live one changes nothing.
    async fn restore_media(&self, id: &str, now: Timestamp) -> Result<MediaRecord, StoreError>;
    /// Forgets a trashed file whose `purge_after` has passed; `Ok(false)` when it is gone already.
    /// [`StoreError::Conflict`] while it is live or within its grace.
    async fn purge_media(&self, id: &str, now: Timestamp) -> Result<bool, StoreError>;

    // --- plugin state: one namespace a plugin ---

    /// One entry; expired ones are absent.
    async fn state_get(&self, plugin: &str, key: &str, now: Timestamp) -> Result<Option<StateEntry>, StoreError>;
    /// Writes, with or without a condition on the version. [`StoreError::Full`] beyond the quota.
    async fn state_put(&self, write: StateWrite, now: Timestamp) -> Result<Swapped, StoreError>;
    /// Deletes; answers whether there was something.
    async fn state_delete(&self, plugin: &str, key: &str, now: Timestamp) -> Result<bool, StoreError>;
    /// Entries whose key starts with `prefix` and is greater than `after`, in key order: at least one, if there is
    /// one, and no more than fit into a mebibyte.
    async fn state_scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<(String, StateEntry)>, StoreError>;

    // --- events ---

    /// Tells what has happened to plugins. They change outside of the store, which keeps nothing but the events.
    async fn tell_plugins(&self, news: Vec<PluginNews>, now: Timestamp) -> Result<(), StoreError>;
    /// Events with a sequence number greater than `after`, oldest first.
    async fn events(&self, after: u64, limit: usize) -> Result<EventPage, StoreError>;
    /// Identifies this store's event sequence: another data directory has another epoch.
    fn epoch(&self) -> u32;
    /// Every event from now on, one batch a commit. A subscriber that lags is told so.
    fn subscribe(&self) -> broadcast::Receiver<Arc<[Event]>>;
    /// Changes whenever a task may have become claimable (enqueued, requeued, finished).
    fn wakeups(&self) -> watch::Receiver<u64>;

    /// Commits what is queued and closes. Later verbs answer [`StoreError::Closed`].
    async fn close(&self);
}
