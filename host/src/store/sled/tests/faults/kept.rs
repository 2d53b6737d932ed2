//! What victims declare and keep beside tasks: each record says what its events say, and what was acknowledged is there.

use std::collections::{BTreeMap, BTreeSet};

use super::say;
use crate::event::{Change, LimitChange, MediaChange, PauseChange, ScheduleChange};
use crate::limit::{Declaration, LimitRule};
use crate::schedule::{Action, ScheduleSpec};
use crate::store::conformance::at;
use crate::store::request::{MediaQuery, MediaStatus, StateWrite};
use crate::store::{DueQuery, Expected, NewMedia, Pausable, Store};

/// Rounds of all verbs that a victim makes at most, one verb after the other.
const STEPS: usize = 12;
/// Names of each sort.
const NAMES: usize = 3;
/// Who keeps state, and under which key.
const PLUGIN: &str = "victim";
const KEY: &str = "steps";

/// Declares, changes, pauses and forgets.
pub(super) async fn live(store: &dyn Store) {
    for step in 0..STEPS {
        let name = format!("n{}", step % NAMES);
        limit(store, &name, step).await;
        pause(store, &name, step).await;
        schedule(store, &name, step).await;
        media(store).await;
        keep(store).await;
    }
}

fn rule(name: &str, concurrency: u64) -> LimitRule {
    // Of a kind that no victim has: others are not held back.
    let kinds = Some(vec!["none".to_owned()]);
    Declaration { concurrency: Some(concurrency), kinds, ..Declaration::default() }.check(name).unwrap()
}

async fn limit(store: &dyn Store, name: &str, step: usize) {
    let limits = store.limits(at(1)).await.unwrap().limits;
    let known = limits.into_iter().find(|usage| usage.limit.rule.name == name).map(|usage| usage.limit);
    match known {
        Some(limit) if step % 4 == 3 => store.delete_limit(name, limit.revision, at(1)).await.unwrap(),
        known => {
            let (most, revision) = known.map_or((1, None), |it| (it.revision + 1, Some(it.revision)));
            store.put_limit(rule(name, most), revision, at(1)).await.unwrap();
        }
    }
}

async fn pause(store: &dyn Store, name: &str, step: usize) {
    for line in [Pausable::Queue(name.to_owned()), Pausable::Kind(name.to_owned())] {
        if step.is_multiple_of(2) {
            store.pause(line, "a test".to_owned(), at(1)).await.unwrap();
        } else {
            store.resume(line, at(1)).await.unwrap();
        }
    }
}

async fn schedule(store: &dyn Store, name: &str, step: usize) {
    // Later than whatever an earlier victim has seen.
    let now = at(1_000 * (1 + store.events(u64::MAX, 0).await.unwrap().last));
    let action = Action::Enqueue { kind: "fired".to_owned(), input: "{}".to_owned() };
    let Some(known) = store.schedule(name).await.unwrap() else {
        store.create_schedule(ScheduleSpec::every(name, 100, action), now).await.unwrap();
        return;
    };
    match step % 5 {
        0 => drop(store.pause_schedule(name, "a test".to_owned(), now).await.unwrap()),
        1 => drop(store.resume_schedule(name, now).await.unwrap()),
        2 => {
            store.trigger_schedule(name, now).await.unwrap();
            store.fire_due(DueQuery { busy: Vec::new(), limit: 9 }, now).await.unwrap();
        }
        3 => {
            let spec = ScheduleSpec::every(name, 100 + step as u64, action);
            store.replace_schedule(spec, known.revision, now).await.unwrap();
        }
        _ => store.delete_schedule(name, known.revision, now).await.unwrap(),
    }
}

/// Each file goes one step further on its way.
async fn media(store: &dyn Store) {
    let query = MediaQuery { trashed: None, purgeable_at: None, after: None, limit: 100 };
    let known = store.list_media(query).await.unwrap().items;
    for record in &known {
        match record.status {
            MediaStatus::Live => drop(store.trash_media(&record.id, at(1), at(1)).await.unwrap()),
            // By the size: those of odd ones come back first.
            MediaStatus::Trashed { .. } if record.size % 2 == 1 && known.len() < 4 => {
                store.restore_media(&record.id, at(1)).await.unwrap();
            }
            MediaStatus::Trashed { .. } => assert!(store.purge_media(&record.id, at(2)).await.unwrap()),
        }
    }
    let number = store.events(u64::MAX, 0).await.unwrap().last;
    let (id, name, content_type) = (format!("m-{number}"), "m".to_owned(), "video/mp4".to_owned());
    store.add_media(NewMedia { id, name, content_type, size: number, task: None }, at(1)).await.unwrap();
}

/// Counts: each number is written on the condition that the one before is there.
async fn keep(store: &dyn Store) {
    let before = store.state_get(PLUGIN, KEY, at(1)).await.unwrap();
    let (count, expected) = match before {
        Some(entry) => (number(&entry.value) + 1, Expected::Version(entry.version)),
        None => (1, Expected::Absent),
    };
    let value = count.to_string().into_bytes();
    let (plugin, key) = (PLUGIN.to_owned(), KEY.to_owned());
    let write = StateWrite { plugin, key, value, expires_at: None, expected, quota_bytes: 1_000 };
    store.state_put(write, at(1)).await.unwrap();
    say(&format!("kept {count}"));
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

/// What the events say of each name.
#[derive(Default)]
struct Told {
    limits: BTreeMap<String, u64>,
    paused: BTreeSet<(bool, String)>,
    /// The revision, whether it is paused, and how often it fired.
    schedules: BTreeMap<String, (u64, bool, u64)>,
    /// Whether it is trashed.
    media: BTreeMap<String, bool>,
    count: u64,
}

impl Told {
    fn hear(&mut self, change: Change) {
        self.count += 1;
        match change {
            Change::Task { .. } | Change::Batch { .. } | Change::Shares { .. } | Change::Plugin(_) => self.count -= 1,
            Change::Limit { name, change: LimitChange::Deleted, .. } => drop(self.limits.remove(&name)),
            Change::Limit { name, revision, .. } => drop(self.limits.insert(name, revision)),
            Change::Queue { name, change } => self.pause((true, name), &change),
            Change::Kind { name, change } => self.pause((false, name), &change),
            Change::Schedule { name, overlapped, .. } => {
                let (_, _, fired) = self.schedules.get_mut(&name).expect("it was declared");
                *fired += u64::from(!overlapped);
            }
            Change::ScheduleState { name, change: ScheduleChange::Deleted, .. } => drop(self.schedules.remove(&name)),
            Change::ScheduleState { name, revision, change } => {
                let known = self.schedules.entry(name).or_default();
                known.0 = revision;
                match change {
                    ScheduleChange::Paused { .. } => known.1 = true,
                    ScheduleChange::Resumed { .. } => known.1 = false,
                    ScheduleChange::Declared
                    | ScheduleChange::Changed
                    | ScheduleChange::Deleted
                    | ScheduleChange::Triggered
                    | ScheduleChange::Backfilled { .. }
                    | ScheduleChange::Missed { .. } => {}
                }
            }
            Change::Media { id, change: MediaChange::Purged } => drop(self.media.remove(&id)),
            Change::Media { id, change } => drop(self.media.insert(id, change == MediaChange::Trashed)),
        }
    }

    fn pause(&mut self, line: (bool, String), change: &PauseChange) {
        match change {
            PauseChange::Paused { .. } => _ = self.paused.insert(line),
            PauseChange::Resumed => _ = self.paused.remove(&line),
        }
    }
}

/// Compares records with events, and the count with what was said; `rounds` victims have lived. Answers how many
/// events there are of other things than tasks and batches.
pub(super) async fn check(store: &dyn Store, said: u64, rounds: usize) -> u64 {
    let mut told = Told::default();
    let mut seen = 0;
    loop {
        let page = store.events(seen, 1_000).await.unwrap();
        assert!(!page.gap, "nothing is forgotten yet");
        let Some(last) = page.events.last() else { break };
        seen = last.seq;
        page.events.into_iter().for_each(|event| told.hear(event.change));
    }
    let limits = store.limits(at(1)).await.unwrap().limits;
    let found: BTreeMap<_, _> = limits.into_iter().map(|it| (it.limit.rule.name, it.limit.revision)).collect();
    assert_eq!(found, told.limits);
    let (queues, kinds) = (store.queues(at(1)).await.unwrap(), store.kinds(at(1)).await.unwrap());
    let lines = queues.into_iter().map(|line| (true, line)).chain(kinds.into_iter().map(|line| (false, line)));
    let paused = lines.filter(|(_, line)| line.paused.is_some()).map(|(queue, line)| (queue, line.name));
    assert_eq!(paused.collect::<BTreeSet<_>>(), told.paused);
    let schedules = store.schedules(None, 100).await.unwrap().items;
    let found = schedules.into_iter().map(|it| (it.spec.name, (it.revision, it.paused.is_some(), it.fired)));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), told.schedules);
    let query = MediaQuery { trashed: None, purgeable_at: None, after: None, limit: 1_000 };
    let media = store.list_media(query).await.unwrap().items;
    let found = media.into_iter().map(|it| (it.id, matches!(it.status, MediaStatus::Trashed { .. })));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), told.media);
    let kept = store.state_get(PLUGIN, KEY, at(1)).await.unwrap().map_or(0, |entry| number(&entry.value));
    assert!((said..=said + rounds as u64).contains(&kept), "{kept} is there, {said} was acknowledged");
    told.count
}
