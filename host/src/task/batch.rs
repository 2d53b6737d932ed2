//! A batch: tasks that are created together, and tasks that follow from their ends.

use serde::{Deserialize, Serialize};

use super::{Idempotency, NewTask, State, TaskId};
use crate::time::Timestamp;

/// Bytes of a batch's name.
pub const MAX_BATCH_NAME_LEN: usize = 128;

/// What a batch comes to. Each is reached once, whatever is put back later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Milestone {
    /// The first member has failed or was cancelled.
    Failing,
    /// Every member has succeeded.
    Succeeded,
    /// Every member has ended.
    Completed,
}

/// The task that follows from each milestone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Callbacks {
    /// From [`Milestone::Failing`].
    pub on_failure: Option<NewTask>,
    /// From [`Milestone::Succeeded`].
    pub on_success: Option<NewTask>,
    /// From [`Milestone::Completed`].
    pub on_complete: Option<NewTask>,
}

impl Callbacks {
    /// Which task follows.
    pub fn of(&self, milestone: Milestone) -> Option<&NewTask> {
        match milestone {
            Milestone::Failing => self.on_failure.as_ref(),
            Milestone::Succeeded => self.on_success.as_ref(),
            Milestone::Completed => self.on_complete.as_ref(),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        [&self.on_failure, &self.on_success, &self.on_complete].into_iter().flatten().map(|_| 1).sum()
    }
}

/// What was asked for: fixed when the batch is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchSpec {
    /// For people.
    pub name: Option<String>,
    /// How many members it has.
    pub members: u32,
    /// What follows.
    pub callbacks: Callbacks,
    /// The request that created it.
    pub idempotency: Option<Idempotency>,
    /// When.
    pub created_at: Timestamp,
}

/// How its members ended, as they stand now, and what it has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchTally {
    /// Members that succeeded.
    pub succeeded: u32,
    /// Members that failed.
    pub failed: u32,
    /// Members that were cancelled.
    pub cancelled: u32,
    /// Of those, the ones that are not kept any more.
    pub forgotten: u32,
    /// When [`Milestone::Failing`] was reached.
    pub failing_at: Option<Timestamp>,
    /// When [`Milestone::Succeeded`] was.
    pub succeeded_at: Option<Timestamp>,
    /// When [`Milestone::Completed`] was.
    pub completed_at: Option<Timestamp>,
    /// The task that followed from the first.
    pub on_failure: Option<TaskId>,
    /// From the second.
    pub on_success: Option<TaskId>,
    /// From the third.
    pub on_complete: Option<TaskId>,
}

impl BatchTally {
    /// Members that have ended.
    pub fn ended(&self) -> u32 {
        self.succeeded + self.failed + self.cancelled
    }

    fn place(&mut self, state: &State) -> Option<&mut u32> {
        match state {
            State::Succeeded { .. } => Some(&mut self.succeeded),
            State::Failed { .. } => Some(&mut self.failed),
            State::Cancelled { .. } => Some(&mut self.cancelled),
            State::Waiting | State::Queued { .. } | State::Running { .. } => None,
        }
    }

    /// A member has ended in `state`.
    pub fn count(&mut self, state: &State) {
        if let Some(count) = self.place(state) {
            *count += 1;
        }
    }

    /// A member that had ended in `state` lives again.
    pub fn uncount(&mut self, state: &State) {
        if let Some(count) = self.place(state) {
            *count = count.saturating_sub(1);
        }
    }

    /// What is reached now, and was not before.
    pub fn reach(&mut self, members: u32, now: Timestamp) -> Vec<Milestone> {
        let mut reached = Vec::new();
        if self.failed + self.cancelled > 0 && self.failing_at.is_none() {
            self.failing_at = Some(now);
            reached.push(Milestone::Failing);
        }
        if self.succeeded == members && self.succeeded_at.is_none() {
            self.succeeded_at = Some(now);
            reached.push(Milestone::Succeeded);
        }
        if self.ended() == members && self.completed_at.is_none() {
            self.completed_at = Some(now);
            reached.push(Milestone::Completed);
        }
        reached
    }

    /// Keeps which task followed from a milestone.
    pub fn followed(&mut self, milestone: Milestone, id: TaskId) {
        *match milestone {
            Milestone::Failing => &mut self.on_failure,
            Milestone::Succeeded => &mut self.on_success,
            Milestone::Completed => &mut self.on_complete,
        } = Some(id);
    }
}

#[cfg(test)]
mod tests {
    use super::{BatchTally, Milestone, State};
    use crate::time::Timestamp;

    #[test]
    fn each_milestone_is_reached_once_whatever_is_put_back() {
        let at = Timestamp::from_millis;
        let (good, bad) = (State::Succeeded { at: at(0), output: "1".to_owned() }, State::Cancelled { at: at(0) });
        let mut tally = BatchTally::default();
        tally.count(&bad);
        assert_eq!(tally.reach(2, at(1)), [Milestone::Failing]);
        tally.count(&good);
        assert_eq!(tally.reach(2, at(2)), [Milestone::Completed]);
        tally.uncount(&bad);
        assert_eq!((tally.reach(2, at(3)), tally.ended()), (vec![], 1));
        tally.count(&good);
        assert_eq!(tally.reach(2, at(4)), [Milestone::Succeeded], "it has succeeded in the end");
        tally.uncount(&good);
        tally.count(&bad);
        assert_eq!(tally.reach(2, at(5)), []);
        assert_eq!(BatchTally::default().reach(0, at(1)), [Milestone::Succeeded, Milestone::Completed]);
    }
}
