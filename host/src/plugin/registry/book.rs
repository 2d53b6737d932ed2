//! What is known about every name in the folder.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use tokio::time::Instant;

use crate::plugin::manifest::Drain;
use crate::plugin::news::Newsroom;
use crate::plugin::{Draining, LoadFailure, Loading, PluginInfo};
use crate::task::Digest;
use crate::time::Timestamp;

use super::generation::{Generation, Source};

#[derive(Debug, Default)]
struct Entry {
    /// What new attempts use.
    live: Option<Arc<Generation>>,
    /// What older attempts may still use.
    draining: Vec<Weak<Generation>>,
    /// What is on its way.
    loading: Option<Loading>,
    /// Why the file is not live.
    failure: Option<LoadFailure>,
    /// The last source that was refused for good: not worth a second look.
    tried: Option<Source>,
}

/// Names and their generations.
#[derive(Debug)]
pub(super) struct Book {
    entries: BTreeMap<String, Entry>,
    news: Arc<Newsroom>,
}

impl Book {
    /// Knows nothing yet; `news` hear of what is retired.
    pub(super) fn new(news: Arc<Newsroom>) -> Self {
        Self { entries: BTreeMap::new(), news }
    }

    /// Whether this is what runs already.
    pub(super) fn is_live(&self, name: &str, source: &Source) -> bool {
        self.entries.get(name).and_then(|entry| entry.live.as_ref()).is_some_and(|live| live.source() == source)
    }

    /// Whether this was refused before.
    pub(super) fn was_tried(&self, name: &str, source: &Source) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.tried.as_ref() == Some(source))
    }

    /// A kind that the candidate wants and another live plugin has, with that plugin's name.
    pub(super) fn clash(&self, candidate: &Generation) -> Option<(String, String)> {
        let others = self.entries.values().filter_map(|entry| entry.live.as_ref());
        others.filter(|other| other.plugin() != candidate.plugin()).find_map(|other| {
            let kind = candidate.kinds().find(|kind| other.kinds().any(|taken| taken.name == kind.name))?;
            Some((kind.name.clone(), other.plugin().to_owned()))
        })
    }

    /// Makes a generation live; the one before it drains, as the new one says.
    pub(super) fn adopt(&mut self, generation: Arc<Generation>, now: (Timestamp, Instant)) {
        let entry = self.entries.entry(generation.plugin().to_owned()).or_default();
        entry.retire(Some(generation.reload_policy().drain), now, &self.news);
        entry.live = Some(generation);
        entry.failure = None;
        entry.tried = None;
    }

    /// Records a failure, and the source when it is refused for good; what is live stays. Whether it is another one than
    /// the last.
    pub(super) fn refuse(&mut self, name: &str, failure: LoadFailure, tried: Option<Source>) -> bool {
        let entry = self.entries.entry(name.to_owned()).or_default();
        entry.tried = tried;
        let now = (failure.digest, failure.message.clone());
        let last = entry.failure.replace(failure);
        last.is_none_or(|last| (last.digest, last.message) != now)
    }

    /// A candidate is on its way.
    pub(super) fn arrive(&mut self, name: &str, loading: Loading) {
        self.entries.entry(name.to_owned()).or_default().loading = Some(loading);
    }

    /// A candidate is no longer on its way; another one of the same name may be.
    pub(super) fn arrived(&mut self, name: &str, digest: Digest) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.loading = entry.loading.filter(|loading| loading.digest != digest);
            if !entry.is_known() {
                self.entries.remove(name);
            }
        }
    }

    /// Takes a failure back; whether there was one.
    pub(super) fn forgive(&mut self, name: &str) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        entry.tried = None;
        entry.failure.take().is_some()
    }

    /// The file is gone; what was live drains, as it says itself.
    pub(super) fn remove(&mut self, name: &str, now: (Timestamp, Instant)) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.retire(None, now, &self.news);
        entry.failure = None;
        entry.tried = None;
        // Names come and go for years: forget the ones that nothing is known about.
        self.entries.retain(|_, entry| entry.is_known());
    }

    /// What new attempts use.
    pub(super) fn live(&self) -> BTreeMap<String, Arc<Generation>> {
        let live = |entry: &Entry| entry.live.clone();
        self.entries.iter().filter_map(|(name, entry)| Some((name.clone(), live(entry)?))).collect()
    }

    /// Those that are on their way and have nothing live: nobody knows yet what they execute.
    pub(super) fn coming(&self) -> Vec<String> {
        let coming = self.entries.iter().filter(|(_, entry)| entry.live.is_none() && entry.loading.is_some());
        coming.map(|(name, _)| name.clone()).collect()
    }

    /// As the API and the CLI show it.
    pub(super) fn list(&self) -> Vec<PluginInfo> {
        self.entries
            .iter()
            .map(|(name, entry)| PluginInfo {
                name: name.clone(),
                live: entry.live.as_ref().map(|live| live.info()),
                draining: entry.draining(),
                loading: entry.loading,
                error: entry.failure.clone(),
            })
            .filter(|info| {
                info.live.is_some() || info.loading.is_some() || info.error.is_some() || !info.draining.is_empty()
            })
            .collect()
    }
}

impl Entry {
    fn retire(&mut self, drain: Option<Drain>, now: (Timestamp, Instant), news: &Arc<Newsroom>) {
        self.draining.retain(|old| old.strong_count() > 0);
        if let Some(old) = self.live.take() {
            old.retire(drain.unwrap_or(old.reload_policy().drain), now, news);
            self.draining.push(Arc::downgrade(&old));
        }
    }

    fn is_known(&self) -> bool {
        self.live.is_some() || self.loading.is_some() || self.failure.is_some() || !self.drained()
    }

    fn drained(&self) -> bool {
        self.draining.iter().all(|old| old.strong_count() == 0)
    }

    fn draining(&self) -> Vec<Draining> {
        let old = self.draining.iter().filter_map(Weak::upgrade);
        old.filter_map(|old| {
            let retirement = old.retirement()?;
            let (yield_at, interrupt_at) = retirement.timetable();
            let (digest, running, since) = (old.digest(), old.running(), retirement.at);
            Some(Draining { digest, running, since, yield_at, interrupt_at })
        })
        .filter(|draining| draining.running > 0)
        .collect()
    }
}
