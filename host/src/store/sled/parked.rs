//! Claims that wait for something to claim. They are served by the commit that makes a task
//! claimable, so that creating a task and claiming it are one flush.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;

use super::core::{Core, Halt, Verdict};
use super::thread::Job;
use crate::store::StoreError;
use crate::store::request::{Claim, ClaimRequest};
use crate::time::Timestamp;

/// Claims that wait at the same time, at most.
const MAX_PARKED: usize = 256;

/// A claim that may wait.
pub(super) struct Parked {
    pub(super) request: ClaimRequest,
    /// How long a lease lasts, in milliseconds.
    pub(super) lease_ms: u64,
    /// Which instant the caller waits for itself.
    pub(super) known_due: Option<Timestamp>,
    /// Set by a caller that waits no longer.
    pub(super) withdrawn: Arc<AtomicBool>,
    pub(super) reply: oneshot::Sender<Result<Claim, StoreError>>,
}

/// A claim on its way into the store, and out of it when there is something to answer at once.
pub(super) struct Parking {
    pub(super) now: Timestamp,
    pub(super) claim: Option<Parked>,
    pub(super) result: Option<Result<Claim, StoreError>>,
}

impl Job for Parking {
    fn is_read(&self) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        0
    }

    fn run(&mut self, core: &mut Core) -> Result<(), String> {
        let Some(mut parked) = self.claim.take() else { return Ok(()) };
        match core.try_parked(&mut parked, self.now) {
            Ok(Some(claim)) => self.result = Some(Ok(claim)),
            Ok(None) if core.parked.len() < MAX_PARKED => {
                core.parked.push(parked);
                return Ok(());
            }
            Ok(None) => self.result = Some(Err(StoreError::Full(format!("{MAX_PARKED} claims wait already")))),
            Err(Halt::Refused(error)) => self.result = Some(Err(error)),
            Err(Halt::Broken(text)) => return Err(text),
        }
        self.claim = Some(parked);
        Ok(())
    }

    fn answer(self: Box<Self>) {
        if let (Some(parked), Some(result)) = (self.claim, self.result) {
            // Whoever went away finds its attempts by their leases.
            let _ = parked.reply.send(result);
        }
    }
}

/// A look at the withdrawn claims.
pub(super) struct Withdrawal;

impl Job for Withdrawal {
    fn is_read(&self) -> bool {
        false
    }

    fn bytes(&self) -> usize {
        0
    }

    fn run(&mut self, _core: &mut Core) -> Result<(), String> {
        Ok(())
    }

    fn answer(self: Box<Self>) {}
}

impl Core {
    /// Serves the claims that wait from what the commit in the making has made claimable. The
    /// answers are for [`answer_parked`], once the commit is durable.
    pub(super) fn serve_parked(&mut self) -> Verdict<Vec<(Parked, Claim)>> {
        let mut served = Vec::new();
        for parked in std::mem::take(&mut self.parked) {
            // Nobody is there to run what would be claimed.
            if parked.reply.is_closed() {
                continue;
            }
            if parked.withdrawn.load(Ordering::SeqCst) {
                served.push((parked, Claim::default()));
                continue;
            }
            self.parked.push(parked);
        }
        // Only what has just happened can have made something claimable: the rest was looked at before.
        let Some(woken_at) = self.woken() else { return Ok(served) };
        for mut parked in std::mem::take(&mut self.parked) {
            let claim = match woken_at {
                Some(now) => self.try_parked(&mut parked, now)?,
                // The caller knows what time it is: it asks again.
                None => Some(Claim::default()),
            };
            match claim {
                Some(claim) => served.push((parked, claim)),
                None => self.parked.push(parked),
            }
        }
        Ok(served)
    }

    /// What a claim gets at `now`; nothing when it is to wait.
    fn try_parked(&mut self, parked: &mut Parked, now: Timestamp) -> Verdict<Option<Claim>> {
        parked.request.lease_until = now.plus_millis(parked.lease_ms);
        let mut claim = self.claim(&parked.request, now)?;
        // What is due but cannot be had is no reason to ask again at once.
        claim.next_due = claim.next_due.map(|next| next.max(now.plus_millis(1)));
        let is_news = match (claim.next_due, parked.known_due) {
            (Some(next), Some(known)) => next < known,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let waits = claim.claimed.is_empty() && !is_news && !parked.withdrawn.load(Ordering::SeqCst);
        Ok((!waits).then_some(claim))
    }
}

/// Tells the callers of claims that were served, once what was claimed is durable.
pub(super) fn answer_parked(served: Vec<(Parked, Claim)>) {
    for (parked, claim) in served {
        // Whoever went away finds its attempts by their leases.
        let _ = parked.reply.send(Ok(claim));
    }
}
