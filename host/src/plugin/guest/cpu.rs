//! How long a guest computes: time that its thread spends inside its polls. Waiting for the host,
//! for a place on a thread, or for the operating system is not counted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustix::time::{ClockId, clock_gettime};

use crate::plugin::engine::Computing;

/// Shared by a call's future and the epoch callback that runs inside of it.
#[derive(Debug, Default)]
pub(super) struct CpuTime {
    /// Of polls that have ended, in nanoseconds.
    spent: AtomicU64,
    /// The thread's clock when the current poll began, in nanoseconds.
    began: AtomicU64,
}

impl CpuTime {
    /// Time computed so far, in milliseconds. Only from inside a poll.
    pub(super) fn millis(&self) -> u64 {
        let current = thread_nanos().saturating_sub(self.began.load(Ordering::Relaxed));
        (self.spent.load(Ordering::Relaxed) + current) / 1_000_000
    }

    fn begin(&self) {
        self.began.store(thread_nanos(), Ordering::Relaxed);
    }

    fn end(&self) {
        let current = thread_nanos().saturating_sub(self.began.load(Ordering::Relaxed));
        self.spent.fetch_add(current, Ordering::Relaxed);
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
