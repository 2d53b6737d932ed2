//! Tasks that come after others: what a parent's end means for its children, and in which order the
//! tasks of one request can be created.

use serde::{Deserialize, Serialize};

use super::State;

/// Tasks that one task comes after, at most.
pub const MAX_PARENTS: usize = 1_000;
/// The code of a task that failed because a parent did not succeed.
pub const PARENT_FAILED: &str = "parent-failed";

/// What becomes of a task that waits when one of its parents fails or is cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnParentFailure {
    /// It fails as [`PARENT_FAILED`], and so do those that wait for it, by their own rules.
    #[default]
    Fail,
    /// It runs all the same, once every parent has ended.
    Run,
    /// It is cancelled.
    Cancel,
}

impl OnParentFailure {
    /// Whether a child with this rule ends when a parent has ended in `state`.
    pub fn ends_with(self, state: &State) -> bool {
        self != Self::Run && matches!(state, State::Failed { .. } | State::Cancelled { .. })
    }
}

/// An order in which each task comes after those that it names, and otherwise as they are given.
/// `after` holds for each task the places of the others. The error is a cycle: each of its places
/// comes after the next one, and the last after the first.
pub fn order(after: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        /// On the path that is being walked.
        Open,
        Placed,
    }
    let mut marks = vec![Mark::New; after.len()];
    let mut order = Vec::with_capacity(after.len());
    // A task and how many of those before it were looked at. Not recursive: a chain may be long.
    let mut path: Vec<(usize, usize)> = Vec::new();
    for start in 0..after.len() {
        if marks[start] == Mark::New {
            path.push((start, 0));
        }
        while let Some((at, looked)) = path.last_mut() {
            marks[*at] = Mark::Open;
            let Some(before) = after[*at].get(*looked).copied() else {
                marks[*at] = Mark::Placed;
                order.push(*at);
                path.pop();
                continue;
            };
            *looked += 1;
            match marks.get(before) {
                Some(Mark::New) => path.push((before, 0)),
                Some(Mark::Open) => {
                    let cycle = path.iter().map(|(at, _)| *at).skip_while(|at| *at != before);
                    return Err(cycle.collect());
                }
                Some(Mark::Placed) | None => {}
            }
        }
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::order;

    #[test]
    fn tasks_keep_their_order_unless_one_comes_after_a_later_one() {
        assert_eq!(order(&[vec![], vec![0], vec![]]), Ok(vec![0, 1, 2]));
        assert_eq!(order(&[vec![2], vec![], vec![1]]), Ok(vec![1, 2, 0]));
        assert_eq!(order(&[]), Ok(vec![]));
    }

    #[test]
    fn a_cycle_is_told_link_by_link() {
        assert_eq!(order(&[vec![0]]), Err(vec![0]));
        assert_eq!(order(&[vec![], vec![3], vec![1], vec![0, 2]]), Err(vec![1, 3, 2]));
        let mut ring: Vec<_> = (0..100_000).map(|at| vec![at + 1]).collect();
        ring.push(vec![0]);
        assert_eq!(order(&ring).unwrap_err().len(), 100_001);
    }

    proptest! {
        #[test]
        fn an_order_or_a_cycle_and_never_both(after in prop::collection::vec(prop::collection::vec(0..8_usize, 0..3), 8)) {
            match order(&after) {
                Ok(order) => {
                    let place = |task: usize| order.iter().position(|at| *at == task).unwrap();
                    prop_assert_eq!(order.len(), after.len());
                    for (task, before) in after.iter().enumerate() {
                        prop_assert!(before.iter().all(|before| place(*before) < place(task)));
                    }
                }
                Err(cycle) => {
                    prop_assert!(!cycle.is_empty());
                    for (at, task) in cycle.iter().enumerate() {
                        prop_assert!(after[*task].contains(&cycle[(at + 1) % cycle.len()]));
                    }
                }
            }
        }
    }
}
