//! A plugins folder with a real sandbox, for tests of this module.

mod fixture;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::task::{NewTask, Outcome, Spec, TaskId};
use crate::time::Timestamp;

use super::control::Control;
use super::registry::Plugins;
use super::registry::generation::Generation;
use super::{Job, PluginInfo, Rules, Settings};

pub(super) use fixture::{Fixture, Offer};

/// Longer than anything here takes; only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(30);

/// A folder and the plugins that follow it.
pub(super) struct Testbed {
    pub(super) root: tempfile::TempDir,
    pub(super) plugins: Arc<Plugins>,
    changed: watch::Receiver<u64>,
}

/// Small settings over a temporary folder.
pub(crate) fn settings(root: &tempfile::TempDir) -> Settings {
    Settings {
        dir: root.path().join("plugins"),
        cache_dir: root.path().join("cache"),
        kept_dir: root.path().join("generations"),
        threads: 1,
        max_instances: 4,
        memory_total_bytes: 256 << 20,
        max_component_bytes: 1 << 20,
        cancel_grace_ms: 1_000,
        dev: false,
        rules: Rules::default(),
    }
}

impl Testbed {
    /// Starts over these files.
    pub(super) async fn start(files: &[(&str, &[u8])]) -> Self {
        Self::start_under(Rules::default(), files).await
    }

    /// Starts over these files with rules for all plugins.
    pub(super) async fn start_under(rules: Rules, files: &[(&str, &[u8])]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(settings(&root).dir).unwrap();
        for (name, bytes) in files {
            fs::write(settings(&root).dir.join(name), bytes).unwrap();
        }
        Self::with(Settings { rules, ..settings(&root) }, root).await
    }

    /// Starts over a folder that is there.
    pub(super) async fn over(root: tempfile::TempDir) -> Self {
        Self::with(settings(&root), root).await
    }

    async fn with(settings: Settings, root: tempfile::TempDir) -> Self {
        let plugins = Plugins::start(settings, super::check::absent::ports()).await.unwrap();
        let changed = plugins.changed();
        Self { root, plugins, changed }
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        settings(&self.root).dir.join(file)
    }

    /// As a careful tool does it: written elsewhere, then renamed into place.
    pub(super) fn rename_into(&self, file: &str, bytes: &[u8]) {
        let elsewhere = self.path(".upload");
        fs::write(&elsewhere, bytes).unwrap();
        fs::rename(elsewhere, self.path(file)).unwrap();
    }

    /// Waits for a change after which `true_of` holds of the plugin, if it is known then.
    pub(super) async fn until(&mut self, name: &str, true_of: impl Fn(Option<&PluginInfo>) -> bool) {
        let (plugins, changed) = (&self.plugins, &mut self.changed);
        let holds = |_: &u64| true_of(plugins.list().iter().find(|info| info.name == name));
        let waited = tokio::time::timeout(PATIENCE, changed.wait_for(holds)).await;
        assert!(waited.is_ok_and(|found| found.is_ok()), "{name} did not get there: {:#?}", plugins.list());
    }

    /// Waits until a version is live.
    pub(super) async fn until_live(&mut self, name: &str, version: &str) {
        self.until(name, |info| info.and_then(|info| info.live.as_ref()).is_some_and(|live| live.version == version))
            .await;
    }

    /// Waits until the file is refused for a reason that contains `reason`.
    pub(super) async fn until_refused(&mut self, name: &str, reason: &str) {
        self.until(name, |info| {
            info.and_then(|info| info.error.as_ref()).is_some_and(|error| error.message.contains(reason))
        })
        .await;
    }

    pub(super) fn info(&self, name: &str) -> Option<PluginInfo> {
        self.plugins.list().into_iter().find(|info| info.name == name)
    }

    /// Runs a task of a kind on whoever executes it now.
    pub(super) async fn run(&self, kind: &str) -> Outcome {
        let generation = self.plugins.executor(kind).unwrap();
        run(&generation, kind, Arc::default()).await
    }
}

/// Runs a task on a generation.
pub(super) async fn run(generation: &Arc<Generation>, kind: &str, control: Arc<Control>) -> Outcome {
    let now = crate::time::now();
    let spec = Arc::new(Spec { new: NewTask::new(kind, "{}"), created_at: Timestamp::default(), first_event: 1 });
    generation.execute(Job { id: TaskId::generate(), attempt: 1, spec, started_at: now, works: 0 }, control).await
}

/// A success with this output and nothing else.
pub(super) fn success(output: &str) -> Outcome {
    Outcome::Succeeded { output: output.to_owned(), outbox: Vec::new() }
}
