//! Permits: how much may happen at the same time. Knows nothing of what is limited.
//!
//! A permit is taken in one atomic step and given back when it is dropped, so that neither a race
//! between a check and an act nor a panic can lose one.

pub mod attempts;
pub mod breakers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

pub use self::attempts::{AttemptLimiter, AttemptPermit, AttemptPermits};
pub use self::breakers::{Admission, BreakerInfo, BreakerSettings, Breakers, Trial, Watched};

/// What a request occupies while it is served. Each class has its own limit, so that slow viewers
/// or slow uploads never keep short requests out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Short requests.
    Api,
    /// Downloads: until the last byte is handed over.
    Stream,
    /// Uploads.
    Upload,
    /// Event streams and requests that wait for something to happen.
    Watch,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Api, Self::Stream, Self::Upload, Self::Watch];

    /// The class's stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Stream => "stream",
            Self::Upload => "upload",
            Self::Watch => "watch",
        }
    }
}

/// How many requests of each class may be open at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Short requests.
    pub max_api_requests: u32,
    /// Downloads.
    pub max_streams: u32,
    /// Uploads.
    pub max_uploads: u32,
    /// Event streams and waiting requests.
    pub max_watchers: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_api_requests: 256, max_streams: 128, max_uploads: 16, max_watchers: 128 }
    }
}

/// How full a class is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// Which.
    pub class: Class,
    /// Permits that are out.
    pub in_use: u32,
    /// Permits there are.
    pub limit: u32,
    /// Requests that were turned away since the start.
    pub rejected: u64,
}

#[derive(Debug)]
struct Gate {
    limit: u32,
    in_use: AtomicU32,
    rejected: AtomicU64,
}

impl Gate {
    fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self { limit, in_use: AtomicU32::new(0), rejected: AtomicU64::new(0) })
    }
}

/// Limits concurrent requests by class. Cheap to clone; clones share their counts.
#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    api: Arc<Gate>,
    stream: Arc<Gate>,
    upload: Arc<Gate>,
    watch: Arc<Gate>,
}

impl ConnectionLimiter {
    /// A limiter with nothing in use.
    pub fn new(limits: Limits) -> Self {
        Self {
            api: Gate::new(limits.max_api_requests),
            stream: Gate::new(limits.max_streams),
            upload: Gate::new(limits.max_uploads),
            watch: Gate::new(limits.max_watchers),
        }
    }

    /// A permit, unless the class is full; never waits.
    pub fn try_acquire(&self, class: Class) -> Option<Permit> {
        let gate = self.gate(class);
        let taken = gate.in_use.fetch_update(Ordering::AcqRel, Ordering::Acquire, |in_use| {
            if in_use < gate.limit { Some(in_use + 1) } else { None }
        });
        if taken.is_err() {
            gate.rejected.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Permit { gate: Arc::clone(gate) })
    }

    /// How full a class is now.
    pub fn gauge(&self, class: Class) -> Gauge {
        let gate = self.gate(class);
        Gauge {
            class,
            in_use: gate.in_use.load(Ordering::Acquire),
            limit: gate.limit,
            rejected: gate.rejected.load(Ordering::Relaxed),
        }
    }

    fn gate(&self, class: Class) -> &Arc<Gate> {
        match class {
            Class::Api => &self.api,
            Class::Stream => &self.stream,
            Class::Upload => &self.upload,
            Class::Watch => &self.watch,
        }
    }
}

/// The right to be served; given back when dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped at once limits nothing"]
pub struct Permit {
    gate: Arc<Gate>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::{Class, ConnectionLimiter, Limits};

    fn limiter(limit: u32) -> ConnectionLimiter {
        ConnectionLimiter::new(Limits {
            max_api_requests: limit,
            max_streams: limit,
            max_uploads: limit,
            max_watchers: limit,
        })
    }

    #[test]
    fn s1_takes_a_permit_in_one_step_however_many_ask() {
        let limiter = limiter(5);
        let most = AtomicU32::new(0);
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..2_000 {
                        if let Some(permit) = limiter.try_acquire(Class::Api) {
                            most.fetch_max(limiter.gauge(Class::Api).in_use, Ordering::Relaxed);
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert!(most.load(Ordering::Relaxed) <= 5);
        assert_eq!(limiter.gauge(Class::Api).in_use, 0);
    }

    #[test]
    fn s2_answers_at_once_when_full_whatever_the_limit() {
        for limit in [0, 1, 10] {
            let limiter = limiter(limit);
            let held: Vec<_> = (0..limit).filter_map(|_| limiter.try_acquire(Class::Stream)).collect();
            assert_eq!(held.len(), limit as usize);
            assert!(limiter.try_acquire(Class::Stream).is_none());
            assert_eq!(limiter.gauge(Class::Stream).rejected, 1);
        }
    }

    #[test]
    fn s3_a_panic_gives_its_permit_back() {
        let limiter = limiter(1);
        let held = limiter.clone();
        let outcome = std::panic::catch_unwind(move || {
            let _permit = held.try_acquire(Class::Upload);
            panic!("a handler that goes down");
        });
        assert!(outcome.is_err());
        assert!(limiter.try_acquire(Class::Upload).is_some());
    }

    #[test]
    fn s4_a_full_class_keeps_nobody_else_out() {
        let limiter = limiter(1);
        let held: Vec<_> = [Class::Stream, Class::Upload].map(|class| limiter.try_acquire(class)).into();
        assert!(limiter.try_acquire(Class::Stream).is_none());
        assert!(limiter.try_acquire(Class::Api).is_some());
        assert!(limiter.try_acquire(Class::Watch).is_some());
        drop(held);
        assert_eq!(Class::ALL.map(|class| limiter.gauge(class).in_use), [0; 4]);
    }
}
