//! Makes a call on the guests' runtime, between its bounds: a place in the pool, wall time, and the
//! grace of a cancellation.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Duration, sleep, sleep_until, timeout_at};
use wasmtime::{Store, UpdateDeadline};

use super::call::Invoke;
use super::cpu::{CpuTime, Metered};
use super::stop::{Overrun, Stop, Stopping};
use super::warm::Warm;
use super::{Call, Guest};
use crate::plugin::control::{Control, Directive};
use crate::plugin::engine::Shared;
use crate::plugin::link::Code;
use crate::plugin::ports::{Added, LogLevel};
use crate::task::NewTask;

/// A call that returned.
pub(super) struct Done<A> {
    pub(super) answer: A,
    pub(super) outbox: Vec<NewTask>,
    pub(super) added: Vec<Added>,
    pub(super) told: Directive,
    /// The instance, if it may serve another attempt.
    pub(super) warm: Option<Warm>,
}

/// Where a call is made.
enum Seat {
    /// In a new instance.
    Place(OwnedSemaphorePermit),
    /// In one that has stayed.
    Warm(Warm),
}

/// Aborts the call when whoever waits for it goes away.
struct Running<T>(JoinHandle<T>);

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Makes one call and says how it ended. When it is dropped the guest is dropped too.
pub(super) async fn supervise<I: Invoke>(code: &Arc<Code>, call: Call, invoke: I) -> Result<Done<I::Answer>, Stop> {
    let book = call.book.clone();
    let guests = &code.shared.runtime;
    let end = if Handle::try_current().is_ok_and(|here| here.id() == guests.id()) {
        // On the guests' threads already: changing threads twice costs more than most calls.
        watched(code.clone(), call, invoke).await
    } else {
        joined((&mut Running(guests.spawn(watched(code.clone(), call, invoke))).0).await)
    };
    let end = end.map_err(|stop| stop.with_last_words(|| book.last_words()));
    if let Err(Stop::Crashed(failure) | Stop::Retry(failure)) = &end {
        book.host(LogLevel::Error, format!("{}: {}", failure.code, failure.message));
    }
    book.finish();
    end
}

/// The end of a call on another runtime; one that is gone has interrupted it.
fn joined<A>(end: Result<Result<Done<A>, Stop>, JoinError>) -> Result<Done<A>, Stop> {
    match end {
        Ok(end) => end,
        Err(error) if error.is_panic() => Err(Stop::panicked(&*error.into_panic())),
        Err(_) => Err(Stop::Interrupted),
    }
}

/// The call between its bounds. A guest that computes gives way at each tick, so the bounds are seen in time.
async fn watched<I: Invoke>(code: Arc<Code>, call: Call, invoke: I) -> Result<Done<I::Answer>, Stop> {
    let (control, limits, deadline) = (call.control.clone(), call.limits.clone(), call.deadline);
    let grace = code.shared.cancel_grace;
    let stayed = if I::MAY_STAY { code.nest.take() } else { None };
    let seat = if let Some(warm) = stayed {
        Seat::Warm(warm)
    } else {
        tokio::select! {
            biased;
            place = place(&code, &call) => Seat::Place(place?),
            () = cancelled(&control) => return Err(Stop::Cancelled),
        }
    };
    let running = pin!(AssertUnwindSafe(run(code, call, invoke, seat)).catch_unwind());
    // Whichever it is, the store is gone when this returns, and what it had started in the host with it.
    tokio::select! {
        biased;
        end = running => end.unwrap_or_else(|panic| Err(Stop::panicked(&*panic))),
        () = sleep_until(deadline) => Err(Stop::timed_out(&limits)),
        () = overdue(&control, grace) => Err(Stop::Killed),
    }
}

/// Waits for room in the pool of instances.
async fn place(code: &Code, call: &Call) -> Result<OwnedSemaphorePermit, Stop> {
    // There is room nearly always: then nothing has to be waited for.
    if let Ok(place) = code.shared.places.clone().try_acquire_many_owned(code.places) {
        return Ok(place);
    }
    let _idle_ones_go = code.shared.nests.give_way();
    let places = code.shared.places.clone().acquire_many_owned(code.places);
    match timeout_at(call.deadline, places).await {
        Ok(Ok(place)) => Ok(place),
        Ok(Err(_closed)) => Err(Stop::Interrupted),
        Err(_elapsed) => Err(Stop::no_instance(code.shared.total_places)),
    }
}

async fn cancelled(control: &Control) {
    control.directed(|directive| directive == Directive::Cancel).await;
}

/// Ends when a guest that was told to stop has had its time to do so.
async fn overdue(control: &Control, grace: Duration) {
    cancelled(control).await;
    sleep(grace).await;
}

/// Tells what a call computed, however it ends.
struct Computed {
    time: Arc<CpuTime>,
    control: Arc<Control>,
}

impl Drop for Computed {
    fn drop(&mut self) {
        self.control.computed(self.time.micros());
    }
}

async fn run<I: Invoke>(code: Arc<Code>, call: Call, invoke: I, seat: Seat) -> Result<Done<I::Answer>, Stop> {
    let time = Arc::new(CpuTime::new());
    let _computed = Computed { time: time.clone(), control: call.control.clone() };
    // The place is dropped after the store, so that it is only given away when it is free.
    let (place, mut store, stayed, served) = match seat {
        Seat::Place(place) => (place, code.store(call), None, 0),
        Seat::Warm(Warm { mut store, instance, served, place }) => {
            store.data_mut().renew(call);
            store.set_epoch_deadline(1);
            (place, store, Some(instance), served)
        }
    };
    yield_each_tick(&mut store, time.clone());
    let result = {
        let call = pin!(async {
            let instance = match stayed {
                Some(instance) => instance,
                None => code.pre.instantiate_async(&mut store).await?,
            };
            Ok((invoke.invoke(&code, &mut store, instance).await?, instance))
        });
        Metered { call, time, computing: code.shared.computing.clone() }.await
    };
    let guest = store.data_mut();
    guest.note_memory();
    // Requests end with their attempt, also when the instance stays.
    guest.web = None;
    let (answer, instance) = result.map_err(|error| Stop::of(&error, &guest.call.limits, &guest.meter))?;
    let (outbox, added) = (std::mem::take(&mut guest.outbox), std::mem::take(&mut guest.added));
    let (told, served) = (guest.told, served + 1);
    let stays = I::MAY_STAY && served < code.limits.attempts_per_instance;
    let warm = stays.then(|| Warm { store, instance, served, place });
    Ok(Done { answer, outbox, added, told, warm })
}

/// At each tick of the epoch a guest gives way; here its computing time is bounded too.
fn yield_each_tick(store: &mut Store<Guest>, time: Arc<CpuTime>) {
    let limit_ms = store.data().call.limits.cpu_ms;
    store.epoch_deadline_callback(move |context| {
        let shared: &Shared = &context.data().code.shared;
        if shared.stopping.load(Ordering::Relaxed) {
            return Err(Stopping.into());
        }
        let used_ms = time.millis();
        if used_ms >= limit_ms {
            return Err(Overrun { used_ms }.into());
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
}
