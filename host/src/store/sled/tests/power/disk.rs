//! A disk with a cache that forgets: what was written, and what of it is certainly there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What a power loss does to operations that were not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    /// None of them happened.
    All,
    /// Each happened or not, whatever came later.
    Some,
    /// Each happened, or not, or its first part did.
    Torn,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Truncate(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, data } => {
                if content.len() < at + data.len() {
                    content.resize(at + data.len(), 0);
                }
                content[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Truncate(len) => content.resize(*len, 0),
        }
    }
}

/// A file: what is certain, and what may have happened since (with when it returned).
#[derive(Default)]
struct File {
    certain: Vec<u8>,
    len: usize,
    since: Vec<(usize, Change)>,
}

#[derive(Clone, Debug)]
enum Naming {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Create(path, file) => drop(names.insert(path.clone(), *file)),
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Remove(path) => drop(names.remove(path)),
        }
    }

    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Create(path, _) | Self::Rename(_, path) | Self::Remove(path) => path.parent(),
        }
    }
}

/// Files below one directory.
pub(super) struct Disk {
    root: PathBuf,
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    certain_names: BTreeMap<PathBuf, usize>,
    namings: Vec<Naming>,
    dirs: BTreeSet<PathBuf>,
}

impl Disk {
    pub(super) fn new(root: &Path) -> Self {
        let (names, certain_names) = (BTreeMap::new(), BTreeMap::new());
        Self {
            root: root.to_owned(),
            files: Vec::new(),
            names,
            certain_names,
            namings: Vec::new(),
            dirs: BTreeSet::new(),
        }
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.namings.push(naming);
    }

    pub(super) fn open(&mut self, path: &Path, create: bool, truncate: bool) {
        if !path.starts_with(&self.root) {
            return;
        }
        if create && !self.names.contains_key(path) {
            self.files.push(File::default());
            self.name(Naming::Create(path.to_owned(), self.files.len() - 1));
        } else if truncate {
            self.truncate(path, 0, usize::MAX);
        }
    }

    pub(super) fn mkdir(&mut self, path: &Path) {
        self.dirs.insert(path.to_owned());
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        self.name(Naming::Rename(from.to_owned(), to.to_owned()));
    }

    pub(super) fn unlink(&mut self, path: &Path) {
        self.name(Naming::Remove(path.to_owned()));
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        self.names.get(path).map(|file| &mut self.files[*file])
    }

    pub(super) fn truncate(&mut self, path: &Path, len: usize, when: usize) {
        if let Some(file) = self.file(path) {
            file.len = len;
            file.since.push((when, Change::Truncate(len)));
        }
    }

    /// Without a place, at the end.
    pub(super) fn write(&mut self, path: &Path, at: Option<usize>, data: Vec<u8>, when: usize) {
        if let Some(file) = self.file(path) {
            let at = at.unwrap_or(file.len);
            file.len = file.len.max(at + data.len());
            file.since.push((when, Change::Write { at, data }));
        }
    }

    /// What returned before the sync began is certain now.
    pub(super) fn sync(&mut self, path: &Path, began: usize) {
        if let Some(file) = self.file(path) {
            let File { certain, since, .. } = file;
            since.retain(|(when, change)| {
                let is_certain = *when < began || *when == usize::MAX;
                if is_certain {
                    change.apply(certain);
                }
                !is_certain
            });
        } else {
            for naming in std::mem::take(&mut self.namings) {
                if naming.dir() == Some(path) {
                    naming.apply(&mut self.certain_names);
                } else {
                    self.namings.push(naming);
                }
            }
        }
    }

    /// Writes below `to` what is left. Answers how many operations were lost, wholly or in part.
    pub(super) fn crash(&self, to: &Path, loss: Loss) -> usize {
        let place = |path: &Path| to.join(path.strip_prefix(&self.root).expect("a path below the root"));
        let mut lost = 0;
        // Directories keep the order of their entries.
        let kept = if matches!(loss, Loss::All) { 0 } else { fastrand::usize(0..=self.namings.len()) };
        let mut names = self.certain_names.clone();
        self.namings[..kept].iter().for_each(|naming| naming.apply(&mut names));
        lost += self.namings.len() - kept;
        for dir in self.dirs.iter().filter(|dir| dir.starts_with(&self.root)) {
            fs::create_dir_all(place(dir)).unwrap();
        }
        for (path, file) in names {
            let file = &self.files[file];
            let mut content = file.certain.clone();
            for (_, change) in &file.since {
                match (loss, change) {
                    (Loss::Some | Loss::Torn, change) if fastrand::bool() => change.apply(&mut content),
                    (Loss::Torn, Change::Write { at, data }) if fastrand::bool() => {
                        let data = data[..fastrand::usize(0..=data.len())].to_vec();
                        Change::Write { at: *at, data }.apply(&mut content);
                        lost += 1;
                    }
                    (Loss::All | Loss::Some | Loss::Torn, _) => lost += 1,
                }
            }
            fs::write(place(&path), content).unwrap();
        }
        lost
    }
}
