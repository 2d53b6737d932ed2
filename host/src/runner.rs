//! Claims due tasks and runs attempts: permit first, then claim, then run.
//!
//! One loop owns everything that runs. It sleeps until something may be claimable (a wakeup of the
//! store, a changed set of plugins, a freed permit, the next due time) and never polls.

mod attempt;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::{Change, Event, TaskChange};
use crate::limiter::{Admission, AttemptLimiter, AttemptPermits, Breakers};
use crate::plugin::control::{Control, Directive};
use crate::plugin::{Executor, Generation, Plugins};
use crate::store::{Claim, ClaimRequest, Claimed, GenerationRoom, Heartbeat, Store, StoreError};
use crate::task::{BootId, TaskId};
use crate::time::{Timestamp, now};

/// How attempts are claimed and kept alive.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Attempts at the same time, at most.
    pub concurrency: u32,
    /// How long a lease lives without a heartbeat, in milliseconds; renewed at a third of it.
    pub lease_ms: u64,
    /// This start of the host.
    pub boot: BootId,
}

/// How long a loop waits after the store refused a verb, before it tries again.
const STORE_RETRY: Duration = Duration::from_millis(200);

/// When to end, in two phases.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Claim no more; guests are asked to yield.
    pub stop: CancellationToken,
    /// Interrupt what still runs; it returns to the queue, not counted (invariant I14).
    pub abort: CancellationToken,
}

/// Claims and runs.
#[derive(Debug)]
pub struct Runner {
    store: Arc<dyn Store>,
    plugins: Arc<Plugins>,
    limiter: Arc<AttemptLimiter>,
    breakers: Arc<Breakers>,
    settings: Settings,
    shutdown: Shutdown,
    running: HashMap<TaskId, Running>,
    attempts: JoinSet<TaskId>,
}

/// What may be claimed.
struct Rooms {
    rooms: Vec<GenerationRoom>,
    /// When the first open breaker lets one through.
    reopens_at: Option<Timestamp>,
}

/// An attempt that runs now.
#[derive(Debug)]
struct Running {
    attempt: u32,
    control: Arc<Control>,
}

impl Runner {
    /// A runner that has claimed nothing yet.
    pub fn new(
        store: Arc<dyn Store>,
        plugins: Arc<Plugins>,
        breakers: Arc<Breakers>,
        settings: Settings,
        shutdown: Shutdown,
    ) -> Self {
        let limiter = AttemptLimiter::new(settings.concurrency);
        Self {
            store,
            plugins,
            limiter,
            breakers,
            settings,
            shutdown,
            running: HashMap::new(),
            attempts: JoinSet::new(),
        }
    }

    /// Runs until `stop`, then until every attempt has ended.
    pub async fn run(mut self) {
        let mut events = self.store.subscribe();
        let mut wakeups = self.store.wakeups();
        let mut reloads = self.plugins.changed();
        let mut beat_at = self.next_beat();
        while !self.shutdown.stop.is_cancelled() {
            // Interest first, question second: a change between the two is not lost.
            wakeups.mark_unchanged();
            reloads.mark_unchanged();
            let next_claim = self.claim().await;
            tokio::select! {
                biased;
                () = self.shutdown.stop.cancelled() => {}
                Some(ended) = self.attempts.join_next() => self.reap(ended),
                received = events.recv() => self.hear(received).await,
                _ = wakeups.changed() => {}
                _ = reloads.changed() => {}
                () = tokio::time::sleep_until(next_claim) => {}
                () = tokio::time::sleep_until(beat_at) => {
                    self.beat().await;
                    beat_at = self.next_beat();
                }
            }
        }
        self.drain(beat_at).await;
    }

    /// Claims what there is room for and starts it; answers when it is worth asking again at the latest.
    async fn claim(&mut self) -> Instant {
        while let Some(ended) = self.attempts.try_join_next() {
            self.reap(ended);
        }
        let far = Instant::now() + Duration::from_hours(1);
        let executors = self.plugins.executors();
        let now = now();
        let Rooms { rooms, reopens_at } = self.rooms(&executors, now);
        let far = reopens_at.map_or(far, |at| Instant::now() + at.wait_from(now).max(Duration::from_millis(1)));
        let mut permits = self.limiter.try_acquire_many(self.limiter.total());
        if permits.left() == 0 || rooms.is_empty() {
            // A finishing attempt or a changed set of plugins wakes the loop.
            return far;
        }
        let lease_until = now.plus_millis(self.settings.lease_ms);
        let request = ClaimRequest { rooms, limit: permits.left(), boot: self.settings.boot, lease_until };
        match self.store.claim(request, now).await {
            Ok(Claim { claimed, next_due }) => {
                for task in claimed {
                    self.start(task, &executors, &mut permits);
                }
                next_due.map_or(far, |due| far.min(Instant::now() + due.wait_from(now).max(Duration::from_millis(1))))
            }
            Err(StoreError::Closed) => far,
            Err(error) => {
                tracing::warn!(%error, "cannot claim tasks, trying again");
                Instant::now() + STORE_RETRY
            }
        }
    }

    /// What each live generation may still take. A kind whose breaker is open is left out, one that
    /// is half open has room for one attempt.
    fn rooms(&self, executors: &[Executor], now: Timestamp) -> Rooms {
        let mut free: HashMap<&str, (&Generation, Vec<String>)> = HashMap::new();
        let mut probes = Vec::new();
        let mut reopens_at = None;
        for executor in executors {
            let generation = executor.generation.as_ref();
            match self.breakers.admit(&executor.kind, generation.digest().0, now.as_millis()) {
                Admission::Free => {
                    let (_, kinds) = free.entry(generation.plugin()).or_insert_with(|| (generation, Vec::new()));
                    kinds.push(executor.kind.clone());
                }
                Admission::Probe => probes.push((generation, executor.kind.clone())),
                Admission::Shut(until_ms) => {
                    let until = until_ms.map(Timestamp::from_millis);
                    reopens_at = reopens_at.into_iter().chain(until).min();
                }
            }
        }
        let mut taken: HashMap<&str, u32> = HashMap::new();
        let mut rooms = Vec::new();
        for (generation, kind) in probes {
            let taken = taken.entry(generation.plugin()).or_default();
            if *taken < self.limiter.room(generation.plugin(), generation.concurrency()) {
                *taken += 1;
                rooms.push(GenerationRoom { kinds: vec![kind], room: 1, digest: generation.digest() });
            }
        }
        rooms.extend(free.into_iter().map(|(plugin, (generation, kinds))| {
            let taken = taken.get(plugin).copied().unwrap_or(0);
            let room = self.limiter.room(plugin, generation.concurrency()).saturating_sub(taken);
            GenerationRoom { kinds, room, digest: generation.digest() }
        }));
        rooms.retain(|room| room.room > 0);
        Rooms { rooms, reopens_at }
    }

    /// Starts one attempt on the generation whose digest the claim recorded.
    fn start(&mut self, claimed: Claimed, executors: &[Executor], permits: &mut AttemptPermits) {
        let kind = &claimed.spec.new.kind;
        let executor = executors.iter().find(|executor| executor.kind == *kind);
        let Some((executor, permit)) = executor.and_then(|it| Some((it, permits.admit(it.generation.plugin())?)))
        else {
            // The lease expires and the task is requeued; a store that answers this is broken.
            tracing::error!(%kind, "the store answered a claim with what was not asked for");
            return;
        };
        let control = Arc::new(Control::default());
        if claimed.status.cancel.is_some() {
            control.direct(Directive::Cancel);
        }
        let id = claimed.id;
        let watched = self.breakers.begin(kind, executor.generation.digest().0);
        let running = Running { attempt: claimed.status.attempt, control: Arc::clone(&control) };
        self.running.insert(id, running);
        let attempt = attempt::Attempt {
            store: Arc::clone(&self.store),
            generation: Arc::clone(&executor.generation),
            claimed,
            control,
            lease_ms: self.settings.lease_ms,
            abort: self.shutdown.abort.clone(),
        };
        let attempt = async move {
            let trial = attempt.run().await;
            watched.end(trial, now().as_millis());
            drop(permit);
            id
        };
        // On the guests' threads from the start: what it does besides is to wait for the store.
        self.attempts.spawn_on(attempt, &self.plugins.runtime());
    }

    fn reap(&mut self, ended: Result<TaskId, tokio::task::JoinError>) {
        match ended {
            Ok(id) => {
                self.running.remove(&id);
            }
            // The lease of the attempt expires and its task is requeued as crashed.
            Err(error) => tracing::error!(%error, "an attempt's supervisor panicked"),
        }
    }

    /// Cancel requests arrive as events; after a lag every lease is asked instead.
    async fn hear(&mut self, received: Result<Arc<[Event]>, RecvError>) {
        match received {
            Ok(batch) => {
                for event in batch.iter() {
                    if let Change::Task { id, change: TaskChange::CancelRequested, .. } = &event.change
                        && let Some(running) = self.running.get(id)
                    {
                        running.control.direct(Directive::Cancel);
                    }
                }
            }
            Err(RecvError::Lagged(_)) => self.beat().await,
            Err(RecvError::Closed) => self.shutdown.stop.cancel(),
        }
    }

    fn next_beat(&self) -> Instant {
        Instant::now() + Duration::from_millis((self.settings.lease_ms / 3).max(1))
    }

    /// Renews every lease; a lost one ends its attempt, a requested cancel reaches it.
    async fn beat(&mut self) {
        let now = now();
        let lease_until = now.plus_millis(self.settings.lease_ms);
        let beats = self.running.iter().map(|(id, running)| {
            let beat = Heartbeat { id: *id, attempt: running.attempt, lease_until, progress: None, saw_cancel: false };
            let store = &self.store;
            async move { (running, store.heartbeat(beat, now).await) }
        });
        for (running, answer) in futures_util::future::join_all(beats).await {
            match answer {
                Ok(cancel_requested) => {
                    if cancel_requested {
                        running.control.direct(Directive::Cancel);
                    }
                }
                // Just finished, or reclaimed: its result will be refused, so it need not go on.
                Err(StoreError::Stale | StoreError::NotFound) => running.control.direct(Directive::Cancel),
                Err(error) => tracing::warn!(%error, "cannot renew a lease"),
            }
        }
    }

    /// No more claims: guests are asked to yield, and what runs at `abort` is interrupted.
    async fn drain(mut self, mut beat_at: Instant) {
        for running in self.running.values() {
            running.control.direct(Directive::Yield);
        }
        let mut events = self.store.subscribe();
        while !self.attempts.is_empty() {
            tokio::select! {
                Some(ended) = self.attempts.join_next() => self.reap(ended),
                received = events.recv() => self.hear(received).await,
                () = tokio::time::sleep_until(beat_at) => {
                    self.beat().await;
                    beat_at = self.next_beat();
                }
            }
        }
    }
}
