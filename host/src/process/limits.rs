//! What a child may use.

use std::io;

use rustix::process::Pid;

/// Bounds of one child process; a bound above the host's own is lowered to it.
#[derive(Clone, Copy, Debug)]
pub struct ResourceLimits {
    /// CPU time of all its threads together, in seconds.
    pub cpu_seconds: u64,
    /// Virtual memory, in bytes; unbounded when absent.
    pub address_space_bytes: Option<u64>,
    /// Size of a file that it writes, in bytes.
    pub file_size_bytes: u64,
    /// Open files.
    pub open_files: u64,
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self { cpu_seconds: 60, address_space_bytes: None, file_size_bytes: 1 << 30, open_files: 64 }
    }
}

impl ResourceLimits {
    /// Binds a running process; one that has ended already is fine.
    #[cfg(target_os = "linux")]
    pub(super) fn apply(&self, pid: Pid) -> io::Result<()> {
        use rustix::io::Errno;
        use rustix::process::{Resource, Rlimit, getrlimit, prlimit};

        let wanted = [
            (Resource::Core, Some(0)),
            (Resource::Cpu, Some(self.cpu_seconds)),
            (Resource::As, self.address_space_bytes),
            (Resource::Fsize, Some(self.file_size_bytes)),
            (Resource::Nofile, Some(self.open_files)),
        ];
        for (resource, bound) in wanted {
            let Some(bound) = bound else { continue };
            let bound = getrlimit(resource).maximum.map_or(bound, |host| host.min(bound));
            match prlimit(Some(pid), resource, Rlimit { current: Some(bound), maximum: Some(bound) }) {
                Ok(_) => {}
                Err(Errno::SRCH) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Other systems have no call that binds another process; the wall clock bounds the child.
    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the same signature as on Linux")]
    pub(super) fn apply(&self, _pid: Pid) -> io::Result<()> {
        Ok(())
    }
}
