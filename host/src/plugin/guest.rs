//! One call into a guest: a fresh store, bounded in slices, computing time, wall time and memory,
//! and dropped as a whole when a bound is reached.

mod backtrace;
mod call;
mod cpu;
mod steer;
mod stop;
mod supervise;
#[cfg(test)]
pub(super) mod tests;
pub(super) mod warm;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Duration, Instant};
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::secret::Censor;
use crate::task::{self, NewTask, Outcome, TaskId};
use crate::time::now;

use self::call::{Describe, Dispatch, Execute, Validate};
use self::stop::Stop;
use self::supervise::supervise;
use super::Job;
use super::capability::http::Web;
use super::capability::log::Book;
use super::capability::stdio::Console;
use super::contract::{self, wire};
use super::control::{Control, Directive};
use super::limits::{Limits, Meter};
use super::link::{Code, Descriptor, Linked, LoadError, RawBatch};
use super::ports::Added;
use super::steer::Ended;

/// Bytes of a dispatcher's cursor.
const MAX_CURSOR_BYTES: usize = 64 * 1024;
/// The longest delay that a guest may ask for before the next attempt: 30 days.
const MAX_RETRY_AFTER_MS: u64 = 30 * 24 * 3600 * 1000;
/// Bounds of a plugin that only says what it is. Of memory it has what an attempt has: an interpreter with its modules
/// is there before it is asked anything. On a busy machine 100 ms of computing take seconds.
const DESCRIBE_CPU_MS: u64 = 100;
const DESCRIBE_WALL_MS: u64 = 10_000;

/// What a call is for, which decides what works during it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// No capability works.
    Describe,
    /// There is no task yet: no outbox, no checkpoint.
    Dispatch,
    /// Everything that is granted.
    Execute { task: TaskId, attempt: u32 },
    /// The same, for an actuator.
    Steer { task: TaskId, attempt: u32 },
}

impl Purpose {
    /// The attempt that the call belongs to.
    pub(super) fn attempt(self) -> Option<(TaskId, u32)> {
        match self {
            Self::Execute { task, attempt } | Self::Steer { task, attempt } => Some((task, attempt)),
            Self::Describe | Self::Dispatch => None,
        }
    }
}

/// One call, before it starts.
pub(super) struct Call {
    pub(super) purpose: Purpose,
    pub(super) control: Arc<Control>,
    pub(super) limits: Limits,
    pub(super) deadline: Instant,
    pub(super) book: Arc<Book>,
}

/// What belongs to a store: everything that a guest holds in the host.
pub(super) struct Guest {
    pub(super) code: Arc<Code>,
    pub(super) call: Call,
    pub(super) meter: Meter,
    pub(super) table: ResourceTable,
    /// Made when it is first used: seeding its random numbers costs as much as an instance.
    pub(super) wasi: Option<Box<WasiCtx>>,
    /// Where its output goes, once it has WASI.
    pub(super) console: Option<Arc<Console>>,
    /// What the attempt has of the web, once it has used it.
    pub(super) web: Option<Box<Web>>,
    pub(super) outbox: Vec<NewTask>,
    pub(super) outbox_bytes: usize,
    /// Files that it has added to the library; removed with it.
    pub(super) added: Vec<Added>,
    /// What the guest was last told to do, other than to go on.
    pub(super) told: Directive,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let (book, console) = (&self.call.book, &mut self.console);
        let ctx = self.wasi.get_or_insert_with(|| {
            let console = console.insert(Console::new(book));
            Box::new(super::capability::stdio::context(console))
        });
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl Guest {
    /// Keeps the most that it has held.
    fn note_memory(&self) {
        let peak = self.meter.peak();
        self.code.peak_memory.fetch_max(peak, Ordering::Relaxed);
        self.call.control.held(peak);
    }

    /// Readies a guest that stays for another attempt: of the one before only its memory is left.
    fn renew(&mut self, call: Call) {
        if let Some(console) = &self.console {
            console.turn_to(&call.book);
        }
        self.call = call;
        self.meter.renew();
        self.outbox.clear();
        self.outbox_bytes = 0;
        self.added.clear();
        self.told = Directive::Proceed;
    }
}

/// Also of a guest that was stopped.
impl Drop for Guest {
    fn drop(&mut self) {
        self.note_memory();
    }
}

impl Code {
    pub(super) fn call(self: &Arc<Self>, purpose: Purpose, control: Arc<Control>, wall_ms: u64) -> Call {
        self.call_within(purpose, control, Limits { wall_ms, ..self.limits.clone() })
    }

    fn call_within(self: &Arc<Self>, purpose: Purpose, control: Arc<Control>, limits: Limits) -> Call {
        let subject = (purpose.attempt(), control.clone());
        let book =
            Book::new(self.shared.ports.logs.clone(), &self.name, subject, limits.log_bytes).hiding(&self.censor);
        let deadline = Instant::now() + Duration::from_millis(limits.wall_ms);
        Call { purpose, control, limits, deadline, book: Arc::new(book) }
    }

    fn describing(self: &Arc<Self>) -> Call {
        let mut call = self.call(Purpose::Describe, Arc::default(), DESCRIBE_WALL_MS);
        call.limits.cpu_ms = call.limits.cpu_ms.min(DESCRIBE_CPU_MS);
        call
    }

    pub(super) fn store(self: &Arc<Self>, call: Call) -> Store<Guest> {
        let limits = call.limits.clone();
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        let guest = Guest {
            code: self.clone(),
            meter: Meter::new(self.shared.memory.clone(), &limits),
            call,
            table,
            wasi: None,
            console: None,
            web: None,
            outbox: Vec::new(),
            outbox_bytes: 0,
            added: Vec::new(),
            told: Directive::Proceed,
        };
        let mut store = Store::new(&self.shared.engine, guest);
        store.limiter(|guest| &mut guest.meter);
        store.set_hostcall_fuel(usize::try_from(limits.hostcall_bytes).unwrap_or(usize::MAX));
        store.set_max_component_handles(limits.handles as usize);
        store.set_epoch_deadline(1);
        store
    }
}

impl Linked {
    /// Runs one attempt, for at most `wall_ms` since it was claimed. It may be dropped at any moment.
    pub async fn attempt(&self, job: Job, control: Arc<Control>, wall_ms: u64) -> Ended {
        let waited_ms = now().millis_since(job.started_at);
        let wall_ms = wall_ms.min(self.code.limits.wall_ms);
        let purpose = Purpose::Execute { task: job.id, attempt: job.attempt };
        let mut call = self.code.call(purpose, control.clone(), wall_ms);
        let waited = Duration::from_millis(waited_ms.min(wall_ms));
        call.deadline = call.deadline.checked_sub(waited).unwrap_or(call.deadline);
        let deadline_at = job.started_at.plus_millis(wall_ms);
        let end = supervise(&self.code, call, Execute(contract::task(&job, deadline_at))).await;
        let max_output_bytes = self.code.limits.output_bytes;
        match end {
            Ok(done) => match done.answer {
                Ok(output) => {
                    if let Some(failure) = stop::bad_output(&output, max_output_bytes) {
                        Outcome::Crashed(failure).into()
                    } else {
                        // Only an attempt that went as it should leaves something that can be trusted.
                        if let Some(warm) = done.warm.filter(|_| control.directive() == Directive::Proceed) {
                            self.code.shared.nests.keep(&self.code.nest, warm);
                        }
                        Ended { outcome: Outcome::Succeeded { output, outbox: done.outbox }, added: done.added }
                    }
                }
                Err(error) => refused(error, asked(done.told, &control), &self.code.censor).into(),
            },
            Err(stop) => steer::ended(stop).into(),
        }
    }

    /// The same, and only what happened.
    pub async fn execute(&self, job: Job, control: Arc<Control>, wall_ms: u64) -> Outcome {
        self.attempt(job, control, wall_ms).await.outcome
    }

    /// Asks for the next tasks, at most `limit`.
    pub async fn dispatch(&self, limit: u32, cursor: Option<Vec<u8>>) -> Result<RawBatch, task::Failure> {
        let limits = &self.code.limits;
        let call = self.code.call(Purpose::Dispatch, Arc::default(), limits.wall_ms);
        let done = supervise(&self.code, call, Dispatch { limit, cursor }).await.map_err(Stop::into_failure)?;
        let batch = done.answer.map_err(|failure| contract::failure(failure, &self.code.censor))?;
        let violation = |message: String| task::Failure::new(stop::CONTRACT_VIOLATION, message);
        if batch.tasks.len() > limit as usize {
            return Err(violation(format!("the dispatcher returned {} tasks, asked for {limit}", batch.tasks.len())));
        }
        let cursor_bytes = batch.cursor.as_ref().map_or(0, Vec::len);
        if cursor_bytes > MAX_CURSOR_BYTES {
            return Err(violation(format!("the cursor has {cursor_bytes} bytes, the limit is {MAX_CURSOR_BYTES}")));
        }
        let check = |(index, wish)| {
            contract::new_task(wish, limits.output_bytes, now())
                .map_err(|reason| violation(format!("task {index}: {reason}")))
        };
        let tasks = batch.tasks.into_iter().enumerate().map(check).collect::<Result<_, _>>()?;
        Ok(RawBatch { tasks, cursor: batch.cursor, more: batch.more })
    }

    /// What the plugin says of itself; also whether its exports have the shape of the contract.
    pub async fn describe(&self) -> Result<Descriptor, LoadError> {
        let done = supervise(&self.code, self.code.describing(), Describe).await;
        let descriptor = done.map_err(|stop| unanswered(stop, LoadError::Describe))?.answer;
        contract::descriptor(descriptor).map_err(LoadError::Describe)
    }

    /// Whether the plugin takes its settings.
    pub async fn validate_config(&self) -> Result<(), LoadError> {
        let done = supervise(&self.code, self.code.describing(), Validate).await;
        let answer = done.map_err(|stop| unanswered(stop, LoadError::Config))?.answer;
        answer.map_err(|failures| {
            let reasons: Vec<_> = failures
                .into_iter()
                .map(|failure| contract::failure(failure, &self.code.censor).message)
                .take(16)
                .collect();
            LoadError::Config(reasons.join("; "))
        })
    }

    /// Replaced or removed: instances stay no longer.
    pub fn retire(&self) {
        self.code.nest.retire();
    }

    /// The most memory that one attempt has held, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.code.peak_memory.load(Ordering::Relaxed)
    }
}

/// A question of the loader that came to no answer.
fn unanswered(stop: Stop, refused: fn(String) -> LoadError) -> LoadError {
    let busy = stop.is_host_busy();
    let message = stop.into_failure().message;
    if busy { LoadError::Busy(message) } else { refused(message) }
}

/// What the host wants or wanted of a guest.
fn asked(told: Directive, control: &Control) -> Directive {
    match control.directive() {
        Directive::Proceed => told,
        directive @ (Directive::Cancel | Directive::Yield) => directive,
    }
}

/// What a guest's error means. Stopping unasked is no way to run for free.
fn refused(error: wire::TaskError, asked: Directive, censor: &Censor) -> Outcome {
    let told = |failure| contract::failure(failure, censor);
    match error {
        wire::TaskError::Retry(request) => Outcome::Retry {
            failure: told(request.cause),
            after_ms: request.after.map(|after| after.min(MAX_RETRY_AFTER_MS)),
        },
        wire::TaskError::Snoozed(after) => Outcome::Snoozed { after_ms: after.min(MAX_RETRY_AFTER_MS) },
        wire::TaskError::Other(failure) => Outcome::Retry { failure: told(failure), after_ms: None },
        wire::TaskError::Fatal(failure) | wire::TaskError::InvalidInput(failure) => Outcome::Fatal(told(failure)),
        wire::TaskError::Cancelled if asked == Directive::Cancel => Outcome::Cancelled,
        wire::TaskError::Yielded if asked != Directive::Proceed => Outcome::Yielded,
        wire::TaskError::Cancelled | wire::TaskError::Yielded => {
            let message = "the guest says that it stopped because it was asked to, but nobody asked";
            Outcome::Crashed(task::Failure::new(stop::CONTRACT_VIOLATION, message))
        }
    }
}
