//! One task by itself, without a server: the real sandbox, a store in memory, a library in a temporary folder and the real
//! ffmpeg. For the author of a plugin.

mod files;

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::callback::Callbacks;
use super::{command, compile, ffmpeg_settings, lend, network, plugin_settings};
use crate::config::Config;
use crate::ffmpeg::Ffmpeg;
use crate::logs::TaskLogs;
use crate::media::Library;
use crate::plugin::alone::Alone;
use crate::plugin::control::{Control, Directive, Usage};
use crate::plugin::ports::{LogLine, LogPort, Pending};
use crate::plugin::{Batch, GenerationInfo, Job};
use crate::process::Supervisor;
use crate::store::memory::{self, Memory};
use crate::store::{Claim, ClaimRequest, Claimed, Finish, GenerationRoom, Related, Store, TaskQuery};
use crate::task::{AttemptReport, BootId, NewTask, Outcome, Progress, State, Task, TaskId};
use crate::time::{Timestamp, now};

pub use self::files::Kept;

/// How long a lease of an attempt is: its wall limit ends it long before.
const LEASE_MS: u64 = 30 * 24 * 3_600_000;
/// Tasks of an outbox that are told.
const MAX_TOLD_TASKS: u32 = 1_000;

/// What is told while it goes on.
#[derive(Clone, Debug)]
pub enum Told {
    /// An attempt begins.
    Begins(u32),
    /// A line of the task's log.
    Log(LogLine),
    /// How far it is.
    Progress(Progress),
    /// An attempt has ended.
    Ended(AttemptResult),
    /// The next attempt is due so much later; a rehearsal does not wait.
    Skipped(u64),
}

/// How an attempt ended and what it took.
#[derive(Clone, Debug)]
pub struct AttemptResult {
    /// Its number.
    pub attempt: u32,
    /// What happened.
    pub outcome: Outcome,
    /// From the claim to the end.
    pub wall: Duration,
    /// What the guest used.
    pub usage: Usage,
}

/// Hears what goes on, from several threads.
pub type Listener = Arc<dyn Fn(Told) + Send + Sync>;

/// What is rehearsed, and with what.
#[derive(Debug)]
pub struct Setup {
    /// The component; its manifest is the file beside it.
    pub file: PathBuf,
    /// A folder whose files are the library.
    pub media: Option<PathBuf>,
    /// What the plugin keeps, between rehearsals.
    pub state: Option<PathBuf>,
}

/// A plugin and what it needs to run.
pub struct Rehearsal {
    alone: Alone,
    store: Arc<dyn Store>,
    library: Library,
    supervisor: Supervisor,
    listener: Listener,
    boot: BootId,
    state: Option<PathBuf>,
    media: Vec<(String, String)>,
    /// Last: the others have files in it.
    _scratch: files::Scratch,
}

impl std::fmt::Debug for Rehearsal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rehearsal").field("alone", &self.alone).finish_non_exhaustive()
    }
}

/// How a task ended.
#[derive(Debug)]
pub struct Performed {
    /// The task, as the store has it.
    pub task: Task,
    /// Its last attempt; absent when it ended before one began.
    pub last: Option<AttemptResult>,
    /// Tasks that its outbox created.
    pub created: Vec<NewTask>,
    /// Files that it made: id, name, size in bytes, and where they were kept.
    pub files: Vec<Kept>,
}

struct Live(Listener);

impl LogPort for Live {
    fn append(&self, _task: TaskId, line: LogLine) -> bool {
        (self.0)(Told::Log(line));
        true
    }
}

impl Rehearsal {
    /// Loads the plugin and fills the library and the state.
    pub async fn open(config: &Config, setup: Setup, listener: Listener) -> anyhow::Result<Self> {
        let Setup { file, media, state } = setup;
        let scratch = files::Scratch::new().context("cannot create a temporary folder")?;
        let boot = BootId(fastrand::u64(..));
        let store: Arc<dyn Store> = memory::open(&Memory::default(), boot, now()).context("cannot open a store")?;
        let mut settings = crate::media::Settings::new(scratch.path().join("media"));
        settings.max_upload_bytes = u64::MAX;
        let library = Library::open(settings, Arc::clone(&store)).await.context("cannot open a library")?;
        let supervisor = Supervisor::new().context("cannot start the supervisor of child processes")?;
        let ffmpeg = Arc::new(Ffmpeg::detect(ffmpeg_settings(config), supervisor.clone()).await);
        let logs = TaskLogs::open(&scratch.path().join("logs"), config.log.task_log_bytes)?;
        let compiler = compile::compiler(config.plugins.compiler.as_deref(), compile::Bounds::of(config), &supervisor);
        // Nobody calls back here, but an actuator asks where.
        let callbacks = Callbacks::open(&scratch.path().join("callback.key"), &config.server.public_url)?;
        let commands = command::Commands { media: library.clone(), supervisor: supervisor.clone() };
        let lent = (Arc::new(callbacks) as _, Arc::new(commands) as _, compiler);
        let mut ports = lend::ports(&store, &library, &ffmpeg, &Arc::new(logs), lent);
        ports.logs = Arc::new(Live(Arc::clone(&listener)));
        ports.outside = network::outside(config, Arc::new(network::System::new()))?;
        let mut settings = plugin_settings(config)?;
        // A host's own cache, where there is one: what it has compiled need not be compiled again.
        if !settings.cache_dir.is_dir() {
            settings.cache_dir = scratch.path().join("cache");
        }
        let alone = Alone::load(&settings, &file, ports).await.map_err(anyhow::Error::msg)?;
        let media = match media {
            Some(dir) => files::fill(&library, &dir).await?,
            None => Vec::new(),
        };
        if let Some(path) = &state {
            files::read_state(&store, &name(&alone), path).await?;
        }
        Ok(Self { alone, store, library, supervisor, listener, boot, state, media, _scratch: scratch })
    }

    /// What the plugin is.
    pub fn info(&self) -> GenerationInfo {
        self.alone.generation().info()
    }

    /// Files of the library: name and id, by name.
    pub fn media(&self) -> &[(String, String)] {
        &self.media
    }

    /// Runs one task, at most `attempts` times, until it ends. `stop` asks it to cancel. What it makes is kept in
    /// `out`, if there is one.
    pub async fn perform(
        &self,
        task: NewTask,
        attempts: u32,
        out: Option<&Path>,
        stop: CancellationToken,
    ) -> anyhow::Result<Performed> {
        if self.alone.generation().is_actuator() {
            bail!(
                "the plugin is an actuator, whose work goes on elsewhere: try it in the folder of `taskhost serve --dev`"
            );
        }
        self.alone.check_input(&task.kind, &task.input).map_err(|error| anyhow::anyhow!(explain(&error)))?;
        let mut clock = now();
        let enqueued = self.store.enqueue(vec![task], clock).await.context("the task cannot be created")?;
        let id = enqueued.first().context("the store answered nothing")?.id;
        let mut last = None;
        for run in 1..=attempts {
            let Some(claimed) = self.claim(clock).await? else { break };
            let result = self.attempt(&claimed, &stop).await?;
            last = Some(result);
            let State::Queued { due_at } = self.task(id).await?.status.state else { break };
            if run < attempts {
                (self.listener)(Told::Skipped(due_at.millis_since(clock)));
            }
            clock = clock.max(due_at);
        }
        let files = files::made_by(&self.library, id, out).await?;
        self.keep_state().await?;
        let query = TaskQuery { related: Some(Related::CreatedBy(id)), limit: MAX_TOLD_TASKS, ..TaskQuery::default() };
        let mut created: Vec<_> =
            self.store.tasks(query).await?.items.iter().map(|task| task.spec.new.clone()).collect();
        created.reverse();
        Ok(Performed { task: self.task(id).await?, last, created, files })
    }

    /// Asks the dispatcher once.
    pub async fn dispatch(&self, limit: u32, cursor: Option<Vec<u8>>) -> anyhow::Result<Batch> {
        if !self.alone.generation().is_dispatcher() {
            bail!("the plugin is no dispatcher");
        }
        let batch = self.alone.generation().dispatch(limit, cursor).await;
        self.keep_state().await?;
        batch.map_err(|failure| anyhow::anyhow!("the pass failed: {}: {}", failure.code, failure.message))
    }

    /// Ends what was started.
    pub async fn close(self) {
        self.alone.stop();
        self.supervisor.stop().await;
        self.store.close().await;
    }

    async fn task(&self, id: TaskId) -> anyhow::Result<Task> {
        self.store.task(id).await?.context("the store has lost the task")
    }

    async fn keep_state(&self) -> anyhow::Result<()> {
        match &self.state {
            Some(path) => files::write_state(&self.store, &name(&self.alone), path).await,
            None => Ok(()),
        }
    }

    async fn claim(&self, now: Timestamp) -> anyhow::Result<Option<Claimed>> {
        let generation = self.alone.generation();
        let kinds = generation.kinds().map(|kind| kind.name.clone()).collect();
        let rooms = vec![GenerationRoom { kinds, room: 1, digest: generation.digest() }];
        let request = ClaimRequest { rooms, limit: 1, boot: self.boot, lease_until: now.plus_millis(LEASE_MS) };
        let Claim { claimed, .. } = self.store.claim(request, now).await?;
        Ok(claimed.into_iter().next())
    }

    async fn attempt(&self, claimed: &Claimed, stop: &CancellationToken) -> anyhow::Result<AttemptResult> {
        let attempt = claimed.status.attempt;
        (self.listener)(Told::Begins(attempt));
        let control = Arc::new(Control::default());
        let job = Job { id: claimed.id, attempt, spec: Arc::clone(&claimed.spec), started_at: now(), works: 0 };
        let began = Instant::now();
        let mut guest = pin!(self.alone.generation().attempt(job, Arc::clone(&control)));
        let mut seen = 0;
        let ended = loop {
            tokio::select! {
                biased;
                ended = &mut guest => break ended,
                () = stop.cancelled(), if control.directive() == Directive::Proceed => control.direct(Directive::Cancel),
                (news, count) = control.reported(seen) => {
                    seen = count;
                    if let Some(progress) = news.progress {
                        (self.listener)(Told::Progress(progress));
                    }
                }
            }
        };
        // What was reported between the last look and the end.
        let (news, count) = control.latest();
        if let Some(progress) = news.progress.filter(|_| count > seen) {
            (self.listener)(Told::Progress(progress));
        }
        let result = AttemptResult { attempt, outcome: ended.outcome, wall: began.elapsed(), usage: control.usage() };
        (self.listener)(Told::Ended(result.clone()));
        // Files that are not kept are removed with `pending`.
        let (files, pending): (Vec<_>, Vec<_>) =
            ended.added.into_iter().map(|added| (added.file, added.pending)).unzip();
        let (progress, log) = (control.progress(), Some(control.log()));
        let report = AttemptReport { progress, log, files, ..AttemptReport::default() };
        let finish = Finish { id: claimed.id, attempt, outcome: result.outcome.clone(), jitter: 0.5, report };
        let task = self.store.finish(finish, now()).await.context("the end of the attempt cannot be kept")?;
        if matches!(task.status.state, State::Succeeded { .. }) {
            pending.into_iter().for_each(Pending::keep);
        }
        Ok(result)
    }
}

fn name(alone: &Alone) -> String {
    alone.generation().plugin().to_owned()
}

/// An input that is refused, with every violation.
fn explain(error: &crate::plugin::InputError) -> String {
    use crate::plugin::InputError;
    match error {
        InputError::UnknownKind { kind, known } => format!("the plugin executes {}, not {kind:?}", known.join(", ")),
        InputError::NotYetKnown { .. } | InputError::NotJson(_) | InputError::Repeated(_) => error.to_string(),
        InputError::Mismatch { violations, .. } => {
            let at = |place: &str| if place.is_empty() { "at the top".to_owned() } else { format!("at {place}") };
            let lines = violations.iter().map(|(place, what)| format!("\n  {}: {what}", at(place)));
            format!("{error}{}", lines.collect::<String>())
        }
    }
}
