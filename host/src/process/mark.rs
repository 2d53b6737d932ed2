//! Finds every process of a child's tree, also those that left its group and its session.
//!
//! Each tree has a value of its own for a resource limit that the kernel keeps for every process and has not
//! used since 2.4 (`RLIMIT_LOCKS`). Whatever is started inherits it, through `setsid`, a second fork and a cleared
//! environment. Only a process that lowers this very limit itself gets away. Other systems than Linux have no such
//! mark: there the process group is all that is found.

use std::ffi::OsString;
use std::io;

use rustix::process::{Pid, Signal};

/// What the processes of one tree have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u64);

/// Below this nobody would be told apart by chance.
#[cfg(target_os = "linux")]
const LEAST: u64 = 1 << 40;

#[cfg(target_os = "linux")]
impl Mark {
    /// A mark that no other tree has; none when this process itself may not set one.
    pub(super) fn generate() -> Option<Self> {
        use rustix::process::{Resource, getrlimit};

        // Below the host's own, which is one when somebody else marked the host. Hard limits are never raised.
        let most = getrlimit(Resource::Locks).maximum.unwrap_or(u64::MAX / 2).min(u64::MAX / 2);
        (most > 2 * LEAST).then(|| Self(fastrand::u64(LEAST..most)))
    }

    /// As an argument of `prlimit` from util-linux.
    pub(super) fn argument(self) -> OsString {
        format!("--locks={0}:{0}", self.0).into()
    }

    /// Marks a running process; one that has ended already is fine.
    pub(super) fn apply(self, pid: Pid) -> io::Result<()> {
        use rustix::io::Errno;
        use rustix::process::{Resource, Rlimit, prlimit};

        match prlimit(Some(pid), Resource::Locks, Rlimit { current: Some(self.0), maximum: Some(self.0) }) {
            Ok(_) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Signals the processes of the tree, except for those in the group `but`; answers how many live.
    /// Reads a file of each process of the system.
    pub(super) fn signal(self, signal: Signal, but: Option<Pid>) -> usize {
        use rustix::process::{PidfdFlags, getpgid, pidfd_open, pidfd_send_signal};

        let Ok(processes) = std::fs::read_dir("/proc") else { return 0 };
        let ids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let mut found = 0;
        for pid in ids.filter(|pid| self.is_on(*pid)).filter_map(Pid::from_raw) {
            if but.is_some() && getpgid(Some(pid)).ok() == but {
                continue;
            }
            // Opened first, looked at again, then signalled: a number that was given to another process is left alone.
            let Ok(open) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if self.is_on(pid.as_raw_nonzero().get()) {
                found += 1;
                // It may have ended in between.
                let _ = pidfd_send_signal(open, signal);
            }
        }
        found
    }

    /// Whether a process carries the mark and has not ended.
    fn is_on(self, pid: i32) -> bool {
        let Ok(limits) = std::fs::read_to_string(format!("/proc/{pid}/limits")) else { return false };
        let line = limits.lines().find_map(|line| line.strip_prefix("Max file locks"));
        let marked = line.and_then(|line| line.split_whitespace().next()?.parse().ok()) == Some(self.0);
        // One that its parent has not asked about yet is gone all the same.
        marked
            && std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X'])))
    }
}

#[cfg(not(target_os = "linux"))]
#[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the same signatures as on Linux")]
impl Mark {
    pub(super) fn generate() -> Option<Self> {
        None
    }

    pub(super) fn argument(self) -> OsString {
        OsString::new()
    }

    pub(super) fn apply(self, _pid: Pid) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn signal(self, _signal: Signal, _but: Option<Pid>) -> usize {
        0
    }
}
