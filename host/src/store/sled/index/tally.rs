//! How many tasks of each name are queued and running.

use std::collections::HashMap;

/// Live tasks of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Tally {
    /// Waiting, due or not; also those that follow another task.
    pub(in super::super) queued: u64,
    /// Under a lease.
    pub(in super::super) running: u64,
}

/// By name; those without tasks are absent.
#[derive(Default)]
pub(super) struct Tallies(HashMap<Box<str>, Tally>);

impl Tallies {
    /// Counts, and forgets what has become zero.
    pub(super) fn count(&mut self, name: &str, change: impl FnOnce(&mut Tally)) {
        if !self.0.contains_key(name) {
            self.0.insert(name.into(), Tally::default());
        }
        let Some(tally) = self.0.get_mut(name) else { return };
        change(tally);
        if *tally == Tally::default() {
            self.0.remove(name);
        }
    }

    /// Every name in order.
    pub(super) fn all(&self) -> Vec<(String, Tally)> {
        let mut all: Vec<_> = self.0.iter().map(|(name, tally)| (name.to_string(), *tally)).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}
