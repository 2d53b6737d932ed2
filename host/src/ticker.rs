//! What happens by itself: fires schedules, reclaims leases, forgets history.

mod pass;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::logs::TaskLogs;
use crate::plugin::Plugins;
use crate::schedule::{Action, Schedule};
use crate::store::{Retention, Store, StoreError};
use crate::time::{Timestamp, now};

/// How often history is pruned when nothing is left over.
const PRUNE_EVERY: Duration = Duration::from_secs(10);
/// How often schedules are looked at again after the store refused a verb.
const STORE_RETRY: Duration = Duration::from_millis(500);
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

/// What one look at the schedules did.
#[derive(Debug, Default)]
struct Ticked {
    passes: Vec<Schedule>,
    next_at: Option<Timestamp>,
    /// A schedule that is due but does not fit now, and why.
    refused: Option<(String, StoreError)>,
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
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(ended) = self.passes.join_next_with_id() => self.reap(&ended),
                () = tokio::time::sleep_until(tick_at) => tick_at = self.fire_due().await,
                () = tokio::time::sleep_until(expire_at) => expire_at = self.expire().await,
                () = tokio::time::sleep_until(reclaim_at) => {
                    self.reclaim().await;
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

    /// Fires what is due and starts its passes; answers when to look again.
    async fn fire_due(&mut self) -> Instant {
        let now = now();
        let busy: Vec<&str> = self.passing.values().map(String::as_str).collect();
        match tick(self.store.as_ref(), &busy, now).await {
            Ok(Ticked { passes, next_at, refused }) => {
                for schedule in passes {
                    self.start_pass(schedule);
                }
                let mut wait = next_at.map_or(LONGEST_SLEEP, |at| at.wait_from(now).min(LONGEST_SLEEP));
                let was_refused = std::mem::replace(&mut self.refused, refused.is_some());
                if let Some((schedule, error)) = refused {
                    if !was_refused {
                        tracing::warn!(schedule, %error, "cannot fire a schedule now, trying again");
                    }
                    wait = wait.min(STORE_RETRY);
                }
                Instant::now() + wait
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

    async fn reclaim(&self) {
        match self.store.reclaim_expired(now()).await {
            Ok(0) => {}
            Ok(count) => tracing::warn!(count, "requeued tasks whose lease had expired"),
            Err(error) => tracing::warn!(%error, "cannot reclaim leases"),
        }
    }

    /// Forgets one slice; comes back at once while there is more.
    async fn prune(&self) -> Instant {
        match self.store.prune(self.settings.retention, now()).await {
            Ok(forgotten) if !forgotten.is_empty() => {
                let logs = Arc::clone(&self.logs);
                let removal = tokio::task::spawn_blocking(move || {
                    for id in forgotten {
                        if let Err(error) = logs.remove(id) {
                            tracing::warn!(task = %id, %error, "the log of a forgotten task stays on the disk");
                        }
                    }
                });
                if let Err(error) = removal.await {
                    tracing::error!(%error, "removing task logs panicked");
                }
                Instant::now()
            }
            Ok(_) => Instant::now() + PRUNE_EVERY,
            Err(error) => {
                tracing::warn!(%error, "cannot prune history");
                Instant::now() + PRUNE_EVERY
            }
        }
    }
}

/// One look at the schedules at `now`: fires each that is due, once, and names the passes to start.
/// A dispatching schedule whose pass still runs (`busy`) is left out and counted.
async fn tick(store: &dyn Store, busy: &[&str], now: Timestamp) -> Result<Ticked, StoreError> {
    let mut ticked = Ticked::default();
    for schedule in store.schedules().await? {
        let mut next_at = schedule.next_at;
        if next_at <= now {
            let dispatches = matches!(schedule.spec.action, Action::Dispatch { .. });
            let overlapped = dispatches && busy.contains(&schedule.spec.name.as_str());
            let fired = match store.fire(&schedule.spec.name, next_at, overlapped, now).await {
                Ok(fired) => fired,
                // Fired or removed meanwhile: nothing is owed.
                Err(StoreError::Stale | StoreError::NotFound) => continue,
                // It stays due. The others go on: one of them may be what makes room.
                Err(error @ (StoreError::Full(_) | StoreError::Conflict(_) | StoreError::Taken { .. })) => {
                    ticked.refused = Some((schedule.spec.name, error));
                    continue;
                }
                Err(error @ StoreError::Closed) => return Err(error),
            };
            next_at = fired.next_at;
            if dispatches && !overlapped {
                ticked.passes.push(fired);
            }
        }
        ticked.next_at = Some(ticked.next_at.map_or(next_at, |earliest: Timestamp| earliest.min(next_at)));
    }
    Ok(ticked)
}

#[cfg(test)]
mod tests {
    use super::tick;
    use crate::schedule::{Action, ScheduleSpec};
    use crate::store::Store;
    use crate::store::sled::{Settings, SledStore};
    use crate::task::{BootId, NewTask};
    use crate::time::Timestamp;

    #[tokio::test]
    async fn a_full_queue_keeps_no_other_schedule_from_firing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |seconds: u64| Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000);
        let settings = Settings { max_live_tasks: 1, ..Settings::new(dir.path(), BootId(1)) };
        let store = SledStore::open(settings, at(0)).unwrap();
        let dispatch = |plugin: &str| Action::Dispatch { plugin: plugin.to_owned(), batch: 1, capacity: 1 };
        let enqueue = Action::Enqueue { kind: "echo".to_owned(), input: "{}".to_owned() };
        let specs = [("a", dispatch("a")), ("b", enqueue), ("c", dispatch("c"))].map(|(name, action)| ScheduleSpec {
            name: name.to_owned(),
            every_ms: 1_000,
            action,
        });
        store.declare_schedules(specs.into(), at(0)).await.unwrap();
        store.enqueue(vec![NewTask::new("echo", "{}")], at(0)).await.unwrap();

        let ticked = tick(&*store, &[], at(2)).await.unwrap();
        let names: Vec<_> = ticked.passes.iter().map(|schedule| schedule.spec.name.as_str()).collect();
        assert_eq!(names, ["a", "c"]);
        assert_eq!(ticked.refused.map(|(name, _)| name).as_deref(), Some("b"));
        // It is still due when there is room.
        let due: Vec<_> = store.schedules().await.unwrap().into_iter().filter(|it| it.next_at <= at(2)).collect();
        assert_eq!(due.len(), 1);
        store.close().await;
    }
}
