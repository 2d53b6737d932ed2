use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::plugin::ports::{LogLevel, LogSource};
use crate::time::Timestamp;

fn line(message: &str) -> LogLine {
    LogLine {
        at: Timestamp::from_millis(1_700_000_000_123),
        attempt: 2,
        level: LogLevel::Info,
        source: LogSource::Log,
        message: message.to_owned(),
        fields: vec![("key".to_owned(), "va\"lue".to_owned())],
    }
}

fn slice(offset: u64, max_bytes: usize, attempt: Option<u32>) -> Slice {
    Slice { offset, max_bytes, attempt, settled: false }
}

fn all(logs: &TaskLogs, task: TaskId) -> Vec<Value> {
    let page = logs.read(task, slice(0, MAX_PAGE_BYTES, None)).unwrap();
    assert!(page.eof);
    page.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(line: &Value, field: &str) -> String {
    line[field].as_str().unwrap().to_owned()
}

#[test]
fn lines_are_written_and_read_in_slices() {
    let dir = tempfile::tempdir().unwrap();
    let logs = TaskLogs::open(dir.path(), 1 << 20).unwrap();
    let task = TaskId::generate();
    assert_eq!(logs.read(task, slice(7, 100, None)).unwrap(), LogPage { eof: true, ..LogPage::default() });
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no file before the first line");
    for number in 0..10 {
        logs.append(task, line(&format!("number {number}\nline")));
    }
    let first = logs.read(task, slice(0, 1, None)).unwrap();
    assert_eq!(first.lines.len(), 1, "at least one line");
    assert_eq!(
        first.lines[0],
        r#"{"at":"2023-11-14T22:13:20.123Z","attempt":2,"level":"info","source":"log","message":"number 0\nline","fields":{"key":"va\"lue"}}"#
    );
    assert!(!first.eof);
    let (mut offset, mut seen) = (0, 0);
    loop {
        let page = logs.read(task, slice(offset, 300, None)).unwrap();
        seen += page.lines.len();
        offset = page.next_offset;
        if page.eof {
            break;
        }
        assert_eq!(page.lines.len(), 2);
    }
    assert_eq!(seen, 10);
    // Nothing new, then one more.
    let page = logs.read(task, slice(offset, 300, None)).unwrap();
    assert!(page.lines.is_empty() && page.eof && page.next_offset == offset);
    logs.append(task, line("late"));
    assert_eq!(logs.read(task, slice(offset, 300, None)).unwrap().lines.len(), 1);
    // An offset inside of a line starts with the next one; one beyond the end is the end.
    assert_eq!(logs.read(task, slice(1, MAX_PAGE_BYTES, None)).unwrap().lines.len(), 10);
    assert!(logs.read(task, slice(u64::MAX, 300, None)).unwrap().lines.is_empty());
    logs.remove(task).unwrap();
    logs.remove(task).unwrap();
    assert!(all(&logs, task).is_empty());
}

#[test]
fn c4_a_full_log_counts_what_it_drops_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let task = TaskId::generate();
    let cap = 4096;
    let logs = TaskLogs::open(dir.path(), cap).unwrap();
    for _ in 0..1000 {
        logs.append(task, line("flood"));
    }
    let lines = all(&logs, task);
    let kept = lines.len() - 1;
    assert!(kept > 20);
    assert_eq!(text(&lines[kept], "source"), "host");
    let message = |dropped: usize| format!("the log is full: {dropped} further lines were dropped");
    assert_eq!(text(&lines[kept], "message"), message(1000 - kept));
    logs.append(task, line("flood"));
    drop(logs);
    let logs = TaskLogs::open(dir.path(), cap).unwrap();
    for _ in 0..5 {
        logs.append(task, line("x"));
    }
    let lines = all(&logs, task);
    assert_eq!(lines.len(), kept + 1);
    assert_eq!(text(&lines[kept], "message"), message(1006 - kept));
    assert!(fs::metadata(logs.path(task)).unwrap().len() <= cap);
}

#[test]
fn a_guest_cannot_fake_the_last_line() {
    let dir = tempfile::tempdir().unwrap();
    let task = TaskId::generate();
    let mut fake = line(&"x".repeat(400));
    fake.fields = vec![("dropped".to_owned(), "7".to_owned())];
    let logs = TaskLogs::open(dir.path(), 1 << 20).unwrap();
    logs.append(task, fake);
    drop(logs);
    let logs = TaskLogs::open(dir.path(), 1 << 20).unwrap();
    logs.append(task, line("next"));
    assert_eq!(text(&all(&logs, task)[1], "message"), "next");
}

#[test]
fn half_a_line_left_by_a_crash_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let task = TaskId::generate();
    let logs = TaskLogs::open(dir.path(), 1 << 20).unwrap();
    logs.append(task, line("whole"));
    let path = logs.path(task);
    drop(logs);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"{\"at\":\"20");
    fs::write(&path, bytes).unwrap();
    let logs = TaskLogs::open(dir.path(), 1 << 20).unwrap();
    assert_eq!(logs.read(task, slice(0, 1000, None)).unwrap().lines.len(), 1, "only whole lines are answered");
    logs.append(task, line("next"));
    let messages: Vec<_> = all(&logs, task).iter().map(|line| text(line, "message")).collect();
    assert_eq!(messages, ["whole", "next"]);
}

#[test]
fn a_huge_line_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let logs = TaskLogs::open(dir.path(), 1 << 20).unwrap();
    let task = TaskId::generate();
    logs.append(task, line(&"\u{1}é".repeat(100_000)));
    logs.append(task, line("next"));
    let lines = all(&logs, task);
    assert!(text(&lines[0], "message").starts_with("\u{1}é\u{1}"));
    assert!(lines[0]["fields"]["truncated"].is_string());
    assert_eq!(text(&lines[1], "message"), "next");
}

#[test]
fn many_tasks_share_few_open_files() {
    let dir = tempfile::tempdir().unwrap();
    let logs = Arc::new(TaskLogs::open(dir.path(), 1 << 20).unwrap());
    let tasks: Vec<TaskId> = (0..300).map(|_| TaskId::generate()).collect();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (logs, tasks) = (Arc::clone(&logs), &tasks);
            scope.spawn(move || {
                for task in tasks {
                    logs.append(*task, line(&format!("from {writer}")));
                }
            });
        }
    });
    for task in &tasks {
        assert_eq!(all(&logs, *task).len(), 4);
    }
    let open: usize = logs.shards.iter().map(|shard| shard.lock().unwrap().open.len()).sum();
    assert!(open <= SHARDS * OPEN_PER_SHARD);
}

#[test]
fn i8_a_later_attempt_has_room_and_the_oldest_lines_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let bound = 16 * 1024;
    let logs = TaskLogs::open(dir.path(), bound).unwrap();
    let task = TaskId::generate();
    let of = |attempt, message: &str| LogLine { attempt, ..line(message) };
    let mut kept = 0;
    for number in 0..500 {
        kept += u64::from(logs.append(task, of(1, &format!("first {number:03}"))));
    }
    let before = all(&logs, task);
    assert_eq!(
        text(before.last().unwrap(), "message"),
        format!("the log is full: {} further lines were dropped", 500 - kept)
    );
    let end = logs.read(task, slice(0, MAX_PAGE_BYTES, None)).unwrap().next_offset;
    // Also when another start goes on.
    drop(logs);
    let logs = TaskLogs::open(dir.path(), bound).unwrap();
    assert!(logs.append(task, of(2, "second")));
    assert!(logs.append(task, of(3, "third")), "there is still room: nothing more has to go");

    let lines = all(&logs, task);
    let gone: u64 = lines[0]["fields"]["dropped"].as_str().unwrap().parse().unwrap();
    assert!(text(&lines[0], "message").starts_with(&format!("{gone} older lines")), "{}", lines[0]);
    assert_eq!(before[usize::try_from(gone).unwrap()]["message"], lines[1]["message"], "the rest follows at once");
    assert_eq!(lines.len() as u64, 1 + kept - gone + 1 + 2);
    let size = std::fs::metadata(logs.path(task)).unwrap().len();
    assert!(size <= bound, "{size}");
    // A reader that had read to the end goes on there, and one attempt can be read alone.
    let news = logs.read(task, slice(end, MAX_PAGE_BYTES, None)).unwrap();
    assert_eq!(news.lines.len(), 2, "{news:?}");
    let second = logs.read(task, slice(0, 64, Some(2))).unwrap();
    assert_eq!(second.lines.len(), 1);
    assert!(second.lines[0].contains("second") && news.lines[0] == second.lines[0]);
    assert!(logs.read(task, slice(end, MAX_PAGE_BYTES, Some(1))).unwrap().lines.is_empty());
    // A second time: counts and offsets go on.
    while logs.append(task, of(3, "more")) {}
    assert!(logs.append(task, of(4, "fourth")));
    let again = all(&logs, task);
    assert!(again[0]["fields"]["dropped"].as_str().unwrap().parse::<u64>().unwrap() > gone);
    let last = logs.read(task, slice(0, 64, Some(4))).unwrap();
    assert!(last.lines[0].contains("fourth") && last.next_offset > end, "{last:?}");
}

#[test]
fn who_follows_is_told_of_every_line_and_not_of_a_count_that_still_grows() {
    let dir = tempfile::tempdir().unwrap();
    let logs = TaskLogs::open(dir.path(), 16 * 1024).unwrap();
    let (task, other) = (TaskId::generate(), TaskId::generate());
    let mut news = logs.follow(task);
    assert!(!news.has_changed().unwrap());
    logs.append(other, line("of another"));
    assert!(!news.has_changed().unwrap());
    assert!(logs.append(task, line("one")));
    assert!(news.has_changed().unwrap());
    let settled = |offset| logs.read(task, Slice { settled: true, ..slice(offset, MAX_PAGE_BYTES, None) }).unwrap();
    let first = settled(0);
    assert_eq!((first.lines.len(), &first.ends[..], first.dropped), (1, &[first.next_offset][..], 0));
    while logs.append(task, line("more")) {}
    let full = settled(first.next_offset);
    assert!(full.eof && full.dropped == 1, "{full:?}");
    assert_eq!(settled(full.next_offset).lines.len(), 0, "the count is not a line yet");
    news.mark_unchanged();
    logs.append(task, line("two are dropped"));
    assert!(news.has_changed().unwrap());
    news.mark_unchanged();
    logs.append(task, line("three are dropped"));
    assert!(!news.has_changed().unwrap(), "a flood is not told at its own pace");
    assert_eq!(settled(full.next_offset).dropped, 3, "but to whoever looks");
    // The end is exact, and what is written after it goes on there.
    let last = logs.read(task, slice(full.next_offset, MAX_PAGE_BYTES, None)).unwrap();
    assert!(last.lines.len() == 1 && last.lines[0].contains("3 further lines"), "{last:?}");
    logs.append(task, LogLine { attempt: 3, ..line("next attempt") });
    let next = settled(full.next_offset);
    assert!(next.lines.len() == 2 && next.lines[1].contains("next attempt"), "{next:?}");
    assert_eq!((next.lines[0].as_str(), next.dropped), (last.lines[0].as_str(), 0));
    // Whoever has not read what made room is told.
    let missed = settled(first.next_offset);
    assert!(missed.lines[0].contains("older lines were dropped"), "{}", missed.lines[0]);
    drop(news);
    logs.append(task, line("nobody listens"));
    let followed: usize = logs.shards.iter().map(|shard| shard.lock().unwrap().followed.len()).sum();
    assert_eq!(followed, 0);
}

#[test]
fn a_log_that_has_only_made_room_is_not_full() {
    let dir = tempfile::tempdir().unwrap();
    let bound = 16 * 1024;
    let logs = TaskLogs::open(dir.path(), bound).unwrap();
    let task = TaskId::generate();
    // One line is more than half: nothing of it can stay.
    assert!(logs.append(task, line(&"x".repeat(9_000))));
    assert!(logs.append(task, LogLine { attempt: 3, ..line("y") }));
    let path = logs.path(task);
    drop(logs);
    fs::File::options().write(true).open(&path).unwrap().set_len(line::MARKER_BYTES as u64).unwrap();
    let logs = TaskLogs::open(dir.path(), bound).unwrap();
    assert!(logs.append(task, LogLine { attempt: 3, ..line("z") }));
    assert_eq!(all(&logs, task).len(), 2);
}
