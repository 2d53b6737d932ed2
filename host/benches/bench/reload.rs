//! From a file's rename into the plugins folder to the new generation taking tasks, and what tasks notice of it.

use std::sync::Arc;
use std::time::Duration;

use taskhost::event::{Change, Event, TaskChange};
use taskhost::store::{Pausable, Store};
use taskhost::task::NewTask;
use taskhost::time::now;
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::live::Live;
use crate::report::Report;
use crate::rig::{built, fixture, millis, quantile, runtime};

const SAMPLES: u8 = 20;
/// Reloads under load, and as many spans in which nothing happens.
const SPANS: u8 = 25;
/// Tasks that wait when a span begins: more than it can run.
const BACKLOG: usize = 120_000;
/// Tasks that one call enqueues.
const ENQUEUE: usize = 1_000;
/// The first attempts of a span are not counted.
const BEGINNING: Duration = Duration::from_millis(300);
const SECOND: Duration = Duration::from_secs(1);

/// Another component by its digest, the same by its code.
fn renumbered(component: &[u8], number: u8) -> Vec<u8> {
    // A custom section: id 0, its size, the length of its name, its name, its content.
    [component, &[0, 3, 1, b'n', number]].concat()
}

/// Replaces a plugin. Answers how long it took from the rename until tasks get the new one.
async fn replace(live: &Live, name: &str, component: &[u8]) -> Duration {
    let mut changed = live.host.plugins().changed();
    let staged = live.scratch().join("staged");
    std::fs::write(&staged, component).unwrap();
    let executor = || live.host.plugins().executor(name).map(|generation| generation.digest());
    let before = executor();
    let begin = Instant::now();
    std::fs::rename(&staged, live.plugins().join(format!("{name}.wasm"))).unwrap();
    changed.wait_for(|_| executor() != before).await.unwrap();
    begin.elapsed()
}

/// Successes as they are committed, and when they were heard of.
async fn successes(mut events: Receiver<Arc<[Event]>>, until: Instant) -> Vec<(Instant, usize)> {
    let is_success = |event: &&Event| matches!(event.change, Change::Task { change: TaskChange::Succeeded, .. });
    let mut seen = Vec::new();
    while let Ok(batch) = timeout_at(until, events.recv()).await {
        seen.push((Instant::now(), batch.unwrap().iter().filter(is_success).count()));
    }
    seen
}

fn between(seen: &[(Instant, usize)], from: Instant, to: Instant) -> usize {
    seen.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, count)| count).sum()
}

/// Lets `kind` have more to do than it can for a while. In the middle of the second second its plugin is replaced, if
/// there is something to replace it by. Answers how many tasks succeeded in the first and in the second one, and how long
/// the reload took.
async fn span(live: &Live, kind: &str, replacement: Option<Vec<u8>>) -> (usize, usize, Option<Duration>) {
    let store: &Arc<dyn Store> = live.host.store();
    let line = Pausable::Kind(kind.to_owned());
    let backlog = store.pause(line.clone(), String::new(), now()).await.unwrap();
    for _ in 0..BACKLOG.saturating_sub(usize::try_from(backlog.queued).unwrap()) / ENQUEUE {
        let tasks = (0..ENQUEUE).map(|_| NewTask::new(kind, "{}")).collect();
        store.enqueue(tasks, now()).await.unwrap();
    }
    let counted = Instant::now() + BEGINNING;
    let end = counted + 2 * SECOND;
    let heard = successes(store.subscribe(), end);
    let replaced = async {
        store.resume(line, now()).await.unwrap();
        sleep_until(counted + SECOND + SECOND / 2).await;
        match replacement {
            Some(component) => Some(replace(live, kind, &component).await),
            None => None,
        }
    };
    let (seen, took) = tokio::join!(heard, replaced);
    let middle = counted + SECOND;
    (between(&seen, counted, middle), between(&seen, middle, end), took)
}

/// The second around a reload against the second before it, and two such seconds without a reload: what is left is noise.
async fn under_load(report: &mut Report, live: &Live, kind: &str, component: &[u8]) {
    let (mut took, mut with, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..SPANS {
        let (before, around, reload) = span(live, kind, Some(renumbered(component, 100 + number))).await;
        took.extend(reload);
        with.push((before, around));
        let (before, around, _) = span(live, kind, None).await;
        without.push((before, around));
    }
    for (metric, share) in [("p50", 0.5), ("max", 1.0)] {
        let value = millis(quantile(&mut took, share));
        report.add("reload", &format!("{kind}_under_load_{metric}"), value, "ms", None);
    }
    for (metric, spans) in [("with_reload", with), ("without_reload", without)] {
        let (around, ratio) = middle(&spans);
        report.add("reload", &format!("{kind}_second_{metric}"), around, "1/s", Some((ratio, "the second before")));
    }
}

/// The median of the second numbers, and that of their ratios to the first ones.
fn middle(spans: &[(usize, usize)]) -> (f64, f64) {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap());
    let mut around: Vec<f64> = spans.iter().map(|(_, around)| number(*around)).collect();
    let mut ratios: Vec<f64> = spans.iter().map(|(before, around)| number(*around) / number(*before)).collect();
    around.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    (around[around.len() / 2], ratios[ratios.len() / 2])
}

/// A tiny component, and the real echo, which has to be compiled.
pub(crate) fn run(report: &mut Report) {
    runtime().block_on(async {
        let (echo, manifest) = built("echo");
        let plugins = [("ok", fixture("ok"), String::new()), ("echo", echo, manifest)];
        let live = Live::start(&plugins).await;
        for (name, component, _) in &plugins {
            let mut samples = Vec::new();
            for number in 0..SAMPLES {
                samples.push(replace(&live, name, &renumbered(component, number)).await);
            }
            for (metric, share) in [("p50", 0.5), ("max", 1.0)] {
                report.add("reload", &format!("{name}_{metric}"), millis(quantile(&mut samples, share)), "ms", None);
            }
        }
        for (name, component, _) in &plugins {
            under_load(report, &live, name, component).await;
        }
        live.stop().await;
    });
}
