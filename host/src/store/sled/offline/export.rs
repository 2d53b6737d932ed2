//! From a store to an export.

use std::io::{self, Write};
use std::ops::Bound;
use std::path::Path;

use super::super::OpenError;
use super::super::codec::Namespace;
use super::super::core::Halt;
use super::super::keys;
use super::super::trees::{Table, Trees};
use super::rows::{Row, Rows};
use super::{Offline, on_a_large_stack, read};
use crate::event::Event;
use crate::store::dump::{
    BatchLine, Counts, Header, Line, NamespaceLine, PauseLine, StateLine, TaskLine, TokensLine, Writer,
};

/// Why a store was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The export cannot be written.
    #[error("the export cannot be written: {0}")]
    Write(io::Error),
}

/// Writes everything that the store in `dir` keeps to `out`; nothing in the store changes. Memory
/// does not grow with the store. Refused while a host uses it.
pub fn export(dir: &Path, out: impl Write + Send) -> Result<Counts, ExportError> {
    let work = || {
        let mut written = Ok(Counts::default());
        read(dir, |store| {
            if let Some(mark) = store.lost() {
                let text = format!("commit {} was acknowledged, the latest one is {}", mark.seq, store.commit.seq);
                return Err(Halt::Broken(text));
            }
            match write(store, out) {
                Err(Failed::Halt(halt)) => return Err(halt),
                Err(Failed::Write(error)) => written = Err(ExportError::Write(error)),
                Ok(counts) => written = Ok(counts),
            }
            Ok(())
        })?;
        written
    };
    on_a_large_stack(work).map_err(OpenError::Io)?
}

enum Failed {
    Halt(Halt),
    Write(io::Error),
}

impl From<Halt> for Failed {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

fn write(store: &Offline, out: impl Write) -> Result<Counts, Failed> {
    let header = Header::new(store.epoch, store.commit.seq, store.commit.last_event);
    let mut writer = Writer::begin(out, header).map_err(Failed::Write)?;
    let mut line = |line: Line| writer.line(&line).map_err(Failed::Write);
    let Trees { schedule, media, state, event, namespace, fairness, limit, bucket, pause, .. } = &store.trees;
    let first = keys::namespace("");
    for record in namespace.range(Bound::Included(&first), Bound::Unbounded) {
        let (key, value) = record.map_err(Halt::from)?;
        let Some(plugin) = keys::namespace_of(&key) else { break };
        let Namespace { version, bytes } = namespace.decode(&value)?;
        line(Line::Namespace(NamespaceLine { plugin: plugin.to_owned(), version, bytes }))?;
    }
    each(state, |key, entry| {
        let (plugin, key) = keys::state_of(key).ok_or_else(|| damaged_key("state"))?;
        line(Line::State(StateLine { plugin: plugin.to_owned(), key: key.to_owned(), entry }))
    })?;
    if let Some(fairness) = fairness.get(keys::FAIRNESS)? {
        line(Line::Fairness(fairness))?;
    }
    each(limit, |_, limit| line(Line::Limit(limit)))?;
    each(bucket, |key, tokens| {
        let (limit, value) = keys::bucket_of(key).ok_or_else(|| damaged_key("bucket"))?;
        line(Line::Tokens(TokensLine { limit: limit.to_owned(), value: value.to_owned(), tokens }))
    })?;
    each(pause, |key, pause| {
        let of = keys::pause_of(key).ok_or_else(|| damaged_key("pause"))?;
        line(Line::Pause(PauseLine { of, pause }))
    })?;
    each(schedule, |_, schedule| line(Line::Schedule(Box::new(schedule))))?;
    each(media, |_, media| line(Line::Media(media)))?;
    each(&store.trees.batch, |key, spec| {
        let id = keys::batch_of(key).ok_or_else(|| damaged_key("batch"))?;
        let tally = store.trees.batch_tally.get(key)?.ok_or_else(|| damaged_key("tally"))?;
        line(Line::Batch(Box::new(BatchLine { id, spec, tally })))
    })?;
    for row in Rows::of(&store.trees) {
        line(Line::Task(Box::new(task(&store.trees, &row.map_err(Halt::from)?)?)))?;
    }
    each(event, |key, record| {
        let first = keys::event_of(key).ok_or_else(|| damaged_key("event"))?;
        (first..).zip(record).try_for_each(|(seq, (at, change))| line(Line::Event(Event { seq, at, change })))
    })?;
    writer.end().map_err(Failed::Write)
}

fn each<T: serde::Serialize + serde::de::DeserializeOwned>(
    table: &Table<T>,
    mut take: impl FnMut(&[u8], T) -> Result<(), Failed>,
) -> Result<(), Failed> {
    for record in table.range(Bound::Unbounded, Bound::Unbounded) {
        let (key, value) = record.map_err(Halt::from)?;
        if *key == *keys::COMMIT {
            continue;
        }
        take(&key, table.decode(&value)?)?;
    }
    Ok(())
}

fn task(trees: &Trees, row: &Row) -> Result<TaskLine, Halt> {
    let id = keys::task_of(&row.key).ok_or_else(|| damaged_key("body"))?;
    let (Some(body), (Some(status), None) | (None, Some(status))) = (&row.body, (&row.live, &row.done)) else {
        return Err(Halt::Broken(format!("task {id} is not whole: `taskhost store check` says more")));
    };
    let checkpoint = row.checkpoint.as_ref().map(|bytes| trees.checkpoint.decode(bytes)).transpose()?;
    let work = row.work.as_ref().map(|bytes| trees.work.decode(bytes)).transpose()?;
    Ok(TaskLine { id, spec: trees.body.decode(body)?, status: trees.live.decode(status)?, checkpoint, work })
}

fn damaged_key(tree: &str) -> Halt {
    Halt::Broken(format!("a key of tree `{tree}` is damaged"))
}
