//! Bounds that hold between guests, and bounds of what they tell.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::bench::{Bench, job};
use crate::plugin::limits::Limits;
use crate::plugin::ports::{LogLevel, LogSource};
use crate::task::Outcome;

const KIB: u64 = 1024;

/// The bound that the ticks are chosen for is 100 ms; here there is room for a busy machine.
#[tokio::test]
async fn twenty_guests_that_never_wait_do_not_keep_another_waiting() {
    let bench = Bench::new();
    let spin = bench.load("spin", Limits { cpu_ms: 150, ..Limits::default() });
    let ok = bench.load("ok", Limits::default());
    let spinners = join_all((0..20).map(|_| bench.run(&spin)));
    let others = async {
        bench.places_taken(20).await;
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let began = Instant::now();
            assert!(matches!(bench.run(&ok).await, Outcome::Succeeded { .. }));
            slowest = slowest.max(began.elapsed());
        }
        slowest
    };
    let (ends, slowest) = tokio::join!(spinners, others);
    assert!(ends.iter().all(|end| matches!(end, Outcome::Retry { failure, .. } if failure.code == "cpu-limit")));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[tokio::test]
async fn a_log_ends_at_the_attempts_share() {
    let bench = Bench::new();
    let flood = bench.load("flood", Limits { log_bytes: 64 * KIB, ..Limits::default() });
    assert!(matches!(bench.run(&flood).await, Outcome::Succeeded { .. }));
    let lines = bench.lines();
    let (last, kept) = lines.split_last().unwrap();
    assert!(kept.iter().all(|line| line.source == LogSource::Log && line.level == LogLevel::Info));
    assert_eq!(kept.len() as u64, 64 * KIB / (KIB + 1));
    assert_eq!((last.source, last.level), (LogSource::Host, LogLevel::Warn));
    assert!(last.message.starts_with("99937 lines (102435425 bytes) dropped"), "{}", last.message);
}

#[tokio::test]
async fn output_without_a_lines_end_is_bounded() {
    let bench = Bench::new();
    let print = bench.load("print", Limits { log_bytes: 64 * KIB, ..Limits::default() });
    assert!(matches!(bench.run(&print).await, Outcome::Succeeded { .. }));
    let lines = bench.lines();
    let (last, kept) = lines.split_last().unwrap();
    assert!(kept.iter().all(|line| line.source == LogSource::Stdout && line.message.len() as u64 == 8 * KIB));
    assert_eq!(kept.len(), 7);
    assert!(last.message.starts_with("2041 lines ("), "{}", last.message);
}

#[tokio::test]
async fn an_attempt_that_finds_no_instance_is_tried_again() {
    let bench = Bench::with(|settings| settings.max_instances = 1);
    let wait = bench.load("wait", Limits::default());
    let control = Arc::default();
    let first = wait.execute(job("{}"), Arc::clone(&control), 60_000);
    let second = async {
        bench.places_taken(1).await;
        let outcome = wait.execute(job("{}"), Arc::default(), 20).await;
        control.direct(crate::plugin::control::Directive::Cancel);
        outcome
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first, Outcome::Cancelled);
    assert!(matches!(second, Outcome::Retry { failure, .. } if failure.code == "no-instance"));
}

#[tokio::test]
async fn memory_of_all_guests_is_bounded_and_nobodys_fault() {
    let bench = Bench::with(|settings| settings.memory_total_bytes = 3 << 20);
    let grow = bench.load("grow", Limits::default());
    let Outcome::Retry { failure, .. } = bench.run(&grow).await else { panic!() };
    assert_eq!(failure.code, "host-memory");
    assert!(failure.message.contains("3145728 bytes"), "{}", failure.message);
}
