//! Puts files into the plugins folder, as a careful operator does: written beside, then renamed into place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::folder::{self, Stamp};

/// How files begin that are not in place yet: hidden ones, which no look sees.
const STAGED: &str = ".taskhost-";

/// What a plugin consists of in the folder; what is absent stays as it is there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Files<'a> {
    pub(super) component: Option<&'a [u8]>,
    pub(super) manifest: ManifestFile<'a>,
}

/// What becomes of a manifest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum ManifestFile<'a> {
    #[default]
    Stays,
    Becomes(&'a [u8]),
    Goes,
}

/// A file that is removed unless it gets to its place.
struct Staged(PathBuf);

impl Staged {
    fn new(dir: &Path, bytes: &[u8]) -> io::Result<Self> {
        let staged = Self(dir.join(format!("{STAGED}{}", Uuid::new_v4())));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&staged.0)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(staged)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // It is gone when it has got to its place.
        drop(fs::remove_file(&self.0));
    }
}

/// Replaces the files of a plugin; answers what a look would see now. When it fails, nothing has changed, or only the
/// manifest has.
pub(super) fn put(dir: &Path, name: &str, files: Files<'_>) -> io::Result<Stamp> {
    let component = files.component.map(|bytes| Staged::new(dir, bytes)).transpose()?;
    let manifest_path = dir.join(format!("{name}.toml"));
    match files.manifest {
        ManifestFile::Stays => {}
        ManifestFile::Becomes(bytes) => fs::rename(&Staged::new(dir, bytes)?.0, &manifest_path)?,
        ManifestFile::Goes => remove_file(&manifest_path)?,
    }
    if let Some(staged) = component {
        fs::rename(&staged.0, dir.join(format!("{name}.wasm")))?;
    }
    sync(dir)?;
    Ok(folder::stamp_of(dir, name))
}

/// Removes the files of a plugin; whether there were any.
pub(super) fn remove(dir: &Path, name: &str) -> io::Result<bool> {
    let paths = ["wasm", "toml"].map(|end| dir.join(format!("{name}.{end}")));
    // Links that lead nowhere are there, too.
    let were_there = paths.iter().any(|path| fs::symlink_metadata(path).is_ok());
    paths.iter().try_for_each(|path| remove_file(path))?;
    sync(dir)?;
    Ok(were_there)
}

/// Removes what a crash has left.
pub(super) fn clean(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().starts_with(STAGED) {
            drop(fs::remove_file(entry.path()));
        }
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What was renamed stays so after a power cut.
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
