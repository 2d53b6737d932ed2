//! An actuator for tests. Its outside world is the plugin's own state, which a test may read and write, too: `work/KEY` is
//! the work that was started with a key, and how often each of its functions was called.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskhost_sdk::{
    Actuator, Collector, Context, Descriptor, Failure, Kind, Plugin, Progress, Report, StopMode, TaskError, library,
    state,
};

/// The component has no state: this type only carries the roles.
#[derive(Debug)]
pub struct Outside;

/// How a task wants its work to behave.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Succeeds at the look of this number; never when absent.
    looks: Option<u32>,
    /// What each look says about the next one.
    poll_after_ms: Option<u64>,
    /// How long the first `start` of a work takes once that has begun, and the first look, unless a test ends it.
    start_ms: u64,
    look_ms: u64,
    /// How long its first `collect` takes.
    collect_ms: u64,
    /// The function that goes down: `start` (the first of a work), `status`, `stop` or `collect`.
    trap: String,
    /// It does so for that many looks; always when 0.
    trap_looks: u32,
    /// The function that answers a failure.
    fail: String,
    /// How the work ends instead of succeeding: `retry` or `fatal`.
    end: String,
    /// Ways of stopping that it does not listen to, at most 2.
    deaf: u32,
    /// Calls of `collect` that fail and may be repeated.
    collect_fails: u32,
    /// Bytes of the handle besides.
    padding: usize,
}

/// One piece of work, as the outside world knows it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Work {
    behaviour: Behaviour,
    starts: u32,
    looks: u32,
    stops: u32,
    collects: u32,
    stopped: bool,
    /// A test has ended it.
    #[serde(default)]
    done: bool,
    /// A test has ended the first start or look.
    #[serde(default)]
    released: bool,
}

/// Names a piece of work.
#[derive(Debug, Deserialize, Serialize)]
pub struct Handle {
    key: String,
    padding: String,
}

/// What a piece of work came to.
#[derive(Debug, Deserialize, Serialize)]
pub struct Found {
    key: String,
    starts: u32,
    looks: u32,
}

/// What was brought home.
#[derive(Debug, Serialize)]
pub struct Brought {
    found: Found,
    media: String,
    collects: u32,
}

impl Plugin for Outside {
    fn describe() -> Descriptor {
        Descriptor::new("outside", "1.0.0", "Works elsewhere").with(Kind::new("outside", "Works elsewhere"))
    }
}

impl Actuator for Outside {
    type Input = Behaviour;
    type Handle = Handle;
    type Output = Found;

    fn start(behaviour: Behaviour, context: &Context) -> Result<Handle, TaskError> {
        let key = context.task().idempotency_key.clone();
        let known = load(&key).map_err(TaskError::Fatal)?.unwrap_or_default();
        let work = Work { behaviour: behaviour.clone(), starts: known.starts + 1, ..known };
        save(&key, &work).map_err(TaskError::Fatal)?;
        // From here on the work goes on outside, whatever becomes of this call.
        let callback = context.callback().ok_or_else(|| TaskError::fatal("no-callback", "an actuator has one"))?;
        taskhost_sdk::info!("token {}", callback.token);
        if work.starts == 1 {
            linger(&key, behaviour.start_ms).map_err(TaskError::Fatal)?;
            misbehave(&work, "start").map_err(TaskError::Fatal)?;
        }
        Ok(Handle { key, padding: "x".repeat(behaviour.padding) })
    }

    fn status(handle: &Handle) -> Result<Report<Found>, Failure> {
        let mut work = load(&handle.key)?.ok_or_else(|| Failure::new("unknown", "there is no such work"))?;
        // The outside world moves while it is looked at.
        work.looks += 1;
        save(&handle.key, &work)?;
        if work.looks == 1 {
            linger(&handle.key, work.behaviour.look_ms)?;
        }
        if work.behaviour.trap_looks == 0 || work.looks <= work.behaviour.trap_looks {
            misbehave(&work, "status")?;
        }
        if work.stopped {
            return Ok(Report::failed(TaskError::Cancelled));
        }
        let Work { behaviour, starts, looks, done, .. } = work;
        if !done && behaviour.looks.is_none_or(|wanted| looks < wanted) {
            let progress = Progress { done: looks.into(), total: None, unit: "looks".to_owned(), message: None };
            let report = Report::running().progress(progress);
            return Ok(match behaviour.poll_after_ms {
                Some(ms) => report.poll_after(Duration::from_millis(ms)),
                None => report,
            });
        }
        Ok(match behaviour.end.as_str() {
            "retry" => Report::failed(TaskError::retry("asked-to", "the input asked for a failure")),
            "fatal" => Report::failed(TaskError::fatal("asked-to", "the input asked for a failure for good")),
            _ => Report::succeeded(Found { key: handle.key.clone(), starts, looks }),
        })
    }

    fn stop(handle: &Handle, mode: StopMode) -> Result<(), Failure> {
        let mut work = load(&handle.key)?.unwrap_or_default();
        work.stops += 1;
        let ways = if mode == StopMode::Graceful { 1 } else { 2 };
        work.stopped = ways > work.behaviour.deaf;
        save(&handle.key, &work)?;
        misbehave(&work, "stop")
    }
}

impl Collector for Outside {
    type Found = Found;
    type Brought = Brought;

    fn collect(handle: &Handle, found: Found, context: &Context) -> Result<Brought, TaskError> {
        let mut work = load(&handle.key).map_err(TaskError::Fatal)?.unwrap_or_default();
        work.collects += 1;
        save(&handle.key, &work).map_err(TaskError::Fatal)?;
        let writer = library::add("result.txt", Some("text/plain"))?;
        writer.write(format!("looked at {} times", found.looks).as_bytes())?;
        let media = library::Writer::finish(writer)?;
        context.report_percent(50)?;
        misbehave(&work, "collect").map_err(TaskError::Fatal)?;
        if work.collects <= work.behaviour.collect_fails {
            return Err(TaskError::retry_after(Duration::from_millis(1), "asked-to", "the input asked for a failure"));
        }
        if work.collects == 1 {
            context.sleep(Duration::from_millis(work.behaviour.collect_ms))?;
        }
        Ok(Brought { found, media, collects: work.collects })
    }
}

/// Takes its time, unless a test ends that.
fn linger(key: &str, ms: u64) -> Result<(), Failure> {
    let mut left_ms = ms;
    while left_ms > 0 && !load(key)?.is_some_and(|work| work.released) {
        let step_ms = left_ms.min(20);
        // tidy: nobody can wake a guest.
        std::thread::sleep(Duration::from_millis(step_ms));
        left_ms -= step_ms;
    }
    Ok(())
}

/// Goes down or fails where the task wants it.
fn misbehave(work: &Work, function: &str) -> Result<(), Failure> {
    assert!(work.behaviour.trap != function, "the input asked for a trap");
    if work.behaviour.fail == function {
        return Err(Failure::new("asked-to", "the input asked for a failure"));
    }
    Ok(())
}

fn load(key: &str) -> Result<Option<Work>, Failure> {
    let entry = state::get(&format!("work/{key}")).map_err(broken)?;
    entry.map(|entry| serde_json::from_slice(&entry.value)).transpose().map_err(broken)
}

fn save(key: &str, work: &Work) -> Result<(), Failure> {
    let value = serde_json::to_vec(work).map_err(broken)?;
    state::set(&format!("work/{key}"), &value, None).map(drop).map_err(broken)
}

fn broken(error: impl std::fmt::Debug) -> Failure {
    Failure::new("broken", format!("{error:?}"))
}

taskhost_sdk::export!(Outside, actuator, collector);
