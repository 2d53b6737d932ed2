//! Requests of an attempt that wait for a place, in the order in which they were made.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// A request's place among others, or its turn.
pub(super) enum Queued {
    /// There was room.
    Here(OwnedSemaphorePermit),
    /// It waits.
    Waits(Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>),
}

impl Queued {
    /// Queues now, not when somebody asks: who reads answers in order must not wait for a request that was made later.
    pub(super) fn among(places: &Arc<Semaphore>) -> Self {
        let mut turn = Box::pin(Arc::clone(places).acquire_owned());
        // Without the budget of the task that asks: a future that is put off has no turn yet.
        match tokio::task::unconstrained(turn.as_mut()).now_or_never() {
            Some(Ok(permit)) => Self::Here(permit),
            Some(Err(_)) | None => Self::Waits(turn),
        }
    }

    /// Waits for the place.
    pub(super) async fn permit(self) -> Result<OwnedSemaphorePermit, AcquireError> {
        match self {
            Self::Here(permit) => Ok(permit),
            Self::Waits(turn) => turn.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::Queued;

    #[tokio::test]
    async fn places_go_by_the_order_of_the_requests_not_of_their_asking() {
        let places = Arc::new(Semaphore::new(1));
        let [first, second, third] = [(); 3].map(|()| Queued::among(&places));
        let permit = first.permit().await.unwrap();
        let mut asked_first = Box::pin(third.permit());
        assert!(futures_util::poll!(asked_first.as_mut()).is_pending());
        drop(permit);
        assert!(futures_util::poll!(asked_first.as_mut()).is_pending());
        drop(second.permit().await.unwrap());
        drop(asked_first.await.unwrap());
    }

    #[tokio::test]
    async fn one_that_gives_up_leaves_its_turn_to_the_next() {
        let places = Arc::new(Semaphore::new(1));
        let [first, second, third] = [(); 3].map(|()| Queued::among(&places));
        let permit = first.permit().await.unwrap();
        drop(second);
        drop(permit);
        drop(third.permit().await.unwrap());
    }
}
