//! One client's way through the event sequence: replay from the store, then live.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::EventId;
use super::wire::{keep_alive, write_block, write_event};
use crate::api::AppState;
use crate::event::{Change, Event};
use crate::store::{Store, StoreError};
use crate::task::TaskId;

/// A silent stream says that it lives this often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A browser comes back after this long, in milliseconds.
const RETRY_MS: u32 = 2_000;
/// Events that are replayed at once.
const REPLAY_SLICE: usize = 512;

/// Where a client starts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// With what happens from now on.
    Now,
    /// After an event that it has seen.
    After(EventId),
}

/// What a client wants to hear of.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Only this task's events.
    pub(super) task: Option<TaskId>,
    /// Only events of tasks of these kinds.
    pub(super) kinds: Option<Vec<String>>,
}

impl Filter {
    fn accepts(&self, change: &Change) -> bool {
        if self.task.is_none() && self.kinds.is_none() {
            return true;
        }
        let Change::Task { id, kind, .. } = change else { return false };
        self.task.is_none_or(|task| task == *id) && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(kind))
    }
}

/// Why a client has to read everything again.
#[derive(Clone, Copy, Debug)]
enum Reset {
    /// The events after the last seen one are no longer kept.
    Expired,
    /// The last seen one is of another store, or ahead of this one.
    OtherEpoch,
    /// The client was so slow that what it missed is no longer kept.
    Lagged,
}

impl Reset {
    fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::OtherEpoch => "other-epoch",
            Self::Lagged => "lagged",
        }
    }
}

/// A client's position and what it waits for.
#[derive(Debug)]
pub(super) struct Follower {
    store: Arc<dyn Store>,
    live: broadcast::Receiver<Arc<[Event]>>,
    stop: CancellationToken,
    filter: Filter,
    /// The last event that was looked at.
    position: u64,
    /// Reads from the store until it has caught up; says what a gap means.
    replaying: Option<Reset>,
    /// Text to send before anything else.
    first: String,
}

impl Follower {
    /// Subscribes before it looks where the sequence stands, so that nothing falls between.
    pub(super) async fn start(state: &AppState, start: Start, filter: Filter) -> Result<Self, StoreError> {
        let live = state.store.subscribe();
        let last = state.store.events(u64::MAX, 0).await?.last;
        let epoch = state.store.epoch();
        let mut first = format!("retry: {RETRY_MS}\n\n");
        let mut follower = Self {
            store: Arc::clone(&state.store),
            live,
            stop: state.stop.clone(),
            filter,
            position: last,
            replaying: None,
            first: String::new(),
        };
        match start {
            Start::Now => write_block(&mut first, EventId { epoch, seq: last }, "hello", "{}"),
            Start::After(id) if id.epoch != epoch || id.seq > last => {
                follower.write_reset(&mut first, Reset::OtherEpoch);
            }
            Start::After(id) => {
                follower.position = id.seq;
                follower.replaying = Some(Reset::Expired);
            }
        }
        follower.first = first;
        Ok(follower)
    }

    /// The blocks to send, until the host stops.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
        futures_util::stream::unfold(Some(self), async |follower| {
            let mut follower = follower?;
            match follower.next().await {
                Ok(Some(text)) => Some((Ok(Bytes::from(text)), Some(follower))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn next(&mut self) -> Result<Option<String>, StoreError> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        let keep_alive_at = tokio::time::Instant::now() + KEEP_ALIVE;
        loop {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            if let Some(gap_means) = self.replaying {
                let text = self.replay(gap_means).await?;
                if text.is_empty() {
                    continue;
                }
                return Ok(Some(text));
            }
            let received = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                received = self.live.recv() => received,
                () = tokio::time::sleep_until(keep_alive_at) => return Ok(Some(keep_alive(self.id()))),
            };
            match received {
                Ok(batch) => {
                    let mut text = String::new();
                    self.write_events(&mut text, &batch);
                    if !text.is_empty() {
                        return Ok(Some(text));
                    }
                }
                // The receiver goes on with the oldest batch that it still has; the store has what is between.
                Err(RecvError::Lagged(_)) => self.replaying = Some(Reset::Lagged),
                Err(RecvError::Closed) => return Ok(None),
            }
        }
    }

    /// The next slice from the store; goes live when there is no more.
    async fn replay(&mut self, gap_means: Reset) -> Result<String, StoreError> {
        let page = self.store.events(self.position, REPLAY_SLICE).await?;
        let mut text = String::new();
        if page.gap {
            self.position = page.last;
            self.write_reset(&mut text, gap_means);
        } else {
            self.write_events(&mut text, &page.events);
        }
        if page.gap || page.events.is_empty() || self.position >= page.last {
            self.replaying = None;
        }
        Ok(text)
    }

    fn write_events(&mut self, out: &mut String, events: &[Event]) {
        for event in events {
            // Replayed already, or still to come from the live side.
            if event.seq <= self.position {
                continue;
            }
            self.position = event.seq;
            if self.filter.accepts(&event.change) {
                write_event(out, self.store.epoch(), event);
            }
        }
    }

    fn write_reset(&self, out: &mut String, reset: Reset) {
        let data = format!("{{\"reason\":\"{}\"}}", reset.name());
        write_block(out, self.id(), "reset", &data);
    }

    fn id(&self) -> EventId {
        EventId { epoch: self.store.epoch(), seq: self.position }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::broadcast;

    use super::{Filter, Follower, Start};
    use crate::api::tests::harness::Api;
    use crate::event::Event;
    use crate::store::{Keep, Retention};
    use crate::time::now;

    /// A follower that has seen nothing, whose live side has lost a batch.
    async fn lagging(api: &Api) -> (Follower, broadcast::Sender<Arc<[Event]>>) {
        let mut follower = Follower::start(&api.state, Start::Now, Filter::default()).await.unwrap();
        assert!(follower.next().await.unwrap().unwrap().contains("event: hello"));
        for _ in 0..3 {
            api.enqueue(r#"{"kind":"echo"}"#).await;
        }
        let events = api.store.events(0, 9).await.unwrap().events;
        let (sender, receiver) = broadcast::channel(2);
        follower.live = receiver;
        for event in events {
            sender.send(Arc::from([event])).unwrap();
        }
        (follower, sender)
    }

    #[tokio::test]
    async fn i2_a_client_that_lags_catches_up_from_the_store() {
        let api = Api::new().await;
        let (mut follower, live) = lagging(&api).await;
        let text = follower.next().await.unwrap().unwrap();
        let ids: Vec<_> = text.lines().filter(|line| line.starts_with("id: ")).collect();
        let epoch = api.store.epoch();
        assert_eq!(ids, [1, 2, 3].map(|seq| format!("id: {epoch:08x}-{seq}")));
        // What the live side still has was replayed: it is not sent again.
        drop(live);
        assert_eq!(follower.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn i2_a_client_that_lags_beyond_the_history_is_told_so() {
        let api = Api::new().await;
        let (mut follower, _live) = lagging(&api).await;
        let retention = Retention::uniform(Keep::ALL, 1);
        api.store.prune(retention, now()).await.unwrap();
        let text = follower.next().await.unwrap().unwrap();
        let expected = format!("id: {:08x}-3\nevent: reset\ndata: {{\"reason\":\"lagged\"}}\n\n", api.store.epoch());
        assert_eq!(text, expected);
    }
}
