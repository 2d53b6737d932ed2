//! Who may be at work at the same time, by name. A name outlives the generation of the plugin that it belongs to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Bounds what is done at the same time under each name.
#[derive(Debug, Default)]
pub(super) struct Gate {
    inside: Mutex<HashMap<String, u32>>,
    left: Notify,
}

/// One that is inside. It leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    name: String,
}

impl Gate {
    /// Waits until fewer than `most` are inside under a name, and enters. Nobody has a right to be next.
    pub(super) async fn enter(self: &Arc<Self>, name: String, most: u32) -> Pass {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            // Interest first, question second: a leave between the two is not lost.
            left.as_mut().enable();
            if self.try_enter(&name, most) {
                return Pass { gate: Arc::clone(self), name };
            }
            left.await;
        }
    }

    fn try_enter(&self, name: &str, most: u32) -> bool {
        let mut inside = self.lock();
        let count = inside.get(name).copied().unwrap_or(0);
        if count >= most {
            return false;
        }
        inside.insert(name.to_owned(), count + 1);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        // Counts are changed in one step, so they are right even after a panic.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut inside = self.gate.lock();
        let left = inside.get(&self.name).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            inside.remove(&self.name);
        } else {
            inside.insert(self.name.clone(), left);
        }
        drop(inside);
        self.gate.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_than_the_bound_are_inside_under_a_name() {
        let gate = Arc::<Gate>::default();
        let first = gate.enter("a".to_owned(), 2).await;
        let second = gate.enter("a".to_owned(), 2).await;
        let _other = gate.enter("b".to_owned(), 1).await;
        let mut third = std::pin::pin!(gate.enter("a".to_owned(), 2));
        assert!(futures_util::poll!(&mut third).is_pending());
        drop(second);
        let third = third.await;
        assert!(!gate.try_enter("a", 2));
        drop((first, third));
        assert!(!gate.lock().contains_key("a"), "a name that nobody uses is forgotten");
    }
}
