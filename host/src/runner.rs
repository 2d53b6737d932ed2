//! Claims due tasks and runs attempts: permit first, then claim, then run.
//!
//! One loop owns everything that runs. It sleeps until something may be claimable (a wakeup of the
//! store, a changed set of plugins, a freed permit, the next due time) and never polls.

mod attempt;
mod attempts;
mod claims;
mod drains;
mod ending;
mod pace;
mod running;
mod steer;
#[cfg(test)]
mod tests;
mod unattended;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::attempt::Attempt;
use self::attempts::Attempts;
use self::claims::{Admissions, Answered, Claims, Terms};
use self::drains::{Drains, Due};
use self::ending::Ending;
use self::running::{Ran, Running};
use self::steer::{Age, Clocks, Reins, Steering};
use self::unattended::Unattended;
use crate::event::{Change, Event, TaskChange};
use crate::limiter::{AttemptLimiter, AttemptPermit, AttemptPermits, Breakers};
use crate::plugin::control::{Control, Directive};
use crate::plugin::{Executor, Executors, Generation, Plugins};
use crate::store::{Claim, Claimed, Finish, Heartbeat, Store, StoreError};
use crate::task::{AttemptReport, BootId, Outcome, TaskId};
use crate::time::{Timestamp, now};

/// How attempts are claimed and kept alive.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Attempts at the same time, at most.
    pub concurrency: u32,
    /// How long a lease lives without a heartbeat, in milliseconds; renewed at a third of it.
    pub lease_ms: u64,
    /// How long outside work may take to stop, gracefully and then immediately, in milliseconds each.
    pub stop_grace_ms: u64,
    /// This start of the host.
    pub boot: BootId,
}

/// How long a loop waits after the store refused a verb, before it tries again.
const STORE_RETRY: Duration = Duration::from_millis(200);
/// Results of outside work that are brought home at the same time, at most: each is a guest that holds no permit.
const MAX_EXPORTS: usize = 16;

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
    attempts: Attempts,
    /// When this was made.
    origin: Clocks,
    drains: Drains,
    claims: Claims,
    /// When the next task is due that nobody can claim yet, as far as the store has said.
    next_due: Option<Timestamp>,
    /// The store refused: no claim before then.
    retry_at: Option<Instant>,
    /// Whether there may be outside work that nobody looks after.
    unattended: Unattended,
    /// Who executed what when the plugins changed last.
    known: Weak<Executors>,
    /// Places for bringing its results home.
    exports: Arc<Semaphore>,
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
            attempts: Attempts::default(),
            origin: Clocks { wall: now(), at: Instant::now() },
            drains: Drains::default(),
            claims: Claims::default(),
            next_due: None,
            retry_at: None,
            unattended: Unattended::Perhaps,
            known: Weak::new(),
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
        }
    }

    /// Runs until `stop`, then until every attempt has ended.
    pub async fn run(mut self) {
        let mut events = self.store.subscribe();
        let mut freed = self.limiter.freed();
        let mut reloads = self.plugins.changed();
        let mut beat_at = self.next_beat();
        while !self.shutdown.stop.is_cancelled() {
            // Interest first, question second: a change between the two is not lost.
            freed.mark_unchanged();
            reloads.mark_unchanged();
            self.take_up().await;
            let ask_at = self.ask();
            let drain_at = self.drains.next();
            tokio::select! {
                biased;
                () = self.shutdown.stop.cancelled() => {}
                Some(answered) = self.claims.answered() => self.take(answered),
                Some(ran) = self.attempts.ended() => self.reap_all(ran),
                received = events.recv() => self.hear(received).await,
                _ = freed.changed() => {}
                _ = reloads.changed() => self.notice_reload(),
                () = tokio::time::sleep_until(drain_at.unwrap_or(ask_at)), if drain_at.is_some() => self.drain_replaced(),
                () = tokio::time::sleep_until(ask_at) => self.claims.withdraw(),
                () = tokio::time::sleep_until(beat_at) => {
                    self.beat().await;
                    beat_at = self.next_beat();
                }
            }
        }
        self.drain(beat_at).await;
    }

    /// Asks for what there is room for; answers when it is worth asking anew at the latest.
    fn ask(&mut self) -> Instant {
        let far = Instant::now() + Duration::from_hours(1);
        if let Some(retry_at) = self.retry_at.filter(|at| Instant::now() < *at) {
            return retry_at;
        }
        self.retry_at = None;
        let now = now();
        self.next_due = self.next_due.filter(|due| now < *due);
        let admissions = Admissions::of(self.plugins.executors(), &self.breakers, now);
        let next = self.next_due.into_iter().chain(admissions.reopens_at).min();
        let terms = Terms { boot: self.settings.boot, lease_ms: self.settings.lease_ms, known_due: self.next_due };
        self.claims.ask((&self.store, &self.limiter), admissions, terms, now);
        next.map_or(far, |due| far.min(Instant::now() + due.wait_from(now).max(Duration::from_millis(1))))
    }

    /// Starts what was claimed.
    fn take(&mut self, answered: Answered) {
        let mut next = Some(answered);
        while let Some(Answered { mut held, answer }) = next {
            match answer {
                Ok(Claim { claimed, next_due }) => {
                    for task in claimed {
                        self.start(task, &held.executors, &mut held.permits);
                    }
                    self.next_due = self.next_due.into_iter().chain(next_due).min();
                }
                Err(StoreError::Closed) => self.retry_at = Some(Instant::now() + Duration::from_hours(1)),
                Err(error) => {
                    tracing::warn!(%error, "cannot claim tasks, trying again");
                    self.retry_at = Some(Instant::now() + STORE_RETRY);
                }
            }
            drop(held);
            // What else is there already belongs to the same look.
            next = self.claims.answered().now_or_never().flatten();
        }
    }

    fn reap_all(&mut self, ran: Ran) {
        let mut next = Some(ran);
        while let Some(ran) = next {
            self.reap(ran);
            next = self.attempts.try_ended();
        }
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
        self.run_on(Arc::clone(&executor.generation), claimed, Some(permit));
    }

    /// Runs an attempt on a generation. Only one that brings results home has no permit.
    fn run_on(&mut self, generation: Arc<Generation>, claimed: Claimed, permit: Option<AttemptPermit>) {
        let control = Arc::new(Control::default());
        if claimed.status.cancel.is_some() {
            control.direct(Directive::Cancel);
        }
        let (id, attempt) = (claimed.id, claimed.status.attempt);
        let watched = self.breakers.begin(&claimed.spec.new.kind, generation.digest().0);
        // Outside work is seen to its end also when its kind is an executor's by now.
        let is_outside = generation.is_actuator() || claimed.status.works.current.is_some();
        let reins = is_outside.then(Reins::default);
        let drains = reins.is_none().then(|| Arc::clone(&generation));
        let (abort, is_late) = match &drains {
            Some(generation) => self.drains.begin(generation, &self.shutdown.abort),
            None => (self.shutdown.abort.clone(), false),
        };
        if is_late {
            control.direct(Directive::Yield);
        }
        let running =
            Running { attempt, control: Arc::clone(&control), generation: drains.clone(), reins: reins.clone() };
        self.running.insert(id, running);
        let ending = Ending {
            store: Arc::clone(&self.store),
            id,
            attempt,
            control: Arc::clone(&control),
            lease_ms: self.settings.lease_ms,
        };
        let ran: BoxFuture<'static, _> = match (reins, permit) {
            (Some(reins), permit) => {
                let plugins = Arc::clone(&self.plugins);
                let exports = Arc::clone(&self.exports);
                let stop_grace = Duration::from_millis(self.settings.stop_grace_ms);
                let age = Age::of(&claimed.status, self.origin, Clocks { wall: now(), at: Instant::now() });
                let steering =
                    Steering { ending, plugins, generation, claimed, reins, exports, stop_grace, age, abort };
                Box::pin(steering.run(permit))
            }
            (None, Some(permit)) => Box::pin(Attempt { ending, generation, claimed, abort }.run(permit)),
            (None, None) => return tracing::error!(task = %id, "an attempt without a permit"),
        };
        let attempt = async move {
            let (trial, permit) = ran.await;
            watched.end(trial, now().as_millis());
            // Before this, an attempt that went down could be followed by another one of its kind.
            drop(permit);
        };
        // On the guests' threads from the start: what it does besides is to wait for the store.
        self.attempts.spawn(attempt, (id, control, drains), &self.plugins.runtime());
    }

    /// An attempt has ended, or its supervisor has gone down: its lease is renewed no more.
    fn reap(&mut self, (id, control, drains): Ran) {
        if self.running.get(&id).is_some_and(|running| Arc::ptr_eq(&running.control, &control)) {
            self.running.remove(&id);
        }
        drains.iter().for_each(|generation| self.drains.end(generation));
    }

    /// Attempts of generations that were replaced or removed have had their time.
    fn drain_replaced(&mut self) {
        for due in self.drains.due(Instant::now()) {
            match due {
                Due::Yield(generation) => {
                    let of_it = self.running.values().filter(|it| it.drains_with(&generation));
                    of_it.for_each(|running| running.control.direct(Directive::Yield));
                }
                Due::Interrupted(generation, running) => {
                    let (plugin, digest) = (generation.plugin(), generation.digest());
                    tracing::info!(plugin, %digest, running, "attempts of a replaced generation go back to the queue");
                }
            }
        }
    }

    /// Cancel requests and callbacks arrive as events; after a lag every lease is asked, and every work looked at, instead.
    async fn hear(&mut self, received: Result<Arc<[Event]>, RecvError>) {
        match received {
            Ok(batch) => {
                for event in batch.iter() {
                    let Change::Task { id, change, .. } = &event.change else { continue };
                    let running = self.running.get(id);
                    if let (TaskChange::CancelRequested, Some(running)) = (change, running) {
                        running.control.direct(Directive::Cancel);
                    } else if let (TaskChange::CalledBack, Some(running)) = (change, running) {
                        running.ring();
                    } else if matches!(change, TaskChange::Detached) {
                        self.unattended = Unattended::Perhaps;
                    }
                }
            }
            Err(RecvError::Lagged(_)) => {
                self.running.values().for_each(Running::ring);
                self.unattended = Unattended::Perhaps;
                self.beat().await;
            }
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
                Err(StoreError::Stale | StoreError::NotFound) => running.lose(),
                Err(error) => tracing::warn!(%error, "cannot renew a lease"),
            }
        }
    }

    /// No more claims: guests are asked to yield, and what runs at `abort` is interrupted.
    async fn drain(mut self, mut beat_at: Instant) {
        self.claims.withdraw();
        while let Some(answered) = self.claims.answered().await {
            self.give_back(answered);
        }
        for running in self.running.values() {
            running.control.direct(Directive::Yield);
        }
        let mut events = self.store.subscribe();
        while !self.attempts.is_empty() {
            tokio::select! {
                Some(ran) = self.attempts.ended() => self.reap(ran),
                received = events.recv() => self.hear(received).await,
                () = tokio::time::sleep_until(beat_at) => {
                    self.beat().await;
                    beat_at = self.next_beat();
                }
            }
        }
    }

    /// What was claimed while the host began to stop returns to the queue at once (invariant I14).
    fn give_back(&mut self, answered: Answered) {
        let Ok(Claim { claimed, .. }) = answered.answer else { return };
        for Claimed { id, status, .. } in claimed {
            let finish = Finish {
                id,
                attempt: status.attempt,
                outcome: Outcome::Interrupted,
                jitter: 0.0,
                report: AttemptReport::default(),
            };
            let store = Arc::clone(&self.store);
            let given_back = async move {
                if let Err(error) = store.finish(finish, now()).await {
                    tracing::warn!(task = %id, %error, "a task that was just claimed was not given back");
                }
            };
            self.attempts.spawn(given_back, (id, Arc::default(), None), &self.plugins.runtime());
        }
    }
}
