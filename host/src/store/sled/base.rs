//! What trees stand on: a sled database in a directory, or memory.
//!
//! Rules that were paid for (sled 1.0.0-alpha.124): one thread, single inserts and removes only
//! (a batch never frees emptied leaves and deadlocks), never `drop_tree` (bricks the database),
//! a flush timer that never fires (another one commits half a unit). And: a leaf that was written
//! is never paged out again by the same database value (its `max_unflushed_epoch` stays set), so
//! that everything written stays in memory whatever the cache's size. The remedy is to reopen the
//! database when it has grown enough ([`Base::opener`]). And: the first page of an empty tree is
//! paged out although it was never stored, and then the next access spins forever; so every
//! tree's first page is stored before anything else happens. What an opening needs to survive a power
//! loss is in `interrupted`.

use std::io;
use std::ops::Bound;
use std::path::PathBuf;

use super::{apart, interrupted};
use crate::store::memory::{self, Memory};

/// Records a leaf. Fixed when a directory is created: sled refuses another.
const FANOUT: usize = 64;
/// Some 46 days: the timer must exist (without it every dropped iterator flushes) and never fire.
const NEVER_MS: usize = 4_000_000_000;
/// Fast rather than small: leaves are rewritten often.
const ZSTD_LEVEL: i32 = 1;
/// Comes and goes, so that an empty page is written.
const PAGE_KEY: &[u8] = b"page";

/// A key or a value as sled hands it out.
pub(super) type Bytes = sled::InlineArray;
/// A raw record, or why it cannot be read.
pub(super) type Record = io::Result<(Bytes, Bytes)>;

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

/// Named trees, and what makes their changes durable.
pub(super) enum Base {
    /// In a directory.
    Disk {
        /// The database.
        db: Box<sled::Db<FANOUT>>,
        /// Its directory.
        place: Place,
    },
    /// As long as the process lives.
    Memory(Memory),
}

impl Base {
    /// Opens or creates a database.
    pub(super) fn open(place: Place) -> io::Result<Self> {
        let config = sled::Config::new()
            .path(&place.path)
            .cache_capacity_bytes(place.cache_bytes)
            .flush_every_ms(Some(NEVER_MS))
            .zstd_compression_level(ZSTD_LEVEL);
        interrupted::mend(&place.path)?;
        let db = apart::apart(move || config.open())?;
        interrupted::settle(&place.path)?;
        Ok(Self::Disk { db: Box::new(db), place })
    }

    /// The tree of this name, with its first page written.
    pub(super) fn tree(&self, name: &'static str) -> io::Result<Tree> {
        match self {
            Self::Disk { db, .. } => {
                let tree = db.open_tree(name)?;
                if let Err(error) = store_first_page(&tree) {
                    // The end of a database that has met an error ends the process; so it stays.
                    std::mem::forget(tree);
                    return Err(error);
                }
                Ok(Tree::Disk(Box::new(tree)))
            }
            Self::Memory(memory) => Ok(Tree::Memory(memory.tree(name))),
        }
    }

    /// Makes every write durable, all or none. After an error nothing may touch the database again.
    pub(super) fn flush(&self) -> io::Result<()> {
        match self {
            Self::Disk { db, .. } => db.flush().map(drop),
            Self::Memory(_) => Ok(()),
        }
    }

    /// What opens the same again. For a database, it and every tree of it must be gone by then.
    pub(super) fn opener(&self) -> impl FnOnce() -> io::Result<Self> + use<> {
        let again = match self {
            Self::Disk { place, .. } => Err(place.clone()),
            Self::Memory(memory) => Ok(memory.clone()),
        };
        || again.map_or_else(Self::open, |memory| Ok(Self::Memory(memory)))
    }

    /// After how many bytes of growth it is to be reopened.
    pub(super) fn max_growth_bytes(&self) -> i64 {
        match self {
            Self::Disk { place, .. } => place.max_growth_bytes,
            Self::Memory(_) => i64::MAX,
        }
    }
}

fn store_first_page(tree: &sled::Tree<FANOUT>) -> io::Result<()> {
    if tree.is_empty()? {
        tree.insert(PAGE_KEY, PAGE_KEY)?;
        tree.remove(PAGE_KEY)?;
    }
    Ok(())
}

/// One tree of raw records.
pub(super) enum Tree {
    /// Of a database.
    Disk(Box<sled::Tree<FANOUT>>),
    /// Of memory.
    Memory(memory::Tree),
}

impl Tree {
    /// One value.
    pub(super) fn get(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        match self {
            Self::Disk(tree) => tree.get(key),
            Self::Memory(tree) => Ok(tree.get(key)),
        }
    }

    /// Writes a value and answers what was there before.
    pub(super) fn insert(&self, key: &[u8], value: Vec<u8>) -> io::Result<Option<Bytes>> {
        match self {
            Self::Disk(tree) => tree.insert(key, value),
            Self::Memory(tree) => Ok(tree.insert(key, value)),
        }
    }

    /// Removes a value and answers it.
    pub(super) fn remove(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        match self {
            Self::Disk(tree) => tree.remove(key),
            Self::Memory(tree) => Ok(tree.remove(key)),
        }
    }

    /// Raw records in key order.
    pub(super) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range {
        match self {
            Self::Disk(tree) => Range::Disk(Box::new(tree.range::<&[u8], _>((from, to)))),
            Self::Memory(tree) => Range::Memory(tree.range(from, to)),
        }
    }
}

/// Raw records in key order, from either end.
pub(super) enum Range {
    /// Of a database.
    Disk(Box<sled::Iter<FANOUT>>),
    /// Of memory.
    Memory(memory::Range),
}

impl Iterator for Range {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        match self {
            Self::Disk(records) => records.next(),
            Self::Memory(records) => records.next().map(Ok),
        }
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Record> {
        match self {
            Self::Disk(records) => records.next_back(),
            Self::Memory(records) => records.next_back().map(Ok),
        }
    }
}
