//! An export: everything that a store keeps, as JSON Lines that need no store to be read.
//!
//! ```text
//! {"crc32":"5d1f6e0a","header":{"format":"taskhost-export","version":1,"epoch":7,…}}
//! {"crc32":"…","state":{…}}           one line a record, sorted by what it is and by its key
//! {"crc32":"…","end":{"lines":2,"counts":{…},"sha256":"…"}}
//! ```
//!
//! `crc32` is that of the line without its first member, as in zip: `{"header":…}`. The last line
//! counts the lines before it and has the SHA-256 of their bytes, line ends included. Instants are
//! milliseconds since the epoch, bytes are hexadecimal. Files of the media library are not part of
//! an export, their records are.

mod read;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub(super) use self::read::Reader;
pub use self::read::{ReadError, Wrong};
use super::limits::Pausable;
use super::request::{MediaRecord, StateEntry, WorkRecord};
use crate::event::Event;
use crate::limit::{Fairness, Limit, TokenBucket};
use crate::schedule::{Pause, Schedule};
use crate::task::{BatchId, BatchSpec, BatchTally, Spec, Status, TaskId, text};

/// What an export calls itself.
const FORMAT: &str = "taskhost-export";
/// Raised when the form of a line changes.
const VERSION: u32 = 1;
/// One line at most, in bytes: an export that was not made by us must not fill the memory.
const MAX_LINE_BYTES: usize = 256 << 20;
/// What every line begins with; eight digits and `",` follow.
const CRC_PREFIX: &str = "{\"crc32\":\"";

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: String,
    pub(super) version: u32,
    /// Names the event sequence.
    pub(super) epoch: u32,
    /// The latest commit.
    pub(super) commit: u64,
    /// The latest event; it may be forgotten already.
    pub(super) last_event: u64,
}

impl Header {
    /// The header of an export of today's version.
    pub(super) fn new(epoch: u32, commit: u64, last_event: u64) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, epoch, commit, last_event }
    }
}

/// What a plugin's namespace has used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NamespaceLine {
    pub(super) plugin: String,
    /// The latest version that was handed out.
    pub(super) version: u64,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
}

/// A queue or a kind that is paused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PauseLine {
    pub(super) of: Pausable,
    pub(super) pause: Pause,
}

/// What is left of a limit's rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TokensLine {
    pub(super) limit: String,
    /// The value of its key.
    pub(super) value: String,
    pub(super) tokens: TokenBucket,
}

/// An entry of a plugin's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StateLine {
    pub(super) plugin: String,
    pub(super) key: String,
    pub(super) entry: StateEntry,
}

/// A task, whatever its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TaskLine {
    pub(super) id: TaskId,
    pub(super) spec: Spec,
    pub(super) status: Status,
    #[serde(with = "text::bytes")]
    pub(super) checkpoint: Option<Vec<u8>>,
    pub(super) work: Option<WorkRecord>,
}

/// A batch; its members are tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BatchLine {
    pub(super) id: BatchId,
    pub(super) spec: BatchSpec,
    pub(super) tally: BatchTally,
}

/// How many lines of each sort there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Plugins that keep state.
    pub namespaces: u64,
    /// Entries of plugins' states.
    pub state: u64,
    /// Limits, and whether the host is shared.
    pub limits: u64,
    /// Rates of which something is used up.
    pub tokens: u64,
    /// Queues and kinds that are paused.
    pub pauses: u64,
    /// Schedules.
    pub schedules: u64,
    /// Media records.
    pub media: u64,
    /// Batches.
    pub batches: u64,
    /// Tasks of every state.
    pub tasks: u64,
    /// Events that are still kept.
    pub events: u64,
}

impl Counts {
    pub(super) fn count(&mut self, line: &Line) {
        *match line {
            Line::Header(_) | Line::End(_) => return,
            Line::Namespace(_) => &mut self.namespaces,
            Line::State(_) => &mut self.state,
            Line::Fairness(_) | Line::Limit(_) => &mut self.limits,
            Line::Tokens(_) => &mut self.tokens,
            Line::Pause(_) => &mut self.pauses,
            Line::Schedule(_) => &mut self.schedules,
            Line::Media(_) => &mut self.media,
            Line::Batch(_) => &mut self.batches,
            Line::Task(_) => &mut self.tasks,
            Line::Event(_) => &mut self.events,
        } += 1;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { namespaces, state, limits, tokens, pauses, schedules, media, batches, tasks, events } = self;
        write!(
            f,
            "{tasks} tasks, {batches} batches, {events} events, {schedules} schedules, {media} media records, \
             {state} entries of plugin state in {namespaces} namespaces, {limits} limits, {tokens} rates in use, {pauses} pauses"
        )
    }
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// Lines before this one.
    pub(super) lines: u64,
    pub(super) counts: Counts,
    /// Of all bytes before this line.
    pub(super) sha256: String,
}

/// Any line, in the order in which they come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line {
    Header(Header),
    Namespace(NamespaceLine),
    State(StateLine),
    Fairness(Fairness),
    Limit(Limit),
    Tokens(TokensLine),
    Pause(PauseLine),
    Schedule(Box<Schedule>),
    Media(MediaRecord),
    Batch(Box<BatchLine>),
    Task(Box<TaskLine>),
    Event(Event),
    End(End),
}

/// Writes an export, a line at a time.
pub(super) struct Writer<W> {
    out: W,
    hash: Sha256,
    lines: u64,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    pub(super) fn begin(out: W, header: Header) -> io::Result<Self> {
        let mut writer = Self { out, hash: Sha256::new(), lines: 0, counts: Counts::default() };
        writer.line(&Line::Header(header))?;
        Ok(writer)
    }

    /// One more line.
    pub(super) fn line(&mut self, line: &Line) -> io::Result<()> {
        let bytes = encode(line)?;
        self.hash.update(&bytes);
        self.lines += 1;
        self.counts.count(line);
        self.out.write_all(&bytes)
    }

    /// The last line. Answers what was written.
    pub(super) fn end(mut self) -> io::Result<Counts> {
        let sha256 = text::encode_hex(&self.hash.finalize());
        let end = encode(&Line::End(End { lines: self.lines, counts: self.counts, sha256 }))?;
        self.out.write_all(&end)?;
        self.out.flush()?;
        Ok(self.counts)
    }
}

/// A line with its check sum and its end.
fn encode(line: &Line) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(line)?;
    let sum = format!("{CRC_PREFIX}{:08x}\",", crc32fast::hash(&body));
    Ok([sum.as_bytes(), body.get(1..).unwrap_or_default(), b"\n"].concat())
}
