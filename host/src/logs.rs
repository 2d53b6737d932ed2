//! What a task said: one file of JSON lines a task, bounded in bytes.
//!
//! Logs are not synced to disk line by line: a power failure may cost the last seconds of a log,
//! never anything else. When a log is full, its last line says so and counts what was dropped. A later attempt then
//! has half of the room: the oldest lines go, and the first line counts them.

mod file;
mod line;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use self::file::LogFile;
use self::line::{Head, MARKER_BYTES, MAX_LINE_BYTES, Marker};
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

/// What is wanted of a task's log.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Lines from here on, in bytes since the log's beginning, also when that has made room for later attempts.
    pub offset: u64,
    /// At least one line when there is one, then as many as fit.
    pub max_bytes: usize,
    /// Only lines of this attempt.
    pub attempt: Option<u32>,
    /// Without the line that counts what a full log drops: it changes as long as lines are dropped.
    pub settled: bool,
}

/// A slice of a task's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPage {
    /// Whole lines, oldest first, each a JSON object.
    pub lines: Vec<String>,
    /// Where each of them ends: what comes after it starts there.
    pub ends: Vec<u64>,
    /// Lines that were dropped because the log is full, as far as they were counted.
    pub dropped: u64,
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
    shards: [Mutex<Shard>; SHARDS],
    failures: AtomicU64,
}

/// Some of the tasks.
#[derive(Debug, Default)]
struct Shard {
    // The most recently used files, the latest first.
    open: Vec<(TaskId, LogFile)>,
    // Logs that somebody follows: who does is told of every change. Those whom nobody follows any more go with the
    // next line or the next follower.
    followed: HashMap<TaskId, watch::Sender<()>>,
}

impl Shard {
    fn tell(&mut self, task: TaskId) {
        // Nobody follows in most cases.
        if !self.followed.is_empty()
            && let Some(followers) = self.followed.get(&task)
            && followers.send(()).is_err()
        {
            self.followed.remove(&task);
        }
    }
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

    /// Whole lines of a task's log, or of one attempt's part of it. A task without a log has an empty one.
    /// Blocks on the disk.
    pub fn read(&self, task: TaskId, slice: Slice) -> io::Result<LogPage> {
        if let Some((_, log)) = self.shard(task).open.iter_mut().find(|(id, _)| *id == task) {
            log.write_count()?;
        }
        match File::open(self.path(task)) {
            Ok(file) => read_slice(&file, slice),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LogPage { eof: true, ..LogPage::default() }),
            Err(error) => Err(error),
        }
    }

    /// Changes with every line of a task's log, and when the count of dropped lines has grown much. Who asks first and
    /// reads then misses nothing.
    pub fn follow(&self, task: TaskId) -> watch::Receiver<()> {
        let followed = &mut self.shard(task).followed;
        followed.retain(|_, followers| followers.receiver_count() > 0);
        followed.entry(task).or_default().subscribe()
    }

    /// The tasks that have a log in one of the folders, which have a byte as their names. Blocks on the disk.
    pub fn tasks_in(&self, folder: u8) -> io::Result<BTreeSet<TaskId>> {
        let files = match fs::read_dir(self.dir.join(format!("{folder:02x}"))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            files => files?,
        };
        let task = |file: io::Result<fs::DirEntry>| {
            let path = file.map(|file| file.path()).map_err(Some)?;
            // Also what a crash has left of one that made room.
            let is_log = path.extension().is_some_and(|extension| extension == "jsonl" || extension == "new");
            let id = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            id.filter(|_| is_log).ok_or(None)
        };
        files
            .map(task)
            .filter_map(|found| match found {
                Ok(id) => Some(Ok(id)),
                Err(error) => error.map(Err),
            })
            .collect()
    }

    /// Forgets a task's log. Blocks on the disk.
    pub fn remove(&self, task: TaskId) -> io::Result<()> {
        self.shard(task).open.retain(|(id, _)| *id != task);
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
        let mut shard = self.shard(task);
        let open = &mut shard.open;
        if let Some(place) = open.iter().position(|(id, _)| *id == task) {
            open[..=place].rotate_right(1);
        } else {
            let log = LogFile::open(&self.path(task), self.task_bytes)?;
            open.truncate(OPEN_PER_SHARD - 1);
            open.insert(0, (task, log));
        }
        let log = &mut open[0].1;
        let counted = log.counted();
        let kept = log.append(line)?;
        if kept || log.counted() != counted {
            shard.tell(task);
        }
        Ok(kept)
    }

    fn shard(&self, task: TaskId) -> MutexGuard<'_, Shard> {
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
fn read_slice(file: &File, slice: Slice) -> io::Result<LogPage> {
    let head = Head::of(file)?;
    let base = head.map_or(0, |head| head.base());
    let mut len = file.metadata()?.len();
    let dropped = match len.checked_sub(MARKER_BYTES as u64) {
        Some(last) => Marker::count_in(&read_range(file, last, MARKER_BYTES)?),
        None => None,
    };
    if slice.settled && dropped.is_some() {
        len -= MARKER_BYTES as u64;
    }
    let mut at = slice.offset.saturating_sub(base);
    if head.is_some() && at < MARKER_BYTES as u64 {
        // What was there has made room: the first line says so.
        at = 0;
    }
    loop {
        let mut page = read_page(file, at, len, slice.max_bytes.min(MAX_PAGE_BYTES))?;
        at = page.next_offset;
        if let Some(attempt) = slice.attempt {
            let lines = page.lines.into_iter().zip(page.ends);
            (page.lines, page.ends) = lines.filter(|(text, _)| line::attempt_of(text) == Some(attempt)).unzip();
        }
        if page.eof || !page.lines.is_empty() {
            page.ends.iter_mut().for_each(|end| *end += base);
            return Ok(LogPage { next_offset: at + base, dropped: dropped.unwrap_or(0), ..page });
        }
    }
}

/// Of the first `len` bytes of a file.
fn read_page(file: &File, offset: u64, len: u64, max_bytes: usize) -> io::Result<LogPage> {
    let offset = offset.min(len);
    // One byte in front tells whether the offset is the start of a line.
    let from = offset.saturating_sub(1);
    let rest = usize::try_from(len - from).unwrap_or(usize::MAX);
    let bytes = read_range(file, from, rest.min(max_bytes.max(MAX_LINE_BYTES) + 1))?;
    let mut at = match offset {
        0 => 0,
        _ => bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1),
    };
    let (mut lines, mut ends) = (Vec::new(), Vec::new());
    let mut taken = 0;
    while let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        taken += end + 1;
        if !lines.is_empty() && taken > max_bytes {
            break;
        }
        lines.push(String::from_utf8_lossy(bytes[at..at + end].trim_ascii_end()).into_owned());
        at += end + 1;
        ends.push(from + at as u64);
    }
    let next_offset = from + at as u64;
    let more = bytes[at..].contains(&b'\n') || from + (bytes.len() as u64) < len;
    Ok(LogPage { lines, ends, dropped: 0, next_offset, eof: !more })
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
