//! The loop over a real store and a real sandbox.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Runner, Settings, Shutdown};
use crate::limiter::{BreakerSettings, Breakers};
use crate::plugin::check::absent;
use crate::plugin::ports::{LogLine, LogPort, LogSource, Ports};
use crate::plugin::{Plugins, testbed};
use crate::retry::Backoff;
use crate::store::Store;
use crate::store::memory::{self, Memory};
use crate::task::{BootId, NewTask, POISON, State, TaskId};
use crate::time::now;

/// Longer than anything here takes; only a hang gets there.
const PATIENCE: Duration = Duration::from_mins(1);

/// Goes down with each line of the host itself: it tells of a crash outside of what catches panics of a call.
struct NoLineOfTheHost;

impl LogPort for NoLineOfTheHost {
    fn append(&self, _task: TaskId, line: LogLine) -> bool {
        assert!(line.source != LogSource::Host, "no line of the host today");
        true
    }
}

async fn plugins(root: &tempfile::TempDir, files: &[(&str, &str)]) -> Arc<Plugins> {
    let settings = testbed::settings(root);
    std::fs::create_dir(&settings.dir).unwrap();
    for (name, text) in files {
        std::fs::write(settings.dir.join(name), text).unwrap();
    }
    let ports = Ports { logs: Arc::new(NoLineOfTheHost), ..absent::ports() };
    Plugins::start(settings, ports).await.unwrap()
}

#[tokio::test]
async fn an_attempt_whose_supervisor_goes_down_gives_back_its_permit_and_its_lease() {
    let root = tempfile::tempdir().unwrap();
    let plugins = plugins(&root, &[("trap.wasm", include_str!("../../tests/fixtures/trap.wat"))]).await;
    let store: Arc<dyn Store> = memory::open(&Memory::default(), BootId(1), now()).unwrap();
    let settings = Settings { concurrency: 1, lease_ms: 300, stop_grace_ms: 1_000, boot: BootId(1) };
    let stop = CancellationToken::new();
    let shutdown = Shutdown { stop: stop.clone(), abort: CancellationToken::new() };
    let breakers = Breakers::new(BreakerSettings::default());
    let runner = Runner::new(Arc::clone(&store), Arc::clone(&plugins), breakers, settings, shutdown);

    let backoff = Backoff { base_ms: 0, cap_ms: 0, ..Backoff::default() };
    let added = store.enqueue(vec![NewTask { backoff, ..NewTask::new("trap", "{}") }], now()).await.unwrap();
    let id = added[0].id;
    let ended = async {
        // As the ticker does. A lease that is renewed for ever is never taken back.
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        loop {
            pace.tick().await;
            store.reclaim_expired(now()).await.unwrap();
            let task = store.task(id).await.unwrap().unwrap();
            if task.status.state.is_terminal() {
                stop.cancel();
                return task;
            }
        }
    };
    let both = async { tokio::join!(runner.run(), ended).1 };
    let task = tokio::time::timeout(PATIENCE, both).await.expect("an end of the task and of the runner");
    assert!(matches!(&task.status.state, State::Failed { failure, .. } if failure.code == POISON), "{task:?}");
    assert_eq!((task.status.crashes, task.status.history.len()), (3, 3), "each attempt took the only permit");
    plugins.stop().await;
    store.close().await;
}
