//! One open log.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::line::{Head, MARKER_BYTES, MAX_LINE_BYTES, Marker, attempt_of, bounded};
use super::read_range;
use crate::plugin::ports::LogLine;

/// Half of a log that is smaller than this gives no room to anybody.
const MIN_HALF_BYTES: u64 = 2 * MARKER_BYTES as u64;

/// A log that is written to. There is one value a file, so it knows the length.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    len: u64,
    // The latest one that has logged.
    attempt: u32,
    max_bytes: u64,
    // The log is full: this line at this offset counts what is dropped.
    full: Option<(u64, Marker)>,
    // What the marker on disk says.
    counted: u64,
    // An earlier start may have filled the log: looked at with the first line.
    fresh: bool,
}

impl LogFile {
    /// Opens or creates a log; half a line at its end, left by a crash, is removed.
    pub(super) fn open(path: &Path, max_bytes: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut len = file.metadata()?.len();
        let from = len.saturating_sub(MAX_LINE_BYTES as u64);
        let tail = read_range(&file, from, MAX_LINE_BYTES)?;
        if tail.last().is_some_and(|last| *last != b'\n') {
            len = from + tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1);
            file.set_len(len)?;
        }
        let path = path.to_owned();
        Ok(Self { path, file, len, attempt: 0, max_bytes, full: None, counted: 0, fresh: true })
    }

    /// Appends a line, or counts it when the log is full. Whether it was kept.
    pub(super) fn append(&mut self, line: &LogLine) -> io::Result<bool> {
        if std::mem::take(&mut self.fresh) {
            self.find_end(line)?;
        }
        if line.attempt > self.attempt {
            self.attempt = line.attempt;
            self.make_room(line)?;
        }
        if self.full.is_none() {
            let bytes = bounded(line);
            if self.len + (bytes.len() + MARKER_BYTES) as u64 <= self.max_bytes {
                self.file.write_all_at(&bytes, self.len)?;
                self.len += bytes.len() as u64;
                return Ok(true);
            }
            self.full = Some((self.len, Marker::new(line)));
        }
        if let Some((_, marker)) = &mut self.full {
            marker.dropped += 1;
            // A flood is not written at its own pace; a reader makes the count exact.
            if marker.dropped.is_power_of_two() {
                self.write_count()?;
            }
        }
        Ok(false)
    }

    /// Dropped lines, as far as the file says.
    pub(super) fn counted(&self) -> u64 {
        self.counted
    }

    /// An attempt begins: what the ones before have logged gives way until half of the room is free.
    fn make_room(&mut self, first: &LogLine) -> io::Result<()> {
        let half = self.max_bytes / 2;
        if self.len <= half || half < MIN_HALF_BYTES {
            return Ok(());
        }
        self.write_count()?;
        let bytes = read_range(&self.file, 0, usize::try_from(self.len).unwrap_or(usize::MAX))?;
        let before = Head::parse(&bytes);
        let begin = before.as_ref().map_or(0, |_| MARKER_BYTES);
        let room = usize::try_from(half).unwrap_or(usize::MAX) - MARKER_BYTES;
        let from = bytes.len().saturating_sub(room).max(begin);
        // Whole lines only.
        let kept = bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| from + end + 1);
        let dropped = bytes[begin..kept].iter().filter(|byte| **byte == b'\n').count() as u64;
        let base = before.as_ref().map_or(0, Head::base);
        let head = Head { dropped: before.map_or(0, |head| head.dropped) + dropped, first_offset: base + kept as u64 };
        let oldest = String::from_utf8_lossy(&bytes[kept..]).lines().next().and_then(attempt_of);
        let mut content = head.encode(&LogLine { attempt: oldest.unwrap_or(first.attempt), ..first.clone() });
        content.extend_from_slice(&bytes[kept..]);
        // Readers see the old log or the new one.
        let path = self.path.with_extension("new");
        let file = File::options().read(true).write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all_at(&content, 0)?;
        fs::rename(&path, &self.path)?;
        (self.file, self.len, self.full, self.counted) = (file, content.len() as u64, None, 0);
        Ok(())
    }

    /// Writes the count of dropped lines if it has changed.
    pub(super) fn write_count(&mut self) -> io::Result<()> {
        if let Some((offset, marker)) = &self.full
            && marker.dropped != self.counted
        {
            self.file.write_all_at(&marker.encode(), *offset)?;
            self.counted = marker.dropped;
            self.len = *offset + MARKER_BYTES as u64;
        }
        Ok(())
    }

    /// What an earlier start has left: whether the log is full, and by which attempt.
    fn find_end(&mut self, next: &LogLine) -> io::Result<()> {
        let from = self.len.saturating_sub(MAX_LINE_BYTES as u64);
        let tail = read_range(&self.file, from, MAX_LINE_BYTES)?;
        let last = String::from_utf8_lossy(&tail);
        self.attempt = last.trim_end().lines().last().and_then(attempt_of).unwrap_or(0);
        let Some(at) = tail.len().checked_sub(MARKER_BYTES) else { return Ok(()) };
        if let Some(marker) = Marker::parse(&tail[at..], next) {
            self.counted = marker.dropped;
            self.full = Some((self.len - MARKER_BYTES as u64, marker));
        }
        Ok(())
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if let Err(error) = self.write_count() {
            tracing::warn!(%error, "a log's count of dropped lines is not exact");
        }
    }
}
