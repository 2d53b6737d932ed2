//! 10,000 schedules: how late they fire, and what they cost while nothing is due.

use std::sync::Arc;
use std::time::Duration;

use taskhost::event::Change;
use taskhost::logs::TaskLogs;
use taskhost::schedule::{Action, ScheduleSpec, Trigger};
use taskhost::store::{Keep, Retention, Store};
use taskhost::task::NewTask;
use taskhost::ticker::{Settings, Ticker};
use taskhost::time::now;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::report::Report;
use crate::rig::{Rig, millis, quantile, runtime, scratch};

const SCHEDULES: u64 = 10_000;
/// Each fires once a minute, at a time of its own.
const EVERY_MS: u64 = 60_000;
const MEASURED: Duration = Duration::from_secs(10);
const DAY_MS: u64 = 86_400_000;
const COMMITS: usize = 500;
/// What a change of all schedules takes, generously.
const SETTLED_MS: u64 = 1_000;

fn specs(trigger: impl Fn(u64) -> Trigger) -> Vec<ScheduleSpec> {
    let action = || Action::Enqueue { kind: "noop".to_owned(), input: "{}".to_owned() };
    (0..SCHEDULES).map(|n| ScheduleSpec::new(format!("s{n}"), trigger(n), action())).collect()
}

/// A ticker as the host runs it.
fn ticker(rig: &Rig, logs: &Arc<TaskLogs>) -> (CancellationToken, JoinHandle<()>) {
    let retention = Retention::uniform(Keep { max_age_ms: DAY_MS, max_tasks: 100_000, max_bytes: u64::MAX }, 1_000_000);
    let settings = Settings { lease_ms: 30_000, retention };
    let stop = CancellationToken::new();
    let ticker =
        Ticker::new(Arc::clone(&rig.store), Arc::clone(&rig.plugins), Arc::clone(logs), settings, stop.clone());
    #[expect(clippy::disallowed_methods, reason = "the handle is joined by who asked for it")]
    let handle = tokio::spawn(ticker.run());
    (stop, handle)
}

/// How long after its nominal time each firing was told, once durable; `count` of them or as many as
/// come while it is measured. Those that came due while they were declared do not count.
async fn lateness(store: &Arc<dyn Store>, count: usize) -> Vec<Duration> {
    let mut events = store.subscribe();
    let (until, from) = (Instant::now() + MEASURED, now().plus_millis(SETTLED_MS));
    let mut late = Vec::new();
    while late.len() < count {
        let batch = match tokio::time::timeout_at(until, events.recv()).await {
            Ok(Ok(batch)) => batch,
            Ok(Err(RecvError::Lagged(_))) => continue,
            Ok(Err(RecvError::Closed)) | Err(_) => break,
        };
        let now = now();
        for event in batch.iter() {
            if let Change::Schedule { nominal, .. } = &event.change
                && *nominal >= from
            {
                late.push(Duration::from_millis(now.millis_since(*nominal)));
            }
        }
    }
    late
}

/// What all threads of this process have computed so far.
fn computed() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let nanos = threads.filter_map(|thread| {
        // A thread may end meanwhile.
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// How long a commit of one task takes: a firing cannot be told sooner.
async fn commits(store: &Arc<dyn Store>) -> Vec<Duration> {
    let mut taken = Vec::new();
    for _ in 0..COMMITS {
        let began = Instant::now();
        store.enqueue(vec![NewTask::new("noop", "{}")], now()).await.unwrap();
        taken.push(began.elapsed());
    }
    taken
}

pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        let rig = Rig::new(&[], 1, |_| {}).await;
        let dir = scratch();
        let logs = Arc::new(TaskLogs::open(dir.path(), 1 << 20).unwrap());
        // Nothing is due for hours.
        let far = |n| Trigger::Interval {
            every_ms: 10 * DAY_MS,
            phase_ms: (now().as_millis() + DAY_MS / 2 + n) % (10 * DAY_MS),
        };
        rig.store.declare_schedules(specs(far), now()).await.unwrap();
        let (stop, handle) = ticker(&rig, &logs);
        sleep(Duration::from_secs(1)).await;
        let (began, before) = (Instant::now(), computed());
        sleep(MEASURED).await;
        let share = computed().saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
        report.add("schedules", "idle_cpu", share * 100.0, "% of a core", None);

        let mut commits = commits(&rig.store).await;
        let spread = |n| Trigger::Interval { every_ms: EVERY_MS, phase_ms: n * EVERY_MS / SCHEDULES };
        rig.store.declare_schedules(specs(spread), now()).await.unwrap();
        let mut late = lateness(&rig.store, usize::MAX).await;
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            let (late, commit) = (millis(quantile(&mut late, share)), millis(quantile(&mut commits, share)));
            let ratio = Some((late / commit, "a commit of one task"));
            report.add("schedules", &format!("lateness_{name}"), late, "ms", ratio);
        }

        // All of them at the same instant.
        let at = now().plus_millis(2_000);
        rig.store.declare_schedules(specs(|_| Trigger::Instants(vec![at])), now()).await.unwrap();
        let mut late = lateness(&rig.store, usize::try_from(SCHEDULES).unwrap()).await;
        report.add("schedules", "at_once_last", millis(quantile(&mut late, 1.0)), "ms", None);
        stop.cancel();
        handle.await.unwrap();
        rig.stop().await;
    });
}
