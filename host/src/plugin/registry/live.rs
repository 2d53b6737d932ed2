//! What is live, as readers see it: one consistent snapshot.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::plugin::InputError;
use crate::plugin::link::TaskCheck;

use super::Executor;
use super::generation::Generation;

/// Who executes what, in the order of kinds. As long as somebody holds it, attempts may begin by it.
#[derive(Debug)]
pub struct Executors {
    list: Vec<Executor>,
    _held: DropGuard,
}

impl Deref for Executors {
    type Target = [Executor];

    fn deref(&self) -> &[Executor] {
        &self.list
    }
}

/// Live generations, as readers see them.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) plugins: BTreeMap<String, Arc<Generation>>,
    pub(super) executors: Arc<Executors>,
    /// Nobody holds the executors any more.
    pub(super) released: CancellationToken,
}

impl Default for Live {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl Live {
    pub(super) fn new(plugins: BTreeMap<String, Arc<Generation>>) -> Self {
        let mut list: Vec<Executor> = plugins
            .values()
            .flat_map(|generation| {
                generation.kinds().map(|kind| Executor { kind: kind.name.clone(), generation: Arc::clone(generation) })
            })
            .collect();
        list.sort_by(|a, b| a.kind.cmp(&b.kind));
        let released = CancellationToken::new();
        let executors = Arc::new(Executors { list, _held: released.clone().drop_guard() });
        Self { plugins, executors, released }
    }

    /// Who executes a kind.
    pub(super) fn executor(&self, kind: &str) -> Option<&Arc<Generation>> {
        let found = self.executors.binary_search_by(|executor| executor.kind.as_str().cmp(kind)).ok()?;
        self.executors.get(found).map(|executor| &executor.generation)
    }

    /// Whether a task would be accepted.
    pub(super) fn check(&self, kind: &str, input: &str) -> Result<(), InputError> {
        self.executor(kind).and_then(|generation| generation.check_input(kind, input)).unwrap_or_else(|| {
            let known = self.executors.iter().map(|executor| executor.kind.clone()).collect();
            Err(InputError::UnknownKind { kind: kind.to_owned(), known })
        })
    }
}

/// The rules for tasks that guests create. Weak, because generations are held by what it reads.
pub(super) struct LiveRules(pub(super) Weak<ArcSwap<Live>>);

impl TaskCheck for LiveRules {
    fn check(&self, kind: &str, input: &str) -> Result<(), InputError> {
        match self.0.upgrade() {
            Some(live) => live.load().check(kind, input),
            None => Live::default().check(kind, input),
        }
    }
}
