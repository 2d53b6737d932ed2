//! The attempt that is running now.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::imports::taskhost::host::context::{
    self, CheckpointError, Directive, Parent, ParentError, Webhook,
};
use crate::{Progress, Task, TaskError};

/// The attempt that is running now: its task, and the thread to whoever steers it.
///
/// Calls that hear that the host wants the guest to stop answer with the error that says so, so that `?` stops it.
#[derive(Debug)]
pub struct Context {
    task: Task,
}

impl Context {
    pub(crate) fn new(task: Task) -> Self {
        Self { task }
    }

    /// The task and the number of this attempt.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// What the host wants now.
    pub fn directive(&self) -> Directive {
        context::report(None)
    }

    /// Goes on, or stops with `cancelled` or `yielded` when the host wants that.
    pub fn proceed(&self) -> Result<(), TaskError> {
        obey(context::report(None))
    }

    /// Reports progress; goes on or stops like [`Self::proceed`].
    pub fn report(&self, progress: &Progress) -> Result<(), TaskError> {
        obey(context::report(Some(progress)))
    }

    /// Reports that `percent` of the work is done; goes on or stops like [`Self::proceed`].
    pub fn report_percent(&self, percent: u8) -> Result<(), TaskError> {
        let done = u64::from(percent.min(100));
        self.report(&Progress { done, total: Some(100), unit: "percent".to_owned(), message: None })
    }

    /// Sleeps that long without using CPU time; stops early when the host wants it.
    pub fn sleep(&self, duration: Duration) -> Result<(), TaskError> {
        obey(context::sleep(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time left to the deadline; absent when there is none.
    pub fn remaining(&self) -> Option<Duration> {
        context::remaining().map(Duration::from_millis)
    }

    /// Keeps, durably, what the next attempt needs to go on from here: at most 1 MiB of JSON.
    pub fn save_checkpoint(&self, checkpoint: &impl Serialize) -> Result<(), TaskError> {
        let bytes = serde_json::to_vec(checkpoint)
            .map_err(|e| TaskError::fatal("bad-checkpoint", format!("the checkpoint is not JSON: {e}")))?;
        context::save_checkpoint(&bytes).map_err(|error| match error {
            CheckpointError::TooLarge(most) => {
                TaskError::fatal("checkpoint-too-large", format!("a checkpoint holds at most {most} bytes"))
            }
            CheckpointError::Unavailable(why) => TaskError::retry("unavailable", why),
        })
    }

    /// What an earlier attempt of this task saved; one that does not fit (another version wrote it) counts as none.
    pub fn load_checkpoint<T: DeserializeOwned>(&self) -> Option<T> {
        context::load_checkpoint().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    /// How the outside tells the host that there is news about this attempt's work. Absent where nothing can be called
    /// back: only an [`crate::Actuator`]'s attempt can.
    pub fn callback(&self) -> Option<Webhook> {
        context::callback()
    }

    /// The tasks that this one comes after, in the order of its creator.
    pub fn parents(&self) -> Result<Vec<Parent>, TaskError> {
        context::parents().map_err(|error| of_parent(error, "parents"))
    }

    /// The output of the parent with this id.
    pub fn parent_output<T: DeserializeOwned>(&self, id: &str) -> Result<T, TaskError> {
        let json = context::parent_output(id).map_err(|error| of_parent(error, id))?;
        serde_json::from_str(&json)
            .map_err(|e| TaskError::fatal("bad-parent-output", format!("the output of task {id} does not fit: {e}")))
    }
}

fn of_parent(error: ParentError, id: &str) -> TaskError {
    match error {
        ParentError::NotAParent => TaskError::fatal("not-a-parent", format!("this task does not come after {id}")),
        ParentError::NoOutput => TaskError::fatal("no-parent-output", format!("the task {id} has no output")),
        ParentError::TooLarge(most) => {
            TaskError::fatal("parent-output-too-large", format!("the output of task {id} has more than {most} bytes"))
        }
        ParentError::Unavailable(why) => TaskError::retry("unavailable", why),
    }
}

fn obey(directive: Directive) -> Result<(), TaskError> {
    match directive {
        Directive::Proceed => Ok(()),
        Directive::Cancel => Err(TaskError::Cancelled),
        Directive::Yield => Err(TaskError::Yielded),
    }
}

#[cfg(test)]
mod tests {
    use super::{Directive, TaskError, obey};

    #[test]
    fn directives_become_the_error_that_stops() {
        assert!(obey(Directive::Proceed).is_ok());
        assert!(matches!(obey(Directive::Cancel), Err(TaskError::Cancelled)));
        assert!(matches!(obey(Directive::Yield), Err(TaskError::Yielded)));
    }
}
