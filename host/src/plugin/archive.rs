//! What was live of each plugin: a record of every generation, and the files of the latest ones, to go back to.
//!
//! One folder a plugin: `history.json`, and the kept components and manifests under their digests. It is written after
//! the live pointer was swapped, and nothing depends on it but the history that is shown and a rollback: what cannot be
//! kept is told in the log and costs these two.

mod record;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use super::registry::generation::Source;
use super::{manifest, names};
use crate::task::Digest;
use crate::time::Timestamp;
use record::{Line, MadeOf};

pub use self::record::{Cause, End, Ended, Record};

/// Generations of one plugin whose files are kept, the live one included.
const MAX_KEPT: usize = 5;
/// Kept files of all plugins together, in bytes; the live generations and the ones before them are kept in any case.
const MAX_BYTES: u64 = 1 << 30;
/// Plugins whose history is kept; those that have been gone for longest are forgotten.
const MAX_PLUGINS: usize = 512;
const HISTORY: &str = "history.json";
/// A history file at most, in bytes.
const MAX_HISTORY_BYTES: u64 = 1 << 20;

/// A generation that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The record that it belongs to.
    pub(super) number: u64,
    pub(super) component: Arc<[u8]>,
    pub(super) source: Source,
}

/// A generation that goes live.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) name: String,
    pub(super) component: Arc<[u8]>,
    pub(super) source: Source,
    pub(super) version: String,
    pub(super) cause: Cause,
    /// The record that it brings back.
    pub(super) restores: Option<u64>,
}

/// Why there is nothing to go back to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NothingKept {
    /// There was none before.
    #[error("no generation before this one is kept")]
    None,
    /// The files are not what they were.
    #[error("the files of generation {number} ({digest}) are kept no longer or were changed: {reason}")]
    Damaged { number: u64, digest: Digest, reason: String },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Archive {
    dir: PathBuf,
    lines: Mutex<BTreeMap<String, Line>>,
}

impl Archive {
    /// Reads what is kept, and removes what a crash has left. What cannot be read is told, and begins anew.
    pub(super) fn open(dir: &Path) -> Self {
        let mut lines = BTreeMap::new();
        let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
        for entry in entries.take(2 * MAX_PLUGINS) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !names::is_plugin(&name) {
                continue;
            }
            let folder = entry.path();
            match read_line(&folder.join(HISTORY)) {
                Ok(line) => {
                    sweep(&folder, &line);
                    lines.insert(name, line);
                }
                // Nothing was recorded yet.
                Err(error) if error.kind() == io::ErrorKind::NotFound => drop(fs::remove_dir_all(folder)),
                Err(error) => {
                    tracing::warn!(plugin = name, %error, "the history of a plugin cannot be read; it begins anew");
                }
            }
        }
        Self { dir: dir.to_owned(), lines: Mutex::new(lines) }
    }

    /// Every generation of a plugin that is remembered, oldest first.
    pub(super) fn history(&self, name: &str) -> Option<Vec<Record>> {
        self.lines().get(name).map(|line| line.records().to_vec())
    }

    /// Whether a generation is another one than what was live last, as far as is remembered.
    pub(super) fn is_news(&self, name: &str, source: &Source) -> bool {
        let made_of = made_of(source);
        !self.lines().get(name).is_some_and(|line| line.is_live(made_of))
    }

    /// The digest that a rollback would bring back.
    pub(super) fn rollback_to(&self, name: &str) -> Option<Digest> {
        self.lines().get(name)?.previous().map(|record| record.digest)
    }

    /// A generation is live. Blocks on the disk.
    pub(super) fn arrive(&self, arrived: &Arrived, now: Timestamp) {
        let Arrived { name, component, source, version, cause, restores } = arrived;
        let (_, manifest, signature) = made_of(source);
        let change = {
            let mut lines = self.lines();
            let line = lines.entry(name.clone()).or_default();
            let fresh = record::Fresh {
                digest: source.digest,
                manifest,
                signature,
                version,
                cause: *cause,
                restores: *restores,
            };
            line.arrive(fresh, now).then(|| line.keep_latest(MAX_KEPT))
        };
        if change.is_none() {
            return;
        }
        let files = std::iter::once((component_file(source.digest), component.as_ref()))
            .chain(manifest.zip(source.manifest.as_deref()).map(|(digest, bytes)| (manifest_file(digest), bytes)))
            .chain(signature.zip(source.signature.as_deref()).map(|(digest, bytes)| (signature_file(digest), bytes)));
        let folder = self.dir.join(name);
        let written = fs::create_dir_all(&folder)
            .and_then(|()| files.into_iter().try_for_each(|(file, bytes)| write_missing(&folder.join(file), bytes)));
        if let Err(error) = written {
            tracing::warn!(plugin = name, %error, "a generation cannot be kept; there will be no way back to it");
            self.lines().get_mut(name).into_iter().for_each(Line::lose_live);
        }
        let trimmed = self.trim();
        self.save(name);
        trimmed.iter().filter(|other| *other != name).for_each(|other| self.save(other));
    }

    /// What was live of a plugin is so no longer, and nothing follows it. Blocks on the disk.
    pub(super) fn end(&self, name: &str, end: End, now: Timestamp) {
        let ended = self.lines().get_mut(name).is_some_and(|line| line.end(end, now));
        if ended {
            self.save(name);
        }
    }

    /// After a start: what was live before it and is not now has been removed meanwhile; it is answered. Blocks on the disk.
    pub(super) fn reconcile(&self, live: impl Fn(&str) -> bool, now: Timestamp) -> Vec<(String, Digest)> {
        let gone = |(name, line): (&String, &Line)| Some((name.clone(), line.live()?.digest)).filter(|_| !live(name));
        let gone: Vec<_> = self.lines().iter().filter_map(gone).collect();
        gone.iter().for_each(|(name, _)| self.end(name, End::Removed, now));
        gone
    }

    /// What a rollback brings back. Blocks on the disk.
    pub(super) fn previous(&self, name: &str) -> Result<Kept, NothingKept> {
        let record = self.lines().get(name).and_then(|line| line.previous().cloned()).ok_or(NothingKept::None)?;
        let Record { number, digest, manifest, signature, .. } = record;
        let damaged = |reason: String| NothingKept::Damaged { number, digest, reason };
        let folder = self.dir.join(name);
        let read = |file: String, digest: Digest| {
            let bytes = fs::read(folder.join(file)).map_err(|error| damaged(error.to_string()))?;
            if digest_of(&bytes) == digest { Ok(bytes) } else { Err(damaged("another digest".to_owned())) }
        };
        let component = read(component_file(digest), digest)?.into();
        let manifest = manifest.map(|digest| read(manifest_file(digest), digest)).transpose()?;
        let signature = signature.map(|digest| read(signature_file(digest), digest)).transpose()?;
        let signature_file = manifest::signature_file(name, manifest.as_deref());
        Ok(Kept { number, component, source: Source { digest, manifest, signature_file, signature } })
    }

    /// Keeps fewer files until all of them fit, and forgets plugins that have been gone for longest. Answers of which
    /// plugins less is kept now, which is still to be saved.
    fn trim(&self) -> BTreeSet<String> {
        let mut lines = self.lines();
        let mut trimmed = BTreeSet::new();
        while lines.len() > MAX_PLUGINS {
            let oldest = lines.iter().filter_map(|(name, line)| Some((line.gone_since()?, name.clone()))).min();
            let Some((_, name)) = oldest else { break };
            lines.remove(&name);
            drop(fs::remove_dir_all(self.dir.join(name)));
        }
        let sizes = |name: &str| folder_bytes(&self.dir.join(name));
        let mut bytes: u64 = lines.keys().map(|name| sizes(name)).sum();
        while bytes > MAX_BYTES {
            let oldest = lines.iter().filter_map(|(name, line)| Some((line.oldest_spare()?, name.clone()))).min();
            let Some((_, name)) = oldest else { break };
            if let Some(line) = lines.get_mut(&name) {
                let before = sizes(&name);
                line.give_up_spare();
                sweep(&self.dir.join(&name), line);
                bytes = bytes.saturating_sub(before.saturating_sub(sizes(&name)));
                trimmed.insert(name);
            }
        }
        trimmed
    }

    /// Writes what is known of a plugin, and removes the files that are kept no longer.
    fn save(&self, name: &str) {
        let (folder, line) = (self.dir.join(name), self.lines().get(name).cloned());
        let Some(line) = line else { return };
        let saved =
            serde_json::to_vec(&line).map_err(io::Error::other).and_then(|text| replace(&folder.join(HISTORY), &text));
        if let Err(error) = saved {
            tracing::warn!(plugin = name, %error, "the history of a plugin cannot be kept");
        }
        sweep(&folder, &line);
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, Line>> {
        // Every change of a line is complete before anything in it can panic.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// What tells one generation from another.
fn made_of(source: &Source) -> MadeOf {
    (source.digest, source.manifest.as_deref().map(digest_of), source.signature.as_deref().map(digest_of))
}

fn component_file(digest: Digest) -> String {
    format!("{digest}.wasm")
}

fn manifest_file(digest: Digest) -> String {
    format!("{digest}.toml")
}

fn signature_file(digest: Digest) -> String {
    format!("{digest}.minisig")
}

fn read_line(path: &Path) -> io::Result<Line> {
    if fs::metadata(path)?.len() > MAX_HISTORY_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}

/// Files are named by what is in them: one that is there is right.
fn write_missing(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|there| there.len() == bytes.len() as u64) {
        return Ok(());
    }
    replace(path, bytes)
}

/// Readers see the old content or the new one, also after a crash.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let mut file = fs::File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&part, path)
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Removes what no kept record names.
fn sweep(folder: &Path, line: &Line) {
    let kept: Vec<String> = line
        .kept()
        .flat_map(|record| {
            let beside = record.manifest.map(manifest_file).into_iter().chain(record.signature.map(signature_file));
            std::iter::once(component_file(record.digest)).chain(beside)
        })
        .collect();
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != HISTORY && !kept.contains(&name) {
            // What stays takes space and nothing else; the next sweep tries again.
            drop(fs::remove_file(entry.path()));
        }
    }
}
