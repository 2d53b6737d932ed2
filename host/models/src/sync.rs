//! What `host/src/sync.rs` names, with a scheduler that may switch to another thread before each step.
//!
//! The bells are tokio's own: each of their calls is one step.

pub use shuttle::sync::atomic::{AtomicU8, Ordering};
pub use shuttle::sync::{Arc, Mutex, MutexGuard};
pub use std::sync::PoisonError;

/// Before a step that the scheduler does not know: anybody may come first.
fn step() {
    shuttle::thread::yield_now();
}

/// A bell without memory, or with room for one ring.
#[derive(Debug, Default)]
pub struct Notify(tokio::sync::Notify);

impl Notify {
    /// Wakes whoever waits or has shown interest.
    pub fn notify_waiters(&self) {
        step();
        self.0.notify_waiters();
    }

    /// Wakes one, or the next one to wait.
    pub fn notify_one(&self) {
        step();
        self.0.notify_one();
    }

    /// Waits for a ring.
    pub fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        step();
        self.0.notified()
    }
}

/// A value that is watched.
pub mod watch {
    use super::step;

    pub use tokio::sync::watch::Receiver;

    /// Changes the value.
    #[derive(Debug)]
    pub struct Sender<T>(tokio::sync::watch::Sender<T>);

    impl<T> Sender<T> {
        /// Over a first value.
        pub fn new(value: T) -> Self {
            Self(tokio::sync::watch::Sender::new(value))
        }

        /// Changes it and wakes whoever waits.
        pub fn send_modify(&self, change: impl FnOnce(&mut T)) {
            step();
            self.0.send_modify(change);
        }

        /// Watches from now on.
        pub fn subscribe(&self) -> Receiver<T> {
            step();
            self.0.subscribe()
        }
    }
}
