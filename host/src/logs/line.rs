//! The form of a line on disk and over HTTP.

use serde::{Deserialize, Serialize, Serializer};

use crate::plugin::ports::{LogLevel, LogLine, LogSource};

/// Bytes of one line with its line break.
pub(super) const MAX_LINE_BYTES: usize = 32 * 1024;
/// Bytes of the line that counts what was dropped: always the same, so that the count can grow in place.
pub(super) const MARKER_BYTES: usize = 256;

#[derive(Serialize)]
struct Line<'a> {
    at: String,
    attempt: u32,
    level: &'static str,
    source: &'static str,
    message: &'a str,
    #[serde(serialize_with = "as_map")]
    fields: &'a [(String, String)],
}

fn as_map<S: Serializer>(fields: &&[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(key, value)| (key, value)))
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

fn source(source: LogSource) -> &'static str {
    match source {
        LogSource::Log => "log",
        LogSource::Stdout => "stdout",
        LogSource::Stderr => "stderr",
        LogSource::Host => "host",
    }
}

fn encode(line: &LogLine, message: &str, fields: &[(String, String)]) -> Vec<u8> {
    let line = Line {
        at: line.at.to_string(),
        attempt: line.attempt,
        level: level(line.level),
        source: source(line.source),
        message,
        fields,
    };
    // Strings and numbers always serialise.
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// A line of at most [`MAX_LINE_BYTES`]: first the fields go, then the end of the message.
pub(super) fn bounded(line: &LogLine) -> Vec<u8> {
    let whole = encode(line, &line.message, &line.fields);
    if whole.len() <= MAX_LINE_BYTES {
        return whole;
    }
    let cut = [("truncated".to_owned(), whole.len().to_string())];
    // A byte of text takes six at most (`\u0000`).
    let end = line.message.floor_char_boundary((MAX_LINE_BYTES - 512) / 6);
    encode(line, &line.message[..end], &cut)
}

/// The last line of a full log.
#[derive(Clone, Debug)]
pub(super) struct Marker {
    line: LogLine,
    /// Lines that were dropped.
    pub(super) dropped: u64,
}

#[derive(Deserialize)]
struct StoredMarker {
    attempt: u32,
    source: String,
    fields: StoredFields,
}

#[derive(Deserialize)]
struct StoredFields {
    dropped: String,
}

impl Marker {
    /// `first` is the first line that did not fit.
    pub(super) fn new(first: &LogLine) -> Self {
        let line = LogLine {
            at: first.at,
            attempt: first.attempt,
            level: LogLevel::Warn,
            source: LogSource::Host,
            message: String::new(),
            fields: Vec::new(),
        };
        Self { line, dropped: 0 }
    }

    /// The marker in the last bytes of a log, if they are one; `next` is the line that comes now.
    pub(super) fn parse(bytes: &[u8], next: &LogLine) -> Option<Self> {
        let stored: StoredMarker = serde_json::from_slice(bytes).ok()?;
        let dropped = stored.fields.dropped.parse().ok()?;
        let mut marker = Self::new(next);
        marker.line.attempt = stored.attempt;
        (stored.source == "host").then_some(Self { dropped, ..marker })
    }

    /// The line, padded to [`MARKER_BYTES`].
    pub(super) fn encode(&self) -> Vec<u8> {
        let message = format!("the log is full: {} further lines were dropped", self.dropped);
        let mut bytes = encode(&self.line, &message, &[("dropped".to_owned(), self.dropped.to_string())]);
        bytes.pop();
        bytes.resize(MARKER_BYTES - 1, b' ');
        bytes.push(b'\n');
        bytes
    }
}
