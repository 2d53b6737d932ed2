//! The fixed trees, typed.
//!
//! Rules that were paid for (sled 1.0.0-alpha.124): one thread, single inserts and removes only
//! (a batch never frees emptied leaves and deadlocks), never `drop_tree` (bricks the database),
//! a flush timer that never fires (another one commits half a unit).

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::ops::Bound;
use std::path::Path;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{self, EventRecord};
use super::core::Halt;
use super::keys;
use crate::schedule::Schedule;
use crate::store::request::{MediaRecord, StateEntry};
use crate::task::{Spec, Status, TaskId};

/// Records a leaf. Fixed when a directory is created: sled refuses another.
const FANOUT: usize = 64;
/// Some 46 days: the timer must exist (without it every dropped iterator flushes) and never fire.
const NEVER_MS: usize = 4_000_000_000;
/// Fast rather than small: leaves are rewritten often.
const ZSTD_LEVEL: i32 = 1;

type Db = sled::Db<FANOUT>;
type RawTree = sled::Tree<FANOUT>;
/// A key or a value as sled hands it out.
pub(super) type Bytes = sled::InlineArray;

/// One tree whose values are records of `T`.
pub(super) struct Table<T> {
    name: &'static str,
    tree: RawTree,
    writes: Rc<Cell<u64>>,
    record: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Table<T> {
    /// One record.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<T>, Halt> {
        self.tree.get(key)?.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Whether there is a record.
    pub(super) fn contains(&self, key: &[u8]) -> Result<bool, Halt> {
        Ok(self.tree.contains_key(key)?)
    }

    /// Writes a record.
    pub(super) fn put(&self, key: &[u8], record: &T) -> Result<(), Halt> {
        self.writes.set(self.writes.get() + 1);
        self.tree.insert(key, codec::encode(record)?)?;
        Ok(())
    }

    /// Removes a record; answers whether there was one.
    pub(super) fn remove(&self, key: &[u8]) -> Result<bool, Halt> {
        let removed = self.tree.remove(key)?.is_some();
        self.writes.set(self.writes.get() + u64::from(removed));
        Ok(removed)
    }

    /// Raw records in key order; [`Self::decode`] those that matter.
    pub(super) fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
    ) -> impl DoubleEndedIterator<Item = io::Result<(Bytes, Bytes)>> + use<T> {
        self.tree.range::<&[u8], _>((from, to))
    }

    /// The first record's key.
    pub(super) fn first_key(&self) -> Result<Option<Bytes>, Halt> {
        Ok(self.tree.first()?.map(|(key, _)| key))
    }

    /// A record from what [`Self::range`] yields.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<T, Halt> {
        codec::decode(self.name, bytes)
    }
}

/// Everything that is durable.
pub(super) struct Trees {
    db: Db,
    writes: Rc<Cell<u64>>,
    /// What a task is. Never rewritten.
    pub(super) body: Table<Spec>,
    /// How a queued or running task stands.
    pub(super) live: Table<Status>,
    /// How an ended task stands.
    pub(super) done: Table<Status>,
    /// What a task's attempts hand on.
    pub(super) checkpoint: Table<Vec<u8>>,
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
}

/// A database whose format is not known yet.
pub(super) struct Unchecked {
    db: Db,
    writes: Rc<Cell<u64>>,
    /// [`keys::FORMAT`].
    pub(super) format: Table<codec::Format>,
}

impl Unchecked {
    /// Opens or creates the database in the directory `path`.
    pub(super) fn open(path: &Path, cache_bytes: usize) -> io::Result<Self> {
        let db: Db = sled::Config::new()
            .path(path)
            .cache_capacity_bytes(cache_bytes)
            .flush_every_ms(Some(NEVER_MS))
            .zstd_compression_level(ZSTD_LEVEL)
            .open()?;
        let writes = Rc::new(Cell::new(0));
        let format = table(&db, &writes, "meta")?;
        Ok(Self { db, writes, format })
    }

    /// Opens the rest.
    pub(super) fn trees(self) -> io::Result<Trees> {
        let Self { db, writes, format: _ } = self;
        Ok(Trees {
            body: table(&db, &writes, "body")?,
            live: table(&db, &writes, "live")?,
            done: table(&db, &writes, "done")?,
            checkpoint: table(&db, &writes, "checkpoint")?,
            schedule: table(&db, &writes, "schedule")?,
            media: table(&db, &writes, "media")?,
            state: table(&db, &writes, "state")?,
            event: table(&db, &writes, "event")?,
            commit: table(&db, &writes, "meta")?,
            namespace: table(&db, &writes, "meta")?,
            db,
            writes,
        })
    }
}

impl Trees {
    /// Writes since the start: unchanged means that there is nothing to flush.
    pub(super) fn writes(&self) -> u64 {
        self.writes.get()
    }

    /// Makes every write durable, all or none. After an error nothing may touch the database again.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.db.flush().map(drop)
    }

    /// A task's body, which exists as long as the task does.
    pub(super) fn spec(&self, id: TaskId) -> Result<Spec, Halt> {
        self.body.get(&keys::task(id))?.ok_or_else(|| Halt::Broken(format!("task {id} has no body")))
    }
}

fn table<T>(db: &Db, writes: &Rc<Cell<u64>>, name: &'static str) -> io::Result<Table<T>> {
    Ok(Table { name, tree: db.open_tree(name)?, writes: Rc::clone(writes), record: PhantomData })
}
