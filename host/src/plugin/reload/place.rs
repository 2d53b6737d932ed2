//! Changes files of the plugins folder: all of them or, after a crash, none, with the next start finishing what had begun.
//!
//! The new files are written into a hidden folder. Its rename to [`DECIDED`] decides that the change is made; then its
//! files are moved to their places one by one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::folder::{self, Stamp};

/// How a change begins that may still be given up; no look sees hidden files.
const STAGED: &str = ".taskhost-staged-";
/// How a change begins that is made.
const DECIDED: &str = ".taskhost-decided-";
/// Entries of a change at most; ours have three.
const MAX_ENTRIES: usize = 16;

/// What becomes of one file of the folder.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Becomes(String, Arc<[u8]>),
    Goes(String),
}

/// A folder that is removed unless it was decided.
struct Staged(PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // It is gone when it was decided.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Makes some changes; answers what a look would see of a plugin now. When it fails for want of space or of permission
/// to create files, nothing has changed.
pub(super) fn change(dir: &Path, name: &str, changes: &[Change]) -> io::Result<Stamp> {
    if !changes.is_empty() {
        let id = Uuid::new_v4();
        let staged = Staged(dir.join(format!("{STAGED}{id}")));
        fs::create_dir(&staged.0)?;
        for (at, change) in changes.iter().enumerate() {
            write(&staged.0, at, change)?;
        }
        sync(&staged.0)?;
        let decided = dir.join(format!("{DECIDED}{id}"));
        fs::rename(&staged.0, &decided)?;
        sync(dir)?;
        let made = make(dir, &decided);
        // One that cannot be made now would be a surprise later.
        let removed = fs::remove_dir_all(&decided);
        made.and(removed)?;
    }
    Ok(folder::stamp_of(dir, name))
}

/// Whether any of these files is there; links that lead nowhere are, too.
pub(super) fn any_there(dir: &Path, files: &[String]) -> bool {
    files.iter().any(|file| fs::symlink_metadata(dir.join(file)).is_ok())
}

/// Finishes or removes what a crash has left.
pub(super) fn clean(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        if name.starts_with(DECIDED) {
            let made = make(dir, &path);
            if let Err(error) = made.and_then(|()| fs::remove_dir_all(&path)) {
                tracing::warn!(path = %path.display(), %error, "a change of a plugin cannot be finished");
            }
        } else if name.starts_with(STAGED) {
            drop(fs::remove_dir_all(path));
        }
    }
}

/// An entry's name is its turn, what becomes of the file, and the file's name.
fn write(staged: &Path, at: usize, change: &Change) -> io::Result<()> {
    let (sign, file, bytes) = match change {
        Change::Becomes(file, bytes) => ('+', file, bytes.as_ref()),
        Change::Goes(file) => ('-', file, &[][..]),
    };
    let path = staged.join(format!("{at:02}{sign}{file}"));
    let mut staged = OpenOptions::new().write(true).create_new(true).open(path)?;
    staged.write_all(bytes)?;
    staged.sync_all()
}

/// Moves what is left of a change to its places.
fn make(dir: &Path, decided: &Path) -> io::Result<()> {
    let entries = fs::read_dir(decided)?.take(MAX_ENTRIES).collect::<io::Result<Vec<_>>>()?;
    let mut names: Vec<String> = entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    for name in names {
        let path = decided.join(&name);
        match (name.get(2..3), name.get(3..)) {
            (Some("+"), Some(file)) => fs::rename(path, dir.join(file))?,
            (Some("-"), Some(file)) => remove_file(&dir.join(file))?,
            _ => return Err(io::Error::other(format!("{name:?} is no part of a change"))),
        }
    }
    sync(dir)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Change, DECIDED, STAGED, change, clean};

    #[test]
    fn a_change_that_a_crash_interrupts_is_made_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let changes = [Change::Goes("a.toml".to_owned()), Change::Becomes("a.wasm".to_owned(), (*b"new").into())];
        for decided in [false, true] {
            fs::write(at("a.toml"), "old").unwrap();
            fs::write(at("a.wasm"), "old").unwrap();
            let left = at(&format!("{}1", if decided { DECIDED } else { STAGED }));
            fs::create_dir(&left).unwrap();
            changes.iter().enumerate().for_each(|(index, change)| super::write(&left, index, change).unwrap());
            clean(dir.path());
            assert_eq!(at("a.toml").exists(), !decided);
            assert_eq!(fs::read_to_string(at("a.wasm")).unwrap(), if decided { "new" } else { "old" });
            assert!(!left.exists());
        }
    }

    #[test]
    fn a_change_that_cannot_be_staged_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.wasm"), "old").unwrap();
        let long = "x".repeat(300);
        let changes = [Change::Becomes("a.wasm".to_owned(), (*b"new").into()), Change::Becomes(long, (*b"new").into())];
        assert!(change(dir.path(), "a", &changes).is_err());
        assert_eq!(fs::read_to_string(dir.path().join("a.wasm")).unwrap(), "old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left");
    }
}
