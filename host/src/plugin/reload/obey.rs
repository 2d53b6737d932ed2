//! Does what an order says. Everything that is checked of a file in the folder is checked before anything in the folder
//! changes; then the files are put into place and the generation goes live.

use std::io;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Reloader;
use super::folder::{self, ReadError};
use super::loads::{Loaded, Of};
use super::orders::{Action, Disobeyed, Obeyed, Order, Pending, Plan, Upload};
use super::place::{self, Files, ManifestFile};
use crate::plugin::archive::{Arrived, Cause, NothingKept};
use crate::plugin::manifest::MAX_MANIFEST_BYTES;
use crate::plugin::registry::generation::Source;
use crate::plugin::registry::load::{Candidate, NotLoaded};
use crate::task::Digest;

/// What an order comes to, before anything was checked.
struct Draft {
    candidate: Candidate,
    component: bool,
    manifest: Plan,
    cause: Cause,
    restores: Option<u64>,
}

/// Tells whoever gave the order; they may have gone.
pub(super) fn answer(reply: oneshot::Sender<Result<Obeyed, Disobeyed>>, answer: Result<Obeyed, Disobeyed>) {
    drop(reply.send(answer));
}

impl Reloader {
    /// Begins to obey: what has to be loaded first is answered when it has been.
    pub(super) async fn obey(&mut self, order: Order) {
        let Order { name, action, condition, reply } = order;
        let live = self.registry.live_digest(&name);
        if !condition.holds(live) {
            return answer(reply, Err(Disobeyed::Unexpected(live)));
        }
        let draft = match action {
            Action::Remove => {
                let removed = self.take_out(&name, live).await;
                return answer(reply, removed);
            }
            Action::Put(upload) => self.compose(&name, upload).await,
            Action::RollBack => self.look_back(&name, live).await,
        };
        let Draft { candidate, component, manifest, cause, restores } = match draft {
            Ok(draft) => draft,
            Err(error) => return answer(reply, Err(error)),
        };
        let pending = Pending { name, component, manifest, cause, restores, interrupts: false, reply };
        if self.registry.is_live(&pending.name, &candidate.source) {
            // Only the files have to be put right.
            let put = self.put_files(&pending, &candidate.component, &candidate.source).await;
            return answer(pending.reply, put.map(|()| Obeyed { live, before: live }));
        }
        let interrupts = self.loads.has(&pending.name);
        self.loads.start(&self.registry, candidate, Of::Order, false);
        self.pending = Some(Pending { interrupts, ..pending });
    }

    /// What an order brings has been loaded.
    pub(super) async fn fulfil(&mut self, loaded: Loaded) {
        let Some(pending) = self.pending.take() else { return };
        let name = pending.name.clone();
        let obeyed = self.install(&pending, loaded).await;
        if obeyed.is_err() && pending.interrupts {
            // The file that was being loaded before gets its turn again.
            let now = Instant::now();
            self.settling.again(&name, folder::stamp_of(&self.settings.dir, &name), now, now);
        }
        answer(pending.reply, obeyed);
    }

    async fn install(&mut self, pending: &Pending, loaded: Loaded) -> Result<Obeyed, Disobeyed> {
        let Loaded { name, component, source, result, .. } = loaded;
        let generation = result.map_err(|error| match error {
            NotLoaded::Unfit(message) => Disobeyed::Unsound(message),
            NotLoaded::Busy(message) => Disobeyed::Busy(message),
        })?;
        if let Some(message) = self.registry.clash(&generation) {
            return Err(Disobeyed::Unsound(message));
        }
        self.put_files(pending, &component, &source).await?;
        let (before, now) = (self.registry.live_digest(&name), crate::time::now());
        let (live, version) = (Some(source.digest), generation.version().to_owned());
        self.registry.adopt(generation, now);
        self.blocked.remove(&name);
        self.freed = true;
        let Pending { cause, restores, .. } = *pending;
        self.keep(Arrived { name, component, source, version, cause, restores }, now).await;
        Ok(Obeyed { live, before })
    }

    /// Puts the files into the folder. The loop has seen them then, and does not load them again.
    async fn put_files(&mut self, pending: &Pending, component: &Arc<[u8]>, source: &Source) -> Result<(), Disobeyed> {
        let component = pending.component.then(|| Arc::clone(component));
        let manifest = source.manifest.clone().filter(|_| pending.manifest == Plan::IsWritten);
        let removes = pending.manifest == Plan::IsRemoved;
        let (dir, name) = (self.settings.dir.clone(), pending.name.clone());
        let put = move || {
            let manifest = match &manifest {
                Some(bytes) => ManifestFile::Becomes(bytes),
                None if removes => ManifestFile::Goes,
                None => ManifestFile::Stays,
            };
            place::put(&dir, &name, Files { component: component.as_deref(), manifest })
        };
        let stamp = in_folder(put).await?;
        self.settling.settled(&pending.name, stamp);
        Ok(())
    }

    async fn take_out(&mut self, name: &str, live: Option<Digest>) -> Result<Obeyed, Disobeyed> {
        let (dir, owned) = (self.settings.dir.clone(), name.to_owned());
        let were_there = in_folder(move || place::remove(&dir, &owned)).await?;
        if !were_there && live.is_none() {
            return Err(Disobeyed::NotFound(name.to_owned()));
        }
        self.gone(name).await;
        Ok(Obeyed { live: None, before: live })
    }

    /// The upload, and what of it is in the folder already.
    async fn compose(&self, name: &str, upload: Upload) -> Result<Draft, Disobeyed> {
        let Upload { component, manifest, canary } = upload;
        let (dir, owned, max_bytes) = (self.settings.dir.clone(), name.to_owned(), self.settings.max_component_bytes);
        let plan = if manifest.is_some() { Plan::IsWritten } else { Plan::Stays };
        for (what, bytes, limit) in [("component", &component, max_bytes), ("manifest", &manifest, MAX_MANIFEST_BYTES)]
        {
            let bytes = bytes.as_ref().map_or(0, Vec::len) as u64;
            if bytes > limit {
                return Err(Disobeyed::Unsound(format!("the {what} has {bytes} bytes, the limit is {limit}")));
            }
        }
        let is_new = component.is_some();
        let read = move || -> Result<Candidate, ReadError> {
            let Some(component) = component else {
                let there = folder::read_now(&dir, &owned, max_bytes)?;
                let manifest = manifest.or(there.source.manifest);
                return Ok(Candidate { source: Source { manifest, ..there.source }, canary, ..there });
            };
            let manifest = match manifest {
                Some(manifest) => Some(manifest),
                None => folder::read_manifest_now(&dir, &owned)?,
            };
            let digest = Digest(Sha256::digest(&component).into());
            Ok(Candidate { name: owned, component: component.into(), source: Source { digest, manifest }, canary })
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(|error| Disobeyed::Folder(error.to_string()))?;
        let candidate = read.map_err(|error| match error {
            ReadError::Changed => Disobeyed::NotFound(name.to_owned()),
            ReadError::Unfit(_) | ReadError::Unreadable { .. } => Disobeyed::Folder(error.to_string()),
        })?;
        Ok(Draft { candidate, component: is_new, manifest: plan, cause: Cause::Upload, restores: None })
    }

    /// The generation before this one, as it is kept.
    async fn look_back(&self, name: &str, live: Option<Digest>) -> Result<Draft, Disobeyed> {
        if live.is_none() && self.archive.history(name).is_none() {
            return Err(Disobeyed::NotFound(name.to_owned()));
        }
        let (archive, owned) = (Arc::clone(&self.archive), name.to_owned());
        let previous = tokio::task::spawn_blocking(move || archive.previous(&owned)).await;
        let previous = previous.map_err(|error| Disobeyed::Folder(error.to_string()))?;
        let found = previous.map_err(|error: NothingKept| Disobeyed::NothingKept(error.to_string()))?;
        let manifest = if found.source.manifest.is_some() { Plan::IsWritten } else { Plan::IsRemoved };
        let (component, source, restores) = (found.component, found.source, Some(found.number));
        let candidate = Candidate { name: name.to_owned(), component, source, canary: None };
        Ok(Draft { candidate, component: true, manifest, cause: Cause::Rollback, restores })
    }
}

/// Changes the folder.
async fn in_folder<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Disobeyed> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.flatten().map_err(|error| Disobeyed::Folder(error.to_string()))
}
