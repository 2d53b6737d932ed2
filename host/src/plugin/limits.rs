//! What one guest may use. Every bound is enforced on every call into a guest.

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
        }
    }
}
