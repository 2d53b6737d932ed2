//! A store in memory: the verbs of the durable one over trees that end with the process.
//!
//! For a task that is run once, without a directory, and for tests. What was committed lives as long
//! as its [`Memory`] does, whichever store opened it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::sled::{OpenError, Settings, SledStore};
use crate::task::BootId;
use crate::time::Timestamp;

/// A key or a value. Cheap to clone.
type Bytes = ::sled::InlineArray;

/// Trees by name, shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    trees: Arc<Mutex<HashMap<&'static str, Tree>>>,
    is_held: Arc<AtomicBool>,
}

/// Opens a store in memory. What an earlier one has committed to `memory` is there, and what it
/// had running is taken back, as after a restart. [`OpenError::Locked`] while another one is open.
pub fn open(memory: &Memory, boot: BootId, now: Timestamp) -> Result<Arc<SledStore>, OpenError> {
    SledStore::open(Settings::in_memory(memory.clone(), boot), now)
}

impl Memory {
    /// The tree of this name, empty at first.
    pub(super) fn tree(&self, name: &'static str) -> Tree {
        lock(&self.trees).entry(name).or_default().clone()
    }

    /// Makes it one store's, until the hold ends.
    pub(super) fn hold(&self) -> Option<Hold> {
        let was_held = self.is_held.swap(true, Ordering::AcqRel);
        (!was_held).then(|| Hold(Arc::clone(&self.is_held)))
    }
}

/// The memory is one store's while this lives.
#[derive(Debug)]
pub(super) struct Hold(Arc<AtomicBool>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// An ordered map that is shared by its clones and by the iterators over it.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree(Arc<Mutex<BTreeMap<Bytes, Bytes>>>);

impl Tree {
    /// One value.
    pub(super) fn get(&self, key: &[u8]) -> Option<Bytes> {
        lock(&self.0).get(key).cloned()
    }

    /// Answers what was there before.
    pub(super) fn insert(&self, key: &[u8], value: Vec<u8>) -> Option<Bytes> {
        lock(&self.0).insert(key.into(), value.into())
    }

    /// Answers what was there.
    pub(super) fn remove(&self, key: &[u8]) -> Option<Bytes> {
        lock(&self.0).remove(key)
    }

    /// Keys and values between the bounds, as they are when the iterator gets there.
    pub(super) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range {
        Range { tree: self.clone(), from: from.map(Bytes::from), to: to.map(Bytes::from) }
    }
}

/// What is left between two bounds, from either end.
pub(super) struct Range {
    tree: Tree,
    from: Bound<Bytes>,
    to: Bound<Bytes>,
}

impl Range {
    fn step(&self, is_back: bool) -> Option<(Bytes, Bytes)> {
        if is_crossed(&self.from, &self.to) {
            return None;
        }
        let map = lock(&self.tree.0);
        let mut left = map.range::<[u8], _>((slice(&self.from), slice(&self.to)));
        let (key, value) = if is_back { left.next_back() } else { left.next() }?;
        Some((key.clone(), value.clone()))
    }
}

impl Iterator for Range {
    type Item = (Bytes, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.step(false)?;
        self.from = Bound::Excluded(key.clone());
        Some((key, value))
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (key, value) = self.step(true)?;
        self.to = Bound::Excluded(key.clone());
        Some((key, value))
    }
}

fn slice(bound: &Bound<Bytes>) -> Bound<&[u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key.as_ref()),
        Bound::Excluded(key) => Bound::Excluded(key.as_ref()),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// Whether nothing can lie between; a map panics then.
fn is_crossed(from: &Bound<Bytes>, to: &Bound<Bytes>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

/// A map is whole between any two of the calls made here, so a panic elsewhere leaves it usable.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::{Bound, Memory, Tree};
    use crate::store::Store;
    use crate::store::conformance::{self, Harness, add, at, clock, limited, new_task, plan};
    use crate::store::sled::{OpenError, Settings, SledStore};
    use crate::task::BootId;
    use crate::time::Timestamp;

    impl Harness for Memory {
        fn open(&self, boot: u64, max_live: u64, now: Timestamp) -> Arc<dyn Store> {
            let settings = Settings { max_live_tasks: max_live, ..Settings::in_memory(self.clone(), BootId(boot)) };
            SledStore::open(settings, now).unwrap()
        }
    }

    conformance::conformance_tests!(Memory::default());

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn i12_a_clock_that_is_set_by_hours_is_survived(plan in clock::plan()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(clock::is_survived(&Memory::default(), &plan));
        }

        #[test]
        fn i1_i3_i4_agrees_with_a_plain_model(plan in plan::plan()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(conformance::model::agrees(&Memory::default(), &plan));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn i6_permits_in_use_are_running_leases_and_nobody_who_may_begin_waits(plan in limited::plan(), fair in any::<bool>()) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(limited::obeys(&Memory::default(), &plan, fair));
        }
    }

    #[tokio::test]
    async fn one_store_at_a_time_has_it_and_the_next_one_finds_what_was_committed() {
        let memory = Memory::default();
        let first = super::open(&memory, BootId(1), at(0)).unwrap();
        let id = add(&*first, new_task(), 0).await;
        let error = super::open(&memory, BootId(2), at(0)).unwrap_err();
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        first.close().await;
        drop(first);
        let second = super::open(&memory, BootId(3), at(0)).unwrap();
        assert!(second.task(id).await.unwrap().is_some());
    }

    #[test]
    fn an_iterator_sees_the_tree_as_it_is_and_ends_where_its_ends_meet() {
        let tree = Tree::default();
        let keys = |range: super::Range| range.map(|(key, _)| key[0]).collect::<Vec<_>>();
        for key in 0..6 {
            tree.insert(&[key], vec![key]);
        }
        assert_eq!(keys(tree.range(Bound::Excluded(&[1]), Bound::Included(&[4]))), [2, 3, 4]);
        assert_eq!(keys(tree.range(Bound::Excluded(&[4]), Bound::Excluded(&[4]))), [0_u8; 0]);
        assert_eq!(keys(tree.range(Bound::Included(&[5]), Bound::Included(&[2]))), [0_u8; 0]);
        let mut range = tree.range(Bound::Unbounded, Bound::Unbounded);
        assert_eq!(range.next().unwrap().0, [0]);
        assert_eq!(range.next_back().unwrap().0, [5]);
        assert_eq!(tree.remove(&[1]).unwrap(), [1]);
        assert_eq!(range.next().unwrap().0, [2]);
        assert_eq!(range.next_back().unwrap().0, [4]);
        assert_eq!(range.next_back().unwrap().0, [3]);
        assert!(range.next().is_none() && range.next_back().is_none());
    }
}
