//! One process a directory.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use super::OpenError;

/// The lock's file; it holds the owner's process id, for people.
const FILE: &str = "lock";

/// The directory is ours while this lives.
#[derive(Debug)]
pub(super) struct DirLock {
    file: File,
}

impl DirLock {
    /// Takes the lock, or says who has it.
    pub(super) fn take(dir: &Path) -> Result<Self, OpenError> {
        let mut file = File::options().read(true).write(true).create(true).truncate(false).open(dir.join(FILE))?;
        if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(OpenError::Io(error.into()));
            }
            let mut pid = String::new();
            // Without a readable pid the message is less helpful, not wrong.
            let _ = file.take(20).read_to_string(&mut pid);
            let pid = pid.trim().parse().unwrap_or(0);
            return Err(OpenError::Locked { pid, dir: dir.to_owned() });
        }
        write_pid(&mut file)?;
        Ok(Self { file })
    }
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // Not left to the closing of the file: a child that is just being forked holds a copy of it.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
