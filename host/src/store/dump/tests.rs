//! The form of the lines, and what is told about wrong ones.

use super::{
    BatchLine, Counts, End, Header, Line, NamespaceLine, PauseLine, ReadError, Reader, TaskLine, TokensLine, Writer,
    Wrong,
};
use crate::event::{Change, Event, MediaChange, PauseChange, ScheduleChange, TaskChange};
use crate::limit::{Fairness, KeyPath, Limit, LimitRule, Rate, TokenBucket};
use crate::schedule::{Action, Origin, Pause, Schedule, ScheduleSpec};
use crate::store::limits::Pausable;
use crate::store::request::{MediaRecord, MediaStatus, StateEntry};
use crate::task::{
    AttemptEnd, AttemptRecord, BatchId, BatchSpec, BatchTally, BootId, Callbacks, Digest, Failure, Idempotency,
    NewTask, Spec, State, Status, TaskId,
};
use crate::time::Timestamp;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn a_task() -> TaskId {
    TaskId::from_u128(0x0191_2d4c_7b1e_7cc3_a3a4_5d1e_8f6b_7a90)
}

fn events() -> [Event; 4] {
    let task = Change::Task {
        id: a_task(),
        kind: "echo".to_owned(),
        queue: "default".to_owned(),
        attempt: 0,
        change: TaskChange::Succeeded,
    };
    let media = Change::Media { id: "i".to_owned(), change: MediaChange::Trashed };
    let schedule = Change::ScheduleState { name: "s".to_owned(), revision: 2, change: ScheduleChange::Triggered };
    let queue = Change::Queue { name: "q".to_owned(), change: PauseChange::Paused { reason: "r".to_owned() } };
    let event = |seq, change| Event { seq, at: at(5), change };
    [event(1, task), event(2, media), event(3, schedule), event(4, queue)]
}

/// One line of each sort.
fn lines() -> Vec<Line> {
    let state = State::Running { boot: BootId(3), lease_until: at(9), started_at: at(8), digest: Digest([2; 32]) };
    let end = AttemptEnd::Failed(Failure::new("busy", "m"));
    let record =
        AttemptRecord { number: 1, digest: Digest([1; 32]), started_at: at(1), ended_at: at(2), end, log: None };
    let status = Status { state, attempt: 2, failures: 1, history: vec![record], ..Status::queued(at(0)) };
    let spec = Spec { new: NewTask::new("echo", "{\"a\":1}"), created_at: at(7), first_event: 8 };
    let idempotency = Some(Idempotency { key: "k".to_owned(), fingerprint: [5; 16] });
    let batch = BatchLine {
        id: BatchId::from_u128(7),
        spec: BatchSpec { name: None, members: 2, callbacks: Callbacks::default(), idempotency, created_at: at(7) },
        tally: BatchTally { failed: 1, failing_at: Some(at(8)), on_failure: Some(a_task()), ..BatchTally::default() },
    };
    let task = TaskLine { id: a_task(), spec, status, checkpoint: Some(vec![0xAB]), work: None };
    let action = Action::Enqueue { kind: "echo".to_owned(), input: "{}".to_owned() };
    let spec = ScheduleSpec::every("s", 100, action);
    let schedule = Schedule { cursor: Some(vec![7]), ..Schedule::declared(spec, Origin::Config, at(0)) };
    let (id, name, content_type) = ("i".to_owned(), "n".to_owned(), "video/mp4".to_owned());
    let status = MediaStatus::Trashed { at: at(2), purge_after: at(3) };
    let media = MediaRecord { id, name, content_type, size: 9, task: Some(a_task()), created_at: at(1), status };
    let entry = StateEntry { value: vec![1, 0xFF], version: 3, expires_at: None };
    let [first, second, third, fourth] = events();
    let rate = Rate { tasks: 1, per_ms: 60_000, burst: 2 };
    let rule = LimitRule {
        name: "l".to_owned(),
        queues: vec!["q".to_owned()],
        kinds: Vec::new(),
        key: Some(KeyPath::Attribute("tenant".to_owned())),
        concurrency: Some(4),
        rate: Some(rate),
    };
    let pause = Pause { since: at(4), reason: "r".to_owned() };
    vec![
        Line::Namespace(NamespaceLine { plugin: "p".to_owned(), version: 3, bytes: 4 }),
        Line::State(super::StateLine { plugin: "p".to_owned(), key: "k".to_owned(), entry }),
        Line::Schedule(Box::new(schedule)),
        Line::Media(media),
        Line::Batch(Box::new(batch)),
        Line::Task(Box::new(task)),
        Line::Event(first),
        Line::Event(second),
        Line::Fairness(Fairness { key: KeyPath::Input("/a".to_owned()), weights: [("x".to_owned(), 2)].into() }),
        Line::Limit(Limit { rule, origin: Origin::Client, revision: 3 }),
        Line::Tokens(TokensLine {
            limit: "l".to_owned(),
            value: "acme".to_owned(),
            tokens: TokenBucket::full(rate, at(6)),
        }),
        Line::Pause(PauseLine { of: Pausable::Queue("q".to_owned()), pause }),
        Line::Event(third),
        Line::Event(fourth),
    ]
}

fn export(lines: &[Line]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::begin(&mut bytes, Header::new(7, 3, 2)).unwrap();
    for line in lines {
        writer.line(line).unwrap();
    }
    writer.end().unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Result<Vec<Line>, ReadError> {
    let (mut reader, _) = Reader::begin(bytes)?;
    let mut lines = Vec::new();
    while let Some(line) = reader.next()? {
        lines.push(line);
    }
    Ok(lines)
}

/// A line as [`Writer`] would write it, with a check sum that is right.
fn raw(body: &str) -> String {
    format!("{{\"crc32\":\"{:08x}\",{}\n", crc32fast::hash(body.as_bytes()), &body[1..])
}

#[test]
fn the_form_of_the_lines_is_stable() {
    let text = String::from_utf8(export(&lines())).unwrap();
    let bodies: Vec<_> = text.lines().map(|line| format!("{{{}", &line[super::CRC_PREFIX.len() + 10..])).collect();
    let task = "01912d4c-7b1e-7cc3-a3a4-5d1e8f6b7a90";
    let (one, two) = ("01".repeat(32), "02".repeat(32));
    let expected = [
        r#"{"header":{"format":"taskhost-export","version":1,"epoch":7,"commit":3,"last_event":2}}"#.to_owned(),
        r#"{"namespace":{"plugin":"p","version":3,"bytes":4}}"#.to_owned(),
        r#"{"state":{"plugin":"p","key":"k","entry":{"value":"01ff","version":3,"expires_at":null}}}"#.to_owned(),
        r#"{"schedule":{"spec":{"name":"s","trigger":{"interval":{"every_ms":100,"phase_ms":0}},"action":{"enqueue":{"kind":"echo","input":"{}"}},"overlap":"allow","catch_up":"latest","jitter_ms":0,"start":null,"end":null,"max_fires":null,"pause_on_failure":null},"origin":"config","revision":1,"next_at":100,"last_fired_at":null,"fired":0,"by_hand":0,"backfilled":0,"overlapped":0,"missed":0,"skipped":0,"waiting":[],"paused":null,"failures":0,"cursor":"07","last_error":null}}"#.to_owned(),
        format!(r#"{{"media":{{"id":"i","name":"n","content_type":"video/mp4","size":9,"task":"{task}","created_at":1,"status":{{"trashed":{{"at":2,"purge_after":3}}}}}}}}"#),
        format!(r#"{{"batch":{{"id":"00000000-0000-0000-0000-000000000007","spec":{{"name":null,"members":2,"callbacks":{{"on_failure":null,"on_success":null,"on_complete":null}},"idempotency":{{"key":"k","fingerprint":[5,5,5,5,5,5,5,5,5,5,5,5,5,5,5,5]}},"created_at":7}},"tally":{{"succeeded":0,"failed":1,"cancelled":0,"forgotten":0,"failing_at":8,"succeeded_at":null,"completed_at":null,"on_failure":"{task}","on_success":null,"on_complete":null}}}}}}"#),
        format!(r#"{{"task":{{"id":"{task}","spec":{{"new":{{"kind":"echo","input":"{{\"a\":1}}","priority":4,"max_attempts":5,"timeout_ms":null,"backoff":{{"base_ms":1000,"cap_ms":3600000,"growth":"exponential","jitter":"equal"}},"run_at":null,"deadline":null,"queue":"default","unique_key":null,"unique":{{"states":7,"mode":"existing"}},"idempotency":[],"attributes":[],"source":"client","after":[],"on_parent_failure":"fail","batch":null}},"created_at":7,"first_event":8}},"status":{{"state":{{"running":{{"boot":"0000000000000003","lease_until":9,"started_at":8,"digest":"{two}"}}}},"attempt":2,"failures":1,"crashes":0,"snoozes":0,"cancel":null,"progress":null,"checkpoint_bytes":0,"history":[{{"number":1,"digest":"{one}","started_at":1,"ended_at":2,"end":{{"failed":{{"code":"busy","message":"m","details":null}}}},"log":null}}],"works":{{"current":null,"ended":0,"abandoned":0,"unanswered":false}}}},"checkpoint":"ab","work":null}}}}"#),
        format!(r#"{{"event":{{"seq":1,"at":5,"change":{{"task":{{"id":"{task}","kind":"echo","queue":"default","attempt":0,"change":"succeeded"}}}}}}}}"#),
        r#"{"event":{"seq":2,"at":5,"change":{"media":{"id":"i","change":"trashed"}}}}"#.to_owned(),
        r#"{"fairness":{"key":{"input":"/a"},"weights":{"x":2}}}"#.to_owned(),
        r#"{"limit":{"rule":{"name":"l","queues":["q"],"kinds":[],"key":{"attribute":"tenant"},"concurrency":4,"rate":{"tasks":1,"per_ms":60000,"burst":2}},"origin":"client","revision":3}}"#.to_owned(),
        r#"{"tokens":{"limit":"l","value":"acme","tokens":{"level":120000,"parts":60000,"at":6}}}"#.to_owned(),
        r#"{"pause":{"of":{"queue":"q"},"pause":{"since":4,"reason":"r"}}}"#.to_owned(),
        r#"{"event":{"seq":3,"at":5,"change":{"schedule-state":{"name":"s","revision":2,"change":"triggered"}}}}"#.to_owned(),
        r#"{"event":{"seq":4,"at":5,"change":{"queue":{"name":"q","change":{"paused":{"reason":"r"}}}}}}"#.to_owned(),
    ];
    for (body, expected) in bodies.iter().zip(&expected) {
        assert_eq!(body, expected, "the form changed: it needs a new version");
    }
    assert_eq!(bodies.len(), expected.len() + 1);
    assert!(bodies[15].starts_with(r#"{"end":{"lines":15,"counts":{"namespaces":1,"#), "{}", bodies[15]);
}

#[test]
fn what_is_written_is_read_back() {
    assert_eq!(read(&export(&lines())).unwrap(), lines());
    assert_eq!(read(&export(&[])).unwrap(), []);
}

#[test]
fn each_flipped_bit_and_each_cut_is_told_with_its_line() {
    let whole = export(&lines());
    let line_of = |at: usize| whole[..at].split(|byte| *byte == b'\n').count() as u64;
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        let error = read(&flipped).unwrap_err();
        // Without its line end, a line swallows the next one.
        assert_eq!(error.line, line_of(at), "byte {at}: {error}");
        let error = read(&whole[..at]).unwrap_err();
        assert_eq!(error.line, line_of(at), "cut at {at}: {error}");
        assert!(matches!(error.wrong, Wrong::CutOff), "cut at {at}: {error}");
    }
}

#[test]
fn lost_added_and_exchanged_lines_are_told() {
    let whole = String::from_utf8(export(&lines())).unwrap();
    let lines: Vec<_> = whole.split_inclusive('\n').collect();
    let wrong = |lines: &[&str]| read(lines.concat().as_bytes()).unwrap_err();
    let without = [&lines[..2], &lines[3..]].concat();
    assert!(matches!(wrong(&without).wrong, Wrong::OtherLines(_)));
    let twice = [&lines[..3], &lines[2..]].concat();
    assert!(matches!(wrong(&twice).wrong, Wrong::OtherLines(_)));
    let mut exchanged = lines.clone();
    exchanged.swap(2, 3);
    let error = wrong(&exchanged);
    assert!(matches!(&error.wrong, Wrong::OtherLines(why) if why.contains("digest")), "{error}");
    let error = wrong(&[&lines[..], &["x"]].concat());
    assert_eq!(error.to_string(), "line 17: something follows the end of the export");
    let error = wrong(&[&lines[..1], &lines[..]].concat());
    assert_eq!(error.to_string(), "line 2: there is a second header here");
}

#[test]
fn other_files_newer_versions_and_unknown_members_are_refused() {
    let told = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(told(""), "line 1: the export was cut off here");
    assert_eq!(told("hello\n"), "line 1: not a line of an export: it does not begin with its check sum");
    let header = |text: &str| raw(&format!(r#"{{"header":{{"format":{text}}}}}"#));
    let error = told(&header(r#""taskhost-export","version":2,"new":[]"#));
    assert_eq!(error, "line 1: the export has version 2, this taskhost knows up to 1: use the newer one");
    assert!(told(&header(r#""other","version":1"#)).contains("the format is \"other\""));
    assert!(told(&raw(r#"{"task":{}}"#)).contains("has to be a header"));
    let unknown = header(r#""taskhost-export","version":1,"epoch":7,"commit":3,"last_event":2,"more":1"#);
    assert!(told(&unknown).contains("unknown here"), "{}", told(&unknown));
    let end = Line::End(End { lines: 0, counts: Counts::default(), sha256: String::new() });
    assert_eq!(read(&super::encode(&end).unwrap()).unwrap_err().line, 1);
}
