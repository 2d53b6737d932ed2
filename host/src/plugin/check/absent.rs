//! Capabilities that are not there.

use std::sync::Arc;

use async_trait::async_trait;

use crate::plugin::compile::InProcess;
use crate::plugin::outside::Outside;
use crate::plugin::ports::{
    CallbackPort, CheckpointPort, CommandError, CommandOutput, CommandPort, CommandRun, CutRequest, FfmpegError,
    FfmpegPort, LibraryPort, LogLine, LogPort, Media, OnPercent, Parent, ParentsPort, PortError, Ports, ProbeInfo,
    StateEntry, StatePort, StateWrite, Swapped,
};
use crate::task::TaskId;

const WHY: &str = "not available while a file is checked";

/// Ports that answer nothing but that they are not there.
pub(crate) fn ports() -> Ports {
    let absent = Arc::new(Absent);
    Ports {
        state: absent.clone(),
        library: absent.clone(),
        ffmpeg: absent.clone(),
        commands: absent.clone(),
        checkpoints: absent.clone(),
        parents: absent.clone(),
        callbacks: absent.clone(),
        logs: absent.clone(),
        outside: Outside::absent(),
        compiler: Arc::new(InProcess),
    }
}

struct Absent;

fn absent<T>() -> Result<T, PortError> {
    Err(PortError::Unavailable(WHY.to_owned()))
}

#[async_trait]
impl StatePort for Absent {
    async fn get(&self, _plugin: &str, _key: &str) -> Result<Option<StateEntry>, PortError> {
        absent()
    }

    async fn put(&self, _write: StateWrite) -> Result<Swapped, PortError> {
        absent()
    }

    async fn delete(&self, _plugin: &str, _key: &str) -> Result<bool, PortError> {
        absent()
    }

    async fn scan(
        &self,
        _plugin: &str,
        _prefix: &str,
        _after: Option<&str>,
        _limit: u32,
    ) -> Result<Vec<(String, StateEntry)>, PortError> {
        absent()
    }
}

#[async_trait]
impl LibraryPort for Absent {
    async fn get(&self, _id: &str) -> Result<Media, PortError> {
        absent()
    }

    async fn list_purgeable(&self, _after: Option<&str>, _limit: u32) -> Result<Vec<Media>, PortError> {
        absent()
    }

    async fn read(&self, _id: &str, _offset: u64, _length: u32) -> Result<Vec<u8>, PortError> {
        absent()
    }

    async fn trash(&self, _id: &str) -> Result<(), PortError> {
        absent()
    }

    async fn purge(&self, _id: &str) -> Result<(), PortError> {
        absent()
    }
}

#[async_trait]
impl FfmpegPort for Absent {
    async fn probe(&self, _input: &str) -> Result<ProbeInfo, FfmpegError> {
        Err(FfmpegError::Unavailable(WHY.to_owned()))
    }

    async fn cut(&self, _request: CutRequest, _on_percent: OnPercent) -> Result<String, FfmpegError> {
        Err(FfmpegError::Unavailable(WHY.to_owned()))
    }
}

#[async_trait]
impl CommandPort for Absent {
    async fn run(&self, _run: CommandRun) -> Result<CommandOutput, CommandError> {
        Err(CommandError::Unavailable(WHY.to_owned()))
    }
}

#[async_trait]
impl CheckpointPort for Absent {
    async fn save(&self, _task: TaskId, _attempt: u32, _data: Vec<u8>) -> Result<(), PortError> {
        absent()
    }

    async fn load(&self, _task: TaskId) -> Result<Option<Vec<u8>>, PortError> {
        absent()
    }
}

#[async_trait]
impl ParentsPort for Absent {
    async fn list(&self, _task: TaskId) -> Result<Vec<Parent>, PortError> {
        absent()
    }

    async fn output(&self, _task: TaskId, _parent: TaskId) -> Result<Option<String>, PortError> {
        absent()
    }
}

impl CallbackPort for Absent {
    fn token(&self, _task: TaskId, _attempt: u32) -> String {
        String::new()
    }

    fn url(&self, _task: TaskId) -> Option<String> {
        None
    }
}

impl LogPort for Absent {
    fn append(&self, _task: TaskId, _line: LogLine) -> bool {
        false
    }
}
