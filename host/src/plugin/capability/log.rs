//! `taskhost:host/log`, and the book that every line of an attempt goes through: it keeps the
//! attempt's share of bytes and counts what it drops.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::plugin::contract::clip_to;
use crate::plugin::contract::log::{Host, Level};
use crate::plugin::control::Control;
use crate::plugin::guest::Guest;
use crate::plugin::ports::{LogLevel, LogLine, LogPort, LogSource};
use crate::secret::Censor;
use crate::task::{LogSize, TaskId};
use crate::time::now;

/// Bytes of one line.
pub(in crate::plugin) const MAX_LINE_BYTES: usize = 8 * 1024;
/// Fields of one line.
const MAX_FIELDS: usize = 32;
const MAX_FIELD_KEY_BYTES: usize = 128;
const MAX_FIELD_VALUE_BYTES: usize = 4096;
/// Of standard error, what a crash is told with: where most languages write why they gave up.
const MAX_LAST_WORDS_BYTES: usize = 1024;

/// The log of one attempt. Lines without a task (of a dispatcher) go to the host's own log.
pub(in crate::plugin) struct Book {
    port: Arc<dyn LogPort>,
    plugin: String,
    subject: Option<(TaskId, u32)>,
    limit_bytes: u64,
    control: Arc<Control>,
    /// What no line may show.
    censor: Arc<Censor>,
    pages: Mutex<Pages>,
}

#[derive(Default)]
struct Pages {
    log: LogSize,
    /// Nothing fits any more.
    full: bool,
    /// Dropped bytes that the log speaks of.
    told_bytes: u64,
    /// What was written without a line's end yet.
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The end of standard error, also when the log has no room for it.
    last_words: String,
}

impl Book {
    pub(in crate::plugin) fn new(
        port: Arc<dyn LogPort>,
        plugin: &str,
        (subject, control): (Option<(TaskId, u32)>, Arc<Control>),
        limit_bytes: u64,
    ) -> Self {
        let censor = Arc::default();
        Self { port, plugin: plugin.to_owned(), subject, limit_bytes, control, censor, pages: Mutex::default() }
    }

    /// The same, and no line shows a secret.
    pub(in crate::plugin) fn hiding(mut self, censor: &Arc<Censor>) -> Self {
        self.censor = Arc::clone(censor);
        self
    }

    /// The text without secrets, cut; a secret that the cut would halve is found first.
    fn shown(&self, text: String, max_bytes: usize) -> String {
        clip_to(self.censor.hide(clip_to(text, max_bytes + self.censor.reach())), max_bytes)
    }

    /// A line of the guest.
    fn line(&self, level: LogLevel, mut message: String, mut fields: Vec<(String, String)>) {
        let whole = size(&message, &fields);
        message = self.shown(message, MAX_LINE_BYTES);
        fields.truncate(MAX_FIELDS);
        for (key, value) in &mut fields {
            *key = self.shown(std::mem::take(key), MAX_FIELD_KEY_BYTES);
            *value = self.shown(std::mem::take(value), MAX_FIELD_VALUE_BYTES);
        }
        let mut pages = self.pages();
        pages.log.dropped_bytes += whole.saturating_sub(size(&message, &fields));
        self.keep(&mut pages, (level, LogSource::Log), message, fields);
    }

    /// Output of the guest, cut into lines.
    pub(super) fn output(&self, source: LogSource, mut bytes: &[u8]) {
        let mut pages = self.pages();
        while !bytes.is_empty() {
            let partial = pages.partial(source);
            let room = MAX_LINE_BYTES + self.censor.reach() - partial.len();
            let end = bytes.iter().take(room + 1).position(|byte| *byte == b'\n');
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len().min(room)));
            partial.extend_from_slice(piece);
            if end.is_some() {
                bytes = &rest[1..];
                self.end_line(&mut pages, source);
            } else {
                bytes = rest;
                if piece.len() == room {
                    self.cut_line(&mut pages, source);
                }
            }
        }
    }

    /// What was written without a line's end is a line.
    pub(super) fn end_lines(&self) {
        self.end_partial(&mut self.pages());
    }

    /// A line of the host about the attempt. It is always kept: there are a few at most.
    pub(in crate::plugin) fn host(&self, level: LogLevel, message: String) {
        let mut pages = self.pages();
        self.end_partial(&mut pages);
        let message = self.censor.hide(message);
        self.write(&mut pages, (level, LogSource::Host), message, Vec::new());
    }

    /// The last lines of standard error, if there are any.
    pub(in crate::plugin) fn last_words(&self) -> Option<String> {
        let mut pages = self.pages();
        self.end_partial(&mut pages);
        (!pages.last_words.is_empty()).then(|| pages.last_words.clone())
    }

    /// The attempt is over: what is left of a line is a line, and what was dropped is told.
    pub(in crate::plugin) fn finish(&self) {
        let mut pages = self.pages();
        self.end_partial(&mut pages);
        let LogSize { dropped_lines: lines, dropped_bytes: bytes, .. } = pages.log;
        if bytes > pages.told_bytes {
            pages.told_bytes = bytes;
            let bounds = format!("a line may have {MAX_LINE_BYTES} bytes, an attempt {}", self.limit_bytes);
            let message = format!("{lines} lines ({bytes} bytes) dropped: {bounds}");
            self.write(&mut pages, (LogLevel::Warn, LogSource::Host), message, Vec::new());
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_partial(&self, pages: &mut Pages) {
        for source in [LogSource::Stdout, LogSource::Stderr] {
            if !pages.partial(source).is_empty() {
                self.end_line(pages, source);
            }
        }
    }

    fn end_line(&self, pages: &mut Pages, source: LogSource) {
        let partial = pages.partial(source);
        let text = self.censor.hide(String::from_utf8_lossy(partial).trim_end_matches('\r').to_owned());
        partial.clear();
        self.print(pages, source, text);
    }

    /// A line that is too long becomes several. What may be the beginning of a secret goes into the next one.
    fn cut_line(&self, pages: &mut Pages, source: LogSource) {
        let partial = pages.partial(source);
        let unfinished = partial.utf8_chunks().last().map_or(0, |last| last.invalid().len());
        let tail = partial.split_off(partial.len() - unfinished);
        let mut text = self.censor.hide(String::from_utf8_lossy(partial).into_owned());
        let cut = text.floor_char_boundary(text.len().saturating_sub(self.censor.reach()));
        *partial = text.split_off(cut).into_bytes();
        partial.extend(tail);
        if !text.is_empty() {
            self.print(pages, source, text);
        }
    }

    /// Keeps a line of output, in several pieces where what was replaced in it made it too long.
    fn print(&self, pages: &mut Pages, source: LogSource, mut text: String) {
        let level = if source == LogSource::Stderr { LogLevel::Warn } else { LogLevel::Info };
        if source == LogSource::Stderr {
            pages.last_words = last_words(std::mem::take(&mut pages.last_words), &text);
        }
        while text.len() > MAX_LINE_BYTES {
            let rest = text.split_off(text.floor_char_boundary(MAX_LINE_BYTES));
            self.keep(pages, (level, source), text, Vec::new());
            text = rest;
        }
        self.keep(pages, (level, source), text, Vec::new());
    }

    /// Writes a line if the attempt's share has room. After the first that has not, nothing is
    /// written any more: a log with holes that nobody sees would be worse than one that ends.
    fn keep(&self, pages: &mut Pages, kind: (LogLevel, LogSource), message: String, fields: Vec<(String, String)>) {
        // One more for the line's end, so that empty lines are bounded too.
        let bytes = size(&message, &fields) + 1;
        if pages.full || pages.log.bytes + bytes > self.limit_bytes {
            pages.full = true;
            pages.log.dropped_lines += 1;
            pages.log.dropped_bytes += bytes;
            return self.control.logged(pages.log);
        }
        self.write(pages, kind, message, fields);
    }

    fn write(
        &self,
        pages: &mut Pages,
        (level, source): (LogLevel, LogSource),
        mut message: String,
        fields: Vec<(String, String)>,
    ) {
        if message.contains(['\n', '\r']) {
            message = message.replace('\n', "\\n").replace('\r', "\\r");
        }
        let Some((task, attempt)) = self.subject else {
            self.trace(level, &message, &fields);
            return;
        };
        let bytes = size(&message, &fields) + 1;
        let log = &mut pages.log;
        let (lines, sum) = if self.port.append(task, LogLine { at: now(), attempt, level, source, message, fields }) {
            (&mut log.lines, &mut log.bytes)
        } else {
            (&mut log.dropped_lines, &mut log.dropped_bytes)
        };
        *lines += 1;
        *sum += bytes;
        self.control.logged(pages.log);
    }

    fn trace(&self, level: LogLevel, message: &str, fields: &[(String, String)]) {
        let plugin = &self.plugin;
        match level {
            LogLevel::Trace => tracing::trace!(plugin, ?fields, "{message}"),
            LogLevel::Debug => tracing::debug!(plugin, ?fields, "{message}"),
            LogLevel::Info => tracing::info!(plugin, ?fields, "{message}"),
            LogLevel::Warn => tracing::warn!(plugin, ?fields, "{message}"),
            LogLevel::Error => tracing::error!(plugin, ?fields, "{message}"),
        }
    }
}

/// When an attempt is dropped from outside nobody else finishes its log.
impl Drop for Book {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Pages {
    fn partial(&mut self, source: LogSource) -> &mut Vec<u8> {
        match source {
            LogSource::Stderr => &mut self.stderr,
            LogSource::Stdout | LogSource::Log | LogSource::Host => &mut self.stdout,
        }
    }
}

/// Adds a line to what is kept of standard error, and forgets its beginning.
fn last_words(mut words: String, line: &str) -> String {
    let line = line.trim();
    if line.is_empty() {
        return words;
    }
    if !words.is_empty() {
        words.push_str(" | ");
    }
    words.push_str(line);
    let excess = words.len().saturating_sub(MAX_LAST_WORDS_BYTES);
    words.split_off(words.ceil_char_boundary(excess))
}

fn size(message: &str, fields: &[(String, String)]) -> u64 {
    let fields: usize = fields.iter().map(|(key, value)| key.len() + value.len()).sum();
    (message.len() + fields) as u64
}

impl Host for Guest {
    fn log(&mut self, level: Level, message: String, fields: Vec<(String, String)>) {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
        };
        self.call.book.line(level, message, fields);
    }
}

#[cfg(test)]
mod tests;
