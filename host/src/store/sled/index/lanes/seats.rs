//! Where a lane's head is: in the competition, held back, or nowhere.

use super::waiting::{Head, Held, Place, Ready, Turn};
use super::{Lanes, Stand};

impl Lanes {
    /// A lane brings along the next one of each bucket that has room still.
    pub(super) fn pass_on(&mut self, at: u32, except: Option<Place>) {
        let Some(lane) = self.lanes.get(at) else { return };
        let class = lane.class;
        let buckets = lane.key.keyed.iter().copied().filter(|bucket| Some(Place::Bucket(*bucket)) != except);
        let waited_for = |bucket: &u32| self.buckets.slab.get(*bucket).is_some_and(|bucket| bucket.held > 0);
        for bucket in buckets.filter(waited_for).collect::<Vec<_>>() {
            self.offer(bucket, Some(class));
        }
    }

    /// Lets the best of the lanes that a bucket holds back compete, one of each class, if it has room.
    pub(super) fn offer(&mut self, bucket: u32, only: Option<u32>) {
        if self.buckets.slab.get(bucket).is_none_or(|bucket| bucket.held == 0) {
            return;
        }
        if let Err(shut) = self.buckets.check(bucket) {
            if let Some(until) = shut.until {
                self.buckets.remind(bucket, until);
            }
            return;
        }
        let place = Place::Bucket(bucket);
        let mut class = only.unwrap_or(0);
        while let Some(held) = self.held.range(Held::first(place, class)..).next().copied() {
            if held.place != place || only.is_some_and(|only| only != held.class) {
                return;
            }
            let pass = self.groups.pass(held.group);
            if pass > held.pass {
                // Passes only rise: what is listed too low is put right when it comes first.
                self.unhold(held);
                self.rehold(Held { pass, ..held });
                class = held.class;
                continue;
            }
            self.unhold(held);
            self.reseat(held.lane);
            class = held.class.saturating_add(1);
        }
    }

    pub(super) fn hold(&mut self, at: u32, place: Place, pass: u64) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        let Stand::Active(turn) = lane.stand else { return };
        let (group, class) = (lane.key.group, lane.class);
        lane.stand = Stand::Idle;
        if let Some(class) = self.classes.get_mut(class) {
            class.remove(Head { group, turn, lane: at });
        }
        self.groups.leave(group);
        self.rehold(Held { place, class, pass, group, turn, lane: at });
    }

    fn rehold(&mut self, held: Held) {
        if let Some(lane) = self.lanes.get_mut(held.lane) {
            lane.stand = Stand::Held(held);
        }
        if let Place::Bucket(bucket) = held.place
            && let Some(bucket) = self.buckets.slab.get_mut(bucket)
        {
            bucket.held += 1;
        }
        self.held.insert(held);
    }

    pub(super) fn unhold(&mut self, held: Held) {
        self.held.remove(&held);
        if let Some(lane) = self.lanes.get_mut(held.lane) {
            lane.stand = Stand::Idle;
        }
        if let Place::Bucket(bucket) = held.place
            && let Some(bucket) = self.buckets.slab.get_mut(bucket)
        {
            bucket.held -= 1;
        }
    }

    /// Puts a lane where its head belongs, after that may have changed. Answers whether it competed and does
    /// so no more.
    pub(super) fn reseat(&mut self, at: u32) -> bool {
        let head = self.first_ready(at).map(|ready| ready.turn);
        let Some(lane) = self.lanes.get_mut(at) else { return false };
        let (group, stand) = (lane.key.group, lane.stand);
        let Some(class) = self.classes.get_mut(lane.class) else { return false };
        let of = |turn: Turn| Head { group, turn, lane: at };
        match (stand, head) {
            (Stand::Idle, Some(turn)) => {
                lane.stand = Stand::Active(turn);
                let pass = self.groups.join(group);
                class.insert(of(turn), pass);
            }
            (Stand::Active(old), Some(turn)) if old != turn => {
                lane.stand = Stand::Active(turn);
                class.replace(of(old), of(turn));
            }
            (Stand::Active(old), None) => {
                lane.stand = Stand::Idle;
                class.remove(of(old));
                self.groups.leave(group);
                return true;
            }
            (Stand::Held(held), head) if Some(held.turn) != head => {
                self.unhold(held);
                if let Some(turn) = head {
                    self.rehold(Held { turn, ..held });
                    if let Place::Bucket(bucket) = held.place
                        && turn < held.turn
                    {
                        // It may go before the one that came back for all of them.
                        self.buckets.reopen(bucket);
                    }
                }
            }
            (Stand::Idle | Stand::Active(_) | Stand::Held(_), _) => {}
        }
        false
    }

    pub(super) fn first_ready(&self, lane: u32) -> Option<Ready> {
        self.ready.range(Ready::first(lane)..).next().copied().filter(|ready| ready.lane == lane)
    }
}
