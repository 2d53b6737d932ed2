//! The thread between a running attempt and whoever steers it.
//!
//! Made anew for every attempt, so it is plain: a flag, what the guest lets know, and two bells.

use std::pin::pin;

use crate::sync::{AtomicU8, Mutex, MutexGuard, Notify, Ordering, PoisonError};
use crate::task::{LogSize, Progress};

/// What the host wants of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Directive {
    /// Go on.
    #[default]
    Proceed,
    /// Stop at a checkpoint: the host drains or replaces the plugin.
    Yield,
    /// Stop: the task is to be cancelled.
    Cancel,
}

impl Directive {
    fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Proceed,
            1 => Self::Yield,
            _ => Self::Cancel,
        }
    }
}

/// What a guest has let know.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Its latest progress.
    pub progress: Option<Progress>,
    /// It has seen that it is to stop.
    pub saw_cancel: bool,
}

/// What a guest has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time that it computed, in microseconds.
    pub cpu_us: u64,
    /// The most that its memories and tables have held, in bytes.
    pub memory_bytes: u64,
}

/// The same, how often it changed, and what was logged.
#[derive(Debug, Default)]
struct Reported {
    news: News,
    count: u64,
    log: LogSize,
    usage: Usage,
}

/// Shared by the runner and one attempt's guest.
#[derive(Debug, Default)]
pub struct Control {
    directive: AtomicU8,
    directed: Notify,
    reported: Mutex<Reported>,
    reports: Notify,
}

impl Control {
    /// Asks the guest. A request to cancel is never taken back.
    pub fn direct(&self, directive: Directive) {
        let wanted = directive as u8;
        let change = |current: u8| (current != Directive::Cancel as u8 && current != wanted).then_some(wanted);
        if self.directive.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change).is_ok() {
            self.directed.notify_waiters();
        }
    }

    /// What the host wants now.
    pub fn directive(&self) -> Directive {
        Directive::from_u8(self.directive.load(Ordering::SeqCst))
    }

    /// Waits until the host wants what `wanted` accepts; at once when it does already.
    pub async fn directed(&self, wanted: impl Fn(Directive) -> bool) -> Directive {
        let mut change = pin!(self.directed.notified());
        loop {
            // Interest first, question second: a change between the two is not lost.
            change.as_mut().enable();
            let directive = self.directive();
            if wanted(directive) {
                return directive;
            }
            change.as_mut().await;
            change.set(self.directed.notified());
        }
    }

    /// The guest reports.
    pub fn report(&self, progress: Progress) {
        let mut reported = self.lock();
        if reported.news.progress.as_ref() == Some(&progress) {
            return;
        }
        reported.news.progress = Some(progress);
        self.announce(reported);
    }

    /// The guest sees that it is to stop.
    pub fn see_cancel(&self) {
        let mut reported = self.lock();
        if !std::mem::replace(&mut reported.news.saw_cancel, true) {
            self.announce(reported);
        }
    }

    fn announce(&self, mut reported: MutexGuard<'_, Reported>) {
        reported.count += 1;
        drop(reported);
        self.reports.notify_one();
    }

    /// The latest progress.
    pub fn progress(&self) -> Option<Progress> {
        self.lock().news.progress.clone()
    }

    /// The attempt has logged this much so far.
    pub fn logged(&self, log: LogSize) {
        self.lock().log = log;
    }

    /// What the attempt has logged.
    pub fn log(&self) -> LogSize {
        self.lock().log
    }

    /// The guest has computed this long so far, in microseconds.
    pub fn computed(&self, cpu_us: u64) {
        self.lock().usage.cpu_us = cpu_us;
    }

    /// The guest has held this much at most, in bytes.
    pub fn held(&self, memory_bytes: u64) {
        let mut reported = self.lock();
        reported.usage.memory_bytes = reported.usage.memory_bytes.max(memory_bytes);
    }

    /// What the guest has used; complete once its call has ended.
    pub fn usage(&self) -> Usage {
        self.lock().usage
    }

    /// What the guest has let know so far, and the number of its latest report.
    pub fn latest(&self) -> (News, u64) {
        let reported = self.lock();
        (reported.news.clone(), reported.count)
    }

    /// Waits for a report after number `seen`; answers the latest and its number. For one listener.
    pub async fn reported(&self, seen: u64) -> (News, u64) {
        loop {
            {
                let reported = self.lock();
                if reported.count > seen {
                    return (reported.news.clone(), reported.count);
                }
            }
            self.reports.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Reported> {
        // A report is replaced as a whole, so it is right even after a panic.
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
