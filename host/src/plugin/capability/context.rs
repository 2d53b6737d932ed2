//! `taskhost:host/context`: the attempt that runs now.

use tokio::time::{Duration, Instant, sleep};

use crate::plugin::contract;
use crate::plugin::contract::context::{self, CheckpointError, Host, ParentError};
use crate::plugin::contract::wire;
use crate::plugin::control::Directive;
use crate::plugin::guest::{Guest, Purpose};
use crate::plugin::ports::{Parent, ParentState, PortError};

/// Bytes of a checkpoint.
const MAX_CHECKPOINT_BYTES: usize = 1024 * 1024;
const NO_TASK: &str = "only an attempt has a checkpoint";

impl Guest {
    /// Tells the guest what the host wants, and remembers that it was told.
    fn tell(&mut self) -> context::Directive {
        let directive = self.call.control.directive();
        match directive {
            Directive::Proceed => context::Directive::Proceed,
            Directive::Cancel => {
                self.told = directive;
                self.call.control.see_cancel();
                context::Directive::Cancel
            }
            Directive::Yield => {
                self.told = directive;
                context::Directive::Yield
            }
        }
    }
}

impl Host for Guest {
    fn report(&mut self, progress: Option<wire::Progress>) -> context::Directive {
        if let Some(progress) = progress {
            self.call.control.report(contract::progress(progress, &self.code.censor));
        }
        self.tell()
    }

    fn remaining(&mut self) -> Option<u64> {
        let left = self.call.deadline.saturating_duration_since(Instant::now());
        Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    async fn sleep(&mut self, duration: u64) -> context::Directive {
        tokio::select! {
            // A request that is there already is an answer: the guest must not sleep over it.
            biased;
            _ = self.call.control.directed(|directive| directive != Directive::Proceed) => {}
            // However long: the attempt's deadline ends it.
            () = sleep(Duration::from_millis(duration)) => {}
        }
        self.tell()
    }

    async fn save_checkpoint(&mut self, data: Vec<u8>) -> Result<(), CheckpointError> {
        if data.len() > MAX_CHECKPOINT_BYTES {
            return Err(CheckpointError::TooLarge(MAX_CHECKPOINT_BYTES as u64));
        }
        let Some((task, attempt)) = self.call.purpose.attempt() else {
            return Err(CheckpointError::Unavailable(NO_TASK.to_owned()));
        };
        let saved = self.code.shared.ports.checkpoints.save(task, attempt, data).await;
        saved.map_err(|error| match error {
            PortError::Quota(limit) => CheckpointError::TooLarge(limit),
            PortError::NotFound | PortError::Conflict(_) | PortError::Unavailable(_) => {
                CheckpointError::Unavailable(error.to_string())
            }
        })
    }

    async fn load_checkpoint(&mut self) -> Option<Vec<u8>> {
        let (task, _) = self.call.purpose.attempt()?;
        match self.code.shared.ports.checkpoints.load(task).await {
            Ok(data) => data,
            Err(error) => {
                // The contract has no way to say so: without a checkpoint the guest starts over, which is right.
                tracing::warn!(%task, "cannot load the checkpoint: {error}");
                None
            }
        }
    }

    async fn parents(&mut self) -> Result<Vec<context::Parent>, ParentError> {
        let Some((task, _)) = self.call.purpose.attempt() else { return Ok(Vec::new()) };
        let parents = self.code.shared.ports.parents.list(task).await.map_err(|error| unavailable(&error))?;
        Ok(parents.into_iter().map(parent).collect())
    }

    async fn parent_output(&mut self, id: String) -> Result<String, ParentError> {
        let Some((task, _)) = self.call.purpose.attempt() else { return Err(ParentError::NotAParent) };
        let Ok(parent) = id.parse() else { return Err(ParentError::NotAParent) };
        let output = self.code.shared.ports.parents.output(task, parent).await;
        let output = output.map_err(|error| unavailable(&error))?;
        let output = output.ok_or(ParentError::NoOutput)?;
        let bound = self.call.limits.hostcall_bytes;
        if output.len() as u64 > bound { Err(ParentError::TooLarge(bound)) } else { Ok(output) }
    }

    fn callback(&mut self) -> Option<context::Webhook> {
        let Purpose::Steer { task, attempt } = self.call.purpose else { return None };
        let callbacks = &self.code.shared.ports.callbacks;
        Some(context::Webhook { url: callbacks.url(task), token: callbacks.token(task, attempt) })
    }
}

fn unavailable(error: &PortError) -> ParentError {
    match error {
        PortError::NotFound => ParentError::NotAParent,
        PortError::Conflict(_) | PortError::Quota(_) | PortError::Unavailable(_) => {
            ParentError::Unavailable(error.to_string())
        }
    }
}

fn parent(parent: Parent) -> context::Parent {
    let state = match parent.state {
        ParentState::Succeeded => context::ParentState::Succeeded,
        ParentState::Failed => context::ParentState::Failed,
        ParentState::Cancelled => context::ParentState::Cancelled,
        ParentState::Live => context::ParentState::Live,
        ParentState::Forgotten => context::ParentState::Forgotten,
    };
    context::Parent { id: parent.id.to_string(), kind: parent.kind, state, code: parent.code }
}
