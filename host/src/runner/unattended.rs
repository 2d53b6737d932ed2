//! Outside work that nobody looks after: of an older start, or of a plugin that was gone for a while.

use std::sync::Arc;

use super::Runner;
use crate::plugin::Executor;
use crate::store::{AttachRequest, Attached, GenerationRoom, StoreError};
use crate::task::WorkPhase;
use crate::time::now;

impl Runner {
    /// Takes up what there is, as far as permits go; it comes before anything new. What is only to be brought home needs
    /// none.
    pub(super) async fn take_up(&mut self) {
        self.unattended = false;
        let executors = self.plugins.executors();
        let rooms = rooms(&executors);
        if rooms.is_empty() || !self.attach(&executors, &rooms, 0).await {
            return;
        }
        // Claims that wait hold every free permit.
        self.claims.withdraw();
        while let Some(answered) = self.claims.answered().await {
            self.take(answered);
        }
        let free = self.limiter.free();
        self.unattended = self.attach(&executors, &rooms, free).await;
    }

    /// Takes up as much as there are permits for; answers whether there is more.
    async fn attach(&mut self, executors: &Arc<Vec<Executor>>, rooms: &[GenerationRoom], wanted: u32) -> bool {
        let mut permits = self.limiter.try_acquire_many(wanted);
        let now = now();
        let lease_until = now.plus_millis(self.settings.lease_ms);
        let (rooms, limit, boot) = (rooms.to_vec(), permits.left(), self.settings.boot);
        let attached = self.store.attach(AttachRequest { rooms, limit, boot, lease_until }, now).await;
        let Attached { claimed, more } = match attached {
            Ok(attached) => attached,
            Err(StoreError::Closed) => return false,
            Err(error) => {
                tracing::warn!(%error, "cannot take up outside work, trying again");
                return true;
            }
        };
        for one in claimed {
            let executor = executors.iter().find(|executor| executor.kind == one.spec.new.kind);
            let Some(Executor { generation, .. }) = executor else { continue };
            let goes_on = one.status.work_phase() == Some(WorkPhase::Running);
            let permit = if goes_on { permits.admit(generation.plugin()) } else { None };
            self.run_on(Arc::clone(generation), one, permit);
        }
        more
    }
}

/// Who can look after something.
fn rooms(executors: &[Executor]) -> Vec<GenerationRoom> {
    let mut rooms: Vec<GenerationRoom> = Vec::new();
    for Executor { kind, generation } in executors.iter().filter(|executor| executor.generation.is_actuator()) {
        match rooms.iter_mut().find(|room| room.digest == generation.digest()) {
            Some(room) => room.kinds.push(kind.clone()),
            None => rooms.push(GenerationRoom { kinds: vec![kind.clone()], room: 0, digest: generation.digest() }),
        }
    }
    rooms
}
