//! One digest of one plugin, ready to run. Whoever holds it may use it, also after it was replaced.

mod kind;
mod retirement;

use self::retirement::Farewell;
pub use self::retirement::Retirement;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::kind::Kind;
use crate::plugin::compile::Effort;
use crate::plugin::control::Control;
use crate::plugin::limits::Limits;
use crate::plugin::link::{Descriptor, Grants, Linked, Role, TaskCheck};
use crate::plugin::manifest::{self, Drain, Effective, ReloadPolicy};
use crate::plugin::news::Newsroom;
use crate::plugin::signature::Signed;
use crate::plugin::steer::{Ended, Look, Missed, StopMode, Subject, Turn, Unstarted};
use crate::plugin::{Batch, GenerationInfo, InputError, Job, KindInfo, names};
use crate::task::{Digest, Failure, NewTask, Outcome};
use crate::time::Timestamp;

/// A plugin as it was loaded from one component and one manifest.
#[derive(Debug)]
pub struct Generation {
    plugin: String,
    source: Source,
    signed: Option<Signed>,
    version: String,
    summary: String,
    roles: Vec<Role>,
    kinds: Vec<Kind>,
    limits: Limits,
    grants: Grants,
    effective: Arc<Effective>,
    linked: Arc<Linked>,
    tasks: TaskRules,
    reload: ReloadPolicy,
    loaded_at: Timestamp,
    effort: Effort,
    running: AtomicU32,
    retirement: OnceLock<Retirement>,
    retired: CancellationToken,
    /// Tells when it is dropped after it was retired.
    farewell: OnceLock<Farewell>,
}

/// What a generation is made from: equal sources make equal generations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plugin) struct Source {
    /// SHA-256 of the component.
    pub(in crate::plugin) digest: Digest,
    /// The manifest's bytes, if there is one.
    pub(in crate::plugin) manifest: Option<Vec<u8>>,
    /// The file that the signature would be in.
    pub(in crate::plugin) signature_file: String,
    /// The signature's bytes, if there is one.
    pub(in crate::plugin) signature: Option<Vec<u8>>,
}

/// What the loader has found out about a generation.
pub(in crate::plugin) struct Parts {
    pub(in crate::plugin) plugin: String,
    pub(in crate::plugin) source: Source,
    pub(in crate::plugin) signed: Option<Signed>,
    pub(in crate::plugin) descriptor: Descriptor,
    pub(in crate::plugin) roles: Vec<Role>,
    pub(in crate::plugin) limits: Limits,
    pub(in crate::plugin) grants: Grants,
    pub(in crate::plugin) effective: Arc<Effective>,
    pub(in crate::plugin) linked: Arc<Linked>,
    pub(in crate::plugin) tasks: Arc<dyn TaskCheck>,
    pub(in crate::plugin) reload: ReloadPolicy,
    pub(in crate::plugin) loaded_at: Timestamp,
    pub(in crate::plugin) effort: Effort,
}

struct TaskRules(Arc<dyn TaskCheck>);

impl std::fmt::Debug for TaskRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TaskRules")
    }
}

/// Counts one use of a generation, however it ends.
struct Running<'a>(&'a AtomicU32);

impl<'a> Running<'a> {
    fn of(generation: &'a Generation) -> Self {
        generation.running.fetch_add(1, Ordering::Relaxed);
        Self(&generation.running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Generation {
    /// Checks what the plugin says of itself; the error is for the plugin's author.
    pub(in crate::plugin) fn new(parts: Parts) -> Result<Self, String> {
        let Parts {
            plugin,
            source,
            signed,
            descriptor,
            roles,
            limits,
            grants,
            effective,
            linked,
            tasks,
            reload,
            loaded_at,
            effort,
        } = parts;
        let works = roles.contains(&Role::Executor) || roles.contains(&Role::Actuator);
        if works == descriptor.kinds.is_empty() {
            return Err(if works {
                "it exports an executor or actuator but `describe` names no kind".to_owned()
            } else {
                "`describe` names kinds but it exports neither an executor nor an actuator".to_owned()
            });
        }
        if roles.contains(&Role::Executor) && roles.contains(&Role::Actuator) {
            return Err("it exports an executor and an actuator, so that nobody can tell which of them does a task: \
                        make two plugins of it"
                .to_owned());
        }
        if roles.contains(&Role::Collector) && !roles.contains(&Role::Actuator) {
            return Err("it exports a collector but no actuator whose results it could bring home".to_owned());
        }
        let kinds = kind::kinds_of(descriptor.kinds, &plugin, &limits)?;
        let (version, summary) = (descriptor.version, descriptor.summary);
        let (tasks, running) = (TaskRules(tasks), AtomicU32::new(0));
        Ok(Self {
            plugin,
            source,
            signed,
            version,
            summary,
            roles,
            kinds,
            limits,
            grants,
            effective,
            linked,
            tasks,
            reload,
            loaded_at,
            effort,
            running,
            retirement: OnceLock::new(),
            retired: CancellationToken::new(),
            farewell: OnceLock::new(),
        })
    }

    /// This generation, which went live at that time.
    pub(in crate::plugin) fn live_since(self, loaded_at: Timestamp) -> Self {
        Self { loaded_at, ..self }
    }

    /// Its own version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The plugin's name.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// SHA-256 of the component.
    pub fn digest(&self) -> Digest {
        self.source.digest
    }

    /// Attempts of this plugin at the same time, at most.
    pub fn concurrency(&self) -> u32 {
        self.limits.concurrency
    }

    /// Calls into it that run now.
    pub fn running(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// The most memory that one call into it has held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.linked.peak_memory()
    }

    /// Whether it turns ticks into tasks.
    pub fn is_dispatcher(&self) -> bool {
        self.roles.contains(&Role::Dispatcher)
    }

    /// Whether the work of its kinds lives elsewhere.
    pub fn is_actuator(&self) -> bool {
        self.roles.contains(&Role::Actuator)
    }

    /// Whether it brings the results of outside work home.
    pub fn is_collector(&self) -> bool {
        self.roles.contains(&Role::Collector)
    }

    /// The kinds that it executes.
    pub fn kinds(&self) -> impl Iterator<Item = &KindInfo> {
        let executes = self.roles.contains(&Role::Executor) || self.is_actuator();
        self.kinds.iter().filter(move |_| executes).map(|kind| &kind.info)
    }

    /// A kind as it describes it.
    pub(in crate::plugin) fn kind_info(&self, name: &str) -> Option<&KindInfo> {
        self.kind(name).map(|kind| &kind.info)
    }

    /// What it is made from.
    pub(in crate::plugin) fn source(&self) -> &Source {
        &self.source
    }

    /// How it takes over from the one before it.
    pub(in crate::plugin) fn reload_policy(&self) -> &ReloadPolicy {
        &self.reload
    }

    /// Replaced or removed: attempts that run have their time, and nothing of theirs stays. `news` hear of the end.
    pub(in crate::plugin) fn retire(&self, drain: Drain, (at, since): (Timestamp, Instant), news: &Arc<Newsroom>) {
        // It is retired once: a generation never becomes live again.
        let _first = self.retirement.set(Retirement { at, since, drain });
        let (news, plugin, digest) = (Arc::clone(news), self.plugin.clone(), self.digest());
        let _first = self.farewell.set(Farewell { news, plugin, digest });
        self.linked.retire();
        self.retired.cancel();
    }

    /// Whether and how it comes to an end.
    pub fn retirement(&self) -> Option<&Retirement> {
        self.retirement.get()
    }

    /// Waits until it is replaced or removed.
    pub async fn retired(&self) -> &Retirement {
        self.retired.cancelled().await;
        match self.retirement() {
            Some(retirement) => retirement,
            // It is told after it is set.
            None => std::future::pending().await,
        }
    }

    /// Ends when nothing may run on it any more.
    async fn overstayed(&self) {
        sleep_until(self.retired().await.interrupt_at()).await;
    }

    /// Runs one attempt. Its wall budget is what the task asks for, else what the kind has as its
    /// default, and never more than the manifest's limit.
    pub async fn attempt(self: &Arc<Self>, job: Job, control: Arc<Control>) -> Ended {
        let _running = Running::of(self);
        let wall_ms = self.wall_ms(&job.spec.new);
        self.linked.attempt(job, control, wall_ms).await
    }

    /// The same, and only what happened.
    pub async fn execute(self: &Arc<Self>, job: Job, control: Arc<Control>) -> Outcome {
        self.attempt(job, control).await.outcome
    }

    /// Wall time of an attempt, in milliseconds.
    pub fn wall_ms(&self, new: &NewTask) -> u64 {
        let default = || self.kind(&new.kind).and_then(|kind| kind.default_timeout_ms);
        new.timeout_ms.or_else(default).unwrap_or(u64::MAX).min(self.limits.wall_ms)
    }

    /// Starts outside work; answers its handle.
    pub async fn start(self: &Arc<Self>, job: Job, turn: &mut Turn) -> Result<Vec<u8>, Unstarted> {
        let _running = Running::of(self);
        let wall_ms = self.wall_ms(&job.spec.new);
        self.linked.start(job, wall_ms, turn).await
    }

    /// Looks at outside work.
    pub async fn look(self: &Arc<Self>, work: &Subject, turn: &mut Turn) -> Result<Look, Missed> {
        let _running = Running::of(self);
        self.linked.look(work, turn).await
    }

    /// Asks outside work to stop.
    pub async fn stop(self: &Arc<Self>, work: &Subject, mode: StopMode, turn: &mut Turn) -> Result<(), Failure> {
        let _running = Running::of(self);
        self.linked.stop(work, mode, turn).await
    }

    /// Brings the results of outside work home.
    pub async fn collect(
        self: &Arc<Self>,
        job: Job,
        (work, output): (&Subject, String),
        control: Arc<Control>,
        turn: &mut Turn,
    ) -> Ended {
        let _running = Running::of(self);
        self.linked.collect(job, (work, output), control, turn).await
    }

    /// Asks the dispatcher for at most `limit` tasks. All of them are acceptable, or the batch fails.
    pub async fn dispatch(self: &Arc<Self>, limit: u32, cursor: Option<Vec<u8>>) -> Result<Batch, Failure> {
        let _running = Running::of(self);
        let raw = tokio::select! {
            biased;
            raw = self.linked.dispatch(limit, cursor) => raw?,
            () = self.overstayed() => {
                return Err(Failure::new("interrupted", "the plugin was replaced while it looked for work"));
            }
        };
        for (index, task) in raw.tasks.iter().enumerate() {
            self.check_task(index, &task.kind, &task.input)?;
        }
        Ok(Batch { tasks: raw.tasks, cursor: raw.cursor, more: raw.more })
    }

    fn check_task(&self, index: usize, kind: &str, input: &str) -> Result<(), Failure> {
        let granted =
            self.grants.queue.iter().flat_map(|grant| &grant.kinds).any(|pattern| names::covers(pattern, kind));
        if !granted && self.kind(kind).is_none() {
            let message = format!(
                "task {index} of the batch has the kind {kind:?}, which plugin {:?} neither executes nor was granted; \
                 grant it in plugins/{}.toml: [grant] queue = {{ kinds = [{kind:?}] }}",
                self.plugin, self.plugin
            );
            return Err(Failure::new("invalid-batch", message));
        }
        self.tasks.0.check(kind, input).map_err(|error| invalid_task(index, &error))
    }

    /// Whether it takes `input` for `kind`.
    pub(in crate::plugin) fn check_input(&self, kind: &str, input: &str) -> Option<Result<(), InputError>> {
        self.kind(kind).map(|found| found.input.check(kind, input))
    }

    fn kind(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.info.name == name)
    }

    /// As the API and the CLI show it.
    pub fn info(&self) -> GenerationInfo {
        GenerationInfo {
            digest: self.source.digest,
            version: self.version.clone(),
            summary: self.summary.clone(),
            roles: self.roles.iter().map(|role| role.name()).collect(),
            kinds: self.kinds.iter().map(|kind| kind.info.clone()).collect(),
            grants: manifest::granted(&self.grants),
            effective: Arc::clone(&self.effective),
            signed: self.signed.clone(),
            loaded_at: self.loaded_at,
            compiled: self.effort,
            running: self.running(),
        }
    }
}

fn invalid_task(index: usize, error: &InputError) -> Failure {
    let mut message = format!("task {index} of the batch: {error}");
    let violations: &[(String, String)] = match error {
        InputError::Mismatch { violations, .. } => violations,
        InputError::UnknownKind { .. }
        | InputError::NotYetKnown { .. }
        | InputError::NotJson(_)
        | InputError::Repeated(_) => &[],
    };
    if let Some((pointer, what)) = violations.first() {
        let _written = write!(message, " (at {pointer:?}: {what})");
    }
    let violations: Vec<_> =
        violations.iter().map(|(pointer, message)| json!({"pointer": pointer, "message": message})).collect();
    let details = json!({"task": index, "violations": violations}).to_string();
    Failure { details: Some(details), ..Failure::new("invalid-batch", message) }
}
