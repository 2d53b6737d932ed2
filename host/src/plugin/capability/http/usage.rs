//! How much of the web an attempt uses.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::quantity::show_bytes;

/// Counters of one attempt.
#[derive(Debug, Default)]
pub(super) struct Usage {
    requests: AtomicU32,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl Usage {
    /// Counts one more, unless there were `most` before.
    pub(super) fn count_request(&self, most: u32) -> bool {
        let count = |requests: u32| (requests < most).then(|| requests + 1);
        self.requests.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_ok()
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
    use super::Usage;

    #[test]
    fn requests_are_counted_up_to_the_bound() {
        let usage = Usage::default();
        assert_eq!(usage.summary(), None);
        assert!(usage.count_request(2) && usage.count_request(2) && !usage.count_request(2));
        usage.sent(1024);
        assert_eq!(usage.summary().unwrap(), "http: 2 requests, bodies of 1KiB sent and 0B received");
    }
}
