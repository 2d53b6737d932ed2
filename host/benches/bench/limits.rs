//! What limits cost: the life of tasks under a rule with many keys against the same without rules.

use std::time::Duration;

use futures_util::future::join_all;
use taskhost::limit::{Declaration, Fairness, LimitRule};
use taskhost::store::sled::{Settings, SledStore};
use taskhost::store::{ClaimRequest, Claimed, Finish, GenerationRoom, Store};
use taskhost::task::{AttemptReport, BootId, Digest, NewTask, Outcome};
use taskhost::time::now;
use tokio::time::Instant;

use crate::report::Report;
use crate::rig::scratch;

/// Keys that occur.
const KEYS: usize = 10_000;
/// Tasks that wait in the beginning; as many more follow while they are worked off.
const WAITING: usize = 20_000;
/// Attempts at the same time.
const GROUP: usize = 128;
/// Tasks of one request.
const BATCH: usize = 1_000;
/// Turns of each case, by turns, so that what else happens on the machine meets all of them.
const TURNS: usize = 3;
const KIND: &str = "bench.noop";

/// Measures the full life of a task, with no rule, with a rule for each of the keys, and with shares besides.
pub(crate) fn run(report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let key = || Some("attributes.tenant".to_owned());
    let rule = Declaration { concurrency: Some(4), key: key(), ..Declaration::default() }.check("tenant").unwrap();
    let fairness = Fairness::check("attributes.tenant", std::collections::BTreeMap::new()).unwrap();
    let cases: [(&str, Vec<LimitRule>, Option<Fairness>); 3] = [
        ("lifecycle, no limits", Vec::new(), None),
        ("lifecycle, 10,000 limit keys", vec![rule.clone()], None),
        ("lifecycle, 10,000 limit keys, fair", vec![rule], Some(fairness)),
    ];
    let mut best = [0.0_f64; 3];
    for _ in 0..TURNS {
        for (best, (_, rules, fairness)) in best.iter_mut().zip(&cases) {
            *best = best.max(runtime.block_on(lifecycles(rules.clone(), fairness.clone())));
        }
    }
    let without = best[0];
    for (at, ((name, _, _), rate)) in cases.iter().zip(best).enumerate() {
        let ratio = (at > 0).then_some((rate / without, "no limits"));
        report.add("limits", name, rate, "tasks/s", ratio);
    }
    let held = runtime.block_on(held());
    report.add("limits", "a claim while 20,000 are over their limit", held.as_secs_f64() * 1e6, "us", None);
}

fn open(dir: &std::path::Path) -> std::sync::Arc<SledStore> {
    SledStore::open(Settings::new(dir, BootId(1)), now()).unwrap()
}

fn task(number: usize) -> NewTask {
    let attributes = vec![("tenant".to_owned(), format!("tenant-{}", number % KEYS))];
    NewTask { attributes, ..NewTask::new(KIND, "{}") }
}

/// Tasks a second, from being created to their durable end.
async fn lifecycles(rules: Vec<LimitRule>, fairness: Option<Fairness>) -> f64 {
    let dir = scratch();
    let store = open(dir.path());
    store.declare_limits(rules, fairness, now()).await.unwrap();
    for first in (0..WAITING).step_by(BATCH) {
        store.enqueue((first..first + BATCH).map(task).collect(), now()).await.unwrap();
    }
    let start = Instant::now();
    let mut done = 0;
    while done < WAITING {
        let claimed = claim(&store, GROUP).await;
        assert!(!claimed.is_empty(), "something may begin");
        let next: Vec<_> = (done..done + claimed.len()).map(task).collect();
        done += claimed.len();
        let (added, ()) = tokio::join!(store.enqueue(next, now()), end(&store, claimed));
        added.unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "thousands are exact in an f64")]
    let rate = done as f64 / start.elapsed().as_secs_f64();
    store.close().await;
    rate
}

/// What a claim takes when nothing may begin.
async fn held() -> Duration {
    const CLAIMS: u32 = 1_000;
    let dir = scratch();
    let store = open(dir.path());
    let key = Some("attributes.tenant".to_owned());
    let rule = Declaration { concurrency: Some(1), key, ..Declaration::default() }.check("tenant").unwrap();
    store.declare_limits(vec![rule], None, now()).await.unwrap();
    for first in (0..WAITING).step_by(BATCH) {
        // A hundred keys, all of them busy in the end.
        store.enqueue((first..first + BATCH).map(|number| task(number % 100)).collect(), now()).await.unwrap();
    }
    assert_eq!(claim(&store, 1_000).await.len(), 100);
    let start = Instant::now();
    for _ in 0..CLAIMS {
        assert!(claim(&store, GROUP).await.is_empty());
    }
    let took = start.elapsed() / CLAIMS;
    store.close().await;
    took
}

async fn claim(store: &SledStore, group: usize) -> Vec<Claimed> {
    let limit = u32::try_from(group).unwrap();
    let rooms = vec![GenerationRoom { kinds: vec![KIND.to_owned()], room: limit, digest: Digest([1; 32]) }];
    let request = ClaimRequest { rooms, limit, boot: BootId(1), lease_until: now().plus_millis(60_000) };
    store.claim(request, now()).await.unwrap().claimed
}

async fn end(store: &SledStore, claimed: Vec<Claimed>) {
    let end = |one: Claimed| {
        let outcome = Outcome::Succeeded { output: "{}".to_owned(), outbox: Vec::new() };
        store.finish(
            Finish { id: one.id, attempt: one.status.attempt, outcome, jitter: 0.0, report: AttemptReport::default() },
            now(),
        )
    };
    for ended in join_all(claimed.into_iter().map(end)).await {
        ended.unwrap();
    }
}
