//! Loads that go on while the folder is followed: compiling may take minutes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};

use super::folder::Stamp;
use crate::plugin::LoadFailure;
use crate::plugin::registry::load::Candidate;
use crate::plugin::registry::{Refusal, Registry, Verdict};

/// The end of a load.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) name: String,
    /// The file as it was read.
    pub(super) stamp: Stamp,
    pub(super) verdict: Verdict,
}

/// At most one for each name.
#[derive(Debug, Default)]
pub(super) struct Loads {
    tasks: JoinSet<(Stamp, Verdict)>,
    names: BTreeMap<String, (AbortHandle, Stamp, Arc<Registry>)>,
}

impl Loads {
    /// Begins to load a candidate; an older one of the same name must have been given up.
    pub(super) fn start(&mut self, registry: Arc<Registry>, candidate: Candidate, stamp: Stamp) {
        let name = candidate.name.clone();
        let offer = Arc::clone(&registry);
        let task = self.tasks.spawn(async move { (stamp, offer.offer(candidate, crate::time::now()).await) });
        self.names.insert(name, (task, stamp, registry));
    }

    /// Whether a load goes on.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Stops a load whose file has changed or is gone.
    pub(super) fn give_up(&mut self, name: &str) {
        if let Some((task, ..)) = self.names.remove(name) {
            task.abort();
        }
    }

    /// The next load that ends; nothing when none goes on. May be dropped without a loss.
    pub(super) async fn next(&mut self) -> Option<Loaded> {
        loop {
            let ended = self.tasks.join_next_with_id().await?;
            let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
            // One that was given up has no name any more.
            let found = self.names.iter().find(|(_, (task, ..))| task.id() == id);
            let Some(name) = found.map(|(name, _)| name.clone()) else { continue };
            let Some((_, stamp, registry)) = self.names.remove(&name) else { continue };
            let (stamp, verdict) = ended.map_or_else(
                |error| {
                    let message = format!("the loader failed on this file: {error}");
                    registry.refuse(&name, LoadFailure { at: crate::time::now(), digest: None, message });
                    (stamp, Verdict::Refused(Refusal::Invalid))
                },
                |(_, ended)| ended,
            );
            return Some(Loaded { name, stamp, verdict });
        }
    }

    /// Ends what still goes on.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}
