//! Claims that are under way. Each holds the permits that it may turn into attempts, so that no
//! claim happens without one (invariant I6), and its share of every plugin's room.
//!
//! A claim waits in the store while there is nothing to claim; what becomes free meanwhile goes into
//! a further claim. When the live plugins or the breakers change, all are withdrawn and asked anew.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio_util::sync::CancellationToken;

use crate::limiter::{Admission, AttemptLimiter, AttemptPermits, Breakers};
use crate::plugin::{Executor, Executors, Generation};
use crate::store::{Claim, ClaimRequest, GenerationRoom, Store, StoreError};
use crate::task::BootId;
use crate::time::Timestamp;

/// Claims under way at the same time, at most: one that the store is serving, one that waits, and
/// some for what becomes free in between.
const MAX_UNDER_WAY: usize = 8;

/// What a claim may take, and what it holds for that.
pub(super) struct Held {
    /// Who runs what is claimed, pinned since the claim was made.
    pub(super) executors: Arc<Executors>,
    pub(super) permits: AttemptPermits,
    /// What it may take of each plugin.
    rooms: Vec<(String, u32)>,
    /// Kinds of which it may take one, to see how that goes.
    probes: Vec<String>,
}

/// A claim that was answered.
pub(super) struct Answered {
    pub(super) held: Held,
    pub(super) answer: Result<Claim, StoreError>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Claims {
    under_way: FuturesUnordered<BoxFuture<'static, (u64, Result<Claim, StoreError>)>>,
    held: HashMap<u64, Held>,
    next: u64,
    /// What the claims under way were asked by.
    admitted: Vec<Admitted>,
    withdrawn: CancellationToken,
}

impl std::fmt::Debug for Claims {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claims").field("under_way", &self.under_way.len()).finish_non_exhaustive()
    }
}

/// A kind that may be claimed, by whom, and whether only one of it.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    kind: String,
    /// Another one may have the same digest, and another manifest.
    by: Weak<Generation>,
    is_probe: bool,
}

impl PartialEq for Admitted {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.is_probe == other.is_probe && self.by.ptr_eq(&other.by)
    }
}

/// What may be claimed.
pub(super) struct Admissions {
    pub(super) executors: Arc<Executors>,
    admitted: Vec<Admitted>,
    /// When the first open breaker lets one through.
    pub(super) reopens_at: Option<Timestamp>,
}

impl Admissions {
    /// A kind whose breaker is open is left out, one that is half open has room for one attempt.
    pub(super) fn of(executors: Arc<Executors>, breakers: &Breakers, now: Timestamp) -> Self {
        let mut admitted = Vec::new();
        let mut reopens_at = None;
        for Executor { kind, generation } in executors.iter() {
            let digest = generation.digest();
            let is_probe = match breakers.admit(kind, digest.0, now.as_millis()) {
                Admission::Free => false,
                Admission::Probe => true,
                Admission::Shut(until_ms) => {
                    let until = until_ms.map(Timestamp::from_millis);
                    reopens_at = reopens_at.into_iter().chain(until).min();
                    continue;
                }
            };
            admitted.push(Admitted { kind: kind.clone(), by: Arc::downgrade(generation), is_probe });
        }
        Self { executors, admitted, reopens_at }
    }
}

/// How claims are made.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    pub(super) boot: BootId,
    pub(super) lease_ms: u64,
    /// The next due time that is known.
    pub(super) known_due: Option<Timestamp>,
}

impl Claims {
    /// Asks for what is free now, if anything is.
    pub(super) fn ask(
        &mut self,
        (store, limiter): (&Arc<dyn Store>, &Arc<AttemptLimiter>),
        admissions: Admissions,
        terms: Terms,
        now: Timestamp,
    ) {
        if admissions.admitted != self.admitted {
            self.withdraw();
            self.admitted.clone_from(&admissions.admitted);
        }
        let free = limiter.free();
        if free == 0 {
            return;
        }
        if self.under_way.len() >= MAX_UNDER_WAY {
            // What is free now may be what is wanted: all of it in one claim.
            return self.withdraw();
        }
        let (request, rooms, probes) = self.request(&admissions, limiter, free);
        if request.is_empty() {
            return;
        }
        let permits = limiter.try_acquire_many(free);
        let held = Held { executors: admissions.executors, permits, rooms, probes };
        let lease_until = now.plus_millis(terms.lease_ms);
        let request = ClaimRequest { rooms: request, limit: held.permits.left(), boot: terms.boot, lease_until };
        let (number, store, withdrawn) = (self.next, Arc::clone(store), self.withdrawn.clone());
        self.next += 1;
        self.held.insert(number, held);
        let claim = async move { (number, store.claim_or_wait(request, terms.known_due, now, &withdrawn).await) };
        self.under_way.push(Box::pin(claim));
    }

    /// The rooms of a claim of at most `limit`, beside those that are under way.
    fn request(
        &self,
        admissions: &Admissions,
        limiter: &AttemptLimiter,
        limit: u32,
    ) -> (Vec<GenerationRoom>, Vec<(String, u32)>, Vec<String>) {
        let mut left: HashMap<&str, u32> = HashMap::new();
        let (mut request, mut rooms, mut probes) = (Vec::new(), Vec::new(), Vec::new());
        let mut free: Vec<(&Generation, Vec<String>)> = Vec::new();
        for Admitted { kind, is_probe, .. } in &admissions.admitted {
            let Some(generation) = find(&admissions.executors, kind) else { continue };
            let plugin = generation.plugin();
            let room = left.entry(plugin).or_insert_with(|| {
                limiter.room(plugin, generation.concurrency()).saturating_sub(self.held_of(plugin)).min(limit)
            });
            if !is_probe {
                match free.iter_mut().find(|(known, _)| known.plugin() == plugin) {
                    Some((_, kinds)) => kinds.push(kind.clone()),
                    None => free.push((generation, vec![kind.clone()])),
                }
            } else if *room > 0 && !self.held.values().any(|held| held.probes.contains(kind)) {
                *room -= 1;
                request.push(GenerationRoom { kinds: vec![kind.clone()], room: 1, digest: generation.digest() });
                rooms.push((plugin.to_owned(), 1));
                probes.push(kind.clone());
            }
        }
        for (generation, kinds) in free {
            let room = left.get(generation.plugin()).copied().unwrap_or(0);
            if room > 0 {
                request.push(GenerationRoom { kinds, room, digest: generation.digest() });
                rooms.push((generation.plugin().to_owned(), room));
            }
        }
        (request, rooms, probes)
    }

    /// Whether no claim is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// What the claims under way may take of a plugin.
    fn held_of(&self, plugin: &str) -> u32 {
        self.held.values().flat_map(|held| &held.rooms).filter(|(of, _)| of == plugin).map(|(_, room)| room).sum()
    }

    /// Has every claim under way answered soon, with what it has been given by then.
    pub(super) fn withdraw(&mut self) {
        std::mem::take(&mut self.withdrawn).cancel();
    }

    /// Withdraws what is under way for a generation that is not live any more.
    pub(super) fn withdraw_replaced(&mut self, executors: &Executors) {
        let is_live = |by: &Weak<Generation>| {
            executors.iter().any(|executor| std::ptr::eq(Arc::as_ptr(&executor.generation), by.as_ptr()))
        };
        if self.admitted.iter().any(|admitted| !is_live(&admitted.by)) {
            self.withdraw();
            self.admitted.clear();
        }
    }

    /// The next answer; `None` when no claim is under way.
    pub(super) async fn answered(&mut self) -> Option<Answered> {
        let (number, answer) = self.under_way.next().await?;
        // Every claim under way has its entry.
        let held = self.held.remove(&number)?;
        Some(Answered { held, answer })
    }
}

fn find<'a>(executors: &'a [Executor], kind: &str) -> Option<&'a Generation> {
    let found = executors.binary_search_by(|executor| executor.kind.as_str().cmp(kind)).ok()?;
    executors.get(found).map(|executor| executor.generation.as_ref())
}
