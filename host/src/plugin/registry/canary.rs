//! A task that a generation has to do before it goes live.

use std::sync::Arc;

use crate::plugin::Job;
use crate::plugin::engine::{Compiled, Sandbox};
use crate::plugin::limits::Limits;
use crate::plugin::link::{LinkRequest, TaskCheck};
use crate::plugin::manifest::Canary;
use crate::task::{Failure, NewTask, Outcome, Spec, TaskId};
use crate::time::Timestamp;

use super::generation::Generation;
use super::load::NotLoaded;

/// What the failure is called when the host had no room; the same as in an attempt's record.
const NO_ROOM: [&str; 2] = ["no-instance", "host-memory"];

/// Has the generation do the canary's task, where nothing of it stays.
pub(super) async fn rehearse(
    sandbox: &Arc<Sandbox>,
    (compiled, request): (Compiled, LinkRequest),
    (generation, tasks): (&Generation, Arc<dyn TaskCheck>),
    canary: &Canary,
    now: Timestamp,
) -> Result<(), NotLoaded> {
    let Canary { kind, input, timeout_ms } = canary;
    if !generation.kinds().any(|known| known.name == *kind) {
        let known: Vec<_> = generation.kinds().map(|kind| kind.name.as_str()).collect();
        return Err(failed(&format!("it does not execute {kind:?}, but {}", known.join(", "))));
    }
    if generation.is_actuator() {
        return Err(failed(
            "the work of an actuator lives elsewhere, where nothing can be taken back: remove the canary",
        ));
    }
    if let Some(Err(error)) = generation.check_input(kind, input) {
        return Err(failed(&error.to_string()));
    }
    // Nothing of it stays, so its instance does not either.
    let limits = Limits { attempts_per_instance: 1, ..request.limits.clone() };
    let wall_ms = limits.wall_ms.min(*timeout_ms);
    let on = Arc::clone(sandbox);
    let link = move || on.link_rehearsal(&compiled, LinkRequest { limits, ..request }, tasks);
    let linked = tokio::task::spawn_blocking(link).await.map_err(|error| failed(&error.to_string()))??;
    let spec = Arc::new(Spec { new: NewTask::new(kind, input), created_at: now, first_event: 0 });
    let job = Job { id: TaskId::generate(), attempt: 1, spec, started_at: crate::time::now(), works: 0 };
    match linked.execute(job, Arc::default(), wall_ms).await {
        Outcome::Succeeded { .. } => Ok(()),
        Outcome::Interrupted => Err(NotLoaded::Busy("the host stopped during its canary".to_owned())),
        Outcome::Retry { failure, .. } if NO_ROOM.contains(&failure.code.as_str()) => {
            Err(NotLoaded::Busy(format!("the host is too busy for its canary: {}", failure.message)))
        }
        Outcome::Retry { failure, .. } | Outcome::Fatal(failure) | Outcome::Crashed(failure) => {
            let Failure { code, message, .. } = failure;
            Err(failed(&format!("{code}: {message}")))
        }
        Outcome::Snoozed { .. } => Err(failed("it put the task off")),
        Outcome::Yielded | Outcome::Cancelled | Outcome::Killed => Err(failed("it did not come to its end")),
    }
}

fn failed(why: &str) -> NotLoaded {
    NotLoaded::Unfit(format!("the canary failed: {why}"))
}
