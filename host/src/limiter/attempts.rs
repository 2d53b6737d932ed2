//! Permits for running attempts: in all, and counted by group. A group is whatever has a limit of
//! its own, such as a plugin or a kind; it is only a name here.

use std::collections::HashMap;

use crate::sync::{Arc, Mutex, MutexGuard, PoisonError, watch};

#[derive(Debug, Default)]
struct Counts {
    /// Permits that are out, reserved or running.
    taken: u32,
    /// Running attempts of each group; absent means none.
    by_group: HashMap<String, u32>,
}

/// Limits running attempts. A claim never happens without a permit (invariant I6): reserve with
/// [`Self::try_acquire_many`], claim at most that many, and turn one into each attempt's own.
#[derive(Debug)]
pub struct AttemptLimiter {
    total: u32,
    counts: Mutex<Counts>,
    freed: watch::Sender<u64>,
}

impl AttemptLimiter {
    /// A limiter of `total` attempts at the same time.
    pub fn new(total: u32) -> Arc<Self> {
        Arc::new(Self { total, counts: Mutex::default(), freed: watch::Sender::new(0) })
    }

    /// Attempts at the same time, at most.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Permits that are not out.
    pub fn free(&self) -> u32 {
        self.total.saturating_sub(self.lock().taken)
    }

    /// Permits that are out.
    pub fn in_use(&self) -> u32 {
        self.lock().taken
    }

    /// Running attempts of a group.
    pub fn running(&self, group: &str) -> u32 {
        self.lock().by_group.get(group).copied().unwrap_or(0)
    }

    /// How many more attempts of a group fit, when the group has a limit of its own.
    pub fn room(&self, group: &str, group_limit: u32) -> u32 {
        group_limit.saturating_sub(self.running(group))
    }

    /// Up to `wanted` permits that are not yet of any group; as many as are free, perhaps none.
    pub fn try_acquire_many(self: &Arc<Self>, wanted: u32) -> AttemptPermits {
        let mut counts = self.lock();
        let left = wanted.min(self.total.saturating_sub(counts.taken));
        counts.taken += left;
        drop(counts);
        AttemptPermits { limiter: Arc::clone(self), left }
    }

    /// One permit for an attempt of `group`, unless all are out.
    pub fn admit(self: &Arc<Self>, group: &str) -> Option<AttemptPermit> {
        self.try_acquire_many(1).admit(group)
    }

    /// Changes whenever a permit comes back.
    pub fn freed(&self) -> watch::Receiver<u64> {
        self.freed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Every change of the counts is a single step, so they are right even after a panic.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, permits: u32, group: Option<&str>) {
        if permits == 0 {
            return;
        }
        let mut counts = self.lock();
        counts.taken = counts.taken.saturating_sub(permits);
        if let Some(group) = group
            && let Some(running) = counts.by_group.get_mut(group)
        {
            *running = running.saturating_sub(1);
            if *running == 0 {
                counts.by_group.remove(group);
            }
        }
        drop(counts);
        self.freed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// Permits that are reserved for a claim; what is not turned into an attempt's comes back.
#[derive(Debug)]
#[must_use = "permits that are dropped at once limit nothing"]
pub struct AttemptPermits {
    limiter: Arc<AttemptLimiter>,
    left: u32,
}

impl AttemptPermits {
    /// Permits that are left.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Turns one permit into an attempt's own; `None` when none is left.
    pub fn admit(&mut self, group: &str) -> Option<AttemptPermit> {
        self.left = self.left.checked_sub(1)?;
        *self.limiter.lock().by_group.entry(group.to_owned()).or_insert(0) += 1;
        Some(AttemptPermit { limiter: Arc::clone(&self.limiter), group: group.to_owned() })
    }
}

impl Drop for AttemptPermits {
    fn drop(&mut self) {
        self.limiter.give_back(self.left, None);
    }
}

/// The right to run one attempt; given back when dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct AttemptPermit {
    limiter: Arc<AttemptLimiter>,
    group: String,
}

impl AttemptPermit {
    /// What it is counted under.
    pub fn group(&self) -> &str {
        &self.group
    }
}

impl Drop for AttemptPermit {
    fn drop(&mut self) {
        self.limiter.give_back(1, Some(&self.group));
    }
}

#[cfg(test)]
mod tests {
    use super::AttemptLimiter;

    #[test]
    fn i6_permits_in_use_are_reserved_and_running_attempts() {
        let limiter = AttemptLimiter::new(3);
        let mut reserved = limiter.try_acquire_many(10);
        assert_eq!((reserved.left(), limiter.free(), limiter.in_use()), (3, 0, 3));
        assert!(limiter.admit("echo").is_none(), "all are reserved");

        let first = reserved.admit("echo").unwrap();
        assert_eq!((first.group(), limiter.running("echo"), limiter.in_use()), ("echo", 1, 3));
        drop(reserved);
        assert_eq!((limiter.free(), limiter.in_use()), (2, 1));
        drop(first);
        assert_eq!((limiter.free(), limiter.running("echo"), limiter.total()), (3, 0, 3));
    }

    #[test]
    fn a_reservation_never_admits_more_than_it_holds() {
        let limiter = AttemptLimiter::new(2);
        let mut reserved = limiter.try_acquire_many(1);
        let held = reserved.admit("a");
        assert!(held.is_some());
        assert!(reserved.admit("a").is_none());
        assert_eq!(limiter.free(), 1);
    }

    #[test]
    fn room_counts_by_group() {
        let limiter = AttemptLimiter::new(8);
        let held = [limiter.admit("a"), limiter.admit("a"), limiter.admit("b")];
        assert_eq!((limiter.room("a", 2), limiter.room("a", 5), limiter.room("b", 0)), (0, 3, 0));
        assert_eq!(limiter.room("c", 4), 4);
        drop(held);
        assert_eq!(limiter.room("a", 2), 2);
    }

    #[tokio::test]
    async fn a_permit_that_comes_back_is_told() {
        let limiter = AttemptLimiter::new(1);
        let mut freed = limiter.freed();
        let permit = limiter.admit("a");
        assert!(!freed.has_changed().unwrap());
        drop(permit);
        freed.changed().await.unwrap();
        drop(limiter.try_acquire_many(0));
        assert!(!freed.has_changed().unwrap(), "nothing came back");
    }

    #[test]
    fn a_panic_gives_its_permit_back() {
        let limiter = AttemptLimiter::new(1);
        let held = limiter.admit("a");
        let outcome = std::panic::catch_unwind(move || {
            let _held = held;
            panic!("an attempt that goes down");
        });
        assert!(outcome.is_err());
        assert_eq!((limiter.free(), limiter.running("a")), (1, 0));
    }
}
