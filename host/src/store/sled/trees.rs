//! The fixed trees, typed. What they stand on, and the rules that come with it, is in `base`.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::ops::Bound;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::base::{Base, Bytes, Place, Range, Tree};
use super::codec::{self, EventRecord};
use super::core::Halt;
use super::fault::{self, Point};
use super::keys;
use crate::limit::{Fairness, Limit, TokenBucket};
use crate::schedule::{Pause, Schedule};
use crate::store::request::{MediaRecord, StateEntry, WorkRecord};
use crate::task::{BatchSpec, BatchTally, Spec, Status, TaskId};

/// What a record weighs in memory beside its key and value, roughly, in bytes.
const RECORD_OVERHEAD: i64 = 96;

/// What was done since the database was opened.
#[derive(Debug, Default)]
struct Tally {
    writes: Cell<u64>,
    /// Bytes of records added, less those removed.
    growth: Cell<i64>,
}

impl Tally {
    fn count(&self, key: &[u8], before: Option<&Bytes>, after: Option<usize>) {
        let weight = |len: usize| i64::try_from(key.len() + len).unwrap_or(i64::MAX) + RECORD_OVERHEAD;
        let growth = after.map_or(0, weight) - before.map_or(0, |value| weight(value.len()));
        self.growth.set(self.growth.get() + growth);
        self.writes.set(self.writes.get() + 1);
    }
}

/// One tree whose values are records of `T`.
pub(super) struct Table<T> {
    name: &'static str,
    tree: Tree,
    tally: Rc<Tally>,
    record: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// One record.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<T>, Halt> {
        self.tree.get(key)?.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Whether there is a record.
    pub(super) fn contains(&self, key: &[u8]) -> Result<bool, Halt> {
        Ok(self.tree.get(key)?.is_some())
    }

    /// Writes a record.
    pub(super) fn put(&self, key: &[u8], record: &T) -> Result<(), Halt> {
        self.put_as(key, record)
    }

    /// Writes what encodes like a record.
    pub(super) fn put_as(&self, key: &[u8], record: &impl Serialize) -> Result<(), Halt> {
        let value = codec::encode(record)?;
        let len = value.len();
        let before = self.tree.insert(key, value)?;
        self.tally.count(key, before.as_ref(), Some(len));
        Ok(())
    }

    /// Removes a record and answers it.
    pub(super) fn take(&self, key: &[u8]) -> Result<Option<T>, Halt> {
        let Some(before) = self.tree.remove(key)? else { return Ok(None) };
        self.tally.count(key, Some(&before), None);
        self.decode(&before).map(Some)
    }

    /// Removes a record; answers whether there was one.
    pub(super) fn remove(&self, key: &[u8]) -> Result<bool, Halt> {
        let before = self.tree.remove(key)?;
        if before.is_some() {
            self.tally.count(key, before.as_ref(), None);
        }
        Ok(before.is_some())
    }

    /// Raw records in key order; [`Self::decode`] those that matter.
    pub(super) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range {
        self.tree.range(from, to)
    }

    /// The first record's key.
    pub(super) fn first_key(&self) -> Result<Option<Bytes>, Halt> {
        Ok(self.range(Bound::Unbounded, Bound::Unbounded).next().transpose()?.map(|(key, _)| key))
    }

    /// A record from what [`Self::range`] yields.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<T, Halt> {
        codec::decode(self.name, bytes)
    }
}

/// Everything that is durable.
pub(super) struct Trees {
    tally: Rc<Tally>,
    /// What a task is. Never rewritten.
    pub(super) body: Table<Spec>,
    /// How a queued or running task stands.
    pub(super) live: Table<Status>,
    /// How an ended task stands.
    pub(super) done: Table<Status>,
    /// What a task's attempts hand on.
    pub(super) checkpoint: Table<Vec<u8>>,
    /// What is kept of work outside of the host, while it goes on.
    pub(super) work: Table<WorkRecord>,
    /// Unique keys that ended tasks hold.
    pub(super) held: Table<codec::HeldRecord>,
    /// Idempotency keys of the tasks that are kept.
    pub(super) request: Table<codec::KnownRecord>,
    /// Who is linked to whom, by [`keys::Link::key`].
    pub(super) link: Table<()>,
    /// What each batch is. Never rewritten.
    pub(super) batch: Table<BatchSpec>,
    /// What has become of its members.
    pub(super) batch_tally: Table<BatchTally>,
    /// Schedules by name.
    pub(super) schedule: Table<Schedule>,
    /// Media records by id.
    pub(super) media: Table<MediaRecord>,
    /// Plugin state.
    pub(super) state: Table<StateEntry>,
    /// Events by the number of the first of the record.
    pub(super) event: Table<EventRecord>,
    /// [`keys::COMMIT`].
    pub(super) commit: Table<codec::CommitRecord>,
    /// Accounts of the namespaces.
    pub(super) namespace: Table<codec::Namespace>,
    /// Limits by name.
    pub(super) limit: Table<Limit>,
    /// Token buckets that are not full.
    pub(super) bucket: Table<TokenBucket>,
    /// Queues and kinds that are paused.
    pub(super) pause: Table<Pause>,
    /// [`keys::FAIRNESS`].
    pub(super) fairness: Table<Fairness>,
    db: Base,
}

/// A database whose format is not known yet.
pub(super) struct Unchecked {
    tally: Rc<Tally>,
    /// [`keys::FORMAT`].
    pub(super) format: Table<codec::Format>,
    db: Base,
}

impl Unchecked {
    /// Opens or creates a database.
    pub(super) fn open(place: Place) -> io::Result<Self> {
        Self::over(Base::open(place)?)
    }

    /// Over what is open.
    pub(super) fn over(db: Base) -> io::Result<Self> {
        let tally = Rc::default();
        let format = table(&db, &tally, "meta")?;
        Ok(Self { tally, format, db })
    }

    /// Opens the rest.
    pub(super) fn trees(self) -> io::Result<Trees> {
        let Self { tally, format: _, db } = self;
        let trees = Trees {
            body: table(&db, &tally, "body")?,
            live: table(&db, &tally, "live")?,
            done: table(&db, &tally, "done")?,
            checkpoint: table(&db, &tally, "checkpoint")?,
            work: table(&db, &tally, "work")?,
            held: table(&db, &tally, "held")?,
            request: table(&db, &tally, "request")?,
            link: table(&db, &tally, "link")?,
            batch: table(&db, &tally, "batch")?,
            batch_tally: table(&db, &tally, "tally")?,
            schedule: table(&db, &tally, "schedule")?,
            media: table(&db, &tally, "media")?,
            state: table(&db, &tally, "state")?,
            event: table(&db, &tally, "event")?,
            commit: table(&db, &tally, "event")?,
            namespace: table(&db, &tally, "meta")?,
            limit: table(&db, &tally, "limit")?,
            bucket: table(&db, &tally, "bucket")?,
            pause: table(&db, &tally, "pause")?,
            fairness: table(&db, &tally, "meta")?,
            tally,
            db,
        };
        if let Err(error) = trees.flush() {
            // After a failed flush, dropping the database would wait forever.
            std::mem::forget(trees);
            return Err(error);
        }
        Ok(trees)
    }
}

impl Trees {
    /// Writes since the start: unchanged means that there is nothing to flush.
    pub(super) fn writes(&self) -> u64 {
        self.tally.writes.get()
    }

    /// Whether it is time to [`Self::reopen`].
    pub(super) fn has_outgrown(&self) -> bool {
        self.tally.growth.get() > self.db.max_growth_bytes()
    }

    /// Closes the database, which must be flushed, and opens it again with little in memory.
    pub(super) fn reopen(self) -> io::Result<Self> {
        let open = self.db.opener();
        drop(self);
        fault::point(Point::Reopening);
        Unchecked::over(open()?)?.trees()
    }

    /// Makes every write durable, all or none. After an error nothing may touch the database again.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.db.flush()
    }

    /// A task's body, which exists as long as the task does.
    pub(super) fn spec(&self, id: TaskId) -> Result<Spec, Halt> {
        self.body.get(&keys::task(id))?.ok_or_else(|| Halt::Broken(format!("task {id} has no body")))
    }
}

fn table<T>(db: &Base, tally: &Rc<Tally>, name: &'static str) -> io::Result<Table<T>> {
    Ok(Table { name, tree: db.tree(name)?, tally: Rc::clone(tally), record: PhantomData })
}
