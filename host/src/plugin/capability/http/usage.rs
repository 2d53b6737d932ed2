//! How much of the web an attempt uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::quantity::show_bytes;

/// Counters of one attempt.
#[derive(Debug, Default)]
pub(super) struct Usage {
    requests: AtomicU32,
    under_way: AtomicU32,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

/// A request that is under way, until this is dropped.
#[derive(Debug)]
pub(super) struct Seat(Arc<Usage>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Usage {
    /// Counts one more, unless there were `most` before.
    pub(super) fn count_request(&self, most: u32) -> bool {
        let count = |requests: u32| (requests < most).then(|| requests + 1);
        self.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
    }

    /// A place among those that are under way, if there is one left of `most`.
    pub(super) fn seat(usage: &Arc<Self>, most: u32) -> Option<Seat> {
        let take = |under_way: u32| (under_way < most).then(|| under_way + 1);
        usage.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(Seat(Arc::clone(usage)))
    }

    /// Bytes of a request's body went out.
    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes of a response's body came in.
    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// What was used, in words; absent when it is nothing.
    pub(super) fn summary(&self) -> Option<String> {
        let requests = self.requests.load(Ordering::Relaxed);
        let bytes = |counter: &AtomicU64| show_bytes(counter.load(Ordering::Relaxed));
        (requests > 0).then(|| {
            let (sent, received) = (bytes(&self.sent_bytes), bytes(&self.received_bytes));
            format!("http: {requests} requests, bodies of {sent} sent and {received} received")
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Usage;

    #[test]
    fn no_more_than_there_are_places() {
        let usage = Arc::new(Usage::default());
        assert_eq!(usage.summary(), None);
        assert!(usage.count_request(2) && usage.count_request(2) && !usage.count_request(2));
        let first = Usage::seat(&usage, 1).unwrap();
        assert!(Usage::seat(&usage, 1).is_none());
        drop(first);
        assert!(Usage::seat(&usage, 1).is_some());
        usage.sent(1024);
        assert_eq!(usage.summary().unwrap(), "http: 2 requests, bodies of 1KiB sent and 0B received");
    }
}
