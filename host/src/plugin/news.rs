//! What happens to plugins, for whoever tells it on.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::archive::Cause;
use crate::task::Digest;

/// What waits to be told on, at most; beyond that the oldest is dropped and the log says so.
const MAX_WAITING: usize = 4_096;

/// Something that has happened to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Its name.
    pub plugin: String,
    /// The component that it is about; absent when that could not be read.
    pub digest: Option<Digest>,
    /// What has happened.
    pub what: What,
}

/// What has happened to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A generation has gone live that was not live before, also not before a restart.
    Live(Cause),
    /// The file in the folder does not go live, and why.
    Refused(String),
    /// Nothing runs any more on a generation that was replaced or removed.
    Drained,
    /// It is gone from the folder.
    Removed,
}

/// News on their way, in the order in which they happened.
#[derive(Debug, Default)]
pub(super) struct Newsroom {
    waiting: Mutex<VecDeque<News>>,
    bell: Notify,
}

impl Newsroom {
    /// Takes note. Never waits.
    pub(super) fn push(&self, news: News) {
        let mut waiting = self.waiting();
        waiting.push_back(news);
        let dropped = if waiting.len() > MAX_WAITING { waiting.pop_front() } else { None };
        drop(waiting);
        if let Some(News { plugin, what, .. }) = dropped {
            tracing::warn!(plugin, ?what, "nobody has told what happened to a plugin: it has no event");
        }
        self.bell.notify_one();
    }

    /// What has happened since this was asked last; waits for something. For one reader.
    pub(super) async fn next(&self) -> Vec<News> {
        loop {
            let news = self.take();
            if !news.is_empty() {
                return news;
            }
            self.bell.notified().await;
        }
    }

    /// What has happened since this was asked last.
    pub(super) fn take(&self) -> Vec<News> {
        self.waiting().drain(..).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<News>> {
        // A queue of whole entries.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
