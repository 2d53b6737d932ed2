//! One open log.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::line::{MARKER_BYTES, MAX_LINE_BYTES, Marker, bounded};
use super::read_range;
use crate::plugin::ports::LogLine;

/// A log that is written to. There is one value a file, so it knows the length.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    len: u64,
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
        Ok(Self { file, len, max_bytes, full: None, counted: 0, fresh: true })
    }

    /// Appends a line, or counts it when the log is full. Whether it was kept.
    pub(super) fn append(&mut self, line: &LogLine) -> io::Result<bool> {
        if std::mem::take(&mut self.fresh) {
            self.find_marker(line)?;
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

    fn find_marker(&mut self, next: &LogLine) -> io::Result<()> {
        let Some(offset) = self.len.checked_sub(MARKER_BYTES as u64) else { return Ok(()) };
        let bytes = read_range(&self.file, offset, MARKER_BYTES)?;
        if let Some(marker) = Marker::parse(&bytes, next) {
            self.counted = marker.dropped;
            self.full = Some((offset, marker));
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
