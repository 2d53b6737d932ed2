//! `taskhost:host/queue`: an attempt's outbox. Nothing is created before the attempt's success is committed.

use super::DESCRIBING;
use crate::plugin::InputError;
use crate::plugin::contract::queue::{Error, Host};
use crate::plugin::contract::{clip, new_task, wire};
use crate::plugin::guest::{Guest, Purpose};
use crate::plugin::link::QueueGrant;
use crate::plugin::names;
use crate::task::{NewTask, Source};
use crate::time::now;

/// Tasks that one attempt may create.
const MAX_TASKS: usize = 1000;
/// Bytes of their inputs, keys and labels together.
const MAX_BYTES: usize = 4 * 1024 * 1024;

impl Guest {
    fn check_task(&self, wish: wire::NewTask, source: &Source) -> Result<NewTask, Error> {
        let patterns = self.code.grants.queue.as_ref().map_or(&[][..], |grant| &grant.kinds);
        if !patterns.iter().any(|pattern| names::covers(pattern, &wish.kind)) {
            let plugin = &self.code.name;
            let kind = clip(&wish.kind);
            let remedy = format!("add it to queue.kinds under [grant] in plugins/{plugin}.toml");
            return Err(Error::Denied(format!("plugin {plugin:?} may not create {kind:?}: {remedy}")));
        }
        let mut new = new_task(wish, self.code.limits.output_bytes, now()).map_err(Error::Invalid)?;
        self.code.tasks.check(&new.kind, &new.input).map_err(|error| match error {
            InputError::UnknownKind { .. } | InputError::NotYetKnown { .. } => Error::UnknownKind(error.to_string()),
            InputError::NotJson(_) | InputError::Repeated(_) => Error::Invalid(error.to_string()),
            InputError::Mismatch { ref violations, .. } => {
                let first = violations.first().map(|(at, what)| format!(": at {at:?}: {what}"));
                Error::Invalid(format!("{error}{}", first.unwrap_or_default()))
            }
        })?;
        new.source = source.clone();
        Ok(new)
    }
}

fn size(new: &NewTask) -> usize {
    let labels: usize = new.attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    new.kind.len() + new.input.len() + new.unique_key.as_ref().map_or(0, String::len) + labels
}

impl Host for Guest {
    /// All or none of `tasks`.
    fn enqueue(&mut self, tasks: Vec<wire::NewTask>) -> Result<(), Error> {
        let task = match self.call.purpose {
            Purpose::Execute { task, .. } | Purpose::Steer { task, .. } => task,
            Purpose::Describe => return Err(Error::Denied(DESCRIBING.to_owned())),
            Purpose::Dispatch => return Err(Error::Denied("a dispatcher returns its tasks".to_owned())),
        };
        if self.outbox.len() + tasks.len() > MAX_TASKS {
            return Err(Error::QuotaExceeded(MAX_TASKS as u64));
        }
        let source = Source::Task(task);
        let new: Vec<_> = tasks.into_iter().map(|wish| self.check_task(wish, &source)).collect::<Result<_, _>>()?;
        let bytes = self.outbox_bytes + new.iter().map(size).sum::<usize>();
        if bytes > MAX_BYTES {
            return Err(Error::QuotaExceeded(MAX_BYTES as u64));
        }
        // Last, so that only what is created is counted.
        if let Some(rate) = self.code.grants.queue.as_ref().and_then(QueueGrant::rate) {
            if new.len() as u64 > u64::from(rate.burst()) {
                return Err(Error::QuotaExceeded(u64::from(rate.burst())));
            }
            let taken = self.code.shared.buckets.take(&self.code.name, rate, new.len(), now());
            taken.map_err(Error::RateExceeded)?;
        }
        self.outbox_bytes = bytes;
        self.outbox.extend(new);
        Ok(())
    }
}
