//! From an export to a store: all or nothing.

use std::fs;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use super::super::codec::{Account, CommitRecord, EventRecord, HeldRecord, KnownRecord, Namespace};
use super::super::core::{EVENTS_A_RECORD, Halt};
use super::super::create::kept_key;
use super::super::history::count;
use super::super::lock::DirLock;
use super::super::mark::{Mark, Position};
use super::super::open::{create, open_database, sync_all, sync_parent};
use super::super::trees::Trees;
use super::super::{OpenError, keys};
use super::{Offline, check, on_a_large_stack, place};
use crate::event::Event;
use crate::store::dump::{
    BatchLine, Counts, Header, Line, NamespaceLine, PauseLine, ReadError, Reader, StateLine, TaskLine, TokensLine,
    Wrong,
};
use crate::task::TaskId;

/// What the imported store calls its event sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// Another name: clients that follow the events start over. Right for a backup, because the
    /// exported store may have gone on since, with other events under the same numbers.
    New,
    /// The same name: clients go on. Right for a move, when the exported store is not used again.
    Kept,
}

/// Why an export was not imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The export is not right.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The lines are whole, but do not agree with each other.
    #[error("the export is not consistent: {0}")]
    Inconsistent(String),
    /// There is something already.
    #[error("{} is not empty: an import needs a new directory", .0.display())]
    NotEmpty(PathBuf),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] OpenError),
}

impl From<Halt> for ImportError {
    fn from(halt: Halt) -> Self {
        Self::Store(halt.into())
    }
}

impl From<io::Error> for ImportError {
    fn from(error: io::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Makes a store in `dir`, which must be missing or empty, of an export. Until the whole export was
/// read and found right, `dir` stays as it is. Memory does not grow with the export.
pub fn import(dir: &Path, source: impl BufRead + Send, epoch: Epoch) -> Result<Counts, ImportError> {
    require_empty(dir)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), fs::create_dir_all)?;
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".importing");
    let temporary = dir.with_file_name(name);
    fs::create_dir_all(&temporary)?;
    // Two imports at the same time: the second is told about the first.
    let lock = DirLock::take(&temporary)?;
    let imported = on_a_large_stack(|| fill(&temporary, source, epoch))?.and_then(|counts| {
        require_empty(dir)?;
        // Replaces an empty directory.
        fs::rename(&temporary, dir)?;
        sync_parent(dir)?;
        Ok(counts)
    });
    if imported.is_err() {
        // What cannot be removed is removed by the next import.
        drop(fs::remove_dir_all(&temporary));
    }
    drop(lock);
    imported
}

fn require_empty(dir: &Path) -> Result<(), ImportError> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(ImportError::NotEmpty(dir.to_owned())),
        },
    }
}

fn fill(dir: &Path, source: impl BufRead, epoch: Epoch) -> Result<Counts, ImportError> {
    let (mut reader, header) = Reader::begin(source)?;
    let database = place(dir);
    // What an import that was killed has left.
    match fs::remove_dir_all(&database.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let epoch = if epoch == Epoch::Kept { header.epoch } else { fastrand::u32(1..) };
    let (unchecked, _) = open_database(database)?;
    let mut filling = Filling {
        trees: create(unchecked, dir, epoch)?,
        ended: [Account::default(); 3],
        events: Vec::new(),
        next_event: 0,
    };
    while let Some(line) = reader.next()? {
        filling.line(line).map_err(|failed| match failed {
            Failed::Wrong(text) => reader.at_this_line(Wrong::Misplaced(text)).into(),
            Failed::Halt(halt) => ImportError::from(halt),
        })?;
        filling = filling.spill()?;
    }
    filling.finish(dir, &header, epoch)?;
    Ok(reader.counts())
}

enum Failed {
    Wrong(String),
    Halt(Halt),
}

impl From<Halt> for Failed {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

/// A store in the making.
struct Filling {
    trees: Trees,
    ended: [Account; 3],
    /// Events of the record in the making.
    events: EventRecord,
    /// The number behind the latest event.
    next_event: u64,
}

impl Filling {
    fn line(&mut self, line: Line) -> Result<(), Failed> {
        match line {
            Line::Namespace(NamespaceLine { plugin, version, bytes }) => {
                let key = keys::namespace(&plugin);
                once(self.trees.namespace.contains(&key)?)?;
                self.trees.namespace.put(&key, &Namespace { version, bytes })?;
            }
            Line::State(StateLine { plugin, key, entry }) => {
                let key = keys::state(&plugin, &key);
                once(self.trees.state.contains(&key)?)?;
                self.trees.state.put(&key, &entry)?;
            }
            Line::Fairness(fairness) => {
                once(self.trees.fairness.contains(keys::FAIRNESS)?)?;
                self.trees.fairness.put(keys::FAIRNESS, &fairness)?;
            }
            Line::Limit(limit) => {
                let key = limit.rule.name.as_bytes();
                once(self.trees.limit.contains(key)?)?;
                self.trees.limit.put(key, &limit)?;
            }
            Line::Tokens(TokensLine { limit, value, tokens }) => {
                let key = keys::bucket(&limit, &value);
                once(self.trees.bucket.contains(&key)?)?;
                self.trees.bucket.put(&key, &tokens)?;
            }
            Line::Pause(PauseLine { of, pause }) => {
                let key = keys::pause(&of);
                once(self.trees.pause.contains(&key)?)?;
                self.trees.pause.put(&key, &pause)?;
            }
            Line::Schedule(schedule) => {
                let key = schedule.spec.name.as_bytes();
                once(self.trees.schedule.contains(key)?)?;
                self.trees.schedule.put(key, &schedule)?;
            }
            Line::Media(media) => {
                once(self.trees.media.contains(media.id.as_bytes())?)?;
                self.trees.media.put(media.id.as_bytes(), &media)?;
            }
            Line::Batch(batch) => {
                let BatchLine { id, spec, tally } = *batch;
                once(self.trees.batch.contains(&keys::batch(id))?)?;
                self.trees.batch.put(&keys::batch(id), &spec)?;
                self.trees.batch_tally.put(&keys::batch(id), &tally)?;
                if let Some(request) = &spec.idempotency {
                    let known = KnownRecord { id: TaskId::from_u128(id.as_u128()), fingerprint: request.fingerprint };
                    self.trees.request.put(&keys::batch_request(&request.key), &known)?;
                }
            }
            Line::Task(task) => self.task(&task)?,
            Line::Event(event) => self.event(event)?,
            Line::Header(_) | Line::End(_) => return Err(Failed::Wrong("not a record".to_owned())),
        }
        Ok(())
    }

    fn task(&mut self, task: &TaskLine) -> Result<(), Failed> {
        let TaskLine { id, spec, status, checkpoint, work } = task;
        let key = keys::task(*id);
        once(self.trees.body.contains(&key)?)?;
        self.trees.body.put(&key, spec)?;
        let ended = status.state.is_terminal();
        if ended { &self.trees.done } else { &self.trees.live }.put(&key, status)?;
        count(&mut self.ended, spec, status);
        for request in &spec.new.idempotency {
            let known = KnownRecord { id: *id, fingerprint: request.fingerprint };
            self.trees.request.put(request.key.as_bytes(), &known)?;
        }
        for link in keys::links(*id, &spec.new) {
            self.trees.link.put(&link, &())?;
        }
        if ended && let Some((key, until)) = kept_key(spec, &status.state) {
            self.trees.held.put(key.as_bytes(), &HeldRecord { id: *id, until })?;
        }
        if let Some(checkpoint) = checkpoint {
            self.trees.checkpoint.put(&key, checkpoint)?;
        }
        if let Some(work) = work {
            self.trees.work.put(&key, work)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), Failed> {
        let Event { seq, at, change } = event;
        if self.next_event != 0 && seq != self.next_event {
            return Err(Failed::Wrong(format!("event {seq} follows event {}", self.next_event - 1)));
        }
        if self.events.len() == EVENTS_A_RECORD {
            self.write_events()?;
        }
        self.events.push((at, change));
        self.next_event = seq.checked_add(1).ok_or_else(|| Failed::Wrong("no event follows this one".to_owned()))?;
        Ok(())
    }

    fn write_events(&mut self) -> Result<(), Halt> {
        let events = std::mem::take(&mut self.events);
        if !events.is_empty() {
            self.trees.event.put(&keys::event(self.next_event - events.len() as u64), &events)?;
        }
        Ok(())
    }

    /// Gives memory back when much was written.
    fn spill(self) -> Result<Self, ImportError> {
        if !self.trees.has_outgrown() {
            return Ok(self);
        }
        let trees = flushed(self.trees)?.reopen()?;
        Ok(Self { trees, ..self })
    }

    /// Looks at the whole, and makes it durable.
    fn finish(mut self, dir: &Path, header: &Header, epoch: u32) -> Result<(), ImportError> {
        self.write_events()?;
        let commit = CommitRecord { seq: header.commit, last_event: header.last_event, ended: self.ended };
        self.trees.commit.put(keys::COMMIT, &commit)?;
        let store = Offline { trees: flushed(self.trees)?, commit, epoch, mark: None, _lock: None };
        let report = check::inspect(&store)?;
        if let Some(problem) = report.problems.into_iter().next() {
            return Err(ImportError::Inconsistent(problem));
        }
        drop(store);
        drop(Mark::create(dir, Position { epoch, seq: commit.seq })?);
        sync_all(dir)?;
        Ok(())
    }
}

/// After a failed flush, dropping the database would wait forever.
fn flushed(trees: Trees) -> io::Result<Trees> {
    match trees.flush() {
        Ok(()) => Ok(trees),
        Err(error) => {
            std::mem::forget(trees);
            Err(error)
        }
    }
}

fn once(exists: bool) -> Result<(), Failed> {
    if exists { Err(Failed::Wrong("the same record was there before".to_owned())) } else { Ok(()) }
}
