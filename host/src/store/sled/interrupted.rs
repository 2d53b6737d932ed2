//! What a power loss or a kill in the middle of an opening leaves of a sled database.
//!
//! An opening (sled 1.0.0-alpha.124) merges snapshot and logs into a new snapshot, syncs its name,
//! removes the old files and begins the next log, whose name nobody syncs before the first commit. When
//! it ends there, the directory has a snapshot and no later log. The next opening would then write a
//! snapshot under the very name of the old one, and remove "the old one": everything but the pages that
//! are written later would be gone, without a word. An empty log behind the snapshot prevents
//! that, and is what sled would have found had the loss come a moment later.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Where sled keeps snapshots and logs, inside the database.
const METADATA: &str = "metadata";
/// What their names begin with; a number in hexadecimal digits follows.
const SNAPSHOT: &str = "snapshot_";
const LOG: &str = "log_";

/// Makes what an interrupted opening has left fit for the next one. An error when files are missing
/// without which sled would open a part of the database as if it were the whole.
pub(super) fn mend(database: &Path) -> io::Result<()> {
    let dir = database.join(METADATA);
    let names = match fs::read_dir(&dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let numbers = |prefix| names.iter().filter_map(move |name| number(name, prefix));
    let snapshot = numbers(SNAPSHOT).max();
    let mut logs: Vec<_> = numbers(LOG).filter(|log| Some(*log) > snapshot).collect();
    logs.sort_unstable();
    let Some(snapshot) = snapshot else {
        return if logs.is_empty() { Ok(()) } else { Err(missing("no snapshot")) };
    };
    if !(snapshot + 1..).zip(&logs).all(|(expected, log)| expected == *log) {
        return Err(missing("not every log"));
    }
    if logs.is_empty() {
        File::create_new(dir.join(format!("{LOG}{:016x}", snapshot + 1)))?;
        tracing::info!("an opening of the database was interrupted earlier");
    }
    settle(database)
}

/// Makes the names durable that an opening leaves to the first commit.
pub(super) fn settle(database: &Path) -> io::Result<()> {
    File::open(database.join(METADATA))?.sync_all()
}

fn number(name: &OsStr, prefix: &str) -> Option<u64> {
    u64::from_str_radix(name.to_str()?.strip_prefix(prefix)?, 16).ok()
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} of the database's metadata is there"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::super::tests::{Directory, open};
    use super::{LOG, METADATA, SNAPSHOT};
    use crate::store::conformance::{add, new_task};
    use crate::store::sled::OpenError;
    use crate::store::{Store, TaskQuery};

    fn files(dir: &Path, prefix: &str) -> Vec<PathBuf> {
        let paths = fs::read_dir(dir.join("sled").join(METADATA)).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect()
    }

    async fn lived(dir: &Path) -> usize {
        let store = open(dir).unwrap();
        let tasks = store.tasks(TaskQuery { limit: 1_000, ..TaskQuery::default() }).await.unwrap().items.len();
        add(&*store, new_task(), 0).await;
        store.close().await;
        tasks
    }

    #[tokio::test]
    async fn i15_an_opening_that_was_cut_off_costs_nothing_at_the_next_ones() {
        let dir = Directory::new();
        let store = open(dir.path()).unwrap();
        for _ in 0..200 {
            add(&*store, new_task(), 0).await;
        }
        store.close().await;
        drop(store);
        // The snapshot has it all; the log that follows it was never synced.
        drop(open(dir.path()).unwrap());
        for log in files(dir.path(), LOG) {
            fs::remove_file(log).unwrap();
        }
        for round in 0..3 {
            assert_eq!(lived(dir.path()).await, 200 + round);
        }
    }

    #[tokio::test]
    async fn a_part_of_the_metadata_is_never_taken_for_the_whole() {
        let dir = Directory::new();
        lived(dir.path()).await;
        let snapshot = files(dir.path(), SNAPSHOT).pop().unwrap();
        let log = files(dir.path(), LOG).pop().unwrap();
        let aside = log.with_file_name("aside");
        fs::rename(&snapshot, &aside).unwrap();
        assert!(matches!(open(dir.path()).unwrap_err(), OpenError::Corrupt(_)));
        fs::rename(&aside, &snapshot).unwrap();
        let later = log.with_file_name(format!("{LOG}{:016x}", 99));
        fs::rename(&log, &later).unwrap();
        assert!(matches!(open(dir.path()).unwrap_err(), OpenError::Corrupt(_)));
        fs::rename(&later, &log).unwrap();
        assert_eq!(lived(dir.path()).await, 1, "nothing was changed");
    }
}
