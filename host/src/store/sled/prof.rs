//! Throwaway.
#![allow(missing_docs, clippy::all, clippy::pedantic)]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
thread_local! { static SUMS: [AtomicU64; 16] = const { [const { AtomicU64::new(0) }; 16] }; }
pub(super) fn add(i: usize, since: Instant) { let n = since.elapsed().as_nanos() as u64; SUMS.with(|s| s[i].fetch_add(n, Relaxed)); }
pub(super) fn num(i: usize, n: u64) { SUMS.with(|s| s[i].fetch_add(n, Relaxed)); }
pub(super) fn reset() { SUMS.with(|s| s.iter().for_each(|a| a.store(0, Relaxed))); }
pub(super) fn show(n: usize) { 
  const NAMES: [&str; 16] = ["pick","spec","liveput","begin","emit","seal","flush","f.ser","f.store","f.defrag","f.objs","groups","finish","create","reopen","rest"];
  let t = SUMS.with(|s| (0..16).map(|i| format!("{}={}", NAMES[i], s[i].load(Relaxed) / 1000)).collect::<Vec<_>>().join(" "));
  eprintln!("PROF {n}: {t}");
}
