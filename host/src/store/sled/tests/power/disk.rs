//! A disk with a cache that forgets: what was written, and what of it is certainly there.
//!
//! Stricter than ext4 and xfs, as POSIX allows: a file's sync makes its content certain and not its
//! name; names become certain with a sync of their directory. Names change in order, as a
//! journal keeps them; contents of files are lost or kept each on its own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path};

/// What a drive writes as a whole.
const SECTOR: usize = 512;
/// What a kernel writes back as a whole.
const PAGE: usize = 4_096;

/// What a power loss does to operations that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// None of them happened.
    Dropped,
    /// The first of each file happened, in order, and the first changes of names.
    Prefix,
    /// And of the next one the sectors up to one of them.
    Torn,
    /// Each page happened or not, whatever came before or after, and each change of names up to one.
    Reordered,
    /// The same for each sector: also a page of which some sectors are new.
    Scattered,
}

/// Every sort.
pub(super) const LOSSES: [Loss; 5] = [Loss::Dropped, Loss::Prefix, Loss::Torn, Loss::Reordered, Loss::Scattered];

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

    /// The parts between multiples of `size`.
    fn parts(&self, size: usize) -> Vec<Self> {
        let Self::Write { at, data } = self else { return vec![self.clone()] };
        let mut parts = Vec::new();
        let mut from = 0;
        while from < data.len() {
            let to = data.len().min(((at + from) / size + 1) * size - at);
            parts.push(Self::Write { at: at + from, data: data[from..to].to_vec() });
            from = to;
        }
        parts
    }
}

type Id = usize;
type Names = BTreeMap<OsString, Id>;

#[derive(Default)]
struct File {
    certain: Vec<u8>,
    len: usize,
    /// What is not certain, with when it returned.
    since: Vec<(usize, Change)>,
}

enum Node {
    File(File),
    /// Its names, and those that are certain.
    Folder {
        now: Names,
        certain: Names,
    },
}

/// What a change of names does: in a folder, a name gets a file, or loses it.
type Naming = Vec<(Id, OsString, Option<Id>)>;

/// Everything below one directory.
pub(super) struct Disk {
    root: OsString,
    nodes: Vec<Node>,
    /// Changes of names that are not certain.
    namings: Vec<Naming>,
}

fn name_in(names: &mut Names, name: &OsString, file: Option<Id>) {
    match file {
        Some(file) => names.insert(name.clone(), file),
        None => names.remove(name),
    };
}

impl Disk {
    /// What is at `root` is certain.
    pub(super) fn load(root: &Path) -> Self {
        let mut disk = Self { root: root.into(), nodes: Vec::new(), namings: Vec::new() };
        disk.add(root);
        disk
    }

    /// Nothing is at `root`.
    pub(super) fn empty(root: &Path) -> Self {
        let folder = Node::Folder { now: Names::new(), certain: Names::new() };
        Self { root: root.into(), nodes: vec![folder], namings: Vec::new() }
    }

    fn add(&mut self, path: &Path) -> Id {
        let id = self.nodes.len();
        self.nodes.push(Node::Folder { now: Names::new(), certain: Names::new() });
        self.nodes[id] = if path.is_dir() {
            let mut names = Names::new();
            for entry in fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                names.insert(entry.file_name(), self.add(&entry.path()));
            }
            Node::Folder { now: names.clone(), certain: names }
        } else {
            let certain = fs::read(path).unwrap();
            Node::File(File { len: certain.len(), certain, since: Vec::new() })
        };
        id
    }

    fn find(&self, path: &Path) -> Option<Id> {
        path.strip_prefix(&self.root).ok()?.components().try_fold(0, |id, part| match (&self.nodes[id], part) {
            (Node::Folder { now, .. }, Component::Normal(name)) => now.get(name).copied(),
            (Node::Folder { .. } | Node::File(_), _) => None,
        })
    }

    fn name(&mut self, naming: Naming) {
        for (folder, name, file) in &naming {
            if let Node::Folder { now, .. } = &mut self.nodes[*folder] {
                name_in(now, name, *file);
            }
        }
        self.namings.push(naming);
    }

    /// The folder and the name of a path that is below the root.
    fn place(&self, path: &Path) -> Option<(Id, OsString)> {
        Some((self.find(path.parent()?)?, path.file_name()?.to_owned()))
    }

    pub(super) fn create(&mut self, path: &Path, is_folder: bool) {
        let Some((folder, name)) = self.place(path) else { return };
        let empty = Node::Folder { now: Names::new(), certain: Names::new() };
        self.nodes.push(if is_folder { empty } else { Node::File(File::default()) });
        self.name(vec![(folder, name, Some(self.nodes.len() - 1))]);
    }

    pub(super) fn open(&mut self, path: &Path, creates: bool, truncates: bool) {
        match self.find(path) {
            None if creates => self.create(path, false),
            Some(_) if truncates => self.truncate(path, 0, 0),
            None | Some(_) => {}
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) {
        if let (Some(file), Some(from), Some(to)) = (self.find(from), self.place(from), self.place(to)) {
            self.name(vec![(from.0, from.1, None), (to.0, to.1, Some(file))]);
        }
    }

    pub(super) fn remove(&mut self, path: &Path) {
        if let Some((folder, name)) = self.place(path) {
            self.name(vec![(folder, name, None)]);
        }
    }

    fn file(&mut self, path: &Path) -> Option<&mut File> {
        let id = self.find(path)?;
        if let Node::File(file) = &mut self.nodes[id] { Some(file) } else { None }
    }

    pub(super) fn truncate(&mut self, path: &Path, len: usize, when: usize) {
        if let Some(file) = self.file(path) {
            file.len = len;
            file.since.push((when, Change::Truncate(len)));
        }
    }

    /// Without a place, at the end: nothing here writes elsewhere without saying where.
    pub(super) fn write(&mut self, path: &Path, at: Option<usize>, data: Vec<u8>, when: usize) {
        if let Some(file) = self.file(path) {
            let at = at.unwrap_or(file.len);
            file.len = file.len.max(at + data.len());
            file.since.push((when, Change::Write { at, data }));
        }
    }

    /// What returned before the sync began is certain now.
    pub(super) fn sync(&mut self, path: &Path, began: usize) {
        let Some(id) = self.find(path) else { return };
        if let Node::File(File { certain, since, .. }) = &mut self.nodes[id] {
            since.retain(|(when, change)| {
                if *when < began {
                    change.apply(certain);
                }
                *when >= began
            });
            return;
        }
        let is_of = |naming: &Naming| naming.iter().any(|(folder, ..)| *folder == id);
        let (certain, namings) = std::mem::take(&mut self.namings).into_iter().partition(is_of);
        self.namings = namings;
        self.settle(&certain);
    }

    fn settle(&mut self, namings: &[Naming]) {
        for (folder, name, file) in namings.iter().flatten() {
            if let Node::Folder { certain, .. } = &mut self.nodes[*folder] {
                name_in(certain, name, *file);
            }
        }
    }

    /// Operations that a power loss could take now.
    pub(super) fn uncertain(&self) -> usize {
        let since = |node: &Node| if let Node::File(file) = node { file.since.len() } else { 0 };
        self.namings.len() + self.nodes.iter().map(since).sum::<usize>()
    }

    /// Writes to `to` what is left.
    pub(super) fn crash(&self, to: &Path, loss: Loss) {
        let kept = if loss == Loss::Dropped { 0 } else { fastrand::usize(0..=self.namings.len()) };
        let mut names: BTreeMap<Id, Names> = BTreeMap::new();
        for (id, node) in self.nodes.iter().enumerate() {
            if let Node::Folder { certain, .. } = node {
                names.insert(id, certain.clone());
            }
        }
        for (folder, name, file) in self.namings[..kept].iter().flatten() {
            name_in(names.get_mut(folder).expect("a folder"), name, *file);
        }
        self.restore(0, &names, to, loss);
    }

    fn restore(&self, id: Id, names: &BTreeMap<Id, Names>, to: &Path, loss: Loss) {
        match &self.nodes[id] {
            Node::File(file) => fs::write(to, file.left(loss)).unwrap(),
            Node::Folder { .. } => {
                fs::create_dir_all(to).unwrap();
                names[&id].iter().for_each(|(name, id)| self.restore(*id, names, &to.join(name), loss));
            }
        }
    }
}

impl File {
    /// What a loss leaves of it.
    fn left(&self, loss: Loss) -> Vec<u8> {
        let mut content = self.certain.clone();
        let kept = if loss == Loss::Dropped { 0 } else { fastrand::usize(0..=self.since.len()) };
        let mut some = |size: usize| {
            let parts = self.since.iter().flat_map(|(_, change)| change.parts(size));
            parts.filter(|_| fastrand::bool()).for_each(|part| part.apply(&mut content));
        };
        match loss {
            Loss::Reordered => some(PAGE),
            Loss::Scattered => some(SECTOR),
            Loss::Dropped | Loss::Prefix | Loss::Torn => {
                self.since[..kept].iter().for_each(|(_, change)| change.apply(&mut content));
                if let (Loss::Torn, Some((_, next))) = (loss, self.since.get(kept)) {
                    let parts = next.parts(SECTOR);
                    let whole = fastrand::usize(0..=parts.len());
                    parts[..whole].iter().for_each(|part| part.apply(&mut content));
                }
            }
        }
        content
    }
}
