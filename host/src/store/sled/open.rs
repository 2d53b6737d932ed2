//! Opening: whose directory it is, whether it is whole, and what an older start left behind.

use std::fs::{self, File};
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use super::base::{Base, Place};
use super::codec::{CommitRecord, Format};
use super::core::{Core, Halt, Verdict};
use super::fault::{self, Point};
use super::lock::DirLock;
use super::mark::{Mark, Position};
use super::trees::{Trees, Unchecked};
use super::{Home, OpenError, Settings, keys};
use crate::store::memory::{Hold, Memory};
use crate::store::request::MediaStatus;
use crate::task::{Failure, State, TaskId, UniqueMode};
use crate::time::Timestamp;

/// What this host writes. Raised when an older host could not read the directory any more.
const FORMAT: u32 = 1;
/// The database inside the directory.
pub(super) const DATABASE: &str = "sled";
/// There while the database is being created: it is not whole, and nothing of it was acknowledged.
const CREATING: &str = "creating";

/// An open store. The fields end in this order: what keeps others out is the last to go.
pub(super) struct Opened {
    /// The database and what is known about it.
    pub(super) core: Core,
    /// The high-water mark.
    pub(super) mark: Mark,
    /// Names the event sequence.
    pub(super) epoch: u32,
    /// The home is ours.
    pub(super) _keeper: Keeper,
}

/// Keeps others out while it lives.
pub(super) enum Keeper {
    /// Of a directory.
    Directory { _lock: DirLock },
    /// Of a memory.
    Memory { _hold: Hold },
}

impl Opened {
    /// The same over a database that takes less memory. Nothing may wait for a flush.
    pub(super) fn reopen(self) -> io::Result<Self> {
        Ok(Self { core: self.core.reopen()?, ..self })
    }
}

/// Opens or creates the store. Runs on the thread that will own it.
pub(super) fn open(settings: &Settings, now: Timestamp) -> Result<Opened, OpenError> {
    match &settings.home {
        Home::Directory(dir) => open_directory(dir, settings, now),
        Home::Memory(memory) => open_memory(memory, settings, now),
    }
}

fn open_memory(memory: &Memory, settings: &Settings, now: Timestamp) -> Result<Opened, OpenError> {
    let locked = || OpenError::Locked { pid: std::process::id(), dir: "memory".into() };
    let hold = memory.hold().ok_or_else(locked)?;
    let unchecked = Unchecked::over(Base::Memory(memory.clone()))?;
    let epoch = if let Some(known) = unchecked.format.get(keys::FORMAT)? {
        known.epoch
    } else {
        let format = Format { format: FORMAT, epoch: fastrand::u32(1..) };
        unchecked.format.put(keys::FORMAT, &format)?;
        format.epoch
    };
    let trees = unchecked.trees()?;
    let commit = trees.commit.get(keys::COMMIT)?.unwrap_or_default();
    let mut core = load(trees, commit, settings, now)?;
    reclaim(&mut core, settings, now)?;
    Ok(Opened { core, mark: Mark::nowhere(), epoch, _keeper: Keeper::Memory { _hold: hold } })
}

fn open_directory(dir: &Path, settings: &Settings, now: Timestamp) -> Result<Opened, OpenError> {
    fs::create_dir_all(dir)?;
    let lock = DirLock::take(dir)?;
    let mark = Mark::read(dir)?;
    let data_loss = |mark: Position, found| OpenError::DataLoss { dir: dir.to_owned(), mark: mark.seq, found };
    let acknowledged = mark.filter(|mark| mark.seq > 0 && !settings.accept_data_loss);
    if !is_created(dir) {
        acknowledged.map_or(Ok(()), |mark| Err(data_loss(mark, 0)))?;
        begin_creation(dir)?;
    }
    let (cache_bytes, max_growth_bytes) = (settings.cache_bytes, settings.max_growth_bytes);
    let place = Place { path: dir.join(DATABASE), cache_bytes, max_growth_bytes };
    let (unchecked, known) = open_database(place)?;
    if known.is_none() {
        acknowledged.map_or(Ok(()), |mark| Err(data_loss(mark, 0)))?;
    }
    let (trees, epoch) = if let Some(Format { epoch, .. }) = known {
        (unchecked.trees()?, epoch)
    } else {
        let epoch = fastrand::u32(1..);
        let trees = create(unchecked, dir, epoch)?;
        end_creation(dir)?;
        (trees, epoch)
    };
    let commit = trees.commit.get(keys::COMMIT)?.unwrap_or_default();
    let lost = mark.filter(|mark| mark.seq > commit.seq || (mark.epoch != epoch && mark.seq > 0));
    if let Some(mark) = lost {
        if !settings.accept_data_loss {
            return Err(data_loss(mark, commit.seq));
        }
        tracing::warn!(mark = mark.seq, found = commit.seq, "acknowledged commits are lost, as accepted");
    }
    let mut core = load(trees, commit, settings, now)?;
    if let Err(halt) = reclaim(&mut core, settings, now) {
        // After a failed flush, dropping the database would wait forever.
        std::mem::forget(core);
        return Err(halt.into());
    }
    let mark = Mark::create(dir, Position { epoch, seq: core.commit.seq })?;
    Ok(Opened { core, mark, epoch, _keeper: Keeper::Directory { _lock: lock } })
}

/// Opens the database, unless a newer host wrote it. Without a format it is new, or was never finished.
pub(super) fn open_database(place: Place) -> Result<(Unchecked, Option<Format>), OpenError> {
    let unchecked = Unchecked::open(place).map_err(|error| {
        let damaged = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
        if damaged { OpenError::Corrupt(error.to_string()) } else { OpenError::Io(error) }
    })?;
    let known = unchecked.format.get(keys::FORMAT)?;
    if let Some(Format { format, .. }) = known
        && format > FORMAT
    {
        return Err(OpenError::NewerFormat { found: format, known: FORMAT });
    }
    Ok((unchecked, known))
}

/// Makes the empty database durable as a whole: sled creates some files without a sync.
pub(super) fn create(unchecked: Unchecked, dir: &Path, epoch: u32) -> Result<Trees, OpenError> {
    unchecked.format.put(keys::FORMAT, &Format { format: FORMAT, epoch })?;
    let trees = unchecked.trees()?;
    if trees.commit.get(keys::COMMIT)?.is_some() {
        return Err(OpenError::Corrupt("the database has commits but no format".to_owned()));
    }
    if let Err(error) = trees.flush() {
        std::mem::forget(trees);
        return Err(error.into());
    }
    sync_all(dir)?;
    sync_parent(dir)?;
    Ok(trees)
}

/// Whether `dir` has a database that was created to the end.
pub(super) fn is_created(dir: &Path) -> bool {
    dir.join(DATABASE).is_dir() && !dir.join(CREATING).exists()
}

/// Says that a database is being created, and clears what an earlier attempt has left.
fn begin_creation(dir: &Path) -> io::Result<()> {
    File::create(dir.join(CREATING))?;
    File::open(dir)?.sync_all()?;
    match fs::remove_dir_all(dir.join(DATABASE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Nothing may be acknowledged before this is durable.
fn end_creation(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(CREATING)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(dir)?.sync_all()
}

/// Makes the name of `dir` durable.
pub(super) fn sync_parent(dir: &Path) -> io::Result<()> {
    match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

/// Makes everything in `dir` durable.
pub(super) fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()
}

/// Reads what is kept in memory.
fn load(trees: Trees, commit: CommitRecord, settings: &Settings, now: Timestamp) -> Verdict<Core> {
    let mut core = Core::new(trees, commit, settings.max_live_tasks, settings.aging_ms);
    // Before the tasks that they are about.
    core.load_limits(now)?;
    core.index.hear(now);
    // Tasks with one unique key: one that waits has it rather than one that runs and has lost it,
    // and a follower comes after whom it follows.
    let (mut running, mut followers, mut after) = (Vec::new(), Vec::new(), Vec::new());
    for record in core.trees.live.range(Bound::Unbounded, Bound::Unbounded) {
        let (key, value) = record?;
        let id = keys::task_of(&key).ok_or_else(|| Halt::Broken("a key of tree `live` is damaged".to_owned()))?;
        let status = core.trees.live.decode(&value)?;
        let spec = Arc::new(core.trees.spec(id)?);
        if !spec.new.after.is_empty() {
            after.push((id, spec.new.after.clone(), matches!(status.state, State::Waiting)));
        }
        core.enter_batch(id, &spec, None, spec.created_at);
        if matches!(status.state, State::Running { .. }) {
            running.push(id);
        } else if spec.new.unique_key.is_some() && spec.new.unique.mode == UniqueMode::KeepLast {
            followers.push(id);
        } else {
            core.index.enter(id, &spec, &status);
        }
    }
    for id in running.into_iter().rev().chain(followers) {
        if let Some(status) = core.trees.live.get(&keys::task(id))? {
            core.index.enter(id, &Arc::new(core.trees.spec(id)?), &status);
        }
    }
    core.load_flow(after)?;
    core.load_batches()?;
    for record in core.trees.schedule.range(Bound::Unbounded, Bound::Unbounded) {
        let schedule = core.trees.schedule.decode(&record?.1)?;
        let live = core.index.outstanding(&schedule.spec.name) > 0;
        core.agenda.update(&schedule, live);
    }
    for record in core.trees.media.range(Bound::Unbounded, Bound::Unbounded) {
        let media = core.trees.media.decode(&record?.1)?;
        if let MediaStatus::Trashed { purge_after, .. } = media.status {
            core.trashed.insert(media.id, purge_after);
        }
    }
    Ok(core)
}

/// Attempts of older starts are orphans: they crashed with their host, and run again at once.
fn reclaim(core: &mut Core, settings: &Settings, now: Timestamp) -> Verdict<()> {
    let is_orphan = |state: &State| matches!(state, State::Running { boot, .. } if *boot != settings.boot);
    let orphans: Vec<TaskId> = core.index.all_running(is_orphan);
    if orphans.is_empty() {
        return Ok(());
    }
    for id in &orphans {
        let failure = Failure::new("host-crashed", "the host stopped while the attempt was running");
        core.crash(*id, failure, now, true)?;
    }
    core.follow_up()?;
    core.seal()?;
    fault::point(Point::Reclaimed);
    core.trees.flush()?;
    tracing::info!(tasks = orphans.len(), "took back the attempts of an older start");
    Ok(())
}
