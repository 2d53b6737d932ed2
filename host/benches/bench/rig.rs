//! The parts of a host without HTTP, wired as the host wires them, and small helpers.

#[path = "../../tests/it/support/component.rs"]
mod component;
#[path = "../../tests/it/support/frame.rs"]
mod frame;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskhost::event::{Change, TaskChange};
use taskhost::limiter::{BreakerSettings, Breakers};
use taskhost::plugin::ports::{
    CallbackPort, CheckpointPort, CommandError, CommandOutput, CommandPort, CommandRun, CutRequest, FfmpegError,
    FfmpegPort, LibraryPort, LogLine, LogPort, Media, OnPercent, Parent, ParentsPort, PortError, Ports, ProbeInfo,
    StateEntry, StatePort, StateWrite, Swapped,
};
use taskhost::plugin::{self, Plugins};
use taskhost::runner::{self, Runner, Shutdown};
use taskhost::store::sled::{Settings, SledStore};
use taskhost::store::{Store, StoreError};
use taskhost::task::{BootId, TaskId};
use taskhost::time::now;
use tempfile::TempDir;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

/// Capabilities that are not there, and a log that only one listener reads.
#[derive(Clone)]
struct Bare {
    on_log: Arc<dyn Fn(TaskId) + Send + Sync>,
}

fn absent() -> PortError {
    PortError::Unavailable("not part of this measurement".to_owned())
}

#[async_trait]
impl StatePort for Bare {
    async fn get(&self, _plugin: &str, _key: &str) -> Result<Option<StateEntry>, PortError> {
        Err(absent())
    }
    async fn put(&self, _write: StateWrite) -> Result<Swapped, PortError> {
        Err(absent())
    }
    async fn delete(&self, _plugin: &str, _key: &str) -> Result<bool, PortError> {
        Err(absent())
    }
    async fn scan(
        &self,
        _plugin: &str,
        _prefix: &str,
        _after: Option<&str>,
        _limit: u32,
    ) -> Result<Vec<(String, StateEntry)>, PortError> {
        Err(absent())
    }
}

#[async_trait]
impl LibraryPort for Bare {
    async fn get(&self, _id: &str) -> Result<Media, PortError> {
        Err(absent())
    }
    async fn list_purgeable(&self, _after: Option<&str>, _limit: u32) -> Result<Vec<Media>, PortError> {
        Err(absent())
    }
    async fn read(&self, _id: &str, _offset: u64, _length: u32) -> Result<Vec<u8>, PortError> {
        Err(absent())
    }
    async fn trash(&self, _id: &str) -> Result<(), PortError> {
        Err(absent())
    }
    async fn purge(&self, _id: &str) -> Result<(), PortError> {
        Err(absent())
    }
}

#[async_trait]
impl FfmpegPort for Bare {
    async fn probe(&self, _input: &str) -> Result<ProbeInfo, FfmpegError> {
        Err(FfmpegError::Unavailable("not part of this measurement".to_owned()))
    }
    async fn cut(&self, _request: CutRequest, _on_percent: OnPercent) -> Result<String, FfmpegError> {
        Err(FfmpegError::Unavailable("not part of this measurement".to_owned()))
    }
}

#[async_trait]
impl CheckpointPort for Bare {
    async fn save(&self, _task: TaskId, _attempt: u32, _data: Vec<u8>) -> Result<(), PortError> {
        Err(absent())
    }
    async fn load(&self, _task: TaskId) -> Result<Option<Vec<u8>>, PortError> {
        Ok(None)
    }
}

#[async_trait]
impl ParentsPort for Bare {
    async fn list(&self, _task: TaskId) -> Result<Vec<Parent>, PortError> {
        Ok(Vec::new())
    }

    async fn output(&self, _task: TaskId, _parent: TaskId) -> Result<Option<String>, PortError> {
        Err(PortError::NotFound)
    }
}

impl CallbackPort for Bare {
    fn token(&self, _task: TaskId, _attempt: u32) -> String {
        String::new()
    }

    fn url(&self, _task: TaskId) -> Option<String> {
        None
    }
}

#[async_trait]
impl CommandPort for Bare {
    async fn run(&self, _run: CommandRun) -> Result<CommandOutput, CommandError> {
        Err(CommandError::Unavailable("no command is measured".to_owned()))
    }
}

impl LogPort for Bare {
    fn append(&self, task: TaskId, _line: LogLine) -> bool {
        (self.on_log)(task);
        true
    }
}

/// A store and a sandbox on a directory that is removed with them.
pub(crate) struct Rig {
    /// The store.
    pub(crate) store: Arc<dyn Store>,
    /// The plugins.
    pub(crate) plugins: Arc<Plugins>,
    boot: BootId,
    _dir: TempDir,
}

/// A directory on the disk that holds the build, not on one that is only memory.
pub(crate) fn scratch() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

impl Rig {
    /// Opens a store and loads `(name, component, manifest)`; `on_log` hears of every log line.
    pub(crate) async fn new(
        plugins: &[(&str, Vec<u8>, &str)],
        threads: usize,
        on_log: impl Fn(TaskId) + Send + Sync + 'static,
    ) -> Self {
        let dir = scratch();
        let boot = BootId(1);
        let store = SledStore::open(Settings::new(dir.path().join("store"), boot), now()).unwrap();
        let folder = dir.path().join("plugins");
        std::fs::create_dir(&folder).unwrap();
        for (name, component, manifest) in plugins {
            std::fs::write(folder.join(format!("{name}.toml")), manifest).unwrap();
            std::fs::write(folder.join(format!("{name}.wasm")), component).unwrap();
        }
        let bare = Bare { on_log: Arc::new(on_log) };
        let ports = Ports {
            state: Arc::new(bare.clone()),
            library: Arc::new(bare.clone()),
            ffmpeg: Arc::new(bare.clone()),
            commands: Arc::new(bare.clone()),
            checkpoints: Arc::new(bare.clone()),
            parents: Arc::new(bare.clone()),
            callbacks: Arc::new(bare.clone()),
            logs: Arc::new(bare),
            outside: taskhost::plugin::outside::Outside::absent(),
            compiler: Arc::new(taskhost::plugin::compile::InProcess),
        };
        let settings = plugin_settings(folder, dir.path().join("cache"), threads);
        let plugins = Plugins::start(settings, ports).await.unwrap();
        Self { store, plugins, boot, _dir: dir }
    }

    /// Starts a runner; it ends when the shutdown says so.
    pub(crate) fn runner(&self, concurrency: u32) -> (Shutdown, JoinHandle<()>) {
        let shutdown = Shutdown::default();
        let settings = runner::Settings { concurrency, lease_ms: 30_000, stop_grace_ms: 30_000, boot: self.boot };
        let breakers = Breakers::new(BreakerSettings::default());
        let (store, plugins) = (Arc::clone(&self.store), Arc::clone(&self.plugins));
        let runner = Runner::new(store, plugins, breakers, settings, shutdown.clone());
        #[expect(clippy::disallowed_methods, reason = "the handle is joined by who asked for it")]
        let handle = tokio::spawn(runner.run());
        (shutdown, handle)
    }

    /// Stops everything.
    pub(crate) async fn stop(self) {
        self.plugins.stop().await;
        self.store.close().await;
    }
}

/// The settings of a host that nobody configured.
pub(crate) fn plugin_settings(dir: PathBuf, cache_dir: PathBuf, threads: usize) -> plugin::Settings {
    plugin::Settings {
        dir,
        kept_dir: cache_dir.with_extension("kept"),
        cache_dir,
        threads,
        max_instances: 256,
        memory_total_bytes: 2 << 30,
        max_component_bytes: 64 << 20,
        cancel_grace_ms: 25,
        dev: false,
        rules: taskhost::plugin::Rules::default(),
    }
}

/// Waits until `wanted` tasks more have ended.
pub(crate) struct Ends {
    events: tokio::sync::broadcast::Receiver<Arc<[taskhost::event::Event]>>,
    store: Arc<dyn Store>,
}

impl Ends {
    /// From now on.
    pub(crate) fn of(store: &Arc<dyn Store>) -> Self {
        Self { events: store.subscribe(), store: Arc::clone(store) }
    }

    /// Waits until `wanted` tasks have ended and nothing is left; asks the store only when it has to.
    pub(crate) async fn all(&mut self, wanted: usize) -> Result<(), StoreError> {
        let mut left = wanted;
        loop {
            match self.events.recv().await {
                Ok(batch) => left = left.saturating_sub(batch.iter().filter(|event| ends(&event.change)).count()),
                Err(RecvError::Lagged(_)) => {
                    self.events = self.events.resubscribe();
                    left = self.live().await?;
                }
                Err(RecvError::Closed) => return Err(StoreError::Closed),
            }
            if left == 0 {
                // Events between a new subscription and a count were counted twice.
                left = self.live().await?;
                if left == 0 {
                    return Ok(());
                }
            }
        }
    }

    async fn live(&self) -> Result<usize, StoreError> {
        let kinds = self.store.live_counts().await?;
        Ok(kinds.iter().map(|kind| usize::try_from(kind.queued + kind.running).unwrap_or(usize::MAX)).sum())
    }
}

fn ends(change: &Change) -> bool {
    let Change::Task { change, .. } = change else { return false };
    matches!(change, TaskChange::Succeeded | TaskChange::Failed(_) | TaskChange::Cancelled { .. })
}

/// The value below which `share` of the samples lie.
pub(crate) fn quantile(samples: &mut [Duration], share: f64) -> Duration {
    samples.sort_unstable();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank within a few thousand samples"
    )]
    let rank = ((samples.len() as f64 * share).ceil() as usize).clamp(1, samples.len());
    samples[rank - 1]
}

/// Milliseconds with fractions.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Microseconds with fractions.
pub(crate) fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// So many a second.
pub(crate) fn rate(count: usize, within: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of a measurement are far below 2^52")]
    let count = count as f64;
    count / within.as_secs_f64()
}

/// A runtime like the host's.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// A component text fixture of the tests, as a binary.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    component::encode(&component::text(name))
}

/// A fixture of `hostile/`, as a binary.
pub(crate) fn hostile(name: &str) -> Vec<u8> {
    frame::encode(name)
}

/// A plugin that `cargo xtask plugins` has built, and its manifest.
pub(crate) fn built(name: &str) -> (Vec<u8>, String) {
    built_below("plugins", name)
}

/// A plugin that `cargo xtask languages --templates` has built, and its manifest.
pub(crate) fn built_language(name: &str) -> (Vec<u8>, String) {
    built_below("languages/plugins", name)
}

fn built_below(folder: &str, name: &str) -> (Vec<u8>, String) {
    let binary = Path::new(env!("CARGO_BIN_EXE_taskhost"));
    let told = "run `cargo xtask plugins` or `cargo xtask languages --templates` first";
    let folder = binary.ancestors().map(|target| target.join(folder)).find(|folder| folder.is_dir()).expect(told);
    let component = std::fs::read(folder.join(format!("{name}.wasm"))).expect(told);
    (component, std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap_or_default())
}
