//! The live plugins: who executes a kind, who dispatches, and what became of every file.
//!
//! Readers take a snapshot and never wait. Only the reload loop writes.

mod arrival;
mod book;
mod canary;
pub mod generation;
mod live;
pub(super) mod load;
mod replaced;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::task::Digest;
use crate::time::Timestamp;

pub use self::live::Executors;
use super::archive::{Archive, Cause, Record};
use super::engine::{Sandbox, StartError};
use super::news::{News, Newsroom, What};
use super::ports::Ports;
use super::reload::Reloader;
use super::reload::orders::{Action, Condition, Disobeyed, Obeyed, Order, Upload};
use super::{Draining, InputError, KindInfo, LoadFailure, PluginInfo, Settings};
use arrival::Arrival;
use book::Book;
use generation::{Generation, Source};
use live::{Live, LiveRules};
use load::{Candidate, NotLoaded};
use replaced::Replaced;

/// Orders that wait for their turn, at most; whoever comes later waits to be let in.
const MAX_ORDERS: usize = 16;

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
    orders: mpsc::Sender<Order>,
    archive: Arc<Archive>,
    _stop_on_drop: DropGuard,
}

/// What is remembered of a plugin.
#[derive(Clone, Debug)]
pub struct History {
    /// Its generations, oldest first.
    pub records: Vec<Record>,
    /// What a rollback would bring back.
    pub rollback_to: Option<Digest>,
    /// Those that still run attempts.
    pub draining: Vec<Draining>,
}

impl Plugins {
    /// Starts the sandbox, loads what is in the folder (which is created when it is missing) and
    /// watches it. A plugin that cannot be loaded is told by [`Self::list`]; it stops nobody.
    pub async fn start(settings: Settings, ports: Ports) -> Result<Arc<Self>, StartError> {
        let sandbox = Sandbox::start(&settings, ports)?;
        let registry = Arc::new(Registry::new(sandbox));
        let stop = CancellationToken::new();
        let archive = Arc::new(Archive::open(&settings.kept_dir));
        let (orders, given) = mpsc::channel(MAX_ORDERS);
        let mut reloader = Reloader::new(settings, Arc::clone(&registry), Arc::clone(&archive), given);
        reloader.load_all().await;
        let tasks = TaskTracker::new();
        tasks.spawn(reloader.run(stop.clone()));
        Ok(Arc::new(Self { registry, tasks, orders, archive, _stop_on_drop: stop.clone().drop_guard(), stop }))
    }

    /// Who executes a kind now.
    pub fn executor(&self, kind: &str) -> Option<Arc<Generation>> {
        self.registry.live.load().executor(kind).cloned()
    }

    /// Every kind with its executor, in the order of kinds: one consistent, cheap snapshot.
    pub fn executors(&self) -> Arc<Executors> {
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
        let checked = self.registry.live.load().check(kind, input);
        let Err(InputError::UnknownKind { kind, known }) = checked else { return checked };
        match self.coming() {
            coming if coming.is_empty() => Err(InputError::UnknownKind { kind, known }),
            coming => Err(InputError::NotYetKnown { kind, coming }),
        }
    }

    /// Plugins that are being loaded and have nothing live, in the order of names: what they execute is not known yet.
    pub fn coming(&self) -> Vec<String> {
        self.registry.book().coming()
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

    /// Waits until nothing more begins on what was replaced before, a moment at most.
    pub async fn settled(&self) {
        self.registry.replaced.withdrawn().await;
    }

    /// Obeys an upload: the same checks as for a file in the folder, before anything in the folder changes.
    pub async fn put(&self, name: &str, upload: Upload, condition: Condition) -> Result<Obeyed, Disobeyed> {
        self.order(name, Action::Put(upload), condition).await
    }

    /// Removes a plugin's files; its running attempts drain.
    pub async fn remove(&self, name: &str, condition: Condition) -> Result<Obeyed, Disobeyed> {
        self.order(name, Action::Remove, condition).await
    }

    /// Puts the files of the generation back that was live before, and makes it live.
    pub async fn roll_back(&self, name: &str, condition: Condition) -> Result<Obeyed, Disobeyed> {
        self.order(name, Action::RollBack, condition).await
    }

    async fn order(&self, name: &str, action: Action, condition: Condition) -> Result<Obeyed, Disobeyed> {
        load::check_name(name).map_err(Disobeyed::BadName)?;
        let (reply, answer) = oneshot::channel();
        let stopping = |_| Disobeyed::Busy("the host is stopping".to_owned());
        let order = Order { name: name.to_owned(), action, condition, reply };
        self.orders.send(order).await.map_err(|error| stopping(error.to_string()))?;
        answer.await.map_err(|error| stopping(error.to_string()))?
    }

    /// What was live of a plugin, oldest first, if it is known.
    pub fn history(&self, name: &str) -> Option<History> {
        let records = self.archive.history(name)?;
        let draining = self.list().into_iter().find(|info| info.name == name).map(|info| info.draining);
        Some(History { records, rollback_to: self.archive.rollback_to(name), draining: draining.unwrap_or_default() })
    }

    /// Raised by every change of what [`Self::list`] answers, apart from counters.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.registry.changed.subscribe()
    }

    /// What has happened to plugins since this was asked last, in its order; waits for something. For one reader.
    pub async fn news(&self) -> Vec<News> {
        self.registry.news.next().await
    }

    /// The same without waiting.
    pub fn latest_news(&self) -> Vec<News> {
        self.registry.news.take()
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
    news: Arc<Newsroom>,
    pub(super) replaced: Replaced,
}

impl Registry {
    fn new(sandbox: Arc<Sandbox>) -> Self {
        let news = Arc::<Newsroom>::default();
        let book = Mutex::new(Book::new(Arc::clone(&news)));
        Self {
            sandbox,
            live: Arc::default(),
            book,
            changed: watch::Sender::new(0),
            news,
            replaced: Replaced::default(),
        }
    }

    /// Loads a candidate; nothing of it is visible yet but that it is on its way. Dropping the future gives it up.
    pub(super) async fn load(&self, candidate: Candidate, now: Timestamp) -> Result<Generation, NotLoaded> {
        let (name, digest) = (candidate.name.clone(), candidate.source.digest);
        let rules = Arc::new(LiveRules(Arc::downgrade(&self.live)));
        let loading = Arrival::new(self, &name, digest);
        load::load(&self.sandbox, candidate, rules, &|stage| loading.at(stage), now).await
    }

    /// Makes what was loaded of a file live if it is sound (invariant I11), for a cause that is news or for none.
    pub(super) fn conclude(
        &self,
        (name, source): (&str, &Source),
        loaded: Result<Generation, NotLoaded>,
        cause: Option<Cause>,
        now: Timestamp,
    ) -> Verdict {
        let refused = |message: String| LoadFailure { at: now, digest: Some(source.digest), message };
        match loaded {
            Ok(generation) => {
                if let Some(message) = self.clash(&generation) {
                    self.refuse(name, refused(message));
                    return Verdict::Refused(Refusal::Clash);
                }
                self.adopt(generation, cause, now);
                Verdict::Adopted
            }
            Err(NotLoaded::Unfit(message)) => {
                self.record(name, refused(message), Some(source.clone()));
                Verdict::Refused(Refusal::Invalid)
            }
            Err(NotLoaded::Busy(message)) => {
                self.record(name, refused(message), None);
                Verdict::Refused(Refusal::Busy)
            }
        }
    }

    /// What is known about a source without loading it.
    pub(super) fn recall(&self, name: &str, source: &Source) -> Option<Verdict> {
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

    /// Why a generation cannot be live beside the others.
    pub(super) fn clash(&self, generation: &Generation) -> Option<String> {
        let (kind, owner) = self.book().clash(generation)?;
        let name = generation.plugin();
        Some(format!(
            "the kind {kind:?} is executed by plugin {owner:?}, which was live first; \
             plugin {name:?} cannot execute it too: remove one of them or rename the kind"
        ))
    }

    /// Makes a generation live that clashes with no other; the one before it drains. Without a cause it was live before
    /// the last restart.
    pub(super) fn adopt(&self, generation: Generation, cause: Option<Cause>, now: Timestamp) {
        tracing::info!(plugin = generation.plugin(), digest = %generation.digest(), "plugin is live");
        if let Some(cause) = cause {
            self.tell(generation.plugin(), Some(generation.digest()), What::Live(cause));
        }
        let mut book = self.book();
        book.adopt(Arc::new(generation.live_since(now)), (now, Instant::now()));
        self.publish(&book);
    }

    /// The digest that is live under a name.
    pub(super) fn live_digest(&self, name: &str) -> Option<Digest> {
        self.live.load().plugins.get(name).map(|generation| generation.digest())
    }

    /// Whether loading this would be no news.
    pub(super) fn is_known(&self, name: &str, source: &Source) -> bool {
        let book = self.book();
        book.is_live(name, source) || book.was_tried(name, source)
    }

    /// Whether exactly this is live under a name.
    pub(super) fn is_live(&self, name: &str, source: &Source) -> bool {
        self.book().is_live(name, source)
    }

    /// The version that is live under a name, as it calls it itself.
    pub(super) fn live_version(&self, name: &str) -> String {
        self.live.load().plugins.get(name).map_or_else(String::new, |generation| generation.version().to_owned())
    }

    /// Records why a file is not live; what was live stays so.
    pub(super) fn refuse(&self, name: &str, failure: LoadFailure) {
        self.record(name, failure, None);
    }

    fn record(&self, name: &str, failure: LoadFailure, tried: Option<Source>) {
        tracing::warn!(plugin = name, reason = %failure.message, "plugin file is not live");
        let (digest, message) = (failure.digest, failure.message.clone());
        if self.book().refuse(name, failure, tried) {
            self.tell(name, digest, What::Refused(message));
        }
        self.bump();
    }

    /// Forgets a plugin whose file is gone; its running attempts drain.
    pub(super) fn remove(&self, name: &str, now: Timestamp) {
        tracing::info!(plugin = name, "plugin file is gone");
        if let Some(live) = self.live_digest(name) {
            self.tell(name, Some(live), What::Removed);
        }
        let mut book = self.book();
        book.remove(name, (now, Instant::now()));
        self.publish(&book);
    }

    /// Takes note of what has happened, for whoever tells it on.
    pub(super) fn tell(&self, name: &str, digest: Option<Digest>, what: What) {
        self.news.push(News { plugin: name.to_owned(), digest, what });
    }

    fn publish(&self, book: &Book) {
        let before = self.live.swap(Arc::new(Live::new(book.live())));
        self.replaced.add(before.released.clone());
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
