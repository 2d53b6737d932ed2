//! The one thread that owns the database: group commit.
//!
//! It takes what is waiting, applies it, flushes once, and only then publishes and answers. Nothing
//! sleeps on purpose: a lone verb costs one flush, and while a flush runs the next group gathers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use tokio::sync::{broadcast, oneshot, watch};

use super::core::{Core, Halt, Verdict};
use super::fault::{self, Point};
use super::open::Opened;
use super::parked::answer_parked;
use crate::event::Event;
use crate::store::StoreError;

/// `EX_IOERR` of sysexits: the database cannot be trusted any more in this process.
const EXIT_BROKEN: i32 = 74;

/// Pauses between two looks into the queue: a few microseconds, against hundreds for a flush.
const GATHER_SPINS: u32 = 64;

/// A verb on its way through the thread.
pub(super) trait Job: Send {
    /// Changes nothing; sees durable state only.
    fn is_read(&self) -> bool;
    /// Roughly what it carries.
    fn bytes(&self) -> usize;
    /// Applies it. The error says how the database broke.
    fn run(&mut self, core: &mut Core) -> Result<(), String>;
    /// Tells the caller, once the outcome is durable.
    fn answer(self: Box<Self>);
}

/// The usual job: a closure and where its result goes.
pub(super) struct Call<F, T> {
    pub(super) verb: Option<F>,
    pub(super) is_read: bool,
    pub(super) bytes: usize,
    pub(super) result: Option<Result<T, StoreError>>,
    pub(super) reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Call<F, T>
where
    F: FnOnce(&mut Core) -> Verdict<T> + Send,
    T: Send,
{
    fn is_read(&self) -> bool {
        self.is_read
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn run(&mut self, core: &mut Core) -> Result<(), String> {
        let Some(verb) = self.verb.take() else { return Ok(()) };
        self.result = Some(match verb(core) {
            Ok(value) => Ok(value),
            Err(Halt::Refused(error)) => Err(error),
            Err(Halt::Broken(text)) if self.is_read => {
                tracing::error!("the store could not read: {text}");
                Err(StoreError::Closed)
            }
            Err(Halt::Broken(text)) => return Err(text),
        });
        Ok(())
    }

    fn answer(self: Box<Self>) {
        if let Some(result) = self.result {
            // Nobody waits any more: the change is durable all the same.
            let _ = self.reply.send(result);
        }
    }
}

/// How much one flush may carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupBounds {
    pub(super) ops: usize,
    pub(super) bytes: usize,
}

/// Whom the thread tells.
pub(super) struct Outlets {
    pub(super) events: broadcast::Sender<Arc<[Event]>>,
    pub(super) wakeups: watch::Sender<u64>,
    pub(super) schedule_wakeups: watch::Sender<u64>,
}

/// Serves verbs until every sender is gone, then closes the database.
pub(super) fn run(opened: Opened, jobs: &Receiver<Box<dyn Job>>, outlets: &Outlets, bounds: GroupBounds) {
    // A panic must not drop the database: that would flush half a group. So it stays out here.
    let mut slot = Some(opened);
    let served = catch_unwind(AssertUnwindSafe(|| {
        while let Some(opened) = &mut slot {
            let Some(group) = next_group(opened, jobs, bounds)? else { return write_mark(opened) };
            serve(&mut opened.core, group, outlets)?;
            if opened.mark.due_in(opened.core.commit.seq) == Some(Duration::ZERO) {
                write_mark(opened)?;
            }
            if opened.core.trees.has_outgrown() {
                let reopened = slot.take().map(Opened::reopen).transpose();
                slot = reopened.map_err(|error| format!("the database does not open again: {error}"))?;
            }
        }
        Ok(())
    }));
    match served {
        Ok(Ok(())) => {}
        Ok(Err(text)) => give_up(&text),
        Err(_) => give_up("a panic in the store"),
    }
}

/// Waits for a verb and takes along what else is there; `None` when the store closes.
fn next_group(
    opened: &mut Opened,
    jobs: &Receiver<Box<dyn Job>>,
    bounds: GroupBounds,
) -> Result<Option<Vec<Box<dyn Job>>>, String> {
    let first = loop {
        if opened.core.is_behind() {
            // There is something to do: what is there is taken along, nothing is waited for.
            match jobs.try_recv() {
                Ok(job) => break job,
                Err(TryRecvError::Empty) => return Ok(Some(Vec::new())),
                Err(TryRecvError::Disconnected) => return Ok(None),
            }
        }
        let Some(wait) = opened.mark.due_in(opened.core.commit.seq) else {
            match jobs.recv() {
                Ok(job) => break job,
                Err(_) => return Ok(None),
            }
        };
        match jobs.recv_timeout(wait) {
            Ok(job) => break job,
            Err(RecvTimeoutError::Timeout) => write_mark(opened)?,
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    };
    let mut bytes = first.bytes();
    let mut group = vec![first];
    loop {
        // A burst is sent a verb at a time: as long as one more arrives within a moment, it goes on.
        (0..GATHER_SPINS).for_each(|_| std::hint::spin_loop());
        let before = group.len();
        while group.len() < bounds.ops
            && bytes < bounds.bytes
            && let Ok(job) = jobs.try_recv()
        {
            bytes += job.bytes();
            group.push(job);
        }
        if group.len() == before {
            return Ok(Some(group));
        }
    }
}

fn serve(core: &mut Core, group: Vec<Box<dyn Job>>, outlets: &Outlets) -> Result<(), String> {
    let (mut reads, mut writes): (Vec<_>, Vec<_>) = group.into_iter().partition(|job| job.is_read());
    let before = core.trees.writes();
    fault::point(Point::Taken);
    for job in &mut writes {
        job.run(core)?;
    }
    let mut served = Vec::new();
    loop {
        core.follow_up().map_err(|halt| halt.to_string())?;
        served.extend(core.serve_parked().map_err(|halt| halt.to_string())?);
        // A claim may have ended what is overdue: that counts in this commit, too.
        if !core.batches.is_behind() {
            break;
        }
    }
    if core.trees.writes() != before || core.has_events() {
        fault::point(Point::Applied);
        let news = core.seal().map_err(|halt| halt.to_string())?;
        fault::point(Point::Sealed);
        core.trees.flush().map_err(|error| format!("a flush failed: {error}"))?;
        fault::point(Point::Flushed);
        if let Some(events) = news.events {
            // Nobody may be listening.
            let _ = outlets.events.send(events);
        }
        fault::point(Point::Published);
        if news.wake {
            outlets.wakeups.send_modify(|count| *count = count.wrapping_add(1));
        }
        if news.wake_ticker {
            outlets.schedule_wakeups.send_modify(|count| *count = count.wrapping_add(1));
        }
    }
    if core.take_wake() {
        outlets.wakeups.send_modify(|count| *count = count.wrapping_add(1));
    }
    answer_parked(served);
    for job in writes {
        job.answer();
    }
    fault::point(Point::Answered);
    for job in &mut reads {
        job.run(core)?;
    }
    for job in reads {
        job.answer();
    }
    Ok(())
}

fn write_mark(opened: &mut Opened) -> Result<(), String> {
    let seq = opened.core.commit.seq;
    if opened.mark.due_in(seq).is_some() {
        opened.mark.write(seq).map_err(|error| format!("the commit mark cannot be written: {error}"))?;
    }
    Ok(())
}

/// What is durable is whole; what is in memory is not. After a failed flush, another one or the
/// end of the database value would wait forever, so nothing more is run: not even destructors.
fn give_up(text: &str) -> ! {
    tracing::error!("the store is broken, the process ends: {text}");
    std::process::exit(EXIT_BROKEN)
}
