//! How a generation comes to an end.

use std::sync::Arc;

use tokio::time::{Duration, Instant};

use crate::plugin::manifest::Drain;
use crate::plugin::news::{News, Newsroom, What};
use crate::task::Digest;
use crate::time::Timestamp;

/// A generation was replaced or removed: how what still runs on it comes to an end.
#[derive(Clone, Copy, Debug)]
pub struct Retirement {
    /// When that was.
    pub at: Timestamp,
    pub(super) since: Instant,
    pub(super) drain: Drain,
}

impl Retirement {
    /// From now on attempts are asked to yield.
    pub fn yield_at(&self) -> Instant {
        self.since + Duration::from_millis(self.drain.drain_ms)
    }

    /// From now on attempts are interrupted.
    pub fn interrupt_at(&self) -> Instant {
        self.yield_at() + Duration::from_millis(self.drain.yield_grace_ms)
    }

    /// As somebody outside is told it: when attempts are asked to yield, and when they are interrupted.
    pub fn timetable(&self) -> (Timestamp, Timestamp) {
        let yield_at = self.at.plus_millis(self.drain.drain_ms);
        (yield_at, yield_at.plus_millis(self.drain.yield_grace_ms))
    }
}

/// Dropped with a retired generation: whoever may still run something on it holds it.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) news: Arc<Newsroom>,
    pub(super) plugin: String,
    pub(super) digest: Digest,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let plugin = std::mem::take(&mut self.plugin);
        self.news.push(News { plugin, digest: Some(self.digest), what: What::Drained });
    }
}
