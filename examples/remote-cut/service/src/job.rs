//! The jobs that the service knows.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::work;

/// Jobs that are known at the same time. The oldest that has ended gives way to a new one.
const MAX_JOBS: usize = 64;
/// Jobs that are cut at the same time; the others wait.
const MAX_AT_WORK: usize = 2;
/// The longest id or key.
const MAX_NAME: usize = 256;

/// What somebody wants to have cut.
#[derive(Debug, Deserialize)]
pub(crate) struct Order {
    pub(crate) key: String,
    pub(crate) media: String,
    pub(crate) start: f64,
    pub(crate) end: f64,
    pub(crate) callback: Option<Callback>,
}

/// Whom to tell that the job has ended.
#[derive(Debug, Deserialize)]
pub(crate) struct Callback {
    pub(crate) task: String,
    pub(crate) token: String,
}

/// How far a job is.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub(crate) enum Status {
    Running,
    Done { bytes: u64 },
    Failed { message: String },
    Stopped,
}

/// Why there is no job.
#[derive(Debug)]
pub(crate) enum Refusal {
    Wrong(&'static str),
    Full,
}

/// One job. Its files go with it.
#[derive(Debug)]
pub(crate) struct Job {
    id: String,
    pub(crate) order: Order,
    pub(crate) source: PathBuf,
    pub(crate) target: PathBuf,
    pub(crate) stopped: CancellationToken,
    status: Mutex<Status>,
}

impl Job {
    /// How far it is.
    pub(crate) fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// Says how it has ended.
    pub(crate) fn end(&self, status: Status) {
        *lock(&self.status) = status;
    }

    /// Asks it to stop; it has when its status says so.
    pub(crate) fn stop(&self) {
        self.stopped.cancel();
    }

    /// The cut, when it is there.
    pub(crate) fn output(&self) -> Option<PathBuf> {
        matches!(self.status(), Status::Done { .. }).then(|| self.target.clone())
    }

    /// Removes what was fetched and made.
    pub(crate) fn remove_files(&self) {
        for file in [&self.source, &self.target] {
            // It may never have been made.
            let _ = std::fs::remove_file(file);
        }
    }

    /// Whether it is, or will be, what its key stands for. What has failed or was stopped is done anew.
    fn is_good(&self) -> bool {
        match self.status() {
            Status::Running => !self.stopped.is_cancelled(),
            Status::Done { .. } => true,
            Status::Failed { .. } | Status::Stopped => false,
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.remove_files();
    }
}

/// Every job, the oldest first.
#[derive(Debug)]
pub(crate) struct Jobs {
    taskhost: Arc<str>,
    data: PathBuf,
    known: Mutex<Vec<Arc<Job>>>,
    at_work: Arc<Semaphore>,
    all: CancellationToken,
    /// Ends what runs when it is dropped.
    running: Mutex<JoinSet<()>>,
}

impl Jobs {
    /// None yet; `all` stops every job.
    pub(crate) fn new(taskhost: String, data: PathBuf, all: CancellationToken) -> Self {
        let at_work = Arc::new(Semaphore::new(MAX_AT_WORK));
        Self { taskhost: taskhost.into(), data, known: Mutex::default(), at_work, all, running: Mutex::default() }
    }

    /// The job with this id.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<Job>> {
        lock(&self.known).iter().find(|job| job.id == id).cloned()
    }

    /// Starts a job and answers its id; with a key that is known, the job that it stands for.
    pub(crate) fn start(&self, order: Order) -> Result<String, Refusal> {
        check(&order)?;
        let mut known = lock(&self.known);
        if let Some(job) = known.iter().find(|job| job.order.key == order.key && job.is_good()) {
            return Ok(job.id.clone());
        }
        if known.len() >= MAX_JOBS {
            let ended = known.iter().position(|job| !matches!(job.status(), Status::Running));
            known.remove(ended.ok_or(Refusal::Full)?);
        }
        let job = Arc::new(self.job(order, &self.data));
        known.push(Arc::clone(&job));
        let id = job.id.clone();
        let mut running = lock(&self.running);
        while running.try_join_next().is_some() {}
        running.spawn(work::run(job, Arc::clone(&self.taskhost), Arc::clone(&self.at_work)));
        Ok(id)
    }

    fn job(&self, order: Order, data: &Path) -> Job {
        let id = Uuid::new_v4().to_string();
        let (source, target) = (data.join(format!("{id}.source")), data.join(format!("{id}.mp4")));
        Job { id, order, source, target, stopped: self.all.child_token(), status: Mutex::new(Status::Running) }
    }
}

fn check(order: &Order) -> Result<(), Refusal> {
    // They become a part of a URL.
    let plain = |id: &str| {
        (1..=MAX_NAME).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if !plain(&order.media) || !order.callback.as_ref().is_none_or(|callback| plain(&callback.task)) {
        return Err(Refusal::Wrong("an id has letters, digits and hyphens only"));
    }
    if order.key.is_empty() || order.key.len() > MAX_NAME {
        return Err(Refusal::Wrong("a key has 1 to 256 bytes"));
    }
    if order.start < 0.0 || !order.end.is_finite() || order.start >= order.end {
        return Err(Refusal::Wrong("the start is before the end"));
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
