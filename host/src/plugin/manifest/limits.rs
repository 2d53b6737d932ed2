//! The table `[limits]`.

use std::ops::RangeInclusive;

use crate::plugin::engine::MAX_CORE_INSTANCES;
use crate::plugin::limits::Limits;

use super::table::{Key, Table};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const HOUR_MS: u64 = 3_600_000;

const MEMORY: RangeInclusive<u64> = MIB..=4096 * MIB;
const CPU: RangeInclusive<u64> = 1..=24 * HOUR_MS;
const WALL: RangeInclusive<u64> = 1..=7 * 24 * HOUR_MS;
const CONCURRENCY: RangeInclusive<u64> = 1..=1024;
const LOG: RangeInclusive<u64> = 0..=64 * MIB;
const OUTPUT: RangeInclusive<u64> = KIB..=16 * MIB;
const HANDLES: RangeInclusive<u64> = 1..=65_536;
const HOSTCALL: RangeInclusive<u64> = 64 * KIB..=64 * MIB;
const INSTANCES: RangeInclusive<u64> = 1..=MAX_CORE_INSTANCES as u64;
const ATTEMPTS_PER_INSTANCE: RangeInclusive<u64> = 1..=100_000;

impl Table for Limits {
    fn keys(&mut self) -> Vec<Key<'_>> {
        let Self {
            memory_bytes,
            cpu_ms,
            wall_ms,
            concurrency,
            log_bytes,
            output_bytes,
            handles,
            hostcall_bytes,
            instances,
            attempts_per_instance,
        } = self;
        vec![
            Key::bytes("memory", memory_bytes, MEMORY, "Linear memories and tables of one attempt, together."),
            Key::millis("cpu", cpu_ms, CPU, "Time that one attempt computes. Waiting for the host is not counted."),
            Key::millis("wall", wall_ms, WALL, "Time of one attempt, from its claim to its end."),
            Key::count("concurrency", concurrency, CONCURRENCY, "Attempts of the plugin at the same time."),
            Key::bytes("log_bytes", log_bytes, LOG, "Log of one attempt. What is over is dropped and counted."),
            Key::bytes("output_bytes", output_bytes, OUTPUT, "The output of one task."),
            Key::count("handles", handles, HANDLES, "Resources that one attempt holds at the same time."),
            Key::bytes("hostcall_bytes", hostcall_bytes, HOSTCALL, "Data that one call to the host carries."),
            Key::count(
                "instances",
                instances,
                INSTANCES,
                "Core instances that the component of one attempt may be made of.",
            ),
            Key::count(
                "attempts_per_instance",
                attempts_per_instance,
                ATTEMPTS_PER_INSTANCE,
                "Attempts that one instance serves, one after the other. With more than one, what an attempt leaves in the instance's memory is there for the next one.",
            ),
        ]
    }
}
