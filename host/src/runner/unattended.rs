//! Outside work that nobody looks after: of an older start, or of a plugin that was gone for a while.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::time::Instant;

use super::{Runner, STORE_RETRY};
use crate::plugin::{Executor, Executors};
use crate::store::{AttachRequest, Attached, GenerationRoom, StoreError};
use crate::task::WorkPhase;
use crate::time::now;

/// Whether there is outside work that nobody looks after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unattended {
    /// Not any of a kind that a live plugin has.
    No,
    /// It is worth asking.
    Perhaps,
    /// More than there were permits for.
    Waiting,
}

impl Runner {
    /// Takes up what there is, as far as permits go; it comes before anything new. What is only to be brought home needs
    /// none. A plugin's own bound does not count: the work goes on anyhow.
    pub(super) async fn take_up(&mut self) {
        let is_worth_it = match self.unattended {
            Unattended::No => false,
            Unattended::Perhaps => self.retry_at.is_none_or(|at| at <= Instant::now()),
            Unattended::Waiting => self.limiter.free() > 0 || !self.claims.is_empty(),
        };
        if !is_worth_it {
            return;
        }
        let executors = self.plugins.executors();
        // What begins meanwhile begins on what is live: claims hear of it before the store is asked.
        self.claims.withdraw_replaced(&executors);
        if let Some(answered) = self.claims.answered().now_or_never().flatten() {
            self.take(answered);
        }
        let rooms = rooms(&executors);
        if rooms.is_empty() || !self.attach(&executors, &rooms).await {
            self.unattended = Unattended::No;
            return;
        }
        // Claims that wait may hold permits.
        self.claims.withdraw();
        while let Some(answered) = self.claims.answered().await {
            self.take(answered);
        }
        self.unattended = match self.attach(&executors, &rooms).await {
            false => Unattended::No,
            true if self.retry_at.is_some() => Unattended::Perhaps,
            true => Unattended::Waiting,
        };
    }

    /// Plugins have changed: whoever looks after outside work may have come. A plugin that is only on its way changes
    /// nothing yet.
    pub(super) fn notice_reload(&mut self) {
        let executors = Arc::downgrade(&self.plugins.executors());
        if !self.known.ptr_eq(&executors) {
            (self.known, self.unattended) = (executors, Unattended::Perhaps);
        }
    }

    /// Takes up as much as there are permits for; answers whether there is more.
    async fn attach(&mut self, executors: &Arc<Executors>, rooms: &[GenerationRoom]) -> bool {
        loop {
            let mut permits = self.limiter.try_acquire_many(self.limiter.free());
            let now = now();
            let lease_until = now.plus_millis(self.settings.lease_ms);
            let (rooms, limit, boot) = (rooms.to_vec(), permits.left(), self.settings.boot);
            let attached = self.store.attach(AttachRequest { rooms, limit, boot, lease_until }, now).await;
            let Attached { claimed, more } = match attached {
                Ok(attached) => attached,
                Err(StoreError::Closed) => return false,
                Err(error) => {
                    tracing::warn!(%error, "cannot take up outside work, trying again");
                    self.retry_at = Some(Instant::now() + STORE_RETRY);
                    return true;
                }
            };
            let is_last = !more || claimed.is_empty();
            for one in claimed {
                let executor = executors.iter().find(|executor| executor.kind == one.spec.new.kind);
                let Some(Executor { generation, .. }) = executor else { continue };
                let goes_on = one.status.work_phase() == Some(WorkPhase::Running);
                let permit = if goes_on { permits.admit(generation.plugin()) } else { None };
                self.run_on(Arc::clone(generation), one, permit);
            }
            if is_last {
                return more;
            }
        }
    }
}

/// Who can look after something, and who takes a kind over from an actuator: then its work is given up.
fn rooms(executors: &[Executor]) -> Vec<GenerationRoom> {
    let mut rooms: Vec<GenerationRoom> = Vec::new();
    for Executor { kind, generation } in executors {
        match rooms.iter_mut().find(|room| room.digest == generation.digest()) {
            Some(room) => room.kinds.push(kind.clone()),
            None => rooms.push(GenerationRoom { kinds: vec![kind.clone()], room: 0, digest: generation.digest() }),
        }
    }
    rooms
}
