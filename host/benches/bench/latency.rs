//! From the enqueueing of a task to the start of its guest, on an idle host.

use std::sync::Mutex;

use taskhost::task::{NewTask, TaskId};
use taskhost::time::now;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::report::Report;
use crate::rig::{Ends, Rig, fixture, millis, quantile, runtime};

const SAMPLES: usize = 500;
/// A guest whose first act is a log line.
const KIND: &str = "log";

/// The log port hears a guest as soon as it runs: no clock of the host is asked.
async fn measure() -> (Vec<std::time::Duration>, Vec<std::time::Duration>) {
    let (heard, mut starts_of_guests) = mpsc::unbounded_channel::<(TaskId, Instant)>();
    let heard = Mutex::new(heard);
    let on_log = move |task| {
        // Nobody listens any more at the end.
        let _ = heard.lock().unwrap().send((task, Instant::now()));
    };
    let rig = Rig::new(&[(KIND, fixture(KIND), "")], 0, on_log).await;
    let (shutdown, runner) = rig.runner(128);
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let mut ended = Ends::of(&rig.store);
        let begin = Instant::now();
        let enqueued = rig.store.enqueue(vec![NewTask::new(KIND, "{}")], now()).await.unwrap();
        let (task, at) = starts_of_guests.recv().await.unwrap();
        assert_eq!(task, enqueued[0].id);
        starts.push(at - begin);
        ended.all(1).await.unwrap();
        ends.push(begin.elapsed());
        while starts_of_guests.try_recv().is_ok() {}
    }
    shutdown.stop.cancel();
    runner.await.unwrap();
    rig.stop().await;
    (starts, ends)
}

/// In the process, without HTTP: the store's answer is not waited for by the runner, so this is the whole way.
pub(crate) fn run(report: &mut Report) {
    let (mut starts, mut ends) = runtime().block_on(measure());
    for (metric, samples) in [("enqueue_to_start", &mut starts), ("enqueue_to_durable_end", &mut ends)] {
        for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
            report.add("latency", &format!("{metric}_{name}"), millis(quantile(samples, share)), "ms", None);
        }
    }
}
