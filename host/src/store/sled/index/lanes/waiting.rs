//! How a queued task is ordered, in as few bytes as possible: there may be a million.

use crate::task::TaskId;
use crate::task::urgency::{due_at, urgency};
use crate::time::Timestamp;

/// A queued task as the index sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super::super) struct Waiting {
    /// Which.
    pub(in super::super::super) id: TaskId,
    /// Since or from when it is due.
    pub(in super::super::super) due_at: Timestamp,
    /// 0 to 9.
    pub(in super::super::super) priority: u8,
    /// Its status is that of a task just created: no need to read it.
    pub(in super::super::super) fresh: bool,
}

/// An id whose alignment is 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id([u64; 2]);

impl From<TaskId> for Id {
    #[expect(clippy::cast_possible_truncation, reason = "each half has 64 bits")]
    fn from(id: TaskId) -> Self {
        let id = id.as_u128();
        // The halves.
        Self([(id >> 64) as u64, (id & u128::from(u64::MAX)) as u64])
    }
}

impl From<Id> for TaskId {
    fn from(Id([high, low]): Id) -> Self {
        Self::from_u128(u128::from(high) << 64 | u128::from(low))
    }
}

/// What a task of a lane is served by: the lowest first.
pub(super) type Turn = (u64, Id);

/// Due now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ready {
    pub(super) lane: u32,
    pub(super) turn: Turn,
    pub(super) priority: u8,
    pub(super) fresh: bool,
}

impl Ready {
    pub(super) fn new(task: Waiting, lane: u32, aging_ms: u64) -> Self {
        let Waiting { id, due_at, priority, fresh } = task;
        Self { lane, turn: (urgency(priority, due_at, aging_ms), id.into()), priority, fresh }
    }

    /// Before every one of a lane.
    pub(super) fn first(lane: u32) -> Self {
        Self { lane, turn: (0, Id([0; 2])), priority: 0, fresh: false }
    }

    pub(super) fn waiting(self, aging_ms: u64) -> Waiting {
        let Self { lane: _, turn: (urgency, id), priority, fresh } = self;
        Waiting { id: id.into(), due_at: due_at(urgency, priority, aging_ms), priority, fresh }
    }
}

/// Due later, or not looked at since it became due.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Later {
    pub(super) due_at: Timestamp,
    id: Id,
    pub(super) lane: u32,
    priority: u8,
    fresh: bool,
}

impl Later {
    pub(super) fn new(task: Waiting, lane: u32) -> Self {
        let Waiting { id, due_at, priority, fresh } = task;
        Self { due_at, id: id.into(), lane, priority, fresh }
    }

    pub(super) fn waiting(self) -> Waiting {
        let Self { due_at, id, lane: _, priority, fresh } = self;
        Waiting { id: id.into(), due_at, priority, fresh }
    }
}

/// The first of a lane that competes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Head {
    pub(super) group: u32,
    pub(super) turn: Turn,
    pub(super) lane: u32,
}

impl Head {
    /// Before every one of a group.
    pub(super) fn first(group: u32) -> Self {
        Self { group, turn: (0, Id([0; 2])), lane: 0 }
    }
}

/// What holds a lane back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// A bucket that takes no more.
    Bucket(u32),
    /// The pause of its queue.
    Queue(u32),
}

/// The first of a lane that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    pub(super) place: Place,
    pub(super) class: u32,
    /// Of its group, when that was looked at last.
    pub(super) pass: u64,
    pub(super) group: u32,
    pub(super) turn: Turn,
    pub(super) lane: u32,
}

impl Held {
    /// Before every one of a class at a place.
    pub(super) fn first(place: Place, class: u32) -> Self {
        Self { place, class, pass: 0, group: 0, turn: (0, Id([0; 2])), lane: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Later, Ready};

    #[test]
    fn i8_a_waiting_task_costs_no_more_than_40_bytes() {
        assert!(size_of::<Ready>() <= 40 && size_of::<Later>() <= 40);
    }
}
