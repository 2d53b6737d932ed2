//! What the task of a canary works with: the host as it is, but nothing that the guest does stays. Writes are seen by
//! the canary itself and by nobody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::outside::Outside;
use super::ports::{
    AudioRequest, CheckpointPort, CommandError, CommandOutput, CommandPort, CommandRun, ConcatRequest, CutRequest,
    Expected, FfmpegError, FfmpegPort, LibraryPort, LogLine, LogPort, Media, OnPercent, Parent, ParentsPort, PortError,
    Ports, ProbeInfo, StateEntry, StatePort, StateWrite, StillRequest, Swapped, TranscodeRequest,
};
use crate::task::TaskId;

/// Versions of what a canary writes begin here, far above those that the store gives.
const FIRST_VERSION: u64 = 1 << 62;

/// Ports over the real ones, for one canary.
pub(super) fn ports(real: &Ports) -> Ports {
    let rehearsal = Arc::new(Rehearsal { real: real.clone(), written: Mutex::default() });
    Ports {
        state: rehearsal.clone(),
        library: rehearsal.clone(),
        ffmpeg: rehearsal.clone(),
        commands: rehearsal.clone(),
        checkpoints: rehearsal.clone(),
        parents: rehearsal.clone(),
        logs: rehearsal,
        callbacks: real.callbacks.clone(),
        // What was asked of others cannot be taken back.
        outside: Outside::absent(),
        compiler: real.compiler.clone(),
    }
}

struct Rehearsal {
    real: Ports,
    written: Mutex<Written>,
}

/// What the canary has written.
#[derive(Default)]
struct Written {
    /// Absent values are deleted ones.
    state: BTreeMap<String, Option<StateEntry>>,
    version: u64,
    checkpoint: Option<Vec<u8>>,
}

impl Written {
    fn bytes(&self) -> u64 {
        let size =
            |(key, entry): (&String, &Option<StateEntry>)| key.len() + entry.as_ref().map_or(0, |e| e.value.len());
        self.state.iter().map(size).sum::<usize>() as u64
    }
}

impl Rehearsal {
    fn written(&self) -> MutexGuard<'_, Written> {
        // Every change is a single step.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StatePort for Rehearsal {
    async fn get(&self, plugin: &str, key: &str) -> Result<Option<StateEntry>, PortError> {
        let written = self.written().state.get(key).cloned();
        match written {
            Some(entry) => Ok(entry),
            None => self.real.state.get(plugin, key).await,
        }
    }

    async fn put(&self, write: StateWrite) -> Result<Swapped, PortError> {
        let found = StatePort::get(self, &write.plugin, &write.key).await?;
        let fits = match write.expected {
            Expected::Any => true,
            Expected::Absent => found.is_none(),
            Expected::Version(version) => found.as_ref().is_some_and(|entry| entry.version == version),
        };
        if !fits {
            return Ok(Swapped::Stale(found));
        }
        let mut written = self.written();
        let bytes = (write.key.len() + write.value.len()) as u64;
        if written.bytes().saturating_add(bytes) > write.quota_bytes {
            return Err(PortError::Quota(write.quota_bytes));
        }
        written.version += 1;
        let version = FIRST_VERSION + written.version;
        written.state.insert(write.key, Some(StateEntry { value: write.value, version }));
        Ok(Swapped::Stored(version))
    }

    async fn delete(&self, plugin: &str, key: &str) -> Result<bool, PortError> {
        let found = StatePort::get(self, plugin, key).await?.is_some();
        if found {
            self.written().state.insert(key.to_owned(), None);
        }
        Ok(found)
    }

    async fn scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StateEntry)>, PortError> {
        let selected = |key: &str| key.starts_with(prefix) && after.is_none_or(|after| key > after);
        let own: Vec<(String, Option<StateEntry>)> = {
            let written = self.written();
            written.state.iter().filter(|(key, _)| selected(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        // Each own entry hides at most one of those that are kept.
        let more = limit.saturating_add(u32::try_from(own.len()).unwrap_or(u32::MAX));
        let kept = self.real.state.scan(plugin, prefix, after, more).await?;
        let mut merged: BTreeMap<String, Option<StateEntry>> =
            kept.into_iter().map(|(key, entry)| (key, Some(entry))).collect();
        merged.extend(own);
        let there = merged.into_iter().filter_map(|(key, entry)| Some((key, entry?)));
        Ok(there.take(limit as usize).collect())
    }
}

#[async_trait]
impl LibraryPort for Rehearsal {
    async fn get(&self, id: &str) -> Result<Media, PortError> {
        self.real.library.get(id).await
    }

    async fn list_purgeable(&self, after: Option<&str>, limit: u32) -> Result<Vec<Media>, PortError> {
        self.real.library.list_purgeable(after, limit).await
    }

    async fn read(&self, id: &str, offset: u64, length: u32) -> Result<Vec<u8>, PortError> {
        self.real.library.read(id, offset, length).await
    }

    async fn trash(&self, id: &str) -> Result<(), PortError> {
        self.real.library.get(id).await.map(drop)
    }

    async fn purge(&self, id: &str) -> Result<(), PortError> {
        match self.real.library.get(id).await {
            Ok(Media { purge_after: None, .. }) => Err(PortError::Conflict("it is not in the trash".to_owned())),
            Ok(_) | Err(PortError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// No file is made: in its place the guest is told the id of the one that it would be made from.
#[async_trait]
impl FfmpegPort for Rehearsal {
    async fn probe(&self, input: &str) -> Result<ProbeInfo, FfmpegError> {
        self.real.ffmpeg.probe(input).await
    }

    async fn cut(&self, request: CutRequest, on_percent: OnPercent) -> Result<String, FfmpegError> {
        self.probe(&request.input).await?;
        on_percent(100);
        Ok(request.input)
    }

    async fn still(&self, request: StillRequest) -> Result<String, FfmpegError> {
        self.probe(&request.input).await?;
        Ok(request.input)
    }

    async fn transcode(&self, request: TranscodeRequest, on_percent: OnPercent) -> Result<String, FfmpegError> {
        self.probe(&request.input).await?;
        on_percent(100);
        Ok(request.input)
    }

    async fn concat(&self, request: ConcatRequest, on_percent: OnPercent) -> Result<String, FfmpegError> {
        for input in &request.inputs {
            self.probe(input).await?;
        }
        on_percent(100);
        request.inputs.into_iter().next().ok_or(FfmpegError::NotFound)
    }

    async fn extract_audio(&self, request: AudioRequest, on_percent: OnPercent) -> Result<String, FfmpegError> {
        self.probe(&request.input).await?;
        on_percent(100);
        Ok(request.input)
    }
}

/// What a program does cannot be taken back.
#[async_trait]
impl CommandPort for Rehearsal {
    async fn run(&self, _run: CommandRun) -> Result<CommandOutput, CommandError> {
        Err(CommandError::Unavailable("a canary runs no commands".to_owned()))
    }
}

#[async_trait]
impl CheckpointPort for Rehearsal {
    async fn save(&self, _task: TaskId, _attempt: u32, data: Vec<u8>) -> Result<(), PortError> {
        self.written().checkpoint = Some(data);
        Ok(())
    }

    async fn load(&self, _task: TaskId) -> Result<Option<Vec<u8>>, PortError> {
        Ok(self.written().checkpoint.clone())
    }
}

/// The task of a canary comes after no other.
#[async_trait]
impl ParentsPort for Rehearsal {
    async fn list(&self, _task: TaskId) -> Result<Vec<Parent>, PortError> {
        Ok(Vec::new())
    }

    async fn output(&self, _task: TaskId, _parent: TaskId) -> Result<Option<String>, PortError> {
        Err(PortError::NotFound)
    }
}

impl LogPort for Rehearsal {
    fn append(&self, _task: TaskId, line: LogLine) -> bool {
        tracing::debug!(line = line.message, "a canary logs");
        true
    }
}
