//! The store on sled 1.0.0-alpha.124, or on memory (`base`).
//!
//! One thread owns the database (`thread`); the verbs reach it through a bounded queue. What must
//! be known about sled stands at the top of `base`.

mod agenda;
mod apart;
mod base;
mod batches;
mod bulk;
mod codec;
mod core;
mod create;
mod events;
mod fault;
mod firing;
mod flow;
mod history;
mod index;
mod interrupted;
mod keys;
mod limits;
mod lock;
mod mark;
mod media;
pub mod offline;
mod open;
mod parked;
mod relations;
mod schedules;
mod state;
mod tasks;
#[cfg(test)]
mod tests;
mod thread;
mod trees;

mod verbs;
mod views;
mod work;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;

use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::core::{Core, Halt, Verdict};
use self::parked::{Parked, Parking, Withdrawal};
use self::thread::{Call, GroupBounds, Job, Outlets};
use super::StoreError;
use super::memory::Memory;
use super::request::{Claim, ClaimRequest};
use crate::event::Event;
use crate::task::BootId;
use crate::time::Timestamp;

/// Batches of events that a subscriber may lag behind before it is told so.
const EVENT_BATCHES: usize = 1_024;
/// sled's frames are large, in unoptimised builds above all.
const STACK_BYTES: usize = 16 << 20;
/// What a verb weighs in a group at least, in bytes.
const JOB_BYTES: usize = 256;

/// What keeps the records of a store.
#[derive(Clone, Debug)]
pub enum Home {
    /// A directory; created if need be. One process uses it at a time.
    Directory(PathBuf),
    /// Memory, which one store uses at a time.
    Memory(Memory),
}

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What keeps the records.
    pub home: Home,
    /// This start of the host. Attempts of other starts are taken back when the store opens.
    pub boot: BootId,
    /// Memory for pages of the database that were read, in bytes.
    pub cache_bytes: usize,
    /// Records that are added on balance until the database is reopened, in bytes: what is written
    /// stays in memory until then. A reopening holds the verbs up, for a tenth of a second or so.
    pub max_growth_bytes: i64,
    /// Waiting, queued and running tasks at most.
    pub max_live_tasks: u64,
    /// A waiting task gains a level of priority every so many milliseconds; never with 0.
    pub aging_ms: u64,
    /// Verbs that wait for the store at most; more are refused as [`StoreError::Full`].
    pub max_waiting: usize,
    /// Verbs that one flush carries at most.
    pub max_group: usize,
    /// Bytes after which a flush takes no more verbs along.
    pub max_group_bytes: usize,
    /// Open even when acknowledged commits are missing.
    pub accept_data_loss: bool,
}

impl Settings {
    /// The directory `dir` for the host start `boot`, with every default.
    pub fn new(dir: impl Into<PathBuf>, boot: BootId) -> Self {
        Self::at(Home::Directory(dir.into()), boot)
    }

    /// The same in memory.
    pub fn in_memory(memory: Memory, boot: BootId) -> Self {
        Self::at(Home::Memory(memory), boot)
    }

    fn at(home: Home, boot: BootId) -> Self {
        Self {
            home,
            boot,
            cache_bytes: 64 << 20,
            max_growth_bytes: 128 << 20,
            max_live_tasks: 1_000_000,
            aging_ms: 60_000,
            max_waiting: 8_192,
            max_group: 1_024,
            max_group_bytes: 8 << 20,
            accept_data_loss: false,
        }
    }
}

/// Why the store does not open, by what the operator can do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory: stop it, or take another directory.
    #[error("another taskhost (pid {pid}) is using {}", .dir.display())]
    Locked {
        /// The other process; 0 when it did not say.
        pid: u32,
        /// The directory.
        dir: PathBuf,
    },
    /// The database ends before a commit that was acknowledged.
    #[error(
        "the store in {} ends at commit {found}, but commit {mark} was acknowledged: \
         restore a backup, or accept the loss with `--accept-data-loss`",
        .dir.display()
    )]
    DataLoss {
        /// The directory.
        dir: PathBuf,
        /// The latest commit that is known to have been durable.
        mark: u64,
        /// The latest commit that is there.
        found: u64,
    },
    /// Nothing was ever stored there.
    #[error("there is no store in {}", .dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// A newer host wrote the directory.
    #[error("the store has format {found}, this taskhost knows up to {known}: use the newer one")]
    NewerFormat {
        /// Its format.
        found: u32,
        /// The newest known format.
        known: u32,
    },
    /// The database is damaged.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The file system refuses.
    #[error("the store cannot be opened")]
    Io(#[source] io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        // The files are shorter than they say, or not what was written.
        let is_damage = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData);
        if is_damage { Self::Corrupt(format!("{error}; restore a backup")) } else { Self::Io(error) }
    }
}

impl From<Halt> for OpenError {
    fn from(halt: Halt) -> Self {
        Self::Corrupt(halt.to_string())
    }
}

/// The store. See [`super::Store`] for its verbs.
pub struct SledStore {
    jobs: RwLock<Option<SyncSender<Box<dyn Job>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    closed: watch::Receiver<bool>,
    events: broadcast::Sender<Arc<[Event]>>,
    wakeups: watch::Receiver<u64>,
    schedule_wakeups: watch::Receiver<u64>,
    epoch: u32,
    max_waiting: usize,
}

impl SledStore {
    /// Opens or creates a store. Blocks: the whole queue is read.
    pub fn open(settings: Settings, now: Timestamp) -> Result<Arc<Self>, OpenError> {
        let max_waiting = settings.max_waiting;
        let (jobs, waiting) = mpsc::sync_channel(max_waiting);
        let (events, _) = broadcast::channel(EVENT_BATCHES);
        let (wake, wakeups) = watch::channel(0);
        let (wake_ticker, schedule_wakeups) = watch::channel(0);
        let (closing, closed) = watch::channel(false);
        let outlets = Outlets { events: events.clone(), wakeups: wake, schedule_wakeups: wake_ticker };
        let (opening, opened) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name("taskhost-store".to_owned()).stack_size(STACK_BYTES);
        let thread = thread.spawn(move || {
            let bounds = GroupBounds { ops: settings.max_group, bytes: settings.max_group_bytes };
            match open::open(&settings, now) {
                Ok(opened) => {
                    // The opener waits in `recv` below.
                    let _ = opening.send(Ok(opened.epoch));
                    thread::run(opened, &waiting, &outlets, bounds);
                }
                Err(error) => {
                    let _ = opening.send(Err(error));
                }
            }
            closing.send_replace(true);
        })?;
        let epoch = match opened.recv() {
            Ok(Ok(epoch)) => epoch,
            Ok(Err(error)) => {
                // It has nothing left to do.
                let _ = thread.join();
                return Err(error);
            }
            Err(_) => return Err(OpenError::Corrupt("the store's thread panicked".to_owned())),
        };
        Ok(Arc::new(Self {
            jobs: RwLock::new(Some(jobs)),
            thread: Mutex::new(Some(thread)),
            closed,
            events,
            wakeups,
            schedule_wakeups,
            epoch,
            max_waiting,
        }))
    }

    /// Runs a verb that changes something; `bytes` is roughly what it carries.
    async fn write<T: Send + 'static>(
        &self,
        bytes: usize,
        verb: impl FnOnce(&mut Core) -> Verdict<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(bytes, false, verb).await
    }

    /// Runs a verb that only looks.
    async fn read<T: Send + 'static>(
        &self,
        verb: impl FnOnce(&Core) -> Verdict<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call(0, true, |core: &mut Core| verb(core)).await
    }

    async fn call<T: Send + 'static>(
        &self,
        bytes: usize,
        is_read: bool,
        verb: impl FnOnce(&mut Core) -> Verdict<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let bytes = bytes.saturating_add(JOB_BYTES);
        self.send(Box::new(Call { verb: Some(verb), is_read, bytes, result: None, reply }))?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// A claim that waits until there is something to claim, or until it is withdrawn.
    async fn park(
        &self,
        (request, known_due): (ClaimRequest, Option<Timestamp>),
        now: Timestamp,
        withdrawn: &CancellationToken,
    ) -> Result<Claim, StoreError> {
        let (reply, mut answer) = oneshot::channel();
        let flag = Arc::new(AtomicBool::new(withdrawn.is_cancelled()));
        let lease_ms = request.lease_until.millis_since(now);
        let claim = Parked { request, lease_ms, known_due, withdrawn: Arc::clone(&flag), reply };
        self.send(Box::new(Parking { now, claim: Some(claim), result: None }))?;
        tokio::select! {
            biased;
            answered = &mut answer => return answered.unwrap_or(Err(StoreError::Closed)),
            () = withdrawn.cancelled() => flag.store(true, Ordering::SeqCst),
        }
        // The thread looks at withdrawn claims with every group: a full queue, or a closed store, will do too.
        let _ = self.send(Box::new(Withdrawal));
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    fn send(&self, job: Box<dyn Job>) -> Result<(), StoreError> {
        let jobs = self.jobs.read().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = jobs.as_ref() else { return Err(StoreError::Closed) };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Full(format!("{} calls wait for the store", self.max_waiting)),
            TrySendError::Disconnected(_) => StoreError::Closed,
        })
    }

    /// The thread ends once it has served what is queued.
    fn hang_up(&self) {
        self.jobs.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It does not panic: it ends the process instead.
            let _ = thread.join();
        }
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.hang_up();
        self.join();
    }
}

impl std::fmt::Debug for SledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledStore").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
