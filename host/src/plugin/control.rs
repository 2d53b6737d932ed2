//! The thread between a running attempt and whoever steers it.
//!
//! Made anew for every attempt, so it is plain: a flag, the latest report, and two bells.

use std::pin::pin;

use crate::sync::{AtomicU8, Mutex, MutexGuard, Notify, Ordering, PoisonError};
use crate::task::Progress;

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

/// The latest report of a guest, and how many there were.
#[derive(Debug, Default)]
struct Reported {
    progress: Option<Progress>,
    count: u64,
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
        if reported.progress.as_ref() == Some(&progress) {
            return;
        }
        reported.progress = Some(progress);
        reported.count += 1;
        drop(reported);
        self.reports.notify_one();
    }

    /// The latest report.
    pub fn progress(&self) -> Option<Progress> {
        self.lock().progress.clone()
    }

    /// Waits for a report after number `seen`; answers the latest and its number. For one listener.
    pub async fn reported(&self, seen: u64) -> (Option<Progress>, u64) {
        loop {
            {
                let reported = self.lock();
                if reported.count > seen {
                    return (reported.progress.clone(), reported.count);
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
