//! A wall clock that is set back and forth by hours: nothing fires twice, and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::{Harness, MANY, at, finish, request, success};
use crate::schedule::{Action, CatchUp, Overlap, Schedule, ScheduleSpec};
use crate::store::{DueQuery, Store, TaskQuery};
use crate::task::Source;

const HOUR_MS: u64 = 3_600_000;
/// Where the clock starts: it can be set back by as much.
const START: u64 = 100 * HOUR_MS;

/// What happens next.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Time passes, in milliseconds.
    Wait(u64),
    /// Somebody sets the clock, by so many milliseconds.
    Set(i64),
    /// The ticker looks.
    Look,
    /// Everything that waits is run to its end.
    Work,
    Reopen,
}

/// A random sequence.
pub(crate) fn plan() -> impl Strategy<Value = Vec<Step>> {
    let hours = 6 * i64::try_from(HOUR_MS).unwrap_or(i64::MAX);
    let step = prop_oneof![
        3 => (0..HOUR_MS).prop_map(Step::Wait),
        2 => (-hours..hours).prop_map(Step::Set),
        6 => Just(Step::Look),
        3 => Just(Step::Work),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..60)
}

fn specs() -> Vec<ScheduleSpec> {
    let catch_ups = [CatchUp::Skip, CatchUp::Latest, CatchUp::All(3), CatchUp::Window(2 * HOUR_MS)];
    let overlaps = [Overlap::Allow, Overlap::Skip, Overlap::QueueOne, Overlap::QueueAll(2), Overlap::CancelOther];
    let action = Action::Enqueue { kind: "echo".to_owned(), input: "{}".to_owned() };
    let spec = |number: usize, catch_up, overlap| {
        let every_ms = [HOUR_MS / 2, HOUR_MS, 5 * HOUR_MS][number % 3];
        let name = format!("s{number:02}");
        ScheduleSpec { overlap, catch_up, ..ScheduleSpec::every(name, every_ms, action.clone()) }
    };
    let both = catch_ups.into_iter().flat_map(|catch_up| overlaps.map(|overlap| (catch_up, overlap)));
    both.enumerate().map(|(number, (catch_up, overlap))| spec(number, catch_up, overlap)).collect()
}

async fn schedules(store: &dyn Store) -> BTreeMap<String, Schedule> {
    let schedules = store.schedules(None, 100).await.unwrap().items;
    schedules.into_iter().map(|schedule| (schedule.spec.name.clone(), schedule)).collect()
}

/// Looks until nothing more is due.
async fn look(store: &dyn Store, now: u64) {
    while store.fire_due(DueQuery { busy: Vec::new(), limit: 100 }, at(now)).await.unwrap().more {}
}

/// Runs what waits to its end.
async fn work(store: &dyn Store, now: u64) {
    loop {
        let claimed = store.claim(request(&["echo"], 100, now), at(now)).await.unwrap().claimed;
        if claimed.is_empty() {
            return;
        }
        for one in claimed {
            finish(store, (one.id, one.status.attempt), success(), now).await.unwrap();
        }
    }
}

/// Carries a plan out over schedules of every sort, and accounts for each nominal time.
pub(crate) async fn is_survived(harness: &impl Harness, plan: &[Step]) {
    let (mut store, mut boot, mut now) = (harness.open(1, MANY, at(START)), 1, START);
    store.declare_schedules(specs(), at(now)).await.unwrap();
    let first = schedules(&*store).await;
    for step in plan {
        let before = schedules(&*store).await;
        match step {
            Step::Wait(millis) => now += millis,
            Step::Set(millis) => now = now.saturating_add_signed(*millis),
            Step::Look => look(&*store, now).await,
            Step::Work => work(&*store, now).await,
            Step::Reopen => {
                store.close().await;
                boot += 1;
                store = harness.open(boot, MANY, at(now));
                store.declare_schedules(specs(), at(now)).await.unwrap();
            }
        }
        for (name, schedule) in schedules(&*store).await {
            assert!(schedule.next_at >= before[&name].next_at, "{name} goes back to {:?}", schedule.next_at);
        }
    }
    account(&store, &first).await;
}

/// Each nominal time from the first on is fired, waits, or is counted; and it has one task at most.
async fn account(store: &Arc<dyn Store>, first: &BTreeMap<String, Schedule>) {
    let mut fired: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut query = TaskQuery { limit: 1_000, ..TaskQuery::default() };
    loop {
        let page = store.tasks(query.clone()).await.unwrap();
        for task in page.items {
            let Source::Schedule(name) = &task.spec.new.source else { panic!("a task of nobody") };
            let nominal = task.spec.new.attributes.iter().find(|(key, _)| key == "nominal").unwrap().1.clone();
            let is_new = fired.entry(name.clone()).or_default().insert(nominal.clone());
            assert!(is_new, "{name} fired twice for {nominal}");
        }
        let Some(next) = page.next else { break };
        query.before = Some(next.parse().unwrap());
    }
    for (name, schedule) in schedules(&**store).await {
        let tasks = fired.get(&name).map_or(0, BTreeSet::len) as u64;
        assert_eq!(tasks, schedule.fired, "{name} has a task for each firing");
        let crate::schedule::Trigger::Interval { every_ms, .. } = schedule.spec.trigger else { panic!("an interval") };
        let (from, to) = (first[&name].next_at.unwrap(), schedule.next_at.unwrap());
        let passed = to.millis_since(from) / every_ms;
        let known = schedule.fired + schedule.missed + schedule.overlapped + schedule.waiting.len() as u64;
        assert_eq!(known, passed, "{name} accounts for every nominal time");
    }
}
