//! What one guest may use. Every bound is enforced on every call into a guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::ResourceLimiter;

const MIB: u64 = 1024 * 1024;

/// Bounds of one attempt, and how many attempts a plugin may have at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memories and tables of one attempt together, in bytes.
    pub memory_bytes: u64,
    /// Time that the guest computes, in milliseconds. Waiting for the host is not counted.
    pub cpu_ms: u64,
    /// Time from the claim to the answer, in milliseconds.
    pub wall_ms: u64,
    /// Attempts of this plugin at the same time.
    pub concurrency: u32,
    /// Log text of one attempt, in bytes; what comes after is counted and dropped.
    pub log_bytes: u64,
    /// The answer of one call, in bytes.
    pub output_bytes: u64,
    /// Resources that a guest holds at the same time.
    pub handles: u32,
    /// Data that one call from the guest to the host may carry, in bytes.
    pub hostcall_bytes: u64,
    /// Core module instances inside one component instance.
    pub instances: u32,
    /// Attempts that one instance serves, one after the other. With more than one, what an attempt
    /// leaves in the instance's memory is there for the next one of the plugin.
    pub attempts_per_instance: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 64 * MIB,
            cpu_ms: 10_000,
            wall_ms: 600_000,
            concurrency: 64,
            log_bytes: MIB,
            output_bytes: MIB,
            handles: 1024,
            hostcall_bytes: 8 * MIB,
            instances: 64,
            attempts_per_instance: 1,
        }
    }
}

/// Linear memories in one store.
pub(super) const MAX_MEMORIES: u32 = 8;
/// Tables in one store.
pub(super) const MAX_TABLES: u32 = 32;
/// Random bytes that one call may ask for.
pub(super) const MAX_RANDOM_BYTES: u64 = MIB;
/// What a table element costs.
const TABLE_ELEMENT_BYTES: u64 = 8;

/// Linear memory and tables of all guests together.
#[derive(Debug)]
pub(super) struct HostMemory {
    used: AtomicU64,
    limit_bytes: u64,
    /// Frees what is held without need.
    relief: Relief,
}

struct Relief(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Relief {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Relief")
    }
}

impl HostMemory {
    /// At most `limit_bytes`; `relief` is called before a growth is refused.
    pub(super) fn new(limit_bytes: u64, relief: impl Fn() + Send + Sync + 'static) -> Self {
        Self { used: AtomicU64::new(0), limit_bytes, relief: Relief(Box::new(relief)) }
    }

    /// Bytes in use now.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        if self.try_take(bytes) {
            return true;
        }
        (self.relief.0)();
        self.try_take(bytes)
    }

    fn try_take(&self, bytes: u64) -> bool {
        let within = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit_bytes);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A growth that was not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The attempt's own limit, in bytes.
    Attempt(u64),
    /// The limit of all guests together, in bytes.
    Host(u64),
}

/// Sums what one store takes. Growth is never given back before the store ends, so `used` is the peak too.
#[derive(Debug)]
pub(super) struct Meter {
    host: Arc<HostMemory>,
    used: u64,
    limit_bytes: u64,
    instances: u32,
    refused: Option<Refusal>,
}

impl Meter {
    pub(super) fn new(host: Arc<HostMemory>, limits: &Limits) -> Self {
        Self { host, used: 0, limit_bytes: limits.memory_bytes, instances: limits.instances, refused: None }
    }

    /// Another attempt begins in the same store: what it holds stays counted.
    pub(super) fn renew(&mut self) {
        self.refused = None;
    }

    /// The most that the store has held, in bytes.
    pub(super) fn peak(&self) -> u64 {
        self.used
    }

    /// The last growth that was not allowed.
    pub(super) fn refused(&self) -> Option<Refusal> {
        self.refused
    }

    fn grow(&mut self, bytes: u64) -> bool {
        if self.used.saturating_add(bytes) > self.limit_bytes {
            self.refused = Some(Refusal::Attempt(self.limit_bytes));
            return false;
        }
        if !self.host.take(bytes) {
            self.refused = Some(Refusal::Host(self.host.limit_bytes));
            return false;
        }
        self.used += bytes;
        true
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.host.give(self.used);
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Beyond the memory's own maximum the growth fails anyway: it must not be charged.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current) as u64))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow((desired.saturating_sub(current) as u64).saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn instances(&self) -> usize {
        self.instances as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_summed_over_all_memories_and_tables() {
        let host = Arc::new(HostMemory::new(1000, || {}));
        let mut meter = Meter::new(host.clone(), &Limits { memory_bytes: 100, ..Limits::default() });
        assert!(meter.memory_growing(0, 50, None).unwrap());
        assert!(meter.memory_growing(0, 42, None).unwrap());
        assert!(meter.table_growing(0, 1, None).unwrap());
        assert_eq!(meter.peak(), 100);
        assert!(!meter.table_growing(1, 2, None).unwrap());
        assert_eq!(meter.refused(), Some(Refusal::Attempt(100)));
        drop(meter);
        assert_eq!(host.used(), 0);
    }

    #[test]
    fn all_guests_share_one_limit() {
        let host = Arc::new(HostMemory::new(100, || {}));
        let mut one = Meter::new(host.clone(), &Limits::default());
        let mut two = Meter::new(host.clone(), &Limits::default());
        assert!(one.memory_growing(0, 60, None).unwrap());
        assert!(!two.memory_growing(0, 60, None).unwrap());
        assert_eq!(two.refused(), Some(Refusal::Host(100)));
        drop(one);
        assert!(two.memory_growing(0, 60, None).unwrap());
    }

    #[test]
    fn growth_beyond_a_memorys_own_maximum_is_not_charged() {
        let mut meter = Meter::new(Arc::new(HostMemory::new(1000, || {})), &Limits::default());
        assert!(!meter.memory_growing(0, 60, Some(50)).unwrap());
        assert_eq!((meter.peak(), meter.refused()), (0, None));
    }
}
