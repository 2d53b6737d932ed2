//! A sandbox with ports that record.

#[path = "../../../../tests/it/support/frame.rs"]
mod frame;
mod outside;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::plugin::compile::InProcess;
use crate::plugin::control::{Control, Directive};
use crate::plugin::engine::Sandbox;
use crate::plugin::limits::Limits;
use crate::plugin::link::{Grants, LinkRequest, Linked, LoadError, TaskCheck};
use crate::plugin::outside::Outside;
use crate::plugin::ports::{
    CallbackPort, CheckpointPort, CommandError, CommandOutput, CommandPort, CommandRun, CutRequest, FfmpegError,
    FfmpegPort, FilePort, LibraryPort, LogLine, LogPort, LogSource, Media, OnPercent, Parent, ParentState, ParentsPort,
    PortError, Ports, ProbeInfo, StateEntry, StatePort, StateWrite, Swapped,
};
use crate::plugin::{InputError, Job, Settings};
use crate::task::{Digest, NewTask, Outcome, Spec, TaskId};
use crate::time::{Timestamp, now};

/// What guests did with the host.
#[derive(Default)]
pub(in crate::plugin) struct Recorder {
    pub(in crate::plugin) lines: Mutex<Vec<LogLine>>,
    pub(in crate::plugin) state: Mutex<BTreeMap<String, StateEntry>>,
    /// A tool or a request has begun that never ends by itself; how many go on, and how many were dropped.
    pub(in crate::plugin) cutting: Notify,
    pub(in crate::plugin) cuts: AtomicU32,
    pub(in crate::plugin) cuts_dropped: Mutex<u32>,
    /// What happens at the line of this number, counted down.
    pub(in crate::plugin) at_line: Mutex<Option<(u32, Arc<Control>)>>,
    /// Every call gives way once before it answers.
    pub(in crate::plugin) waits: AtomicBool,
    /// Files of guests that are there, whole or not.
    pub(in crate::plugin) files: Arc<AtomicU32>,
    /// Lines of guests make the port panic.
    pub(in crate::plugin) panics: AtomicBool,
}

impl Recorder {
    async fn wait(&self) {
        if self.waits.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }

    fn count_down(&self) {
        let mut at_line = self.at_line.lock().unwrap();
        *at_line = at_line.take().and_then(|(left, control)| {
            if left == 0 {
                control.direct(Directive::Cancel);
                return None;
            }
            Some((left - 1, control))
        });
    }
}

#[async_trait]
impl ParentsPort for Recorder {
    async fn list(&self, _task: TaskId) -> Result<Vec<Parent>, PortError> {
        self.wait().await;
        let parent = |id, state, code| Parent { id: TaskId::from_u128(id), kind: "ok".to_owned(), state, code };
        Ok(vec![
            parent(1, ParentState::Succeeded, None),
            parent(2, ParentState::Failed, Some("busy".to_owned())),
            parent(3, ParentState::Succeeded, None),
        ])
    }

    async fn output(&self, _task: TaskId, parent: TaskId) -> Result<Option<String>, PortError> {
        self.wait().await;
        match parent.as_u128() {
            1 => Ok(Some("[1]".to_owned())),
            2 => Ok(None),
            3 => Ok(Some("3".repeat(1_000))),
            _ => Err(PortError::NotFound),
        }
    }
}

impl LogPort for Recorder {
    fn append(&self, _task: TaskId, line: LogLine) -> bool {
        let panics = self.panics.load(Ordering::Relaxed) && line.source == LogSource::Log;
        assert!(!panics, "no line today");
        if line.source == LogSource::Log {
            self.count_down();
        }
        self.lines.lock().unwrap().push(line);
        true
    }
}

#[async_trait]
impl StatePort for Recorder {
    async fn get(&self, _plugin: &str, key: &str) -> Result<Option<StateEntry>, PortError> {
        self.wait().await;
        Ok(self.state.lock().unwrap().get(key).cloned())
    }

    async fn put(&self, write: StateWrite) -> Result<Swapped, PortError> {
        self.wait().await;
        if write.value.len() as u64 > write.quota_bytes {
            return Err(PortError::Quota(write.quota_bytes));
        }
        self.state.lock().unwrap().insert(write.key, StateEntry { value: write.value, version: 1 });
        Ok(Swapped::Stored(1))
    }

    async fn delete(&self, _plugin: &str, key: &str) -> Result<bool, PortError> {
        self.wait().await;
        Ok(self.state.lock().unwrap().remove(key).is_some())
    }

    async fn scan(
        &self,
        _plugin: &str,
        _prefix: &str,
        _after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, StateEntry)>, PortError> {
        self.wait().await;
        assert!(limit <= 1000);
        Ok(self.state.lock().unwrap().clone().into_iter().collect())
    }
}

#[async_trait]
impl LibraryPort for Recorder {
    async fn get(&self, _id: &str) -> Result<Media, PortError> {
        self.wait().await;
        Err(PortError::NotFound)
    }

    async fn list_purgeable(&self, _after: Option<&str>, _limit: u32) -> Result<Vec<Media>, PortError> {
        self.wait().await;
        Ok(Vec::new())
    }

    async fn read(&self, _id: &str, _offset: u64, length: u32) -> Result<Vec<u8>, PortError> {
        self.wait().await;
        Ok(vec![0; length as usize])
    }

    async fn trash(&self, _id: &str) -> Result<(), PortError> {
        self.wait().await;
        Ok(())
    }

    async fn purge(&self, _id: &str) -> Result<(), PortError> {
        self.wait().await;
        Err(PortError::Conflict("still live".to_owned()))
    }

    async fn add(&self, _name: String, _content_type: Option<String>) -> Result<Box<dyn FilePort>, PortError> {
        self.wait().await;
        Ok(Box::new(outside::File::new(&self.files)))
    }
}

/// What never ends by itself.
struct Cut<'a>(&'a Recorder);

impl<'a> Cut<'a> {
    fn begin(recorder: &'a Recorder) -> Self {
        recorder.cuts.fetch_add(1, Ordering::Relaxed);
        recorder.cutting.notify_one();
        Self(recorder)
    }
}

impl Drop for Cut<'_> {
    fn drop(&mut self) {
        self.0.cuts.fetch_sub(1, Ordering::Relaxed);
        *self.0.cuts_dropped.lock().unwrap() += 1;
    }
}

#[async_trait]
impl FfmpegPort for Recorder {
    async fn probe(&self, _input: &str) -> Result<ProbeInfo, FfmpegError> {
        self.wait().await;
        Err(FfmpegError::NotFound)
    }

    async fn cut(&self, _request: CutRequest, on_percent: OnPercent) -> Result<String, FfmpegError> {
        let _cut = Cut::begin(self);
        on_percent(40);
        pending().await
    }
}

/// Writes what it is given, and then nothing happens any more unless it is called `end`.
#[async_trait]
impl CommandPort for Recorder {
    async fn run(&self, run: CommandRun) -> Result<CommandOutput, CommandError> {
        let arguments: Vec<_> = run.arguments.iter().map(|argument| format!("{argument:?}")).collect();
        let text = format!("{} {}", run.program.display(), arguments.join(" "));
        (run.on_output)(LogSource::Stdout, text.as_bytes());
        if !run.program.ends_with("end") {
            let _cut = Cut::begin(self);
            return pending().await;
        }
        self.wait().await;
        let stdout = [text.into_bytes(), run.stdin].concat();
        Ok(CommandOutput { exit_code: Some(0), signal: None, stdout, stderr: Vec::new(), truncated: false })
    }
}

#[async_trait]
impl CheckpointPort for Recorder {
    async fn save(&self, _task: TaskId, _attempt: u32, _data: Vec<u8>) -> Result<(), PortError> {
        self.wait().await;
        Ok(())
    }

    async fn load(&self, _task: TaskId) -> Result<Option<Vec<u8>>, PortError> {
        self.wait().await;
        Ok(None)
    }
}

impl CallbackPort for Recorder {
    fn token(&self, task: TaskId, attempt: u32) -> String {
        format!("{attempt} of {task}")
    }

    fn url(&self, _task: TaskId) -> Option<String> {
        None
    }
}

/// Knows one kind, `ok`, that takes anything but `bad`.
pub(in crate::plugin) struct OneKind;

impl TaskCheck for OneKind {
    fn check(&self, kind: &str, input: &str) -> Result<(), InputError> {
        match (kind, input) {
            ("ok", "bad") => Err(InputError::NotJson("expected value".to_owned())),
            ("ok", _) => Ok(()),
            (kind, _) => Err(InputError::UnknownKind { kind: kind.to_owned(), known: vec!["ok".to_owned()] }),
        }
    }
}

pub(in crate::plugin) struct Bench {
    pub(in crate::plugin) sandbox: Arc<Sandbox>,
    pub(in crate::plugin) recorder: Arc<Recorder>,
    _dir: tempfile::TempDir,
}

/// A short grace, so that a test waits for it, and room for guests that take much.
pub(in crate::plugin) fn settings(dir: &tempfile::TempDir) -> Settings {
    let usual = crate::plugin::testbed::settings(dir);
    Settings { threads: 2, max_instances: 24, memory_total_bytes: 1 << 30, cancel_grace_ms: 50, ..usual }
}

impl Bench {
    pub(in crate::plugin) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(in crate::plugin) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = settings(&dir);
        change(&mut settings);
        let recorder = Arc::new(Recorder::default());
        let ports = Ports {
            state: recorder.clone(),
            library: recorder.clone(),
            ffmpeg: recorder.clone(),
            commands: recorder.clone(),
            checkpoints: recorder.clone(),
            parents: recorder.clone(),
            callbacks: recorder.clone(),
            logs: recorder.clone(),
            outside: Outside { network: recorder.clone(), ..Outside::absent() },
            compiler: Arc::new(InProcess),
        };
        Self { sandbox: Sandbox::start(&settings, ports).unwrap(), recorder, _dir: dir }
    }

    /// A fixture without grants.
    pub(in crate::plugin) fn load(&self, fixture: &str, limits: Limits) -> Arc<Linked> {
        self.link(&text(fixture), limits, Grants::default()).unwrap()
    }

    pub(in crate::plugin) fn link(
        &self,
        bytes: &[u8],
        limits: Limits,
        grants: Grants,
    ) -> Result<Arc<Linked>, LoadError> {
        let config = vec![("key".to_owned(), "value".to_owned())];
        let request = LinkRequest { name: "x".to_owned(), digest: Digest([0; 32]), limits, grants, config };
        self.sandbox.link(&self.sandbox.compile(bytes)?, request, Arc::new(OneKind))
    }

    /// One attempt that nobody steers.
    pub(in crate::plugin) async fn run(&self, linked: &Linked) -> Outcome {
        linked.execute(job("{}"), Arc::new(Control::default()), u64::MAX).await
    }

    /// Ends when every guest is gone.
    pub(in crate::plugin) async fn all_places_are_free(&self) {
        let shared = &self.sandbox.shared;
        let places = shared.places.acquire_many(shared.total_places);
        tokio::time::timeout(std::time::Duration::from_secs(30), places).await.unwrap().unwrap().forget();
        shared.places.add_permits(shared.total_places as usize);
    }

    /// Ends when so many places are taken.
    pub(in crate::plugin) async fn places_taken(&self, taken: usize) {
        let shared = &self.sandbox.shared;
        while shared.places.available_permits() + taken > shared.total_places as usize {
            tokio::task::yield_now().await;
        }
    }

    pub(in crate::plugin) fn lines(&self) -> Vec<LogLine> {
        self.recorder.lines.lock().unwrap().clone()
    }
}

/// A fixture of `hostile/`.
pub(in crate::plugin) fn hostile(fixture: &str) -> Vec<u8> {
    frame::encode(fixture)
}

/// A fixture's text.
pub(in crate::plugin) fn text(fixture: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    std::fs::read(format!("{dir}/{fixture}.wat")).unwrap()
}

pub(in crate::plugin) fn job(input: &str) -> Job {
    let new = NewTask::new("ok", input);
    let spec = Arc::new(Spec { new, created_at: Timestamp::from_millis(0), first_event: 1 });
    Job { id: TaskId::generate(), attempt: 1, spec, started_at: now(), works: 0 }
}
