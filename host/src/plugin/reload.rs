//! Follows the plugins folder. Events of the file system only hint that a look is worth while; what
//! is loaded is decided by what the looks see.

pub(super) mod folder;
mod hints;
mod loads;
mod obey;
pub(super) mod orders;
mod place;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::archive::{Archive, Arrived, Cause, End};
use super::news::What;
use super::registry::load::check_name;
use super::registry::{Refusal, Registry, Verdict};
use super::{LoadFailure, Settings};
use crate::time::Timestamp;
use folder::{MAX_PLUGINS, Named, ReadError, Stamp};
use hints::Hints;
use loads::{Loaded, Loads, Of, Settled};
use orders::{Disobeyed, Order, Pending};
use settle::{Pace, Settling, Step};

/// Looks without a hint: network file systems and full event queues send none.
const RESCAN: Duration = Duration::from_secs(10);
/// Looks without a hint when nothing can hint: no events at all, or links that lead where nobody watches.
const RESCAN_UNWATCHED: Duration = Duration::from_secs(1);
/// Before a file is tried again for which the host had no room.
const RETRY_BUSY: Duration = Duration::from_secs(2);
/// A load that takes longer goes on beside the others; until then they are loaded one after the other.
const ASIDE: Duration = Duration::from_secs(1);
/// How long a host that starts waits for its plugins, those that have to be compiled first included.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks, however many hints there are.
const MIN_GAP: Duration = Duration::from_millis(20);

/// The loop that keeps the registry in step with the folder.
#[derive(Debug)]
pub(super) struct Reloader {
    settings: Settings,
    registry: Arc<Registry>,
    archive: Arc<Archive>,
    orders: mpsc::Receiver<Order>,
    /// The order whose generation is being loaded. The next one waits for it.
    pending: Option<Pending>,
    hints: Arc<Hints>,
    watcher: Option<RecommendedWatcher>,
    /// The folder that is watched: a folder of the same name may be another one.
    watched: Option<(u64, u64)>,
    settling: Settling,
    loads: Loads,
    named: Named,
    /// Names that wait for a kind which another plugin has.
    blocked: BTreeSet<String>,
    /// A plugin came or went since: a kind may be free.
    freed: bool,
    /// What was said about the folder, to say it once.
    complaint: Option<String>,
    /// Some files of the folder are links.
    links: bool,
}

impl Reloader {
    /// Starts to listen for hints; nothing is loaded yet.
    pub(super) fn new(
        settings: Settings,
        registry: Arc<Registry>,
        archive: Arc<Archive>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        if let Err(error) = std::fs::create_dir_all(&settings.dir) {
            tracing::warn!(dir = %settings.dir.display(), %error, "cannot create the plugins folder");
        }
        place::clean(&settings.dir);
        let hints = Arc::new(Hints::default());
        let sink = Arc::clone(&hints);
        let watcher = notify::recommended_watcher(move |event| sink.take(event))
            .inspect_err(|error| tracing::warn!(%error, "no file events: the plugins folder is polled"))
            .ok();
        let pace = if settings.dev { Pace::QUICK } else { Pace::CAREFUL };
        let mut reloader = Self {
            settings,
            registry,
            archive,
            orders,
            pending: None,
            hints,
            watcher,
            watched: None,
            settling: Settling::new(pace),
            loads: Loads::default(),
            named: Named::default(),
            blocked: BTreeSet::new(),
            freed: false,
            complaint: None,
            links: false,
        };
        reloader.watch();
        reloader
    }

    /// Loads what is there, in the order of names, without waiting for it to settle: what is half
    /// written is refused now and loaded when it changes.
    pub(super) async fn load_all(&mut self) {
        let Some(seen) = self.look().await else { return };
        let names: Vec<(String, Stamp)> = seen.into_iter().collect();
        let until = Instant::now() + START_PATIENCE;
        for (name, stamp) in names {
            self.load(&name, stamp).await;
        }
        while let Ok(Some(loaded)) = tokio::time::timeout_at(until, self.loads.next()).await {
            self.take_in(loaded).await;
        }
        let (archive, registry) = (Arc::clone(&self.archive), Arc::clone(&self.registry));
        let coming: BTreeSet<String> = self.loads.names().map(str::to_owned).collect();
        let is_live = move |name: &str| coming.contains(name) || registry.live_digest(name).is_some();
        let told = Arc::clone(&self.registry);
        let reconcile = move || {
            let gone = archive.reconcile(is_live, crate::time::now());
            gone.into_iter().for_each(|(name, digest)| told.tell(&name, Some(digest), What::Removed));
        };
        kept(reconcile).await;
        // Nothing has left yet, so whoever is blocked stays so.
        self.freed = false;
    }

    /// Follows the folder until it is told to stop. A load that is under way is given up.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        Box::pin(stop.run_until_cancelled(self.follow())).await;
        self.loads.stop().await;
    }

    async fn follow(&mut self) {
        let mut last_look = Instant::now();
        loop {
            let told = self.watched.is_some() && !self.links;
            let rescan = last_look + if told { RESCAN } else { RESCAN_UNWATCHED };
            let wake = self.settling.next().map_or(rescan, |due| due.min(rescan)).max(last_look + MIN_GAP);
            tokio::select! {
                () = self.hints.wake.notified() => tokio::time::sleep_until(last_look + MIN_GAP).await,
                Some(loaded) = self.loads.next() => {
                    self.take_in(loaded).await;
                    self.unblock().await;
                    continue;
                }
                Some(order) = self.orders.recv(), if self.pending.is_none() => {
                    self.obey(order).await;
                    self.unblock().await;
                    continue;
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            last_look = Instant::now();
            // Renames first: one that happens after the look belongs to the next one.
            let renamed = self.hints.renamed();
            self.watch();
            let Some(seen) = self.look().await else { continue };
            self.settling.observe(&seen, &renamed, last_look);
            for (name, stamp) in self.settling.fresh() {
                self.load_early(&name, stamp).await;
            }
            for (name, step) in self.settling.due(last_look) {
                self.take(&name, step).await;
            }
            self.unblock().await;
        }
    }

    async fn take(&mut self, name: &str, step: Step) {
        match step {
            Step::Load(stamp) => self.load(name, stamp).await,
            Step::Remove => {
                self.gone(name).await;
            }
            Step::Restless => {
                let message = "the file keeps changing; it is loaded once it has been left alone for a moment";
                self.refuse(name, message.to_owned());
            }
        }
    }

    /// Nothing of a plugin is in the folder any more.
    async fn gone(&mut self, name: &str) {
        let now = crate::time::now();
        self.settling.settled(name, Stamp::default());
        self.give_up(name);
        self.blocked.remove(name);
        self.registry.remove(name, now);
        self.freed = true;
        let (archive, owned) = (Arc::clone(&self.archive), name.to_owned());
        kept(move || archive.end(&owned, End::Removed, now)).await;
    }

    /// Loads a file while it is seen whether it settles. Nobody hears of it before.
    async fn load_early(&mut self, name: &str, stamp: Stamp) {
        if check_name(name).is_err() || self.loads.is_occupied(name) {
            return;
        }
        // What goes wrong here goes wrong again once the file has settled, and is told then.
        let Ok(candidate) = self.read(name, stamp).await else { return };
        if !self.registry.is_known(name, &candidate.source) {
            self.loads.start(&self.registry, candidate, Of::File(stamp), true);
        }
    }

    async fn load(&mut self, name: &str, stamp: Stamp) {
        self.blocked.remove(name);
        let early = self.loads.settled(name, stamp);
        if !matches!(early, Settled::Unknown) {
            self.settling.settled(name, stamp);
            return match early {
                Settled::Loaded(loaded) => self.take_in(*loaded).await,
                Settled::Loading | Settled::Unknown => self.attend(name).await,
            };
        }
        self.give_up(name);
        if let Err(message) = check_name(name) {
            self.settling.settled(name, stamp);
            return self.refuse(name, message);
        }
        let now = Instant::now();
        match self.read(name, stamp).await {
            Ok(candidate) => {
                self.settling.settled(name, stamp);
                if self.registry.recall(name, &candidate.source).is_none() {
                    self.loads.start(&self.registry, candidate, Of::File(stamp), false);
                    self.attend(name).await;
                }
            }
            Err(ReadError::Changed) => self.settling.again(name, stamp, now + MIN_GAP, now),
            Err(ReadError::Unfit(message)) => {
                self.settling.settled(name, stamp);
                self.refuse(name, message);
            }
            Err(error @ ReadError::Unreadable { .. }) => {
                self.settling.again(name, stamp, now + RESCAN, now);
                self.refuse(name, error.to_string());
            }
        }
    }

    /// Waits for a load for a moment.
    async fn attend(&mut self, name: &str) {
        let until = Instant::now() + ASIDE;
        while self.loads.has(name)
            && let Ok(Some(loaded)) = tokio::time::timeout_at(until, self.loads.next()).await
        {
            self.take_in(loaded).await;
        }
    }

    /// Stops what is being loaded under a name: its file has changed or is gone.
    fn give_up(&mut self, name: &str) {
        self.loads.give_up(name);
        if let Some(overtaken) = self.pending.take_if(|pending| pending.name == name) {
            obey::answer(overtaken.reply, Err(Disobeyed::Overtaken(name.to_owned())));
        }
    }

    /// Takes note of a load's end.
    async fn take_in(&mut self, loaded: Loaded) {
        let Loaded { name, of, component, source, result } = loaded;
        let Of::File(stamp) = of else { return self.fulfil(Loaded { name, of, component, source, result }).await };
        let now = crate::time::now();
        let cause = Some(Cause::File).filter(|_| self.archive.is_news(&name, &source));
        match self.registry.conclude((&name, &source), result, cause, now) {
            Verdict::Adopted => {
                self.freed = true;
                let version = self.registry.live_version(&name);
                self.keep(Arrived { name, component, source, version, cause: Cause::File, restores: None }, now).await;
            }
            Verdict::Same | Verdict::Refused(Refusal::Invalid) => {}
            Verdict::Refused(Refusal::Clash) => {
                self.blocked.insert(name);
            }
            Verdict::Refused(Refusal::Busy) => {
                let now = Instant::now();
                self.settling.again(&name, stamp, now + RETRY_BUSY, now);
            }
        }
    }

    /// Keeps the files of what is live now, to go back to.
    async fn keep(&self, arrived: Arrived, now: Timestamp) {
        let archive = Arc::clone(&self.archive);
        kept(move || archive.arrive(&arrived, now)).await;
    }

    /// Tries again what waits for a kind, as long as that makes progress.
    async fn unblock(&mut self) {
        while std::mem::take(&mut self.freed) {
            for name in std::mem::take(&mut self.blocked) {
                if let Some(stamp) = self.settling.unchanged(&name) {
                    self.load(&name, stamp).await;
                }
            }
        }
    }

    fn refuse(&self, name: &str, message: String) {
        self.registry.refuse(name, LoadFailure { at: crate::time::now(), digest: None, message });
    }

    async fn read(&self, name: &str, stamp: Stamp) -> Result<super::registry::load::Candidate, ReadError> {
        let (dir, owned, max_bytes) = (self.settings.dir.clone(), name.to_owned(), self.settings.max_component_bytes);
        let read = tokio::task::spawn_blocking(move || folder::read(&dir, &owned, stamp, max_bytes));
        read.await.unwrap_or_else(|error| Err(ReadError::Unfit(format!("reading it failed: {error}"))))
    }

    /// What is in the folder; nothing when it cannot be read, which changes nothing.
    async fn look(&mut self) -> Option<BTreeMap<String, Stamp>> {
        let (dir, mut named) = (self.settings.dir.clone(), std::mem::take(&mut self.named));
        let look = tokio::task::spawn_blocking(move || {
            let seen = folder::look(&dir, &mut named);
            seen.map(|seen| (seen, named))
        });
        let seen = look.await.map_err(std::io::Error::other).flatten().map(|(seen, named)| {
            self.named = named;
            seen
        });
        let (seen, complaint) = match seen {
            Ok(seen) => {
                self.links = seen.links;
                let complaint = seen
                    .overflow
                    .then(|| format!("it has more than {MAX_PLUGINS} plugins; the others are passed over"));
                (Some(seen.plugins), complaint)
            }
            Err(error) => (None, Some(format!("it cannot be read: {error}; what is live stays"))),
        };
        if complaint != self.complaint
            && let Some(reason) = &complaint
        {
            tracing::warn!(dir = %self.settings.dir.display(), %reason, "something is wrong with the plugins folder");
        }
        self.complaint = complaint;
        seen
    }

    /// Watches the folder that now has the name.
    fn watch(&mut self) {
        let dir: &Path = &self.settings.dir;
        let identity = std::fs::metadata(dir).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        let Some(watcher) = self.watcher.as_mut().filter(|_| identity != self.watched) else { return };
        if self.watched.take().is_some() {
            // The watch of a folder that is gone has ended by itself.
            let _gone = watcher.unwatch(dir);
        }
        if identity.is_none() {
            return;
        }
        match watcher.watch(dir, RecursiveMode::NonRecursive) {
            Ok(()) => self.watched = identity,
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "cannot watch the plugins folder; it is polled");
                self.watcher = None;
            }
        }
    }
}

/// Keeps something on the disk. Whatever becomes of it is in the log.
async fn kept(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::error!(%error, "keeping the history of a plugin failed");
    }
}
