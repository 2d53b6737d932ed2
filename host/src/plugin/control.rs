//! The thread between a running attempt and whoever steers it.

use tokio::sync::watch;

use crate::task::Progress;

/// What the host wants of a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Directive {
    /// Go on.
    #[default]
    Proceed,
    /// Stop: the task is to be cancelled.
    Cancel,
    /// Stop at a checkpoint: the host drains or replaces the plugin.
    Yield,
}

/// Shared by the runner and one attempt's guest.
#[derive(Debug)]
pub struct Control {
    directive: watch::Sender<Directive>,
    progress: watch::Sender<Option<Progress>>,
}

impl Default for Control {
    fn default() -> Self {
        Self { directive: watch::Sender::new(Directive::Proceed), progress: watch::Sender::new(None) }
    }
}

impl Control {
    /// Asks the guest. A request to cancel is never taken back.
    pub fn direct(&self, directive: Directive) {
        self.directive.send_if_modified(|current| {
            let changes = *current != Directive::Cancel && *current != directive;
            if changes {
                *current = directive;
            }
            changes
        });
    }

    /// What the host wants now.
    pub fn directive(&self) -> Directive {
        *self.directive.borrow()
    }

    /// Changes of the directive.
    pub fn directives(&self) -> watch::Receiver<Directive> {
        self.directive.subscribe()
    }

    /// The guest reports.
    pub fn report(&self, progress: Progress) {
        self.progress.send_if_modified(|current| {
            let changes = current.as_ref() != Some(&progress);
            if changes {
                *current = Some(progress);
            }
            changes
        });
    }

    /// Changes of the progress; holds the latest report only.
    pub fn progress(&self) -> watch::Receiver<Option<Progress>> {
        self.progress.subscribe()
    }
}
