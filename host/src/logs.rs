//! What a task said: one file of JSON lines a task, bounded in bytes.
//!
//! Logs are not synced to disk line by line: a power failure may cost the last seconds of a log,
//! never anything else. When a log is full, its last line says so and counts what was dropped. A later attempt then
//! has half of the room: the oldest lines go, and the first line counts them.

mod file;
mod line;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::file::LogFile;
use self::line::{Head, MAX_LINE_BYTES};
use crate::plugin::ports::{LogLine, LogPort};
use crate::task::TaskId;

/// Bytes of one task's log when the configuration does not say.
pub const DEFAULT_TASK_BYTES: u64 = 1 << 20;
/// Bytes of one answer at most.
pub const MAX_PAGE_BYTES: usize = 4 << 20;
/// Locks, so that tasks rarely wait for each other.
const SHARDS: usize = 16;
/// Files that one shard keeps open.
const OPEN_PER_SHARD: usize = 8;

/// A slice of a task's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// Whole lines, oldest first, each a JSON object.
    pub lines: Vec<String>,
    /// Where the next slice starts, in bytes.
    pub next_offset: u64,
    /// There is no whole line behind this slice yet.
    pub eof: bool,
}

/// The logs of all tasks.
#[derive(Debug)]
pub struct TaskLogs {
    dir: PathBuf,
    task_bytes: u64,
    // The most recently used files, the latest first.
    shards: [Mutex<Vec<(TaskId, LogFile)>>; SHARDS],
    failures: AtomicU64,
}

impl TaskLogs {
    /// Logs under `dir`, which is created; `task_bytes` bounds the log of each task, in bytes.
    pub fn open(dir: &Path, task_bytes: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            task_bytes,
            shards: std::array::from_fn(|_| Mutex::default()),
            failures: AtomicU64::new(0),
        })
    }

    /// Whole lines of a task's log, or of one attempt's part of it, from a byte offset: at least one when there is
    /// one, then as many as `max_bytes` allow. Offsets count from the log's beginning, also when that has made room
    /// for later attempts. A task without a log has an empty one. Blocks on the disk.
    pub fn read(&self, task: TaskId, offset: u64, max_bytes: usize, attempt: Option<u32>) -> io::Result<LogPage> {
        if let Some((_, log)) = self.shard(task).iter_mut().find(|(id, _)| *id == task) {
            log.write_count()?;
        }
        match File::open(self.path(task)) {
            Ok(file) => read_attempt(&file, offset, max_bytes.min(MAX_PAGE_BYTES), attempt),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LogPage { eof: true, ..LogPage::default() }),
            Err(error) => Err(error),
        }
    }

    /// Forgets a task's log. Blocks on the disk.
    pub fn remove(&self, task: TaskId) -> io::Result<()> {
        self.shard(task).retain(|(id, _)| *id != task);
        let path = self.path(task);
        // The second is what a crash has left of one that made room.
        for path in [path.with_extension("new"), path] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn try_append(&self, task: TaskId, line: &LogLine) -> io::Result<bool> {
        let mut open = self.shard(task);
        if let Some(place) = open.iter().position(|(id, _)| *id == task) {
            open[..=place].rotate_right(1);
        } else {
            let log = LogFile::open(&self.path(task), self.task_bytes)?;
            open.truncate(OPEN_PER_SHARD - 1);
            open.insert(0, (task, log));
        }
        open[0].1.append(line)
    }

    fn shard(&self, task: TaskId) -> MutexGuard<'_, Vec<(TaskId, LogFile)>> {
        let [.., last] = task.as_u128().to_be_bytes();
        self.shards[usize::from(last) % SHARDS].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, task: TaskId) -> PathBuf {
        let [.., last] = task.as_u128().to_be_bytes();
        self.dir.join(format!("{last:02x}")).join(format!("{task}.jsonl"))
    }
}

impl LogPort for TaskLogs {
    fn append(&self, task: TaskId, line: LogLine) -> bool {
        self.try_append(task, &line).unwrap_or_else(|error| {
            // A full disk must not also flood the host's own log.
            let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
            if failures.is_power_of_two() {
                tracing::error!(%task, %error, failures, "a line of a task's log was lost");
            }
            false
        })
    }
}

/// Goes on until there is a line of the attempt, or no more.
fn read_attempt(file: &File, mut offset: u64, max_bytes: usize, attempt: Option<u32>) -> io::Result<LogPage> {
    let base = Head::of(file)?.map_or(0, |head| head.base());
    loop {
        let mut page = read_page(file, offset.saturating_sub(base), max_bytes)?;
        page.next_offset += base;
        offset = page.next_offset;
        page.lines.retain(|text| attempt.is_none_or(|attempt| line::attempt_of(text) == Some(attempt)));
        if page.eof || !page.lines.is_empty() {
            return Ok(page);
        }
    }
}

fn read_page(file: &File, offset: u64, max_bytes: usize) -> io::Result<LogPage> {
    let len = file.metadata()?.len();
    let offset = offset.min(len);
    // One byte in front tells whether the offset is the start of a line.
    let from = offset.saturating_sub(1);
    let bytes = read_range(file, from, max_bytes.max(MAX_LINE_BYTES) + 1)?;
    let mut at = match offset {
        0 => 0,
        _ => bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1),
    };
    let mut lines = Vec::new();
    let mut taken = 0;
    while let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        taken += end + 1;
        if !lines.is_empty() && taken > max_bytes {
            break;
        }
        lines.push(String::from_utf8_lossy(bytes[at..at + end].trim_ascii_end()).into_owned());
        at += end + 1;
    }
    let next_offset = from + at as u64;
    let more = bytes[at..].contains(&b'\n') || from + (bytes.len() as u64) < len;
    Ok(LogPage { lines, next_offset, eof: !more })
}

/// Up to `max_bytes` from an offset.
fn read_range(file: &File, from: u64, max_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; max_bytes];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests;
