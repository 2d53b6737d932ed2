//! Whether a store is whole: every record decodes, and what belongs together agrees.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::ops::Bound;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::base::Bytes;
use super::super::codec::{Account, Namespace};
use super::super::core::Halt;
use super::super::history::count;
use super::super::keys;
use super::super::trees::{Table, Trees};
use super::super::{OpenError, codec};
use super::rows::{Row, Rows};
use super::{Offline, on_a_large_stack, read};
use crate::store::dump::Counts;
use crate::task::{BatchId, BatchTally, Status, TaskId, UniqueMode, text};

/// Problems that are told one by one; the rest is counted.
const MAX_TOLD: usize = 1_000;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Each problem, up to a bound.
    pub problems: Vec<String>,
    /// How many more there are.
    pub untold: u64,
    /// How many records there are.
    pub counts: Counts,
    /// The latest commit.
    pub commit: u64,
    /// The latest event.
    pub last_event: u64,
}

impl Report {
    fn problem(&mut self, problem: impl Display) {
        if self.problems.len() < MAX_TOLD { self.problems.push(problem.to_string()) } else { self.untold += 1 }
    }

    /// The value, or a problem.
    fn take<T>(&mut self, what: impl Display, decoded: Result<T, Halt>) -> Option<T> {
        decoded.map_err(|error| self.problem(format_args!("{what}: {error}"))).ok()
    }
}

/// Looks at every record of the store in `dir`; nothing changes. Refused while a host uses it.
pub fn check(dir: &Path) -> Result<Report, OpenError> {
    let work = || {
        read(dir, |store| {
            let mut report = inspect(store)?;
            if let Some(mark) = store.lost() {
                report.problem(format_args!(
                    "commit {} was acknowledged, but the latest one is {}",
                    mark.seq, store.commit.seq
                ));
            }
            Ok(report)
        })
    };
    on_a_large_stack(work)?
}

/// Looks at everything. The error says that the database itself cannot be read.
pub(super) fn inspect(store: &Offline) -> Result<Report, Halt> {
    let mut report = Report { commit: store.commit.seq, last_event: store.commit.last_event, ..Report::default() };
    tasks(store, &mut report)?;
    links(&store.trees, &mut report)?;
    state(&store.trees, &mut report)?;
    events(store, &mut report)?;
    limits(&store.trees, &mut report)?;
    let Trees { schedule, media, .. } = &store.trees;
    report.counts.schedules = each(schedule, "schedule", &mut report, |key, schedule, report| {
        if key != schedule.spec.name.as_bytes() {
            report.problem(format_args!("schedule {:?} is stored under another name", schedule.spec.name));
        }
    })?;
    report.counts.media = each(media, "media", &mut report, |key, media, report| {
        if key != media.id.as_bytes() {
            report.problem(format_args!("media {} is stored under another id", media.id));
        }
    })?;
    Ok(report)
}

/// Limits are stored under their names; rates in use and pauses are of something.
fn limits(trees: &Trees, report: &mut Report) -> Result<(), Halt> {
    let fairness = report.take("the shares", trees.fairness.get(keys::FAIRNESS)).flatten();
    let mut rated = BTreeSet::new();
    let limits = each(&trees.limit, "limit", report, |key, limit, report| {
        if key != limit.rule.name.as_bytes() {
            report.problem(format_args!("limit {:?} is stored under another name", limit.rule.name));
        }
        rated.extend(limit.rule.rate.map(|_| limit.rule.name));
    })?;
    report.counts.limits = limits + u64::from(fairness.is_some());
    report.counts.tokens = each(&trees.bucket, "rate", report, |key, _, report| {
        if keys::bucket_of(key).is_none_or(|(limit, _)| !rated.contains(limit)) {
            report.problem(format_args!("what is left of a rate is stored under {key:02x?}, which no limit has"));
        }
    })?;
    report.counts.pauses = each(&trees.pause, "pause", report, |key, _, report| {
        if keys::pause_of(key).is_none() {
            report.problem(format_args!("a pause is stored under {key:02x?}, which is no queue and no kind"));
        }
    })?;
    Ok(())
}

fn tasks(store: &Offline, report: &mut Report) -> Result<(), Halt> {
    let mut holders: HashMap<String, TaskId> = HashMap::new();
    let mut ended = [Account::default(); 3];
    let mut kept: HashMap<BatchId, Kept> = HashMap::new();
    for row in Rows::of(&store.trees) {
        let row = row?;
        let Some(id) = keys::task_of(&row.key) else {
            report.problem(format_args!("a task is stored under {:02x?}, which is no id", &*row.key));
            continue;
        };
        report.counts.tasks += 1;
        task(&store.trees, id, &row, report);
        let spec = row.body.as_ref().map(|body| store.trees.body.decode(body));
        let Some(spec) = spec.and_then(|spec| report.take(format_args!("task {id}"), spec)) else { continue };
        for link in keys::links(id, &spec.new) {
            if !store.trees.link.contains(&link)? {
                report.problem(format_args!("task {id} lacks the link {}", text::encode_hex(&link)));
            }
        }
        let status = |tree: &Table<Status>, bytes: Option<&Bytes>| tree.decode(bytes?).ok();
        if let Some(status) = status(&store.trees.done, row.done.as_ref()) {
            count(&mut ended, &spec, &status);
            if let Some(batch) = spec.new.batch {
                kept.entry(batch).or_default().tally.count(&status.state);
            }
        }
        if let Some(batch) = spec.new.batch {
            kept.entry(batch).or_default().members += 1;
        }
        // Those that wait for a holder to end share its key.
        let holds = |status: Status| {
            spec.new.unique.holds(&status.state) && !matches!(spec.new.unique.mode, UniqueMode::KeepLast)
        };
        if status(&store.trees.live, row.live.as_ref()).is_some_and(holds)
            && let Some(key) = spec.new.unique_key
            && let Some(other) = holders.insert(key, id)
        {
            report.problem(format_args!("the live tasks {other} and {id} hold the same unique key"));
        }
    }
    if ended != store.commit.ended {
        report.problem(format_args!("the ended tasks are {ended:?}, but counted as {:?}", store.commit.ended));
    }
    batches(&store.trees, kept, report)
}

/// Members of a batch that are kept.
#[derive(Default)]
struct Kept {
    members: u32,
    /// How those stand that have ended.
    tally: BatchTally,
}

/// The counts of the batches agree with their members.
fn batches(trees: &Trees, mut kept: HashMap<BatchId, Kept>, report: &mut Report) -> Result<(), Halt> {
    for record in trees.batch.range(Bound::Unbounded, Bound::Unbounded) {
        let (key, value) = record?;
        report.counts.batches += 1;
        let Some(id) = keys::batch_of(&key) else {
            report.problem("a batch has a damaged key");
            continue;
        };
        let spec = report.take(format_args!("batch {id}"), trees.batch.decode(&value));
        let tally = report.take(format_args!("the tally of batch {id}"), trees.batch_tally.get(&key)).flatten();
        let Kept { members, tally: found } = kept.remove(&id).unwrap_or_default();
        let Some((spec, tally)) = spec.zip(tally) else {
            report.problem(format_args!("batch {id} is not whole"));
            continue;
        };
        let agrees = members + tally.forgotten == spec.members
            && found.ended() + tally.forgotten == tally.ended()
            && found.succeeded <= tally.succeeded
            && found.failed <= tally.failed
            && found.cancelled <= tally.cancelled;
        if !agrees {
            report.problem(format_args!(
                "batch {id} counts {tally:?} of {}, and {members} are kept: {found:?}",
                spec.members
            ));
        }
    }
    for id in kept.keys() {
        report.problem(format_args!("there are members of batch {id}, which is missing"));
    }
    Ok(())
}

/// Body, status, checkpoint and outside work of one task agree.
fn task(trees: &Trees, id: TaskId, row: &Row, report: &mut Report) {
    let Row { key: _, body, live, done, checkpoint, work } = row;
    if body.is_none() && (live.is_some() || done.is_some()) {
        report.problem(format_args!("task {id} has a status and no body"));
    }
    if body.is_some() && live.is_none() && done.is_none() {
        report.problem(format_args!("task {id} has a body and no status"));
    }
    if live.is_some() && done.is_some() {
        report.problem(format_args!("task {id} is live and has ended"));
    }
    let ended = done.as_ref().and_then(|status| trees.done.decode(status).ok());
    let kept = checkpoint.as_ref().and_then(|bytes| trees.checkpoint.decode(bytes).ok()).map_or(0, |kept| kept.len());
    if checkpoint.is_some() && live.is_none() && ended.is_none() {
        report.problem(format_args!("task {id} does not exist and has a checkpoint"));
    }
    if let Some(ended) = ended.filter(|ended| ended.checkpoint_bytes != kept as u64) {
        let counted = ended.checkpoint_bytes;
        report.problem(format_args!("the checkpoint of task {id} has {kept} bytes, {counted} are counted"));
    }
    for (tree, status, is_live) in [(&trees.live, live, true), (&trees.done, done, false)] {
        let Some(status) = status.as_ref().map(|status| tree.decode(status)) else { continue };
        let Some(status) = report.take(format_args!("task {id}"), status) else { continue };
        if status.state.is_terminal() == is_live {
            let place = if is_live { "live ones" } else { "ended ones" };
            report.problem(format_args!("task {id} is {} and stored among the {place}", status.state.name()));
        }
    }
    let works = live
        .as_ref()
        .is_some_and(|status| trees.live.decode(status).is_ok_and(|status| status.works.current.is_some()));
    if works != work.is_some() {
        let (has, lacks) = if works { ("outside work", "no handle") } else { ("a handle", "no outside work") };
        report.problem(format_args!("task {id} has {has} and {lacks}"));
    }
    if let Some(work) = work {
        report.take(format_args!("the outside work of task {id}"), trees.work.decode(work));
    }
    if let Some(checkpoint) = checkpoint {
        report.take(format_args!("the checkpoint of task {id}"), trees.checkpoint.decode(checkpoint));
    }
}

/// Each link follows from its task. (That each task has its links is looked at with the task.)
fn links(trees: &Trees, report: &mut Report) -> Result<(), Halt> {
    for record in trees.link.range(Bound::Unbounded, Bound::Unbounded) {
        let (key, _) = record?;
        let body = match keys::linked(&key) {
            Some(id) => trees.body.get(&keys::task(id)).ok().flatten().map(|spec| (id, spec)),
            None => None,
        };
        if !body.is_some_and(|(id, spec)| keys::links(id, &spec.new).any(|link| link == *key)) {
            report.problem(format_args!("the link {} leads to no task that has it", text::encode_hex(&key)));
        }
    }
    Ok(())
}

/// The accounts of the namespaces agree with their entries.
fn state(trees: &Trees, report: &mut Report) -> Result<(), Halt> {
    let mut used: BTreeMap<String, Namespace> = BTreeMap::new();
    report.counts.state = each(&trees.state, "plugin state", report, |key, entry, report| {
        let Some((plugin, key)) = keys::state_of(key) else {
            return report.problem("an entry of plugin state has a damaged key");
        };
        let account = used.entry(plugin.to_owned()).or_default();
        account.bytes += (key.len() + entry.value.len()) as u64;
        account.version = account.version.max(entry.version);
    })?;
    for record in trees.namespace.range(Bound::Included(&keys::namespace("")), Bound::Unbounded) {
        let (key, value) = record?;
        let Some(plugin) = keys::namespace_of(&key) else { break };
        report.counts.namespaces += 1;
        let account = report.take(format_args!("the account of plugin {plugin}"), trees.namespace.decode(&value));
        let used = used.remove(plugin).unwrap_or_default();
        let Some(account) = account else { continue };
        if account.bytes != used.bytes {
            let (counted, found) = (account.bytes, used.bytes);
            report.problem(format_args!("the state of plugin {plugin} has {found} bytes, {counted} are counted"));
        }
        if account.version < used.version {
            let (counted, found) = (account.version, used.version);
            report.problem(format_args!("the state of plugin {plugin} has version {found}, {counted} was the latest"));
        }
    }
    for plugin in used.keys() {
        report.problem(format_args!("the state of plugin {plugin} has no account"));
    }
    Ok(())
}

/// The numbers of the events follow each other and end where the latest commit says.
fn events(store: &Offline, report: &mut Report) -> Result<(), Halt> {
    let mut next = None;
    let mut count = 0;
    each(&store.trees.event, "events", report, |key, record: codec::EventRecord, report| {
        let Some(first) = keys::event_of(key) else { return report.problem("a record of events has a damaged key") };
        if let Some(expected) = next.filter(|next| *next != first) {
            report.problem(format_args!("event {first} follows event {}", expected - 1));
        }
        next = Some(first + record.len() as u64);
        count += record.len() as u64;
    })?;
    report.counts.events = count;
    if let Some(next) = next.filter(|next| *next != store.commit.last_event + 1) {
        report.problem(format_args!("the latest event is {}, {} is counted", next - 1, store.commit.last_event));
    }
    Ok(())
}

/// Looks at each record of a tree. Answers how many there are.
fn each<T: Serialize + DeserializeOwned>(
    table: &Table<T>,
    what: &str,
    report: &mut Report,
    mut look: impl FnMut(&[u8], T, &mut Report),
) -> Result<u64, Halt> {
    let mut count = 0;
    for record in table.range(Bound::Unbounded, Bound::Unbounded) {
        let (key, value) = record?;
        if *key == *keys::COMMIT {
            continue;
        }
        count += 1;
        let name = String::from_utf8_lossy(&key);
        if let Some(value) = report.take(format_args!("{what} {name:?}"), table.decode(&value)) {
            look(&key, value, report);
        }
    }
    Ok(count)
}
