//! The fixed trees, typed.
//!
//! Rules that were paid for (sled 1.0.0-alpha.124): one thread, single inserts and removes only
//! (a batch never frees emptied leaves and deadlocks), never `drop_tree` (bricks the database),
//! a flush timer that never fires (another one commits half a unit). And: a leaf that was written
//! is never paged out again by the same database value (its `max_unflushed_epoch` stays set), so
//! that everything written stays in memory whatever the cache's size. The remedy is to reopen the
//! database when it has grown enough ([`Trees::has_outgrown`]). And: the first page of an empty
//! tree is paged out although it was never stored, and then the next access spins forever; so
//! every tree's first page is stored before anything else happens.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::ops::Bound;
use std::path::PathBuf;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::apart;
use super::codec::{self, EventRecord};
use super::core::Halt;
use super::fault::{self, Point};
use super::keys;
use crate::schedule::Schedule;
use crate::store::request::{MediaRecord, StateEntry};
use crate::task::{BatchSpec, BatchTally, Spec, Status, TaskId};

/// Records a leaf. Fixed when a directory is created: sled refuses another.
const FANOUT: usize = 64;
/// Some 46 days: the timer must exist (without it every dropped iterator flushes) and never fire.
const NEVER_MS: usize = 4_000_000_000;
/// Fast rather than small: leaves are rewritten often.
const ZSTD_LEVEL: i32 = 1;

/// Comes and goes, so that an empty page is written.
const PAGE_KEY: &[u8] = b"page";

type Db = sled::Db<FANOUT>;
type RawTree = sled::Tree<FANOUT>;
/// What a record weighs in memory beside its key and value, roughly, in bytes.
const RECORD_OVERHEAD: i64 = 96;

/// Where a database is and how much memory it may take.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its directory.
    pub(super) path: PathBuf,
    /// Pages that were read, in bytes.
    pub(super) cache_bytes: usize,
    /// Records that were added on balance since it was opened, in bytes.
    pub(super) max_growth_bytes: i64,
}

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

/// A key or a value as sled hands it out.
pub(super) type Bytes = sled::InlineArray;

/// One tree whose values are records of `T`.
pub(super) struct Table<T> {
    name: &'static str,
    tree: RawTree,
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
        Ok(self.tree.contains_key(key)?)
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
    place: Place,
    db: Db,
    tally: Rc<Tally>,
    /// What a task is. Never rewritten.
    pub(super) body: Table<Spec>,
    /// How a queued or running task stands.
    pub(super) live: Table<Status>,
    /// How an ended task stands.
    pub(super) done: Table<Status>,
    /// What a task's attempts hand on.
    pub(super) checkpoint: Table<Vec<u8>>,
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
}

/// A database whose format is not known yet.
pub(super) struct Unchecked {
    place: Place,
    db: Db,
    tally: Rc<Tally>,
    /// [`keys::FORMAT`].
    pub(super) format: Table<codec::Format>,
}

impl Unchecked {
    /// Opens or creates a database.
    pub(super) fn open(place: Place) -> io::Result<Self> {
        let config = sled::Config::new()
            .path(&place.path)
            .cache_capacity_bytes(place.cache_bytes)
            .flush_every_ms(Some(NEVER_MS))
            .zstd_compression_level(ZSTD_LEVEL);
        let db: Db = apart::apart(move || config.open())?;
        let tally = Rc::default();
        let format = table(&db, &tally, "meta")?;
        Ok(Self { place, db, tally, format })
    }

    /// Opens the rest.
    pub(super) fn trees(self) -> io::Result<Trees> {
        let Self { place, db, tally, format: _ } = self;
        let trees = Trees {
            body: table(&db, &tally, "body")?,
            live: table(&db, &tally, "live")?,
            done: table(&db, &tally, "done")?,
            checkpoint: table(&db, &tally, "checkpoint")?,
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
            place,
            db,
            tally,
        };
        if let Err(error) = trees.store_empty_pages() {
            // After a failed flush, dropping the database would wait forever.
            std::mem::forget(trees);
            return Err(error);
        }
        Ok(trees)
    }
}

impl Trees {
    /// Has the first page of every tree written once. See the rules above.
    fn store_empty_pages(&self) -> io::Result<()> {
        let Self { body, live, done, checkpoint, held, request, link, batch, schedule, media, .. } = self;
        let Self { batch_tally, state, event, .. } = self;
        let trees = [
            &body.tree,
            &live.tree,
            &done.tree,
            &checkpoint.tree,
            &held.tree,
            &request.tree,
            &link.tree,
            &batch.tree,
            &batch_tally.tree,
            &schedule.tree,
            &media.tree,
            &state.tree,
            &event.tree,
        ];
        for tree in trees {
            if tree.is_empty()? {
                tree.insert(PAGE_KEY, PAGE_KEY)?;
                tree.remove(PAGE_KEY)?;
            }
        }
        self.flush()
    }

    /// Writes since the start: unchanged means that there is nothing to flush.
    pub(super) fn writes(&self) -> u64 {
        self.tally.writes.get()
    }

    /// Whether it is time to [`Self::reopen`].
    pub(super) fn has_outgrown(&self) -> bool {
        self.tally.growth.get() > self.place.max_growth_bytes
    }

    /// Closes the database, which must be flushed, and opens it again with little in memory.
    pub(super) fn reopen(self) -> io::Result<Self> {
        let place = self.place.clone();
        drop(self);
        fault::point(Point::Reopening);
        Unchecked::open(place)?.trees()
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

fn table<T>(db: &Db, tally: &Rc<Tally>, name: &'static str) -> io::Result<Table<T>> {
    Ok(Table { name, tree: db.open_tree(name)?, tally: Rc::clone(tally), record: PhantomData })
}
