//! What happens by itself: fires schedules, reclaims leases, forgets history.

mod orphans;
mod pass;
mod steady;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::steady::Steady;
use crate::logs::TaskLogs;
use crate::plugin::Plugins;
use crate::schedule::Schedule;
use crate::store::{DueQuery, Pruned, Retention, Store, StoreError};
use crate::time::now;

/// How often history is pruned when nothing is left over.
const PRUNE_EVERY: Duration = Duration::from_secs(10);
/// A pause of a search that goes on, for others who need the store.
const PRUNE_PAUSE: Duration = Duration::from_millis(100);
/// How often schedules are looked at again after the store refused a verb.
const STORE_RETRY: Duration = Duration::from_millis(500);
/// Schedules that one commit fires at most: what else is there need not wait longer.
const MAX_FIRED: usize = 512;
/// The longest sleep: a clock that is set forward is noticed within it.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// What the ticker keeps up.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a lease lives without a heartbeat, in milliseconds.
    pub lease_ms: u64,
    /// What is kept of the past.
    pub retention: Retention,
}

/// Fires schedules and keeps house.
#[derive(Debug)]
pub struct Ticker {
    store: Arc<dyn Store>,
    plugins: Arc<Plugins>,
    logs: Arc<TaskLogs>,
    settings: Settings,
    stop: CancellationToken,
    passes: JoinSet<()>,
    /// Schedules whose pass runs: single-flight.
    passing: HashMap<Id, String>,
    /// The store refuses to fire some schedule; said once.
    refused: bool,
}

impl Ticker {
    /// A ticker that has fired nothing yet.
    pub fn new(
        store: Arc<dyn Store>,
        plugins: Arc<Plugins>,
        logs: Arc<TaskLogs>,
        settings: Settings,
        stop: CancellationToken,
    ) -> Self {
        Self { store, plugins, logs, settings, stop, passes: JoinSet::new(), passing: HashMap::new(), refused: false }
    }

    /// Runs until `stop`, then until every pass has ended.
    pub async fn run(mut self) {
        let start = Instant::now();
        let lease_step = Duration::from_millis((self.settings.lease_ms / 2).max(100));
        let (mut reclaim_at, mut prune_at) = (start + lease_step, start + PRUNE_EVERY);
        let (mut tick_at, mut expire_at) = (start, start);
        let mut wakeups = self.store.schedule_wakeups();
        self.passes.spawn(orphans::sweep(Arc::clone(&self.store), Arc::clone(&self.logs), self.stop.clone()));
        // A third of a lease is left when it is renewed, and more of it for what comes late.
        let mut clocks = Steady::new(Duration::from_millis(self.settings.lease_ms / 3), now(), start);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = self.passes.join_next_with_id() => {
                    self.reap(&ended);
                    // A firing may have waited for the end of this pass.
                    tick_at = Instant::now();
                }
                Ok(()) = wakeups.changed() => tick_at = Instant::now(),
                () = tokio::time::sleep_until(tick_at) => tick_at = self.fire_due().await,
                () = tokio::time::sleep_until(expire_at) => expire_at = self.expire().await,
                () = tokio::time::sleep_until(reclaim_at) => {
                    self.reclaim(&mut clocks).await;
                    reclaim_at = Instant::now() + lease_step;
                }
                () = tokio::time::sleep_until(prune_at) => prune_at = self.prune().await,
            }
        }
        while self.passes.join_next().await.is_some() {}
    }

    fn reap(&mut self, ended: &Result<(Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => {
                tracing::error!(%error, "a pass panicked");
                error.id()
            }
        };
        self.passing.remove(&id);
    }

    /// Fires what is due and starts its passes; answers when to look again. A clock that was set
    /// back is waited for, one that was set forward is downtime: nothing fires twice.
    async fn fire_due(&mut self) -> Instant {
        // The commit takes time, too: what is due next does not wait for longer because of it.
        let (now, looked) = (now(), Instant::now());
        let busy = self.passing.values().cloned().collect();
        match self.store.fire_due(DueQuery { busy, limit: MAX_FIRED }, now).await {
            Ok(fired) => {
                for schedule in fired.passes {
                    self.start_pass(schedule);
                }
                let was_refused = std::mem::replace(&mut self.refused, fired.full.is_some());
                if let Some(why) = fired.full {
                    if !was_refused {
                        tracing::warn!(why, "cannot fire every schedule now, trying again");
                    }
                    return Instant::now() + STORE_RETRY;
                }
                if fired.more {
                    return Instant::now();
                }
                let wait = fired.next_at.map_or(LONGEST_SLEEP, |at| at.wait_from(now).min(LONGEST_SLEEP));
                looked + wait
            }
            Err(StoreError::Closed) => {
                self.stop.cancel();
                Instant::now()
            }
            Err(error) => {
                tracing::warn!(%error, "cannot fire schedules, trying again");
                Instant::now() + STORE_RETRY
            }
        }
    }

    fn start_pass(&mut self, schedule: Schedule) {
        let name = schedule.spec.name.clone();
        let pass = pass::Pass {
            store: Arc::clone(&self.store),
            plugins: Arc::clone(&self.plugins),
            stop: self.stop.clone(),
            schedule,
        };
        let handle = self.passes.spawn(pass.run());
        self.passing.insert(handle.id(), name);
    }

    /// Ends what waited beyond its deadline; answers when to look again. A nearer deadline that comes
    /// meanwhile is noticed within the longest sleep.
    async fn expire(&self) -> Instant {
        let now = now();
        let next = self.store.expire_overdue(now).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot expire tasks");
            None
        });
        let wait = next.map_or(LONGEST_SLEEP, |at| at.wait_from(now).min(LONGEST_SLEEP));
        Instant::now() + wait.max(Duration::from_millis(1))
    }

    /// Takes back attempts that gave no sign of life. By a clock that was just set forward all of them
    /// look like that; they renew their leases by it before the next look.
    async fn reclaim(&self, clocks: &mut Steady) {
        let now = now();
        if !clocks.look(now, Instant::now()) {
            return tracing::warn!("the wall clock was set forward, or the machine was asleep");
        }
        match self.store.reclaim_expired(now).await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "requeued tasks whose lease had expired"),
            Err(error) => tracing::warn!(%error, "cannot reclaim leases"),
        }
    }

    /// Forgets one slice; comes back at once while there is more.
    async fn prune(&self) -> Instant {
        match self.store.prune(self.settings.retention, now()).await {
            Ok(Pruned { forgotten, more }) if forgotten.is_empty() => {
                Instant::now() + if more { PRUNE_PAUSE } else { PRUNE_EVERY }
            }
            Ok(Pruned { forgotten, .. }) => {
                orphans::remove(&self.logs, forgotten).await;
                Instant::now()
            }
            Err(error) => {
                tracing::warn!(%error, "cannot prune history");
                Instant::now() + PRUNE_EVERY
            }
        }
    }
}
