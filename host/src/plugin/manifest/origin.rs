//! Where the values of a manifest come from.

use std::collections::BTreeMap;

use super::read::join;
use super::table::{Slot, Table};

/// The line of each key that a manifest has, by its path: `limits.memory`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    lines: BTreeMap<String, usize>,
    /// What the host's configuration lowered, and by which key.
    capped: BTreeMap<String, &'static str>,
}

/// A bound that the host's own configuration puts on a value of every manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cap {
    /// The path of the key in a manifest: `limits.memory`.
    pub key: &'static str,
    /// The value at most, in the unit of the key.
    pub at_most: u64,
    /// The key of the host's configuration: `plugins.memory_total`.
    pub by: &'static str,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The manifest says so.
    Manifest {
        /// Counted from 1.
        line: usize,
    },
    /// The host's configuration allows no more, whatever the manifest says.
    Config {
        /// The key of the configuration.
        by: &'static str,
        /// The line of the manifest that asks for more, if one does.
        line: Option<usize>,
    },
}

impl Origin {
    /// Its stable name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Manifest { .. } => "manifest",
            Self::Config { .. } => "config",
        }
    }

    /// The line of the manifest that says something about it.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Default => None,
            Self::Manifest { line } => Some(*line),
            Self::Config { line, .. } => *line,
        }
    }
}

impl Origins {
    /// Takes note of a key's line.
    pub(super) fn note(&mut self, path: &str, line: usize) {
        self.lines.insert(path.to_owned(), line);
    }

    /// Where the value of a key comes from.
    pub fn of(&self, path: &str) -> Origin {
        let line = self.lines.get(path).copied();
        match (self.capped.get(path), line) {
            (Some(by), line) => Origin::Config { by, line },
            (None, Some(line)) => Origin::Manifest { line },
            (None, None) => Origin::Default,
        }
    }

    /// Lowers what is above a cap.
    pub(super) fn cap(&mut self, root: &mut dyn Table, caps: &[Cap]) {
        for cap in caps {
            self.cap_below("", root, *cap);
        }
    }

    fn cap_below(&mut self, path: &str, table: &mut dyn Table, cap: Cap) {
        for mut key in table.keys() {
            let path = join(path, key.name);
            let below = cap.key.starts_with(&path);
            if let Slot::Number { at, .. } = &mut key.slot
                && path == cap.key
                && at.get().is_some_and(|value| value > cap.at_most)
            {
                at.set(cap.at_most);
                self.capped.insert(path, cap.by);
            } else if let Slot::Table(table) = &mut key.slot
                && below
            {
                self.cap_below(&path, *table, cap);
            } else if let Slot::Grant(grant) = &mut key.slot
                && below
                && let Some(table) = grant.table()
            {
                self.cap_below(&path, table, cap);
            }
        }
    }
}
