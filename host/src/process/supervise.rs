//! The life of one child, from its start until its whole group is gone.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Child;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::pump::{self, Collected};
use super::spawner::group_of;
use super::{Exit, Stdout, TERM_GRACE};

/// How long the rest of a group may take to vanish after `SIGKILL`, and its pipes to drain.
const VANISH: Duration = Duration::from_secs(1);
const VANISH_STEP: Duration = Duration::from_millis(2);

/// Waits for the child's end, or brings it about once `stop` is cancelled.
pub(super) async fn run(mut child: Child, sink: Stdout, stderr_tail_bytes: usize, stop: CancellationToken) -> Exit {
    let mut group = Group { id: group_of(&child) };
    let mut collected = Collected::default();
    let mut errors = Vec::new();
    let status = {
        let stdout = pump::stdout(child.stdout.take(), sink, &mut collected);
        let stderr = pump::tail(child.stderr.take(), stderr_tail_bytes, &mut errors);
        let pumps = async { tokio::join!(stdout, stderr) };
        tokio::pin!(pumps);
        let mut drained = false;
        let status = {
            let ended = ended(&mut child, &group, &stop);
            tokio::pin!(ended);
            loop {
                tokio::select! {
                    status = &mut ended => break status,
                    _ = &mut pumps, if !drained => drained = true,
                }
            }
        };
        group.vanish().await;
        // A process that left the group may still hold the pipes: do not wait for it for ever.
        if !drained && timeout(VANISH, &mut pumps).await.is_err() {
            tracing::warn!("a process outside its group holds the output of a child that ended");
        }
        status
    };
    Exit {
        code: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()),
        stdout: collected.bytes,
        stdout_truncated: collected.truncated,
        stopped: stop.is_cancelled(),
        stderr_tail: pump::printable(&errors),
    }
}

/// The end of the group's leader. `None` when the system does not tell its status.
async fn ended(child: &mut Child, group: &Group, stop: &CancellationToken) -> Option<ExitStatus> {
    let exited = async |child: &mut Child| match child.wait().await {
        Ok(status) => Some(status),
        Err(error) => {
            tracing::error!(%error, "cannot wait for a child process");
            None
        }
    };
    tokio::select! {
        status = exited(child) => return status,
        () = stop.cancelled() => group.signal(Signal::TERM),
    }
    tokio::select! {
        status = exited(child) => return status,
        () = sleep_until(Instant::now() + TERM_GRACE) => group.signal(Signal::KILL),
    }
    exited(child).await
}

/// A process group that does not outlive this value.
struct Group {
    id: Option<Pid>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id
            && let Err(errno) = kill_process_group(id, signal)
            && errno != Errno::SRCH
        {
            tracing::error!(%errno, "cannot signal a process group");
        }
    }

    /// Kills what the leader left behind and waits until the group is empty.
    async fn vanish(&mut self) {
        // The system does not reuse the number while the group has members, and there is nothing to
        // kill when it has none.
        let Some(id) = self.id else { return };
        let deadline = Instant::now() + VANISH;
        while test_kill_process_group(id).is_ok() {
            self.signal(Signal::KILL);
            if Instant::now() > deadline {
                // Dead but not reaped by its new parent, or stuck in the kernel.
                tracing::warn!(group = id.as_raw_nonzero().get(), "a killed process group is still there");
                break;
            }
            sleep(VANISH_STEP).await;
        }
        self.id = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
