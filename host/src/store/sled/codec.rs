//! Records: a version byte, then postcard.
//!
//! postcard is not self-describing: a changed type is a new version, and the golden bytes below
//! fail when somebody forgets.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::core::Halt;
use crate::event::Change;
use crate::task::TaskId;
use crate::time::Timestamp;

/// The version of every record that is written today.
const VERSION: u8 = 1;

/// What the directory is. Read before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Format {
    /// Raised when an older host could not read the directory any more.
    pub(super) format: u32,
    /// Random at creation: names the event sequence.
    pub(super) epoch: u32,
}

/// Written with every commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CommitRecord {
    /// Commits so far.
    pub(super) seq: u64,
    /// Events so far: the sequence number of the latest.
    pub(super) last_event: u64,
    /// Ended tasks that are kept, in the order of [`super::history::Ended::ALL`].
    pub(super) ended: [Account; 3],
}

/// What is kept of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Account {
    /// Records.
    pub(super) count: u64,
    /// What they weigh, in bytes.
    pub(super) bytes: u64,
}

/// The account of a plugin's namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Namespace {
    /// The latest version that was handed out.
    pub(super) version: u64,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
}

/// An ended task that holds a unique key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldRecord {
    /// Which.
    pub(super) id: TaskId,
    /// Until then only.
    pub(super) until: Option<Timestamp>,
}

/// What became of a request with an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownRecord {
    /// The task that it created.
    pub(super) id: TaskId,
    /// Of the request.
    pub(super) fingerprint: [u8; 16],
}

/// Events of one commit; their numbers follow from the key.
pub(super) type EventRecord = Vec<(Timestamp, Change)>;

/// The bytes of a record.
pub(super) fn encode<T: Serialize>(record: &T) -> Result<Vec<u8>, Halt> {
    let mut bytes = Vec::with_capacity(128);
    bytes.push(VERSION);
    postcard::to_extend(record, bytes).map_err(|e| Halt::Broken(format!("a record does not encode: {e}")))
}

/// A record from its bytes.
pub(super) fn decode<T: DeserializeOwned>(tree: &str, bytes: &[u8]) -> Result<T, Halt> {
    match bytes.split_first() {
        Some((&VERSION, record)) => {
            postcard::from_bytes(record).map_err(|e| Halt::Broken(format!("a record of tree `{tree}` is damaged: {e}")))
        }
        Some((version, _)) => Err(Halt::Broken(format!("a record of tree `{tree}` has the unknown version {version}"))),
        None => Err(Halt::Broken(format!("a record of tree `{tree}` is empty"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::fmt::Write as _;

    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use super::{Account, CommitRecord, EventRecord, Format, HeldRecord, KnownRecord, Namespace, decode, encode};
    use crate::event::{
        BatchChange, Change, LimitChange, MediaChange, PauseChange, PluginCause, PluginChange, PluginNews,
        ScheduleChange, TaskChange,
    };
    use crate::limit::{Fairness, KeyPath, Limit, LimitRule, Rate, TokenBucket};
    use crate::retry::Backoff;
    use crate::schedule::{Action, CatchUp, Dst, Origin, Overlap, Pause, Schedule, ScheduleSpec, Trigger, Waiting};
    use crate::store::request::{MediaRecord, MediaStatus, StateEntry, WorkRecord};
    use crate::task::{
        AttemptEnd, AttemptRecord, BatchId, BatchSpec, BatchTally, BootId, Callbacks, Cancel, Digest, Failure,
        Idempotency, NewTask, OnParentFailure, Progress, Reported, Source, Spec, State, Status, StoppedBy, TaskId,
        UniqueMode, UniqueRule, Work, WorkPhase, Works,
    };
    use crate::time::Timestamp;

    fn a_task() -> TaskId {
        TaskId::from_u128(0x0191_2d4c_7b1e_7cc3_a3a4_5d1e_8f6b_7a90)
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// The bytes on disk, and that they are read back.
    #[track_caller]
    fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(record: &T, hex: &str) {
        let bytes = encode(record).unwrap();
        let mut text = String::new();
        for byte in &bytes {
            write!(text, "{byte:02x}").unwrap();
        }
        assert_eq!(text, hex, "the format on disk changed: it needs a new version");
        assert_eq!(decode::<T>("golden", &bytes).unwrap(), *record);
    }

    fn failure() -> Failure {
        Failure { code: "busy".to_owned(), message: "m".to_owned(), details: None }
    }

    fn ended(end: AttemptEnd) -> AttemptRecord {
        AttemptRecord { number: 1, digest: Digest([1; 32]), started_at: at(1), ended_at: at(2), end, log: None }
    }

    #[test]
    fn the_bytes_of_tasks_are_stable() {
        let new = NewTask {
            kind: "video.cut".to_owned(),
            input: "{}".to_owned(),
            priority: 4,
            max_attempts: 5,
            timeout_ms: Some(1_000),
            backoff: Backoff::default(),
            run_at: None,
            deadline: Some(at(9)),
            queue: "q".to_owned(),
            unique_key: Some("k".to_owned()),
            unique: UniqueRule { mode: UniqueMode::Debounce(3), ..UniqueRule::default() },
            idempotency: vec![Idempotency { key: "i".to_owned(), fingerprint: [5; 16] }],
            attributes: vec![("a".to_owned(), "b".to_owned())],
            source: Source::Schedule("nightly".to_owned()),
            after: vec![TaskId::from_u128(300)],
            on_parent_failure: OnParentFailure::Cancel,
            batch: Some(BatchId::from_u128(7)),
        };
        golden(
            &Spec { new, created_at: at(1_234), first_event: 2 },
            "0109766964656f2e637574027b7d040501e807e80780dddb010101000109017101016b07030301016905050505050505050505050505050505010161016201076e696768746c7901ac02020107d20902",
        );
        golden(&Status::queued(at(1_700_000_000_000)), "010080d095ffbc31000000000000000000000000");
        let running = Status {
            state: State::Running { boot: BootId(3), lease_until: at(9), started_at: at(8), digest: Digest([2; 32]) },
            attempt: 2,
            failures: 1,
            crashes: 0,
            snoozes: 0,
            cancel: Some(Cancel { requested_at: at(8), acknowledged_at: Some(at(9)), stopped_by: None }),
            progress: Some(Reported {
                attempt: 2,
                at: at(9),
                progress: Progress { done: 1, total: Some(2), unit: "u".to_owned(), message: None },
            }),
            checkpoint_bytes: 0,
            history: vec![ended(AttemptEnd::Failed(failure()))],
            works: Works::default(),
        };
        golden(
            &running,
            "0101030908020202020202020202020202020202020202020202020202020202020202020202010000010801090001020901010201750000010101010101010101010101010101010101010101010101010101010101010101010102010462757379016d000000000000",
        );
    }

    #[test]
    fn the_bytes_of_ended_and_waiting_tasks_are_stable() {
        let state = State::Succeeded { at: at(5), output: "1".to_owned() };
        golden(
            &Status { state, history: vec![ended(AttemptEnd::Succeeded)], ..Status::queued(at(0)) },
            "010205013100000000000000010101010101010101010101010101010101010101010101010101010101010101010102000000000000",
        );
        let state = State::Failed { at: at(5), failure: failure() };
        golden(
            &Status { state, history: vec![ended(AttemptEnd::Returned)], ..Status::queued(at(0)) },
            "0103050462757379016d0000000000000000010101010101010101010101010101010101010101010101010101010101010101010102050000000000",
        );
        golden(
            &Status { state: State::Cancelled { at: at(5) }, ..Status::queued(at(0)) },
            "010405000000000000000000000000",
        );
        golden(&Status::waiting(), "0105000000000000000000000000");
    }

    #[test]
    fn the_bytes_of_outside_work_are_stable() {
        let work =
            Work { phase: WorkPhase::Exporting, started_by: 4, since: at(300), attached: true, called_at: Some(at(7)) };
        golden(&Works { current: Some(work), ended: 2, abandoned: 1, unanswered: true }, "01010104ac02010107020101");
        golden(&WorkRecord { handle: vec![1, 2], output: Some("1".to_owned()) }, "01020102010131");
    }

    #[test]
    fn the_bytes_of_the_rest_are_stable() {
        golden(&Format { format: 1, epoch: 0xABCD }, "0101cdd702");
        let account = |count, bytes| Account { count, bytes };
        let ended = [account(1, 300), account(0, 0), account(2, 3)];
        golden(&CommitRecord { seq: 300, last_event: 2, ended }, "01ac020201ac0200000203");
        golden(&HeldRecord { id: TaskId::from_u128(1), until: Some(at(2)) }, "01010102");
        golden(
            &KnownRecord { id: TaskId::from_u128(1), fingerprint: [3; 16] },
            &("0101".to_owned() + &"03".repeat(16)),
        );
        golden(&Namespace { version: 3, bytes: 4 }, "010304");
        golden(&StateEntry { value: vec![1, 2], version: 3, expires_at: Some(at(4)) }, "01020102030104");
        let status = MediaStatus::Trashed { at: at(2), purge_after: at(3) };
        let (id, name, content_type) = ("i".to_owned(), "n".to_owned(), "video/mp4".to_owned());
        golden(
            &MediaRecord { id, name, content_type, size: 9, task: None, created_at: at(1), status },
            "010169016e09766964656f2f6d7034090001010203",
        );
        let action = Action::Dispatch { plugin: "p".to_owned(), batch: 1, capacity: 2 };
        let spec = ScheduleSpec::every("s", 100, action);
        let schedule = Schedule { cursor: Some(vec![7]), fired: 1, ..Schedule::declared(spec, Origin::Client, at(0)) };
        golden(&schedule, "010173006400000170010200010000000000010101640001000000000000000001010700");
        let trigger = Trigger::Cron { expression: "@daily".to_owned(), zone: "UTC".to_owned(), dst: Dst::default() };
        let spec = ScheduleSpec {
            overlap: Overlap::QueueAll(2),
            catch_up: CatchUp::Window(3),
            start: Some(at(4)),
            max_fires: Some(5),
            pause_on_failure: Some(6),
            ..ScheduleSpec::new("s", trigger, Action::Enqueue { kind: "k".to_owned(), input: "{}".to_owned() })
        };
        let held = Schedule {
            next_at: Some(at(7)),
            waiting: vec![Waiting { nominal: at(8), by_hand: true }],
            paused: Some(Pause { since: at(9), reason: "r".to_owned() }),
            ..Schedule::declared(spec, Origin::Config, at(0))
        };
        golden(
            &held,
            "0101730106406461696c7903555443000001016b027b7d020203030001040001050106000101070000000000000001080101090172000000",
        );
        let task = |change| {
            (at(1), Change::Task { id: a_task(), kind: "a".to_owned(), queue: "q".to_owned(), attempt: 1, change })
        };
        let events: EventRecord = vec![
            task(TaskChange::Started { digest: Digest([1; 32]) }),
            task(TaskChange::Cancelled { by: StoppedBy::Host }),
            task(TaskChange::Waiting { parents: 2 }),
            (at(1), Change::Batch { id: BatchId::from_u128(7), change: BatchChange::Completed }),
            (at(1), Change::Media { id: "m".to_owned(), change: MediaChange::Purged }),
            (at(1), Change::Schedule { name: "s".to_owned(), nominal: at(1), overlapped: true }),
        ];
        golden(
            &events,
            "0106010090f5adfbe8a397d2a387f3f3b18fd39691030161017101010101010101010101010101010101010101010101010101010101010101010101010090f5adfbe8a397d2a387f3f3b18fd396910301610171010902010090f5adfbe8a397d2a387f3f3b18fd396910301610171010b02010307030101016d03010201730101",
        );
    }

    #[test]
    fn the_bytes_of_events_of_declarations_are_stable() {
        let name = || "s".to_owned();
        let paused = || "r".to_owned();
        let state = |change| (at(1), Change::ScheduleState { name: name(), revision: 2, change });
        let events: EventRecord = vec![
            state(ScheduleChange::Paused { reason: paused() }),
            state(ScheduleChange::Missed { times: 3 }),
            (at(1), Change::Queue { name: name(), change: PauseChange::Paused { reason: paused() } }),
            (at(1), Change::Kind { name: name(), change: PauseChange::Resumed }),
            (at(1), Change::Limit { name: name(), revision: 2, change: LimitChange::Deleted }),
            (at(1), Change::Shares { key: Some(name()) }),
        ];
        golden(&events, "01060104017302030172010401730207030105017300017201060173010107017302020108010173");
    }

    #[test]
    fn the_bytes_of_events_of_plugins_are_stable() {
        let news = |digest, change| (at(1), Change::Plugin(PluginNews { name: "p".to_owned(), digest, change }));
        let digest = Some(Digest([2; 32]));
        let events: EventRecord = vec![
            news(digest, PluginChange::Live { cause: PluginCause::Rollback }),
            news(None, PluginChange::Refused { reason: "r".to_owned() }),
            news(digest, PluginChange::Drained),
            news(digest, PluginChange::Removed),
        ];
        let bytes = "02".repeat(32);
        let told = |change: &str| format!("0109017001{bytes}{change}");
        golden(&events, &format!("0104{}0109017000010172{}{}", told("0002"), told("02"), told("03")));
    }

    #[test]
    fn the_bytes_of_limits_are_stable() {
        let rate = Rate { tasks: 1, per_ms: 2, burst: 3 };
        let rule = LimitRule {
            name: "l".to_owned(),
            queues: vec!["q".to_owned()],
            kinds: Vec::new(),
            key: Some(KeyPath::Input("/a".to_owned())),
            concurrency: Some(4),
            rate: Some(rate),
        };
        golden(&Limit { rule, origin: Origin::Client, revision: 5 }, "01016c010171000101022f610104010102030105");
        golden(&TokenBucket::full(rate, at(7)), "01060207");
        let key = KeyPath::Attribute("t".to_owned());
        golden(&Fairness { key, weights: [("x".to_owned(), 2)].into() }, "0100017401017802");
    }

    #[test]
    fn the_bytes_of_batches_are_stable() {
        let callbacks = Callbacks { on_complete: Some(NewTask::new("k", "{}")), ..Callbacks::default() };
        let name = Some("n".to_owned());
        golden(
            &BatchSpec { name, members: 300, callbacks, idempotency: None, created_at: at(5) },
            "0101016eac02000001016b027b7d040500e80780dddb01010100000764656661756c740007000000000000000005",
        );
        let tally = BatchTally { succeeded: 1, failed: 2, cancelled: 3, forgotten: 4, ..BatchTally::default() };
        golden(
            &BatchTally { completed_at: Some(at(6)), on_complete: Some(TaskId::from_u128(7)), ..tally },
            "01010203040000010600000107",
        );
    }

    #[test]
    fn unknown_versions_and_damage_are_named() {
        let text = |bytes: &[u8]| decode::<Format>("meta", bytes).unwrap_err().to_string();
        assert_eq!(text(&[]), "a record of tree `meta` is empty");
        assert_eq!(text(&[9, 1]), "a record of tree `meta` has the unknown version 9");
        assert!(text(&[1, 0xFF]).starts_with("a record of tree `meta` is damaged"));
    }
}
