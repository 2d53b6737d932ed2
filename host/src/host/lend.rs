//! What the host lends to its parts: the plugins' ports and the API's views, over the real things.

mod ffmpeg;

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use async_trait::async_trait;

use super::files::GuestFile;
use crate::api::{LogPage, LogReader, LogSlice, PluginDirectory};
use crate::ffmpeg::Ffmpeg;
use crate::limiter::{BreakerInfo, Breakers};
use crate::logs::{self, Slice, TaskLogs};
use crate::media::{Library, MediaError};
use crate::plugin::compile::CompilePort;
use crate::plugin::outside::Outside;
use crate::plugin::ports::{
    CallbackPort, CheckpointPort, CommandPort, Expected, FilePort, LibraryPort, LogPort, Media, Parent, ParentState,
    ParentsPort, PortError, Ports, StateEntry, StatePort, StateWrite, Swapped,
};
use crate::plugin::{InputError, PluginInfo, Plugins};
use crate::store::{self, MediaQuery, MediaRecord, MediaStatus, Store, StoreError};
use crate::task::{State, TaskId};
use crate::time::{Timestamp, now};

/// Everything that guests and their loader may borrow.
pub(super) fn ports(
    store: &Arc<dyn Store>,
    library: &Library,
    tools: &Arc<Ffmpeg>,
    logs: &Arc<TaskLogs>,
    (callbacks, commands, compiler): (Arc<dyn CallbackPort>, Arc<dyn CommandPort>, Arc<dyn CompilePort>),
) -> Ports {
    let kept = Arc::new(Kept(Arc::clone(store)));
    let logs: Arc<dyn LogPort> = Arc::clone(logs) as _;
    Ports {
        state: Arc::clone(&kept) as _,
        checkpoints: Arc::clone(&kept) as _,
        parents: kept,
        callbacks,
        ffmpeg: Arc::new(ffmpeg::Cutter { media: library.clone(), ffmpeg: Arc::clone(tools) }),
        library: Arc::new(Shelf(library.clone())),
        commands,
        logs,
        outside: Outside::absent(),
        compiler,
    }
}

fn refused(error: StoreError) -> PortError {
    match error {
        StoreError::NotFound => PortError::NotFound,
        StoreError::Conflict(why) => PortError::Conflict(why.state),
        StoreError::Stale => PortError::Conflict("the attempt is no longer the current one".to_owned()),
        error @ (StoreError::Taken { .. } | StoreError::NoParent { .. } | StoreError::Full(_) | StoreError::Closed) => {
            PortError::Unavailable(error.to_string())
        }
    }
}

/// Plugin state, checkpoints and results, kept in the store.
struct Kept(Arc<dyn Store>);

fn entry(entry: store::StateEntry) -> StateEntry {
    StateEntry { value: entry.value, version: entry.version }
}

#[async_trait]
impl StatePort for Kept {
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<StateEntry>, PortError> {
        let found = self.0.state_get(plugin, key, now()).await.map_err(refused)?;
        Ok(found.map(entry))
    }

    async fn put(&self, write: StateWrite) -> Result<Swapped, PortError> {
        let now = now();
        let quota_bytes = write.quota_bytes;
        let expected = match write.expected {
            Expected::Any => store::Expected::Any,
            Expected::Absent => store::Expected::Absent,
            Expected::Version(version) => store::Expected::Version(version),
        };
        let write = store::StateWrite {
            plugin: write.plugin,
            key: write.key,
            value: write.value,
            expires_at: write.ttl_ms.map(|ttl_ms| now.plus_millis(ttl_ms)),
            expected,
            quota_bytes,
        };
        match self.0.state_put(write, now).await {
            Ok(store::Swapped::Stored(version)) => Ok(Swapped::Stored(version)),
            Ok(store::Swapped::Stale(found)) => Ok(Swapped::Stale(found.map(entry))),
            Err(StoreError::Full(_)) => Err(PortError::Quota(quota_bytes)),
            Err(error) => Err(refused(error)),
        }
    }

    async fn delete(&self, plugin: &str, key: &str) -> Result<bool, PortError> {
        self.0.state_delete(plugin, key, now()).await.map_err(refused)
    }

    async fn scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StateEntry)>, PortError> {
        let found = self.0.state_scan(plugin, prefix, after, limit, now()).await.map_err(refused)?;
        Ok(found.into_iter().map(|(key, found)| (key, entry(found))).collect())
    }
}

#[async_trait]
impl CheckpointPort for Kept {
    async fn save(&self, task: TaskId, attempt: u32, data: Vec<u8>) -> Result<(), PortError> {
        self.0.save_checkpoint(task, attempt, data).await.map_err(refused)
    }

    async fn load(&self, task: TaskId) -> Result<Option<Vec<u8>>, PortError> {
        self.0.checkpoint(task).await.map_err(refused)
    }
}

fn parent(parent: store::Parent) -> Parent {
    let Some(brief) = parent.brief else {
        return Parent { id: parent.id, kind: String::new(), state: ParentState::Forgotten, code: None };
    };
    let state = match brief.state {
        "succeeded" => ParentState::Succeeded,
        "failed" => ParentState::Failed,
        "cancelled" => ParentState::Cancelled,
        _ => ParentState::Live,
    };
    Parent { id: parent.id, kind: brief.kind, state, code: brief.code }
}

#[async_trait]
impl ParentsPort for Kept {
    async fn list(&self, task: TaskId) -> Result<Vec<Parent>, PortError> {
        let relations = self.0.relations(task).await.map_err(refused)?;
        Ok(relations.parents.into_iter().map(parent).collect())
    }

    async fn output(&self, task: TaskId, parent: TaskId) -> Result<Option<String>, PortError> {
        let child = self.0.task(task).await.map_err(refused)?;
        if !child.is_some_and(|child| child.spec.new.after.contains(&parent)) {
            return Err(PortError::NotFound);
        }
        let found = self.0.task(parent).await.map_err(refused)?;
        Ok(found.and_then(|parent| match parent.status.state {
            State::Succeeded { output, .. } => Some(output),
            State::Waiting
            | State::Queued { .. }
            | State::Running { .. }
            | State::Failed { .. }
            | State::Cancelled { .. } => None,
        }))
    }
}

/// The media library.
struct Shelf(Library);

fn media(record: MediaRecord) -> Media {
    let purge_after = match record.status {
        MediaStatus::Live => None,
        MediaStatus::Trashed { purge_after, .. } => Some(purge_after),
    };
    Media {
        id: record.id,
        name: record.name,
        content_type: record.content_type,
        size: record.size,
        purge_after,
        created_at: record.created_at,
    }
}

#[async_trait]
impl LibraryPort for Shelf {
    async fn get(&self, id: &str) -> Result<Media, PortError> {
        self.0.record(id).await.map(media).map_err(unlent)
    }

    async fn list_purgeable(&self, after: Option<&str>, limit: u32) -> Result<Vec<Media>, PortError> {
        let query =
            MediaQuery { trashed: Some(true), purgeable_at: Some(now()), after: after.map(str::to_owned), limit };
        let page = self.0.list(query).await.map_err(unlent)?;
        Ok(page.items.into_iter().map(media).collect())
    }

    async fn read(&self, id: &str, offset: u64, length: u32) -> Result<Vec<u8>, PortError> {
        let content = self.0.content(id).await.map_err(unlent)?;
        let length = content.record.size.saturating_sub(offset).min(u64::from(length));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        let read = tokio::task::spawn_blocking(move || content.file.read_exact_at(&mut bytes, offset).map(|()| bytes));
        match read.await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(PortError::Unavailable(format!("the file cannot be read: {error}"))),
            Err(_) => Err(PortError::Unavailable("the host is stopping".to_owned())),
        }
    }

    async fn trash(&self, id: &str) -> Result<(), PortError> {
        self.0.trash(id, None, now()).await.map(drop).map_err(unlent)
    }

    async fn purge(&self, id: &str) -> Result<(), PortError> {
        self.0.purge(id, now()).await.map(drop).map_err(unlent)
    }

    async fn add(&self, name: String, content_type: Option<String>) -> Result<Box<dyn FilePort>, PortError> {
        GuestFile::begin(&self.0, name, content_type).await
    }
}

pub(super) fn unlent(error: MediaError) -> PortError {
    match error {
        MediaError::NotFound => PortError::NotFound,
        MediaError::Conflict(why) => PortError::Conflict(why),
        MediaError::TooLarge { limit } => PortError::Quota(limit),
        error @ (MediaError::NoSpace
        | MediaError::Undeletable(_)
        | MediaError::Full(_)
        | MediaError::Closed
        | MediaError::Io(_)) => PortError::Unavailable(error.to_string()),
    }
}

/// The plugins as the API sees them.
pub(super) struct Directory {
    pub(super) plugins: Arc<Plugins>,
    pub(super) breakers: Arc<Breakers>,
}

#[async_trait]
impl PluginDirectory for Directory {
    fn check_input(&self, kind: &str, input: &str) -> Result<(), InputError> {
        self.plugins.check_input(kind, input)
    }

    fn parked(&self, kind: &str) -> Option<String> {
        if self.plugins.executor(kind).is_none() {
            return Some("no plugin executes the kind".to_owned());
        }
        let BreakerInfo { poisoned, until_ms } = self.breaker(kind)?;
        let next = until_ms.map_or_else(
            || "one attempt at a time is let through".to_owned(),
            |until_ms| format!("one attempt is let through at {}", Timestamp::from_millis(until_ms)),
        );
        Some(format!("{poisoned} tasks of the kind took the plugin down too often: {next}"))
    }

    fn breaker(&self, kind: &str) -> Option<BreakerInfo> {
        let executor = self.plugins.executor(kind)?;
        self.breakers.info(kind, executor.digest().0, now().as_millis())
    }

    async fn list(&self) -> Vec<PluginInfo> {
        let plugins = self.plugins.list();
        self.plugins.settled().await;
        plugins
    }
}

/// Task logs as the API reads them.
pub(super) struct Logs(pub(super) Arc<TaskLogs>);

#[async_trait]
impl LogReader for Logs {
    async fn read(&self, task: TaskId, slice: LogSlice) -> std::io::Result<LogPage> {
        let logs = Arc::clone(&self.0);
        let LogSlice { offset, max_bytes, attempt, settled } = slice;
        let slice = Slice { offset, max_bytes, attempt, settled };
        let read = tokio::task::spawn_blocking(move || logs.read(task, slice)).await;
        let logs::LogPage { lines, ends, dropped, next_offset, eof } = read.map_err(std::io::Error::other)??;
        Ok(LogPage { lines, ends, dropped, next_offset, eof })
    }

    fn follow(&self, task: TaskId) -> tokio::sync::watch::Receiver<()> {
        self.0.follow(task)
    }

    async fn remove(&self, tasks: Vec<TaskId>) -> std::io::Result<()> {
        let logs = Arc::clone(&self.0);
        let remove = move || tasks.into_iter().try_for_each(|task| logs.remove(task));
        tokio::task::spawn_blocking(remove).await.map_err(std::io::Error::other)?
    }
}
