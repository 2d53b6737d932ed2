//! The clock that makes computing guests give way.
//!
//! A thread of its own, because a guest that computes may hold every thread of a runtime that
//! would otherwise run the timer. It sleeps while no guest computes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

/// A computing guest gives way after at most two ticks. With twenty guests that never wait, on two
/// threads, everybody has a turn within 10 x 2 x 1 ms, well inside the 100 ms that others may be kept waiting.
const TICK: Duration = Duration::from_millis(1);
/// Ticks without a guest before the thread goes to sleep: waking it costs more than a few ticks.
const LINGER_TICKS: u32 = 50;
/// Ticks that the thread goes on after it was told to stop, so that guests which compute come to an end.
const DRAIN_TICKS: u32 = 1_000;

/// Counts guests that compute at this moment.
#[derive(Debug, Default)]
pub(in crate::plugin) struct Computing {
    guests: AtomicUsize,
    asleep: AtomicBool,
    stop: Mutex<bool>,
    wake: Condvar,
}

impl Computing {
    /// A guest is about to compute on this thread.
    pub(in crate::plugin) fn enter(&self) {
        self.guests.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            let _stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
    }

    /// It has given way.
    pub(in crate::plugin) fn leave(&self) {
        self.guests.fetch_sub(1, Ordering::SeqCst);
    }

    fn idle(&self) -> bool {
        self.guests.load(Ordering::SeqCst) == 0
    }

    fn run(&self, engine: &EngineWeak) {
        let (mut idle_ticks, mut drain_ticks) = (0, 0);
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            idle_ticks = if self.idle() { idle_ticks + 1 } else { 0 };
            if idle_ticks > LINGER_TICKS {
                // First the flag, then the count: `enter` does it the other way round, so one of the two sees the other.
                self.asleep.store(true, Ordering::SeqCst);
                stop = self.wake.wait_while(stop, |stop| !*stop && self.idle()).unwrap_or_else(PoisonError::into_inner);
                self.asleep.store(false, Ordering::SeqCst);
                idle_ticks = 0;
            }
            if *stop {
                drain_ticks += 1;
                if self.idle() || drain_ticks > DRAIN_TICKS {
                    return;
                }
            }
            stop = self.wake.wait_timeout(stop, TICK).unwrap_or_else(PoisonError::into_inner).0;
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    }
}

/// The thread; dropping it ends it.
#[derive(Debug)]
pub(in crate::plugin) struct EpochThread {
    computing: Arc<Computing>,
    thread: Option<JoinHandle<()>>,
}

impl EpochThread {
    pub(in crate::plugin) fn start(engine: &Engine) -> std::io::Result<Self> {
        let computing = Arc::new(Computing::default());
        let (shared, engine) = (computing.clone(), engine.weak());
        let thread = std::thread::Builder::new().name("epoch".to_owned()).spawn(move || shared.run(&engine))?;
        Ok(Self { computing, thread: Some(thread) })
    }

    pub(in crate::plugin) fn computing(&self) -> Arc<Computing> {
        self.computing.clone()
    }
}

impl Drop for EpochThread {
    fn drop(&mut self) {
        *self.computing.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.computing.wake.notify_all();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that makes guests give way had panicked");
        }
    }
}
