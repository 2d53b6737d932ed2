//! The live plugins: who executes a kind, who dispatches, and what became of every file.
//!
//! Readers take a snapshot and never wait. Only the reload loop writes.

mod book;
pub mod generation;
pub(super) mod load;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::task::Digest;
use crate::time::{Timestamp, now};

use super::compile::Stage;
use super::engine::{Sandbox, StartError};
use super::link::TaskCheck;
use super::ports::Ports;
use super::reload::Reloader;
use super::{InputError, KindInfo, LoadFailure, Loading, PluginInfo, Settings};
use book::Book;
use generation::{Generation, Source};
use load::{Candidate, NotLoaded};

/// A kind and who executes it.
#[derive(Clone, Debug)]
pub struct Executor {
    /// The kind.
    pub kind: String,
    /// Its executor.
    pub generation: Arc<Generation>,
}

/// All plugins of one folder. Dropping it ends the reload loop; [`Self::stop`] also waits for it.
#[derive(Debug)]
pub struct Plugins {
    registry: Arc<Registry>,
    stop: CancellationToken,
    tasks: TaskTracker,
    _stop_on_drop: DropGuard,
}

impl Plugins {
    /// Starts the sandbox, loads what is in the folder (which is created when it is missing) and
    /// watches it. A plugin that cannot be loaded is told by [`Self::list`]; it stops nobody.
    pub async fn start(settings: Settings, ports: Ports) -> Result<Arc<Self>, StartError> {
        let sandbox = Sandbox::start(&settings, ports)?;
        let registry = Arc::new(Registry::new(sandbox));
        let stop = CancellationToken::new();
        let mut reloader = Reloader::new(settings, Arc::clone(&registry));
        reloader.load_all().await;
        let tasks = TaskTracker::new();
        tasks.spawn(reloader.run(stop.clone()));
        Ok(Arc::new(Self { registry, tasks, _stop_on_drop: stop.clone().drop_guard(), stop }))
    }

    /// Who executes a kind now.
    pub fn executor(&self, kind: &str) -> Option<Arc<Generation>> {
        self.registry.live.load().executor(kind).cloned()
    }

    /// Every kind with its executor, in the order of kinds: one consistent, cheap snapshot.
    pub fn executors(&self) -> Arc<Vec<Executor>> {
        Arc::clone(&self.registry.live.load().executors)
    }

    /// The live generation of a plugin, if it is a dispatcher.
    pub fn dispatcher(&self, plugin: &str) -> Option<Arc<Generation>> {
        let generation = self.registry.live.load().plugins.get(plugin).cloned();
        generation.filter(|generation| generation.is_dispatcher())
    }

    /// Whether a task of this kind would be accepted with this input (JSON text of any length: the
    /// caller bounds it).
    pub fn check_input(&self, kind: &str, input: &str) -> Result<(), InputError> {
        self.registry.live.load().check(kind, input)
    }

    /// What is executed now, in the order of names.
    pub fn kinds(&self) -> Vec<KindInfo> {
        let executors = self.executors();
        executors.iter().filter_map(|executor| executor.generation.kind_info(&executor.kind).cloned()).collect()
    }

    /// Every plugin: live, draining or refused, in the order of names.
    pub fn list(&self) -> Vec<PluginInfo> {
        self.registry.book().list()
    }

    /// Raised by every change of what [`Self::list`] answers, apart from counters.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.registry.changed.subscribe()
    }

    /// The guests' own runtime. An attempt that is made on it changes no threads.
    pub fn runtime(&self) -> Handle {
        self.registry.sandbox.runtime()
    }

    /// Ends the reload loop and then the sandbox with whatever still runs in it.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.registry.sandbox.stop();
    }
}

/// Live generations, as readers see them.
#[derive(Debug, Default)]
struct Live {
    plugins: BTreeMap<String, Arc<Generation>>,
    executors: Arc<Vec<Executor>>,
}

impl Live {
    fn new(plugins: BTreeMap<String, Arc<Generation>>) -> Self {
        let mut executors: Vec<Executor> = plugins
            .values()
            .flat_map(|generation| {
                generation.kinds().map(|kind| Executor { kind: kind.name.clone(), generation: Arc::clone(generation) })
            })
            .collect();
        executors.sort_by(|a, b| a.kind.cmp(&b.kind));
        Self { plugins, executors: Arc::new(executors) }
    }

    fn executor(&self, kind: &str) -> Option<&Arc<Generation>> {
        let found = self.executors.binary_search_by(|executor| executor.kind.as_str().cmp(kind)).ok()?;
        self.executors.get(found).map(|executor| &executor.generation)
    }

    fn check(&self, kind: &str, input: &str) -> Result<(), InputError> {
        self.executor(kind).and_then(|generation| generation.check_input(kind, input)).unwrap_or_else(|| {
            let known = self.executors.iter().map(|executor| executor.kind.clone()).collect();
            Err(InputError::UnknownKind { kind: kind.to_owned(), known })
        })
    }
}

/// The rules for tasks that guests create. Weak, because generations are held by what it reads.
struct LiveRules(Weak<ArcSwap<Live>>);

impl TaskCheck for LiveRules {
    fn check(&self, kind: &str, input: &str) -> Result<(), InputError> {
        match self.0.upgrade() {
            Some(live) => live.load().check(kind, input),
            None => Live::default().check(kind, input),
        }
    }
}

/// Why a candidate did not become live, by what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The file or its manifest has to change.
    Invalid,
    /// Another plugin has to give up a kind.
    Clash,
    /// The host had no room to ask it.
    Busy,
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is live.
    Adopted,
    /// It is what was tried last: nothing changed.
    Same,
    /// It is not live; what was live still is.
    Refused(Refusal),
}

/// What the reload loop writes and everybody reads.
#[derive(Debug)]
pub(super) struct Registry {
    sandbox: Arc<Sandbox>,
    live: Arc<ArcSwap<Live>>,
    book: Mutex<Book>,
    changed: watch::Sender<u64>,
}

impl Registry {
    fn new(sandbox: Arc<Sandbox>) -> Self {
        Self { sandbox, live: Arc::default(), book: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// Loads a candidate and makes it live if it is sound (invariant I11). Dropping the future gives it up.
    pub(super) async fn offer(&self, candidate: Candidate, now: Timestamp) -> Verdict {
        let (name, source) = (candidate.name.clone(), candidate.source.clone());
        if let Some(verdict) = self.recall(&name, &source) {
            return verdict;
        }
        let rules = Arc::new(LiveRules(Arc::downgrade(&self.live)));
        let loading = Arrival::new(self, &name, source.digest);
        let loaded = load::load(&self.sandbox, candidate, rules, &|stage| loading.at(stage), now).await;
        drop(loading);
        match loaded {
            Ok(generation) => self.adopt(&name, &source, Arc::new(generation), now),
            Err(reason) => {
                let failure = LoadFailure { at: now, digest: Some(source.digest), message: reason.to_string() };
                let (refusal, tried) = match reason {
                    NotLoaded::Unfit(_) => (Refusal::Invalid, Some(source)),
                    NotLoaded::Busy(_) => (Refusal::Busy, None),
                };
                self.record(&name, failure, tried);
                Verdict::Refused(refusal)
            }
        }
    }

    /// What is known about a source without loading it.
    fn recall(&self, name: &str, source: &Source) -> Option<Verdict> {
        let mut book = self.book();
        if book.is_live(name, source) {
            // A bad file was replaced by the one that never stopped running.
            let recovered = book.forgive(name);
            drop(book);
            if recovered {
                tracing::info!(plugin = name, digest = %source.digest, "the file is the live generation again");
                self.bump();
            }
            return Some(Verdict::Same);
        }
        book.was_tried(name, source).then_some(Verdict::Same)
    }

    fn adopt(&self, name: &str, source: &Source, generation: Arc<Generation>, now: Timestamp) -> Verdict {
        let mut book = self.book();
        if let Some((kind, owner)) = book.clash(&generation) {
            drop(book);
            let message = format!(
                "the kind {kind:?} is executed by plugin {owner:?}, which was live first; \
                 plugin {name:?} cannot execute it too: remove one of them or rename the kind"
            );
            self.refuse(name, LoadFailure { at: now, digest: Some(source.digest), message });
            return Verdict::Refused(Refusal::Clash);
        }
        tracing::info!(plugin = name, digest = %source.digest, "plugin is live");
        book.adopt(generation);
        self.publish(&book);
        Verdict::Adopted
    }

    /// Records why a file is not live; what was live stays so.
    pub(super) fn refuse(&self, name: &str, failure: LoadFailure) {
        self.record(name, failure, None);
    }

    fn record(&self, name: &str, failure: LoadFailure, tried: Option<Source>) {
        tracing::warn!(plugin = name, reason = %failure.message, "plugin file is not live");
        self.book().refuse(name, failure, tried);
        self.bump();
    }

    /// Forgets a plugin whose file is gone; its running attempts finish.
    pub(super) fn remove(&self, name: &str) {
        tracing::info!(plugin = name, "plugin file is gone");
        let mut book = self.book();
        book.remove(name);
        self.publish(&book);
    }

    fn publish(&self, book: &Book) {
        self.live.store(Arc::new(Live::new(book.live())));
        self.bump();
    }

    fn bump(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Every change of the book is complete before anything in it can panic.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows a candidate as loading for as long as it exists.
struct Arrival<'a> {
    registry: &'a Registry,
    name: &'a str,
    digest: Digest,
}

impl<'a> Arrival<'a> {
    fn new(registry: &'a Registry, name: &'a str, digest: Digest) -> Self {
        Self { registry, name, digest }
    }

    fn at(&self, stage: Stage) {
        let Self { registry, name, digest } = *self;
        match stage {
            Stage::Compiling => tracing::info!(plugin = name, %digest, "compiling a plugin"),
            Stage::Queued | Stage::Checking => tracing::debug!(plugin = name, stage = stage.name(), "loading a plugin"),
        }
        registry.book().arrive(name, Loading { digest, stage, since: now() });
        registry.bump();
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.registry.book().arrived(self.name, self.digest);
        self.registry.bump();
    }
}
