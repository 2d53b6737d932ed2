//! What the host lends to its parts: the plugins' ports and the API's views, over the real things.

use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use async_trait::async_trait;

use super::files::GuestFile;
use crate::api::{LogPage, LogReader, LogSlice, PluginDirectory};
use crate::ffmpeg::{self, Ffmpeg};
use crate::limiter::{BreakerInfo, Breakers};
use crate::logs::{self, Slice, TaskLogs};
use crate::media::{Library, MediaError, Step};
use crate::plugin::compile::CompilePort;
use crate::plugin::outside::Outside;
use crate::plugin::ports::{
    Accuracy, CallbackPort, CheckpointPort, CutRequest, Expected, FfmpegError, FfmpegPort, FilePort, ImageFormat,
    LibraryPort, LogPort, Media, OnPercent, Parent, ParentState, ParentsPort, PortError, Ports, ProbeInfo, StateEntry,
    StatePort, StateWrite, StillRequest, StreamInfo, Swapped,
};
use crate::plugin::{InputError, PluginInfo, Plugins};
use crate::store::{self, MediaQuery, MediaRecord, MediaStatus, Store, StoreError};
use crate::task::{State, TaskId};
use crate::time::{Timestamp, now};

/// Everything that guests and their loader may borrow.
pub(super) fn ports(
    store: &Arc<dyn Store>,
    library: &Library,
    ffmpeg: &Arc<Ffmpeg>,
    logs: &Arc<TaskLogs>,
    (callbacks, compiler): (Arc<dyn CallbackPort>, Arc<dyn CompilePort>),
) -> Ports {
    let kept = Arc::new(Kept(Arc::clone(store)));
    let logs: Arc<dyn LogPort> = Arc::clone(logs) as _;
    Ports {
        state: Arc::clone(&kept) as _,
        checkpoints: Arc::clone(&kept) as _,
        parents: kept,
        callbacks,
        ffmpeg: Arc::new(Cutter { media: library.clone(), ffmpeg: Arc::clone(ffmpeg) }),
        library: Arc::new(Shelf(library.clone())),
        logs,
        outside: Outside::absent(),
        compiler,
    }
}

fn refused(error: StoreError) -> PortError {
    match error {
        StoreError::NotFound => PortError::NotFound,
        StoreError::Conflict(why) => PortError::Conflict(why),
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

/// ffmpeg over files of the library.
struct Cutter {
    media: Library,
    ffmpeg: Arc<Ffmpeg>,
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

fn uncut(error: &MediaError) -> FfmpegError {
    match error {
        MediaError::NotFound => FfmpegError::NotFound,
        MediaError::TooLarge { .. } => FfmpegError::Limit(error.to_string()),
        MediaError::Conflict(_)
        | MediaError::NoSpace
        | MediaError::Undeletable(_)
        | MediaError::Full(_)
        | MediaError::Closed
        | MediaError::Io(_) => FfmpegError::Unavailable(error.to_string()),
    }
}

fn failed(error: ffmpeg::Error) -> FfmpegError {
    match error {
        ffmpeg::Error::BadInput(why) => FfmpegError::BadInput(why),
        ffmpeg::Error::Unsupported(why) => FfmpegError::Unsupported(why),
        ffmpeg::Error::Limit(why) => FfmpegError::Limit(why),
        ffmpeg::Error::Tool { exit_code, stderr_tail } => FfmpegError::Tool { exit_code, stderr_tail },
        ffmpeg::Error::Unavailable(why) => FfmpegError::Unavailable(why),
    }
}

fn stream(stream: ffmpeg::Stream) -> StreamInfo {
    match stream {
        ffmpeg::Stream::Video { codec, width, height, frames_per_second } => {
            StreamInfo::Video { codec, width, height, frames_per_second }
        }
        ffmpeg::Stream::Audio { codec, sample_rate, channels } => StreamInfo::Audio { codec, sample_rate, channels },
        ffmpeg::Stream::Other(kind) => StreamInfo::Other(kind),
    }
}

/// `talk.mp4` cut from 1.5 s to 4 s becomes `talk_1.500-4.000.mp4`.
fn cut_name(input: &str, request: &CutRequest, extension: &str) -> String {
    format!("{}_{}-{}.{extension}", stem(input), seconds(request.start_ms), seconds(request.end_ms))
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1_000, millis % 1_000)
}

#[async_trait]
impl FfmpegPort for Cutter {
    async fn probe(&self, input: &str) -> Result<ProbeInfo, FfmpegError> {
        let content = self.media.content(input).await.map_err(|error| uncut(&error))?;
        let probe = self.ffmpeg.probe(content.file, content.record.size).await.map_err(failed)?;
        Ok(ProbeInfo {
            container: probe.container,
            duration_ms: probe.duration_ms,
            size: probe.size,
            streams: probe.streams.into_iter().map(stream).collect(),
        })
    }

    async fn cut(&self, request: CutRequest, on_percent: OnPercent) -> Result<String, FfmpegError> {
        let CutRequest { input, start_ms, end_ms, accuracy, name, .. } = &request;
        let step = Step::new(request.task, &format!("cut {input} {start_ms} {end_ms} {accuracy:?} {name:?}"));
        if let Some(made) = self.media.made(step).await.map_err(|error| uncut(&error))? {
            return Ok(made.id);
        }
        let content = self.media.content(input).await.map_err(|error| uncut(&error))?;
        // Removed when dropped: whatever happens before the adoption leaves nothing behind.
        let output = self.media.new_temp("cut").await.map_err(|error| uncut(&error))?;
        let accuracy = match request.accuracy {
            Accuracy::Keyframe => ffmpeg::Accuracy::Keyframe,
            Accuracy::Exact => ffmpeg::Accuracy::Exact,
        };
        let cut = ffmpeg::Cut {
            input: content.file,
            output: output.path().to_owned(),
            start_ms: request.start_ms,
            end_ms: request.end_ms,
            accuracy,
        };
        let made = self.ffmpeg.cut(cut, move |percent| on_percent(percent)).await.map_err(failed)?;
        let derived = || cut_name(&content.record.name, &request, made.container.extension());
        let name = request.name.clone().unwrap_or_else(derived);
        let adopted = self.media.adopt_step(output, &name, Some(made.content_type), step, now()).await;
        Ok(adopted.map_err(|error| uncut(&error))?.id)
    }

    async fn still(&self, request: StillRequest) -> Result<String, FfmpegError> {
        let StillRequest { input, at_ms, format, max_width, task } = request;
        let step = Step::new(task, &format!("still {input} {at_ms} {format:?} {max_width:?}"));
        if let Some(made) = self.media.made(step).await.map_err(|error| uncut(&error))? {
            return Ok(made.id);
        }
        let content = self.media.content(&input).await.map_err(|error| uncut(&error))?;
        let output = self.media.new_temp("still").await.map_err(|error| uncut(&error))?;
        let format = match format {
            ImageFormat::Jpeg => ffmpeg::ImageFormat::Jpeg,
            ImageFormat::Png => ffmpeg::ImageFormat::Png,
            ImageFormat::Webp => ffmpeg::ImageFormat::Webp,
        };
        let still = ffmpeg::Still { input: content.file, output: output.path().to_owned(), at_ms, format, max_width };
        self.ffmpeg.still(still).await.map_err(failed)?;
        let name = format!("{}_{}.{}", stem(&content.record.name), seconds(at_ms), format.extension());
        let adopted = self.media.adopt_step(output, &name, Some(format.content_type()), step, now()).await;
        Ok(adopted.map_err(|error| uncut(&error))?.id)
    }
}

/// The plugins as the API sees them.
pub(super) struct Directory {
    pub(super) plugins: Arc<Plugins>,
    pub(super) breakers: Arc<Breakers>,
}

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

    fn list(&self) -> Vec<PluginInfo> {
        self.plugins.list()
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
