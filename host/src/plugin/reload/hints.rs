//! What the file system's events say about the plugins folder.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use notify::EventKind;
use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use tokio::sync::Notify;

use super::folder;

/// Renames that are remembered between two looks.
const MAX_RENAMED: usize = 1024;

/// What the file system's events say, gathered on their own thread.
#[derive(Debug, Default)]
pub(super) struct Hints {
    pub(super) wake: Notify,
    renamed: Mutex<BTreeSet<String>>,
}

impl Hints {
    pub(super) fn take(&self, event: notify::Result<notify::Event>) {
        let Ok(event) = event else { return self.wake.notify_one() };
        // Reading a file is an event too, and we read them.
        let by_readers =
            event.kind.is_access() && event.kind != EventKind::Access(AccessKind::Close(AccessMode::Write));
        if event.kind == EventKind::Modify(ModifyKind::Name(RenameMode::To)) {
            let mut renamed = self.renamed.lock().unwrap_or_else(PoisonError::into_inner);
            let names = event.paths.iter().filter_map(|path| folder::plugin_of(path));
            let room = MAX_RENAMED.saturating_sub(renamed.len());
            renamed.extend(names.take(room));
        }
        if !by_readers || event.need_rescan() {
            self.wake.notify_one();
        }
    }

    /// Plugins whose files were renamed into place since this was asked last.
    pub(super) fn renamed(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.renamed.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
