//! Loads that go on while the folder is followed: compiling may take minutes.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};

use super::folder::Stamp;
use crate::plugin::registry::Registry;
use crate::plugin::registry::generation::{Generation, Source};
use crate::plugin::registry::load::{Candidate, NotLoaded};

/// The end of a load.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) name: String,
    pub(super) of: Of,
    pub(super) component: Arc<[u8]>,
    pub(super) source: Source,
    pub(super) result: Result<Generation, NotLoaded>,
}

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The file in the folder, as it was seen.
    File(Stamp),
    /// What an order brings.
    Order,
}

/// At most one for each name.
#[derive(Debug, Default)]
pub(super) struct Loads {
    tasks: JoinSet<Result<Generation, NotLoaded>>,
    names: BTreeMap<String, Load>,
}

#[derive(Debug)]
struct Load {
    task: AbortHandle,
    of: Of,
    component: Arc<[u8]>,
    source: Source,
    /// Its file has not settled yet: nobody hears of its end before.
    early: bool,
    /// How it ended before its file had settled.
    ended: Option<Result<Generation, NotLoaded>>,
}

impl Load {
    fn loaded(self, name: &str, result: Result<Generation, NotLoaded>) -> Loaded {
        Loaded { name: name.to_owned(), of: self.of, component: self.component, source: self.source, result }
    }
}

/// What is known of a file that has settled.
#[derive(Debug)]
pub(super) enum Settled {
    /// It is not being loaded.
    Unknown,
    /// It has been loading for a while.
    Loading,
    /// It has been loaded.
    Loaded(Box<Loaded>),
}

impl Loads {
    /// Begins to load a candidate; an older load of the same name is given up. An early one says nothing until
    /// its file has settled.
    pub(super) fn start(&mut self, registry: &Arc<Registry>, candidate: Candidate, of: Of, early: bool) {
        let name = candidate.name.clone();
        self.give_up(&name);
        let (component, source) = (Arc::clone(&candidate.component), candidate.source.clone());
        let registry = Arc::clone(registry);
        let task = self.tasks.spawn(async move { registry.load(candidate, crate::time::now()).await });
        self.names.insert(name, Load { task, of, component, source, early, ended: None });
    }

    /// What is being loaded.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Whether something of this name is being loaded.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Whether something of this name is being loaded that is not early.
    pub(super) fn is_occupied(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|load| !load.early)
    }

    /// A file has settled as it was seen.
    pub(super) fn settled(&mut self, name: &str, stamp: Stamp) -> Settled {
        let Some(load) = self.names.get_mut(name).filter(|load| load.early && load.of == Of::File(stamp)) else {
            return Settled::Unknown;
        };
        load.early = false;
        let Some(result) = load.ended.take() else { return Settled::Loading };
        let load = self.names.remove(name);
        load.map_or(Settled::Unknown, |load| Settled::Loaded(Box::new(load.loaded(name, result))))
    }

    /// Stops a load whose file has changed or is gone.
    pub(super) fn give_up(&mut self, name: &str) {
        if let Some(load) = self.names.remove(name) {
            load.task.abort();
        }
    }

    /// The next load that ends; nothing when none goes on. May be dropped without a loss.
    pub(super) async fn next(&mut self) -> Option<Loaded> {
        loop {
            let ended = self.tasks.join_next_with_id().await?;
            let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, _)| *id);
            // One that was given up has no name any more.
            let found = self.names.iter().find(|(_, load)| load.task.id() == id && load.ended.is_none());
            let Some(name) = found.map(|(name, _)| name.clone()) else { continue };
            let broken = |error| Err(NotLoaded::Unfit(format!("the loader failed on this file: {error}")));
            let result = ended.map_or_else(broken, |(_, result)| result);
            if let Some(load) = self.names.get_mut(&name).filter(|load| load.early) {
                load.ended = Some(result);
                continue;
            }
            return self.names.remove(&name).map(|load| load.loaded(&name, result));
        }
    }

    /// Ends what still goes on.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}
