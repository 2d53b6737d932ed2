//! Watches the space on the disk: intake stops before a write could fail, and goes on by itself.
//!
//! The store ends the process when it cannot write. So what is left below the bound is for the work
//! that is there already: attempts go on and their ends are kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::api::{DISK, Readiness};

/// Nobody tells when space runs out; asking is one cheap system call.
const PERIOD: Duration = Duration::from_millis(500);
/// Space above the bound at which intake goes on, as a part of the bound, so that it does not flap.
const HYSTERESIS: u64 = 16;

/// How much space there is below a directory, in bytes.
pub(super) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// What is known about the space.
pub(super) struct SpaceWatch {
    dir: PathBuf,
    min_free_bytes: u64,
    readiness: Arc<Readiness>,
    is_low: bool,
    is_unknown: bool,
}

impl SpaceWatch {
    /// Looks for the first time.
    pub(super) fn begin(dir: PathBuf, min_free_bytes: u64, readiness: Arc<Readiness>) -> Self {
        let mut watch = Self { dir, min_free_bytes, readiness, is_low: false, is_unknown: false };
        watch.look(free_bytes(&watch.dir));
        watch
    }

    /// Looks again and again until the host stops.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut pace = interval(PERIOD);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(pace.tick()).await.is_some() {
            self.look(free_bytes(&self.dir));
        }
    }

    fn look(&mut self, free: io::Result<u64>) {
        let free = match free {
            Ok(free) => free,
            Err(error) => {
                // What was known stays true; the store will say when it cannot write.
                if !std::mem::replace(&mut self.is_unknown, true) {
                    tracing::warn!(%error, dir = %self.dir.display(), "cannot tell how much space is left");
                }
                return;
            }
        };
        self.is_unknown = false;
        let is_low = is_low(self.is_low, free, self.min_free_bytes);
        if is_low && !self.is_low {
            tracing::warn!(free, min_free = self.min_free_bytes, "the disk is almost full: nothing new is taken in");
        } else if !is_low && self.is_low {
            tracing::info!(free, "there is space on the disk again: intake goes on");
        }
        self.is_low = is_low;
        let problem = || format!("{} MiB are free, {} MiB are kept", free >> 20, self.min_free_bytes >> 20);
        self.readiness.set(DISK, is_low.then(problem));
    }
}

/// Low below the bound; then until somewhat more than the bound is free.
fn is_low(was_low: bool, free: u64, min_free: u64) -> bool {
    let bound = if was_low { min_free.saturating_add(min_free / HYSTERESIS) } else { min_free };
    free < bound
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::SpaceWatch;
    use crate::api::Readiness;

    #[test]
    fn intake_stops_below_the_bound_and_goes_on_somewhat_above_it() {
        let readiness = Arc::new(Readiness::default());
        let mut watch = SpaceWatch::begin("/".into(), 0, Arc::clone(&readiness));
        assert_eq!(readiness.problems(), [], "without a bound there is always enough");
        watch.min_free_bytes = 160 << 20;
        let mut seen = Vec::new();
        for mib in [161, 160, 159, 160, 169, 170, 160, 0] {
            watch.look(Ok(mib << 20));
            seen.push(readiness.problems().is_empty());
            // Not knowing changes nothing.
            watch.look(Err(io::ErrorKind::Other.into()));
            assert_eq!(readiness.problems().is_empty(), seen[seen.len() - 1]);
        }
        assert_eq!(seen, [true, true, false, false, false, true, true, false]);
        assert_eq!(readiness.problems(), [("disk", "0 MiB are free, 160 MiB are kept".to_owned())]);
    }
}
