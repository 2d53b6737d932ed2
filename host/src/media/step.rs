//! Files that a task has made. The same step of the same task makes one file, however often it is attempted: the host
//! may go down between the file and whatever the guest keeps of it.

use super::{Library, MediaError, MediaId, TempFile};
use crate::store::{MediaRecord, MediaStatus, StoreError};
use crate::task::TaskId;
use crate::time::Timestamp;

/// What a task has made, as far as it tells one file from another.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    task: Option<TaskId>,
    /// The file's id; without a task nothing is attempted again.
    id: Option<MediaId>,
}

impl Step {
    /// `what` names all that the file depends on: the same text for the same file.
    pub fn new(task: Option<TaskId>, what: &str) -> Self {
        Self { task, id: task.map(|task| MediaId::of_step(task, what)) }
    }
}

impl Library {
    /// The live file that an earlier attempt has made.
    pub async fn made(&self, step: Step) -> Result<Option<MediaRecord>, MediaError> {
        let Some(id) = step.id else { return Ok(None) };
        let found = self.store.media(&id.to_string()).await?;
        Ok(found.filter(|record| record.status == MediaStatus::Live))
    }

    /// As [`Self::adopt`], once a step: what another attempt has made meanwhile stays, and is answered. A trashed file
    /// stays trashed, and this one is another.
    pub async fn adopt_step(
        &self,
        temp: TempFile,
        name: &str,
        content_type: Option<&str>,
        step: Step,
        now: Timestamp,
    ) -> Result<MediaRecord, MediaError> {
        let Some(id) = step.id else { return self.adopt(temp, name, content_type, None, now).await };
        let _change = self.change(id)?;
        match self.store.media(&id.to_string()).await {
            Ok(Some(record)) if record.status == MediaStatus::Live => Ok(record),
            Ok(Some(_)) => self.adopt(temp, name, content_type, step.task, now).await,
            Ok(None) | Err(StoreError::NotFound) => self.take_in(id, temp, (name, content_type, step.task), now).await,
            Err(error) => Err(error.into()),
        }
    }
}
