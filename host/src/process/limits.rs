//! What a child may use.

use std::ffi::OsString;
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
    /// The bounds, each lowered to the host's own.
    #[cfg(target_os = "linux")]
    fn bounds(&self) -> impl Iterator<Item = (rustix::process::Resource, &'static str, u64)> {
        use rustix::process::{Resource, getrlimit};

        let wanted = [
            (Resource::Core, "core", Some(0)),
            (Resource::Cpu, "cpu", Some(self.cpu_seconds)),
            (Resource::As, "as", self.address_space_bytes),
            (Resource::Fsize, "fsize", Some(self.file_size_bytes)),
            (Resource::Nofile, "nofile", Some(self.open_files)),
        ];
        wanted.into_iter().filter_map(|(resource, name, bound)| {
            let bound = bound?;
            Some((resource, name, getrlimit(resource).maximum.map_or(bound, |host| host.min(bound))))
        })
    }

    /// The bounds as arguments of `prlimit` from util-linux, which sets them before the program begins.
    #[cfg(target_os = "linux")]
    pub(super) fn arguments(&self) -> Vec<OsString> {
        self.bounds().map(|(_, name, bound)| format!("--{name}={bound}:{bound}").into()).collect()
    }

    /// Binds a running process; one that has ended already is fine.
    #[cfg(target_os = "linux")]
    pub(super) fn apply(&self, pid: Pid) -> io::Result<()> {
        use rustix::io::Errno;
        use rustix::process::{Rlimit, prlimit};

        for (resource, _, bound) in self.bounds() {
            match prlimit(Some(pid), resource, Rlimit { current: Some(bound), maximum: Some(bound) }) {
                Ok(_) => {}
                Err(Errno::SRCH) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Other systems have no such helper.
    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "the same signature as on Linux")]
    pub(super) fn arguments(&self) -> Vec<OsString> {
        Vec::new()
    }

    /// Other systems have no call that binds another process; the wall clock bounds the child.
    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the same signature as on Linux")]
    pub(super) fn apply(&self, _pid: Pid) -> io::Result<()> {
        Ok(())
    }
}
