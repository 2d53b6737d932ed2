//! The form of a line on disk and over HTTP.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize, Serializer};

use super::read_range;
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

fn encode(line: &LogLine, message: &str, fields: &[(String, String)]) -> Vec<u8> {
    let line = Line {
        at: line.at.to_string(),
        attempt: line.attempt,
        level: line.level.name(),
        source: line.source.name(),
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
// The first line of a log that has made room counts, too, and has more.
#[serde(deny_unknown_fields)]
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
        let (attempt, dropped) = Self::stored(bytes)?;
        let mut marker = Self::new(next);
        marker.line.attempt = attempt;
        Some(Self { dropped, ..marker })
    }

    /// What the last bytes of a log count, if they are a marker.
    pub(super) fn count_in(bytes: &[u8]) -> Option<u64> {
        Self::stored(bytes).map(|(_, dropped)| dropped)
    }

    /// Of which attempt it is, and what it counts.
    fn stored(bytes: &[u8]) -> Option<(u32, u64)> {
        let stored: StoredMarker = serde_json::from_slice(bytes).ok()?;
        let dropped = stored.fields.dropped.parse().ok()?;
        (stored.source == "host").then_some((stored.attempt, dropped))
    }

    /// The line, padded to [`MARKER_BYTES`].
    pub(super) fn encode(&self) -> Vec<u8> {
        let message = format!("the log is full: {} further lines were dropped", self.dropped);
        padded(encode(&self.line, &message, &[("dropped".to_owned(), self.dropped.to_string())]))
    }
}

/// Which attempt wrote a line.
pub(super) fn attempt_of(text: &str) -> Option<u32> {
    // The only text before it is a date.
    let (_, rest) = text.split_once("\"attempt\":")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The first line of a log that has made room: what went, and where the rest began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Lines that went, in all.
    pub(super) dropped: u64,
    /// Where the line behind this one was when the log was whole.
    pub(super) first_offset: u64,
}

#[derive(Deserialize)]
struct StoredHead {
    source: String,
    fields: StoredHeadFields,
}

#[derive(Deserialize)]
struct StoredHeadFields {
    dropped: String,
    first_offset: String,
}

impl Head {
    /// The head of a log, if it has one.
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        Ok(Self::parse(&read_range(file, 0, MARKER_BYTES)?))
    }

    /// The head at the beginning of these bytes, if there is one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let stored: StoredHead = serde_json::from_slice(bytes.get(..MARKER_BYTES)?).ok()?;
        let StoredHeadFields { dropped, first_offset } = stored.fields;
        let head = Self { dropped: dropped.parse().ok()?, first_offset: first_offset.parse().ok()? };
        (stored.source == "host" && head.first_offset >= MARKER_BYTES as u64).then_some(head)
    }

    /// What is to be added to a place in the file to get the place in the whole log.
    pub(super) fn base(&self) -> u64 {
        self.first_offset - MARKER_BYTES as u64
    }

    /// The line, padded to [`MARKER_BYTES`]; its time and its attempt are those of `like`.
    pub(super) fn encode(self, like: &LogLine) -> Vec<u8> {
        let message = format!("{} older lines were dropped to make room for a later attempt", self.dropped);
        let fields = [("dropped", self.dropped), ("first_offset", self.first_offset)];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_string()));
        padded(encode(&Marker::new(like).line, &message, &fields))
    }
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.pop();
    bytes.resize(MARKER_BYTES - 1, b' ');
    bytes.push(b'\n');
    bytes
}
