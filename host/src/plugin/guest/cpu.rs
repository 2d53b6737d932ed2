//! How long a guest computes: time that its thread spends inside its polls. Waiting for the host,
//! for a place on a thread, or for the operating system is not counted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::plugin::engine::Computing;

/// What of a poll is counted by the wall clock at most, in nanoseconds: the part before its first tick.
const MAX_UNTICKED_NANOS: u64 = 2_000_000;

/// Shared by a call's future and the epoch callback that runs inside of it.
///
/// The thread's own clock is a system call, the wall clock is not. Most polls end before the first
/// tick of the epoch: these are counted by the wall clock. From the first tick on, the thread's
/// clock counts, so that a busy machine does not end an innocent guest.
#[derive(Debug)]
pub(super) struct CpuTime {
    /// Of polls that have ended, and of the current one before its first tick, in nanoseconds.
    spent: AtomicU64,
    /// The thread's clock at the current poll's first tick, in nanoseconds; zero before it.
    ticked: AtomicU64,
    /// When the current poll began, in nanoseconds since `origin`.
    began: AtomicU64,
    origin: Instant,
}

impl CpuTime {
    pub(super) fn new() -> Self {
        let zero = AtomicU64::default;
        Self { spent: zero(), ticked: zero(), began: zero(), origin: Instant::now() }
    }

    /// Time computed so far, in milliseconds, at a tick. Only from inside a poll.
    pub(super) fn millis(&self) -> u64 {
        let now = thread_nanos();
        let ticked = self.ticked.load(Ordering::Relaxed);
        if ticked == 0 {
            self.spent.fetch_add(self.unticked(), Ordering::Relaxed);
            self.ticked.store(now.max(1), Ordering::Relaxed);
            return self.spent.load(Ordering::Relaxed) / 1_000_000;
        }
        (self.spent.load(Ordering::Relaxed) + now.saturating_sub(ticked)) / 1_000_000
    }

    /// Time computed so far, in microseconds, between two polls.
    pub(super) fn micros(&self) -> u64 {
        self.spent.load(Ordering::Relaxed) / 1_000
    }

    fn begin(&self) {
        self.ticked.store(0, Ordering::Relaxed);
        self.began.store(self.wall_nanos(), Ordering::Relaxed);
    }

    fn end(&self) {
        let ticked = self.ticked.load(Ordering::Relaxed);
        let current = if ticked == 0 { self.unticked() } else { thread_nanos().saturating_sub(ticked) };
        self.spent.fetch_add(current, Ordering::Relaxed);
    }

    fn unticked(&self) -> u64 {
        self.wall_nanos().saturating_sub(self.began.load(Ordering::Relaxed)).min(MAX_UNTICKED_NANOS)
    }

    fn wall_nanos(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0) * 1_000_000_000 + nanos.unwrap_or(0)
}

/// Runs a call, counting its time and keeping the epoch ticking meanwhile.
pub(super) struct Metered<F> {
    pub(super) call: F,
    pub(super) time: Arc<CpuTime>,
    pub(super) computing: Arc<Computing>,
}

/// Also on the way out of a panic.
struct Turn<'a>(&'a CpuTime, &'a Computing);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.1.leave();
        self.0.end();
    }
}

impl<F: Future + Unpin> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.time.begin();
        this.computing.enter();
        let _end = Turn(&this.time, &this.computing);
        Pin::new(&mut this.call).poll(context)
    }
}
