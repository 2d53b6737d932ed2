//! Does what an order says. Everything that is checked of a file in the folder is checked before anything in the folder
//! changes; then the files are put into place and the generation goes live.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Reloader;
use super::folder::{self, Given, ReadError};
use super::loads::{Loaded, Of};
use super::orders::{Action, Disobeyed, Obeyed, Order, Pending, Upload};
use super::place::{self, Change};
use crate::plugin::archive::{Arrived, Cause, Kept, NothingKept};
use crate::plugin::manifest::{MAX_MANIFEST_BYTES, usual_signature};
use crate::plugin::registry::generation::Source;
use crate::plugin::registry::load::{Candidate, NotLoaded};
use crate::plugin::signature::MAX_SIGNATURE_BYTES;
use crate::task::Digest;

/// What an order comes to, before anything was checked.
struct Draft {
    candidate: Candidate,
    changes: Vec<Change>,
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
        let Draft { candidate, changes, cause, restores } = match draft {
            Ok(draft) => draft,
            Err(error) => return answer(reply, Err(error)),
        };
        let pending = Pending { name, changes, cause, restores, interrupts: false, reply };
        if self.registry.is_live(&pending.name, &candidate.source) {
            // Only the files have to be put right.
            let put = self.put_files(&pending).await;
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
        self.put_files(pending).await?;
        let (before, now) = (self.registry.live_digest(&name), crate::time::now());
        let (live, version) = (Some(source.digest), generation.version().to_owned());
        let Pending { cause, restores, .. } = *pending;
        let news = Some(cause).filter(|_| self.archive.is_news(&name, &source));
        self.registry.adopt(generation, news, now);
        self.blocked.remove(&name);
        self.freed = true;
        self.keep(Arrived { name, component, source, version, cause, restores }, now).await;
        // Whoever is answered finds the new one.
        self.registry.replaced.withdrawn().await;
        Ok(Obeyed { live, before })
    }

    /// Changes the folder. The loop has seen it then, and does not load it again.
    async fn put_files(&mut self, pending: &Pending) -> Result<(), Disobeyed> {
        let (dir, name, changes) = (self.settings.dir.clone(), pending.name.clone(), pending.changes.clone());
        let stamp = in_folder(move || place::change(&dir, &name, &changes)).await?;
        self.settling.settled(&pending.name, stamp);
        Ok(())
    }

    async fn take_out(&mut self, name: &str, live: Option<Digest>) -> Result<Obeyed, Disobeyed> {
        let (dir, owned) = (self.settings.dir.clone(), name.to_owned());
        let were_there = in_folder(move || {
            let files = [format!("{owned}.wasm"), format!("{owned}.toml")];
            let were_there = place::any_there(&dir, &files);
            let named = Some(folder::signature_of(&dir, &owned)).filter(|file| check_signature(&owned, file).is_ok());
            let signatures: BTreeSet<_> = named.into_iter().chain([usual_signature(&owned)]).collect();
            let changes: Vec<_> = files.into_iter().chain(signatures).map(Change::Goes).collect();
            place::change(&dir, &owned, &changes).map(|_| were_there)
        });
        if !were_there.await? && live.is_none() {
            return Err(Disobeyed::NotFound(name.to_owned()));
        }
        self.gone(name).await;
        Ok(Obeyed { live: None, before: live })
    }

    /// The upload, and what of it is in the folder already.
    async fn compose(&self, name: &str, upload: Upload) -> Result<Draft, Disobeyed> {
        let Upload { component, manifest, signature, canary } = upload;
        let (dir, owned, max_bytes) = (self.settings.dir.clone(), name.to_owned(), self.settings.max_component_bytes);
        let sizes = [
            ("component", &component, max_bytes),
            ("manifest", &manifest, MAX_MANIFEST_BYTES),
            ("signature", &signature, MAX_SIGNATURE_BYTES),
        ];
        for (what, bytes, limit) in sizes {
            let bytes = bytes.as_ref().map_or(0, Vec::len) as u64;
            if bytes > limit {
                return Err(Disobeyed::Unsound(format!("the {what} has {bytes} bytes, the limit is {limit}")));
            }
        }
        let given = Given { component: component.map(Into::into), manifest, signature };
        let brought = Brought {
            component: given.component.is_some(),
            manifest: given.manifest.is_some(),
            signature: given.signature.is_some(),
        };
        let read = tokio::task::spawn_blocking(move || folder::complete(&dir, &owned, given, max_bytes)).await;
        let read = read.map_err(|error| Disobeyed::Folder(error.to_string()))?;
        let (component, source) = read.map_err(|error| match error {
            ReadError::Changed => Disobeyed::NotFound(name.to_owned()),
            ReadError::Unfit(_) | ReadError::Unreadable { .. } => Disobeyed::Folder(error.to_string()),
        })?;
        if brought.signature {
            check_signature(name, &source.signature_file).map_err(Disobeyed::Unsound)?;
        }
        let changes = changes(name, &component, &source, brought);
        let candidate = Candidate { name: name.to_owned(), component, source, canary };
        Ok(Draft { candidate, changes, cause: Cause::Upload, restores: None })
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
        let Kept { number, component, source } = found;
        // It was read from that file; only what others need must not be written over.
        folder::check_unclaimed(name, &source.signature_file).map_err(Disobeyed::Unsound)?;
        let brought = Brought { component: true, manifest: true, signature: true };
        let changes = changes(name, &component, &source, brought);
        let candidate = Candidate { name: name.to_owned(), component, source, canary: None };
        Ok(Draft { candidate, changes, cause: Cause::Rollback, restores: Some(number) })
    }
}

/// What of a plugin's files is not in the folder yet.
#[derive(Clone, Copy, Debug)]
struct Brought {
    component: bool,
    manifest: bool,
    signature: bool,
}

/// The component comes last: without it nothing is a plugin.
fn changes(name: &str, component: &Arc<[u8]>, source: &Source, brought: Brought) -> Vec<Change> {
    let becomes = |file: String, bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => Change::Becomes(file, bytes.as_slice().into()),
        None => Change::Goes(file),
    };
    let manifest = brought.manifest.then(|| becomes(format!("{name}.toml"), &source.manifest));
    let signature = brought.signature.then(|| becomes(source.signature_file.clone(), &source.signature));
    let component = brought.component.then(|| Change::Becomes(format!("{name}.wasm"), Arc::clone(component)));
    manifest.into_iter().chain(signature).chain(component).collect()
}

/// Whether an upload or a removal may touch a file because a manifest names it as the signature.
fn check_signature(name: &str, file: &str) -> Result<(), String> {
    if !file.ends_with(".minisig") {
        let reason = "the file that the manifest names does not end with .minisig";
        return Err(format!("the signature cannot be put into {file:?}: {reason}"));
    }
    folder::check_unclaimed(name, file)
}

/// Changes the folder.
async fn in_folder<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, Disobeyed> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.flatten().map_err(|error| {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        let told = error.to_string();
        if full.contains(&error.kind()) { Disobeyed::NoSpace(told) } else { Disobeyed::Folder(told) }
    })
}
