//! Instances that stay for further attempts of their plugin, when its manifest says so.
//!
//! An instance that stays belongs to one generation and to at most one attempt at a time. While it
//! is idle it holds a place in the pool and its memory; it gives way as soon as somebody else needs
//! either.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime::component::Instance;

use super::Guest;

/// An instance and everything that it holds, between two attempts.
pub(in crate::plugin) struct Warm {
    pub(super) store: Store<Guest>,
    pub(super) instance: Instance,
    /// Attempts that it has served.
    pub(super) served: u32,
    /// After the store, so that the place is only given away when it is free.
    pub(super) place: OwnedSemaphorePermit,
}

/// The idle instances of one generation.
#[derive(Default)]
pub(in crate::plugin) struct Nest {
    /// Absent once the generation has retired.
    warm: Mutex<Option<Vec<Warm>>>,
}

/// The nests of all generations whose instances may stay.
#[derive(Default)]
pub(in crate::plugin) struct Nests {
    nests: Mutex<Vec<Weak<Nest>>>,
    /// Attempts that wait for a place: nothing stays meanwhile.
    waiting: AtomicU32,
}

impl Nest {
    /// An idle instance, if there is one.
    pub(super) fn take(&self) -> Option<Warm> {
        self.change(|warm| warm.as_mut()?.pop())
    }

    /// Nothing stays from now on.
    pub(in crate::plugin) fn retire(&self) {
        drop(self.change(Option::take));
    }

    fn clear(&self) {
        drop(self.change(|warm| warm.as_mut().map(std::mem::take)));
    }

    /// What is dropped is dropped outside of the lock: an instance has much to give back.
    fn change<T>(&self, change: impl FnOnce(&mut Option<Vec<Warm>>) -> T) -> T {
        change(&mut self.warm.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Nests {
    /// A nest for a new generation.
    pub(in crate::plugin) fn add(&self) -> Arc<Nest> {
        let nest = Arc::new(Nest { warm: Mutex::new(Some(Vec::new())) });
        let mut nests = self.nests.lock().unwrap_or_else(PoisonError::into_inner);
        nests.retain(|nest| nest.strong_count() > 0);
        nests.push(Arc::downgrade(&nest));
        nest
    }

    /// Keeps an instance for the next attempt, unless its generation has retired or somebody waits
    /// for its place.
    pub(super) fn keep(&self, nest: &Nest, one: Warm) {
        let refused = nest.change(|warm| match warm {
            Some(warm) => {
                warm.push(one);
                None
            }
            None => Some(one),
        });
        drop(refused);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            nest.clear();
        }
    }

    /// Drops every idle instance: its place or its memory is needed.
    pub(in crate::plugin) fn clear(&self) {
        let nests: Vec<_> = self.all();
        nests.iter().for_each(|nest| nest.clear());
    }

    /// Drops every idle instance, and nothing stays from now on.
    pub(in crate::plugin) fn retire(&self) {
        self.all().iter().for_each(|nest| nest.retire());
    }

    /// As long as the answer lives, instances do not stay; those that are idle go now.
    pub(super) fn give_way(&self) -> GiveWay<'_> {
        // Whoever keeps an instance adds it first and looks for waiters then, so one of both sees the other.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.clear();
        GiveWay(self)
    }

    fn all(&self) -> Vec<Arc<Nest>> {
        let nests = self.nests.lock().unwrap_or_else(PoisonError::into_inner);
        nests.iter().filter_map(Weak::upgrade).collect()
    }
}

/// See [`Nests::give_way`].
pub(super) struct GiveWay<'a>(&'a Nests);

impl Drop for GiveWay<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
