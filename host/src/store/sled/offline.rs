//! A store that no host uses: export, import, check. Nothing is taken back and no verb runs; what
//! is read is what is on disk.

mod check;
mod export;
mod import;
mod rows;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

pub use self::check::{Report, check};
pub use self::export::{ExportError, export};
pub use self::import::{Epoch, ImportError, import};
use super::base::Place;
use super::codec::{CommitRecord, Format};
use super::core::Halt;
use super::lock::DirLock;
use super::mark::{Mark, Position};
use super::open::{DATABASE, is_created, open_database};
use super::trees::Trees;
use super::{OpenError, STACK_BYTES, keys};

/// Memory for pages of the database that were read, in bytes.
const CACHE_BYTES: usize = 32 << 20;
/// Records that are written until the database is reopened, in bytes.
const MAX_GROWTH_BYTES: i64 = 64 << 20;

/// A store at rest. The fields end in this order: the lock is the last to go.
struct Offline {
    trees: Trees,
    commit: CommitRecord,
    epoch: u32,
    mark: Option<Position>,
    _lock: Option<DirLock>,
}

impl Offline {
    fn open(dir: &Path) -> Result<Self, OpenError> {
        let missing = || OpenError::Missing { dir: dir.to_owned() };
        if !is_created(dir) {
            return Err(missing());
        }
        let lock = DirLock::take(dir)?;
        let mark = Mark::read(dir)?;
        let (unchecked, known) = open_database(place(dir))?;
        let Format { epoch, .. } = known.ok_or_else(missing)?;
        let trees = unchecked.trees()?;
        let commit = trees.commit.get(keys::COMMIT)?.unwrap_or_default();
        Ok(Self { trees, commit, epoch, mark, _lock: Some(lock) })
    }

    /// The commit that was acknowledged and is not there.
    fn lost(&self) -> Option<Position> {
        let (epoch, seq) = (self.epoch, self.commit.seq);
        self.mark.filter(|mark| mark.seq > seq || (mark.epoch != epoch && mark.seq > 0))
    }
}

fn place(dir: &Path) -> Place {
    Place { path: dir.join(DATABASE), cache_bytes: CACHE_BYTES, max_growth_bytes: MAX_GROWTH_BYTES }
}

/// Runs `work` on a thread whose stack is large enough for sled.
fn on_a_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("taskhost-store".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, work)?;
        thread.join().map_err(|_| std::io::Error::other("the database panicked"))
    })
}

/// Runs `work` over an open store, and survives what sled asserts about a damaged one.
fn read<T>(dir: &Path, work: impl FnOnce(&Offline) -> Result<T, Halt>) -> Result<T, OpenError> {
    let offline = Offline::open(dir)?;
    let done = catch_unwind(AssertUnwindSafe(|| work(&offline)));
    if let Ok(done) = done {
        return Ok(done?);
    }
    // Dropping it could wait forever for what the panic left behind.
    std::mem::forget(offline);
    Err(OpenError::Corrupt("the database does not let itself be read".to_owned()))
}
