//! The life of one child, from its start until its whole group is gone.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::Child;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::mark::Mark;
use super::pump::{self, Collected};
use super::spawner::{Watch, group_of};
use super::{Exit, TERM_GRACE};

/// How long the rest of a group may take to vanish after `SIGKILL`, and its pipes to drain.
const VANISH: Duration = Duration::from_secs(1);
const VANISH_STEP: Duration = Duration::from_millis(2);

/// Waits for the child's end, or brings it about once `stop` is cancelled.
pub(super) async fn run(mut child: Child, watch: Watch, stop: CancellationToken) -> Exit {
    let Watch { stdout, stderr_tail_bytes, on_stderr, mark, held } = watch;
    let mut group = Group { id: group_of(&child), mark };
    let mut collected = Collected::default();
    let mut errors = Collected::default();
    let status = {
        let stdout = pump::stdout(child.stdout.take(), stdout, &mut collected);
        let stderr = pump::tail(child.stderr.take(), stderr_tail_bytes, on_stderr, &mut errors);
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
    drop(held);
    Exit {
        code: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()),
        stdout: collected.bytes,
        stdout_truncated: collected.truncated,
        stopped: stop.is_cancelled(),
        stderr_tail: pump::printable(&errors.bytes),
        stderr: errors.bytes,
        stderr_truncated: errors.truncated,
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
        () = stop.cancelled() => group.signal_all(Signal::TERM).await,
    }
    tokio::select! {
        status = exited(child) => return status,
        () = sleep_until(Instant::now() + TERM_GRACE) => group.signal_all(Signal::KILL).await,
    }
    exited(child).await
}

/// A process group, and what left it, that does not outlive this value.
struct Group {
    id: Option<Pid>,
    mark: Option<Mark>,
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

    /// Signals the group and everybody who left it.
    async fn signal_all(&self, signal: Signal) {
        self.signal(signal);
        self.signal_strays(signal).await;
    }

    /// Signals what left the group; answers how many there are.
    async fn signal_strays(&self, signal: Signal) -> usize {
        let (Some(mark), group) = (self.mark, self.id) else { return 0 };
        spawn_blocking(move || mark.signal(signal, group)).await.unwrap_or(0)
    }

    /// Kills what the leader left behind and waits until nobody is left.
    async fn vanish(&mut self) {
        // The system does not reuse the number while the group has members, and there is nothing to
        // kill when it has none.
        let Some(id) = self.id else { return };
        let deadline = Instant::now() + VANISH;
        loop {
            let strays = self.signal_strays(Signal::KILL).await;
            let members = test_kill_process_group(id).is_ok();
            if members {
                self.signal(Signal::KILL);
            } else if strays == 0 {
                break;
            }
            if Instant::now() > deadline {
                // Dead but not reaped by its new parent, or stuck in the kernel.
                tracing::warn!(group = id.as_raw_nonzero().get(), strays, "a killed process group is still there");
                break;
            }
            sleep(VANISH_STEP).await;
        }
        (self.id, self.mark) = (None, None);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(mark) = self.mark {
            mark.signal(Signal::KILL, None);
        }
    }
}
