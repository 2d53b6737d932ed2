//! What the runner knows of an attempt while it runs.

use std::sync::Arc;

use super::steer::Reins;
use crate::plugin::Generation;
use crate::plugin::control::{Control, Directive};
use crate::task::TaskId;

/// An attempt that runs now.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) attempt: u32,
    pub(super) control: Arc<Control>,
    /// That has to drain when it is replaced; absent when the work lives elsewhere: whoever is live then looks after it.
    pub(super) generation: Option<Arc<Generation>>,
    /// Of an attempt whose work lives elsewhere.
    pub(super) reins: Option<Reins>,
}

/// An attempt that has ended: by its control it is told from the next one of its task, which may run already.
pub(super) type Ran = (TaskId, Arc<Control>, Option<Arc<Generation>>);

impl Running {
    /// Whether it has to end when a generation is replaced.
    pub(super) fn drains_with(&self, generation: &Arc<Generation>) -> bool {
        self.generation.as_ref().is_some_and(|its| Arc::ptr_eq(its, generation))
    }

    /// Somebody outside has news about its work.
    pub(super) fn ring(&self) {
        if let Some(reins) = &self.reins {
            reins.bell.notify_one();
        }
    }

    /// It has just ended, or its lease is another one's: what it says is refused. Outside work must not hear of that.
    pub(super) fn lose(&self) {
        match &self.reins {
            Some(reins) => reins.lost.cancel(),
            None => self.control.direct(Directive::Cancel),
        }
    }
}
