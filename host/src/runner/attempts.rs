//! Supervisors of attempts, and whose each of them is: that is known also of one that has panicked.

use std::collections::HashMap;

use tokio::runtime::Handle;
use tokio::task::{Id, JoinError, JoinSet};

use super::running::Ran;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    supervisors: JoinSet<()>,
    whose: HashMap<Id, Ran>,
}

impl Attempts {
    /// Supervises an attempt on the threads of `runtime`.
    pub(super) fn spawn(
        &mut self,
        supervisor: impl Future<Output = ()> + Send + 'static,
        whose: Ran,
        runtime: &Handle,
    ) {
        let id = self.supervisors.spawn_on(supervisor, runtime).id();
        self.whose.insert(id, whose);
    }

    /// Waits for the next end of an attempt; `None` when there is none to wait for.
    pub(super) async fn ended(&mut self) -> Option<Ran> {
        loop {
            let ended = self.supervisors.join_next_with_id().await?;
            if let Some(ran) = self.whose_end(&ended) {
                return Some(ran);
            }
        }
    }

    /// The same, without waiting.
    pub(super) fn try_ended(&mut self) -> Option<Ran> {
        loop {
            let ended = self.supervisors.try_join_next_with_id()?;
            if let Some(ran) = self.whose_end(&ended) {
                return Some(ran);
            }
        }
    }

    /// Whether nothing is supervised.
    pub(super) fn is_empty(&self) -> bool {
        self.supervisors.is_empty()
    }

    fn whose_end(&mut self, ended: &Result<(Id, ()), JoinError>) -> Option<Ran> {
        let id = match ended {
            Ok((id, ())) => *id,
            Err(error) => error.id(),
        };
        let ran = self.whose.remove(&id);
        if let (Err(error), Some((task, ..))) = (ended, &ran) {
            // Nobody renews its lease any more: when that expires the task is requeued as crashed, and outside work is
            // taken up again.
            tracing::error!(%task, %error, "an attempt's supervisor went down; its task comes back with the end of its lease");
        }
        ran
    }
}
