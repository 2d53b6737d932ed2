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
pub const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A browser comes back after this long, in milliseconds.
pub const RETRY_MS: u32 = 2_000;
/// After so many events that a client does not want to hear of it is told where the stream is: from there it
/// can go on, however long nothing else comes.
const SILENT_EVENTS: u64 = 4_096;
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
    /// Events of this task …
    pub(super) task: Option<TaskId>,
    /// … of tasks of these kinds …
    pub(super) kinds: Option<Vec<String>>,
    /// … and in these queues, or of those kinds or queues themselves when only one of both is named,
    pub(super) queues: Option<Vec<String>>,
    /// or of these schedules,
    pub(super) schedules: Option<Vec<String>>,
    /// or of these files,
    pub(super) media: Option<Vec<String>>,
    /// or of these plugins.
    pub(super) plugins: Option<Vec<String>>,
    /// Of all those only these.
    pub(super) types: Option<Vec<String>>,
}

impl Filter {
    pub(super) fn accepts(&self, change: &Change) -> bool {
        let among = |names: &Option<Vec<String>>, name: &str| {
            names.as_ref().is_none_or(|names| names.iter().any(|wanted| wanted == name))
        };
        let by_task = self.task.is_some() || self.kinds.is_some() || self.queues.is_some();
        let everything = !by_task && self.schedules.is_none() && self.media.is_none() && self.plugins.is_none();
        // Queues and kinds as such are meant when they are asked for by their names, and by nothing else.
        let only_queues = self.queues.is_some() && self.kinds.is_none() && self.task.is_none();
        let only_kinds = self.kinds.is_some() && self.queues.is_none() && self.task.is_none();
        let is_meant = match change {
            Change::Task { id, kind, queue, .. } => {
                (everything || by_task)
                    && self.task.is_none_or(|task| task == *id)
                    && among(&self.kinds, kind)
                    && among(&self.queues, queue)
            }
            Change::Queue { name, .. } => (everything || only_queues) && among(&self.queues, name),
            Change::Kind { name, .. } => (everything || only_kinds) && among(&self.kinds, name),
            Change::Schedule { name, .. } | Change::ScheduleState { name, .. } => {
                (everything || self.schedules.is_some()) && among(&self.schedules, name)
            }
            Change::Batch { .. } | Change::Limit { .. } | Change::Shares { .. } => everything,
            Change::Plugin(news) => (everything || self.plugins.is_some()) && among(&self.plugins, &news.name),
            Change::Media { id, .. } => (everything || self.media.is_some()) && among(&self.media, id),
        };
        is_meant && among(&self.types, change.name())
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
    /// What the client was told last.
    told: u64,
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
            told: last,
            replaying: None,
            first: String::new(),
        };
        match start {
            Start::Now => write_block(&mut first, EventId { epoch, seq: last }, "hello", "{}"),
            Start::After(id) if id.epoch != epoch || id.seq > last => {
                follower.write_reset(&mut first, Reset::OtherEpoch);
            }
            Start::After(id) => {
                (follower.position, follower.told) = (id.seq, id.seq);
                follower.replaying = Some(Reset::Expired);
            }
        }
        follower.first = first;
        Ok(follower)
    }

    /// The blocks to send, until the host stops.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
        futures_util::stream::try_unfold(self, async |mut follower| {
            Ok(follower.next().await?.map(|text| (Bytes::from(text), follower)))
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
                if let Some(text) = self.tell(text) {
                    return Ok(Some(text));
                }
                continue;
            }
            let received = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(None),
                received = self.live.recv() => received,
                () = tokio::time::sleep_until(keep_alive_at) => {
                    self.told = self.position;
                    return Ok(Some(keep_alive(self.id())));
                }
            };
            match received {
                Ok(batch) => {
                    let mut text = String::new();
                    self.write_events(&mut text, &batch);
                    if let Some(text) = self.tell(text) {
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

    /// What to send, if anything.
    fn tell(&mut self, text: String) -> Option<String> {
        let silent = self.position.saturating_sub(self.told);
        if text.is_empty() && silent < SILENT_EVENTS {
            return None;
        }
        self.told = self.position;
        Some(if text.is_empty() { keep_alive(self.id()) } else { text })
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

    #[tokio::test]
    async fn i2_a_filtered_client_keeps_up_with_what_it_does_not_hear() {
        let api = Api::new().await;
        let filter = Filter { kinds: Some(vec!["other".to_owned()]), ..Filter::default() };
        let start = Start::After(super::EventId { epoch: api.store.epoch(), seq: 0 });
        for _ in 0..super::SILENT_EVENTS / 512 {
            let tasks = (0..512).map(|_| crate::task::NewTask::new("echo", "{}")).collect();
            api.store.enqueue(tasks, now()).await.unwrap();
        }
        let mut follower = Follower::start(&api.state, start, filter.clone()).await.unwrap();
        assert!(follower.next().await.unwrap().unwrap().starts_with("retry: "));
        let text = follower.next().await.unwrap().unwrap();
        let id = format!("{:08x}-{}", api.store.epoch(), super::SILENT_EVENTS);
        assert_eq!(text, format!(": alive\nid: {id}\n\n"), "it is told where it is");
        // Much is forgotten meanwhile, but nothing that it has not passed.
        api.store.enqueue(vec![crate::task::NewTask::new("other", "{}")], now()).await.unwrap();
        api.store.prune(Retention::uniform(Keep::ALL, 1), now()).await.unwrap();
        let mut again = Follower::start(&api.state, Start::After(id.parse().unwrap()), filter).await.unwrap();
        again.next().await.unwrap();
        let text = again.next().await.unwrap().unwrap();
        assert!(text.contains("event: task.queued"), "{text}");
    }
}
