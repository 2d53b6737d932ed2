//! What lies in the plugins folder: names, stamps and bytes.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::plugin::manifest::{MAX_MANIFEST_BYTES, named_signature, signature_file, usual_signature};
use crate::plugin::registry::generation::Source;
use crate::plugin::registry::load::Candidate;
use crate::plugin::signature::MAX_SIGNATURE_BYTES;
use crate::task::Digest;

/// Plugins in one folder at most; what sorts after them is not looked at.
pub(super) const MAX_PLUGINS: usize = 256;

/// Tells whether a file is still the one that was seen, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    file: (u64, u64),
}

impl FileStamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            file: (metadata.dev(), metadata.ino()),
        }
    }
}

/// A component, its manifest and its signature as they were seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamp {
    /// `<name>.wasm`.
    pub(super) component: Option<FileStamp>,
    /// `<name>.toml`.
    pub(super) manifest: Option<FileStamp>,
    /// `<name>.wasm.minisig`, or the file that the manifest names.
    pub(super) signature: Option<FileStamp>,
}

/// The signatures that manifests name, remembered as long as the manifests stay what they are.
#[derive(Debug, Default)]
pub(super) struct Named(BTreeMap<String, (FileStamp, Option<String>)>);

impl Named {
    /// The signature of `<name>.wasm`, whose manifest is at `path`.
    fn signature(&mut self, name: &str, path: &Path, manifest: Option<FileStamp>) -> PathBuf {
        let known = self.0.get(name).filter(|(stamp, _)| Some(*stamp) == manifest).map(|(_, file)| file.clone());
        let file = known.unwrap_or_else(|| {
            let stamp = manifest?;
            let bytes = read_file(path, manifest, MAX_MANIFEST_BYTES).ok()??;
            let file = named_signature(&bytes);
            self.0.insert(name.to_owned(), (stamp, file.clone()));
            file
        });
        path.with_file_name(file.unwrap_or_else(|| usual_signature(name)))
    }
}

/// Why a candidate could not be read.
#[derive(Debug, thiserror::Error)]
pub(in crate::plugin) enum ReadError {
    /// Somebody writes to it or has moved it: look again.
    #[error("the file changed while it was read")]
    Changed,
    /// The file has to change first.
    #[error("{0}")]
    Unfit(String),
    /// It may work later.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
}

impl ReadError {
    /// Says what the file should have been.
    fn of(self, what: &str) -> Self {
        match self {
            Self::Unfit(reason) => Self::Unfit(format!("{reason}; it should be {what}")),
            Self::Changed | Self::Unreadable { .. } => self,
        }
    }
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// At most [`MAX_PLUGINS`], the first in the order of names.
    pub(super) plugins: BTreeMap<String, Stamp>,
    /// There are more.
    pub(super) overflow: bool,
    /// Some are links: what changes where they lead is not told.
    pub(super) links: bool,
}

/// Every `<name>.wasm` of the folder, through symbolic links; hidden files and folders are passed over.
pub(super) fn look(dir: &Path, named: &mut Named) -> io::Result<Seen> {
    let mut seen = Seen::default();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let Some(name) = component_name(&path) else { continue };
        seen.links |= entry.file_type().is_ok_and(|file| file.is_symlink());
        let Some(component) = stamp(&path) else { continue };
        let beside = path.with_extension("toml");
        let manifest = stamp(&beside);
        let signature = stamp(&named.signature(&name, &beside, manifest));
        seen.plugins.insert(name, Stamp { component: Some(component), manifest, signature });
        if seen.plugins.len() > MAX_PLUGINS {
            seen.plugins.pop_last();
            seen.overflow = true;
        }
    }
    named.0.retain(|name, _| seen.plugins.contains_key(name));
    Ok(seen)
}

/// The plugin that a path of the folder belongs to.
pub(super) fn plugin_of(path: &Path) -> Option<String> {
    match path.extension()?.to_str()? {
        "wasm" | "toml" => component_name(&path.with_extension("wasm")),
        "minisig" => component_name(&path.with_extension("")),
        _ => None,
    }
}

/// Whether the signature of a plugin may be put into a file of the folder: nobody's component or manifest, and no other
/// plugin's signature.
pub(in crate::plugin) fn check_unclaimed(name: &str, file: &str) -> Result<(), String> {
    match plugin_of(Path::new(file)) {
        Some(owner) if owner != name || !file.ends_with(".minisig") => {
            Err(format!("the signature cannot be put into {file:?}, which belongs to the plugin {owner:?}"))
        }
        Some(_) | None => Ok(()),
    }
}

fn component_name(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_string_lossy();
    let fits = path.extension().is_some_and(|end| end == "wasm") && !stem.starts_with('.');
    fits.then(|| stem.into_owned())
}

/// What a look sees of one plugin.
pub(super) fn stamp_of(dir: &Path, name: &str) -> Stamp {
    let path = dir.join(format!("{name}.wasm"));
    let beside = path.with_extension("toml");
    let manifest = stamp(&beside);
    let signature = stamp(&Named::default().signature(name, &beside, manifest));
    Stamp { component: stamp(&path), manifest, signature }
}

/// The file with the signature of a plugin, as the manifest that is there now has it.
pub(super) fn signature_of(dir: &Path, name: &str) -> String {
    let manifest = dir.join(format!("{name}.toml"));
    let bytes = read_file(&manifest, stamp(&manifest), MAX_MANIFEST_BYTES).ok().flatten();
    signature_file(name, bytes.as_deref())
}

fn stamp(path: &Path) -> Option<FileStamp> {
    // A dangling link or a file that has just gone is no file.
    let metadata = std::fs::metadata(path).ok()?;
    metadata.is_file().then(|| FileStamp::of(&metadata))
}

/// Reads a file outside of any loop, for whoever wants to know whether it would load.
pub(in crate::plugin) fn read_once(path: &Path, max_bytes: u64) -> Result<Candidate, ReadError> {
    let name =
        component_name(path).ok_or_else(|| ReadError::Unfit("a plugin is a file named <name>.wasm".to_owned()))?;
    let component = std::fs::metadata(path).map_err(|error| ReadError::Unreadable { path: path.to_owned(), error })?;
    if !component.is_file() {
        return Err(ReadError::Unfit(format!("{} is not a file", path.display())));
    }
    let beside = path.with_extension("toml");
    let manifest = stamp(&beside);
    let signature = stamp(&Named::default().signature(&name, &beside, manifest));
    let expected = Stamp { component: Some(FileStamp::of(&component)), manifest, signature };
    read(path.parent().unwrap_or(Path::new("")), &name, expected, max_bytes)
}

/// What somebody brings of a plugin.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) component: Option<Arc<[u8]>>,
    pub(super) manifest: Option<Vec<u8>>,
    pub(super) signature: Option<Vec<u8>>,
}

/// What lies in the folder under a name now, but for what is given.
pub(super) fn complete(dir: &Path, name: &str, given: Given, max_bytes: u64) -> Result<(Arc<[u8]>, Source), ReadError> {
    let read_now = |file: &str, max_bytes| {
        let path = dir.join(file);
        read_file(&path, stamp(&path), max_bytes)
    };
    let component = match given.component {
        Some(component) => component,
        None => read_now(&format!("{name}.wasm"), max_bytes)?.ok_or(ReadError::Changed)?.into(),
    };
    let manifest = match given.manifest {
        Some(manifest) => Some(manifest),
        None => read_now(&format!("{name}.toml"), MAX_MANIFEST_BYTES)?,
    };
    let signature_file = signature_file(name, manifest.as_deref());
    let signature = match given.signature {
        Some(signature) => Some(signature),
        None => read_now(&signature_file, MAX_SIGNATURE_BYTES)?,
    };
    let digest = Digest(Sha256::digest(&component).into());
    Ok((component, Source { digest, manifest, signature_file, signature }))
}

/// Reads a candidate that still has this stamp, once: what was hashed is what will be compiled.
pub(super) fn read(dir: &Path, name: &str, expected: Stamp, max_bytes: u64) -> Result<Candidate, ReadError> {
    let path = dir.join(format!("{name}.wasm"));
    let component = read_file(&path, expected.component, max_bytes)?.ok_or(ReadError::Changed)?;
    let manifest = read_file(&path.with_extension("toml"), expected.manifest, MAX_MANIFEST_BYTES)?;
    let signature_file = signature_file(name, manifest.as_deref());
    let signature = read_file(&dir.join(&signature_file), expected.signature, MAX_SIGNATURE_BYTES);
    let signature = signature.map_err(|error| error.of(&format!("the signature of {name}.wasm")))?;
    let digest = Digest(Sha256::digest(&component).into());
    let source = Source { digest, manifest, signature_file, signature };
    Ok(Candidate { name: name.to_owned(), component: component.into(), source, canary: None })
}

fn read_file(path: &Path, expected: Option<FileStamp>, max_bytes: u64) -> Result<Option<Vec<u8>>, ReadError> {
    let Some(expected) = expected else { return Ok(None) };
    if expected.size > max_bytes {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return Err(ReadError::Unfit(format!("{name} has {} bytes, the limit is {max_bytes}", expected.size)));
    }
    let read = || -> io::Result<Option<Vec<u8>>> {
        let file = File::open(path)?;
        let before = FileStamp::of(&file.metadata()?);
        let mut bytes = Vec::with_capacity(usize::try_from(expected.size).unwrap_or(0));
        (&file).take(max_bytes + 1).read_to_end(&mut bytes)?;
        let after = FileStamp::of(&file.metadata()?);
        let same = before == expected && after == expected && bytes.len() as u64 == expected.size;
        Ok(same.then_some(bytes))
    };
    match read() {
        Ok(Some(bytes)) => Ok(Some(bytes)),
        Ok(None) => Err(ReadError::Changed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ReadError::Changed),
        Err(error) => Err(ReadError::Unreadable { path: path.to_owned(), error }),
    }
}
