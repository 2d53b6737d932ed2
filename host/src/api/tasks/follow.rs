//! A task's log as server-sent events: what is there, then each line as it is written, until the task has ended.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::wait::may_end;
use crate::api::problem::Problem;
use crate::api::{AppState, LogReader, LogSlice, events};
use crate::event::Event;
use crate::store::Store;
use crate::task::TaskId;

/// What is sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Lines, as they come.
    Lines,
    /// What is left: the task has ended like this.
    Rest(&'static str),
    /// Nothing any more.
    Done,
}

/// A client's position in a log, and what it waits for. It holds one slice at most.
struct Follower {
    task: TaskId,
    store: Arc<dyn Store>,
    logs: Arc<dyn LogReader>,
    lines: watch::Receiver<()>,
    events: broadcast::Receiver<Arc<[Event]>>,
    stop: CancellationToken,
    slice: LogSlice,
    /// Dropped lines that the client has been told of.
    dropped: u64,
    phase: Phase,
    /// There may be more than was read.
    unread: bool,
    /// Text to send before anything else.
    first: String,
}

/// The log of a task from `slice.offset` on. The id of each line is where the next one starts.
pub(super) async fn stream(state: &AppState, task: TaskId, slice: LogSlice) -> Result<Response, Problem> {
    // Interest first, questions second: nothing falls between.
    let (lines, events) = (state.logs.follow(task), state.store.subscribe());
    let found = super::find(&*state.store, task).await?;
    let phase = if found.status.state.is_terminal() { Phase::Rest(found.status.state.name()) } else { Phase::Lines };
    let follower = Follower {
        task,
        store: Arc::clone(&state.store),
        logs: Arc::clone(&state.logs),
        lines,
        events,
        stop: state.stop.clone(),
        slice,
        dropped: 0,
        phase,
        unread: true,
        first: format!("retry: {}\n\n", events::RETRY_MS),
    };
    Ok(events::streamed(Body::from_stream(follower.into_stream())))
}

impl Follower {
    fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures_util::stream::try_unfold(self, async |mut follower| {
            Ok(follower.next().await?.map(|text| (Bytes::from(text), follower)))
        })
    }

    async fn next(&mut self) -> io::Result<Option<String>> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        let keep_alive_at = tokio::time::Instant::now() + events::KEEP_ALIVE;
        while !self.stop.is_cancelled() {
            if self.unread {
                let text = self.read().await?;
                if !text.is_empty() {
                    return Ok(Some(text));
                }
                continue;
            }
            match self.phase {
                Phase::Lines => {}
                Phase::Rest(state) => {
                    self.phase = Phase::Done;
                    let id = self.slice.offset;
                    return Ok(Some(format!("id: {id}\nevent: end\ndata: {{\"state\":\"{state}\"}}\n\n")));
                }
                Phase::Done => return Ok(None),
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => {}
                changed = self.lines.changed() => match changed {
                    Ok(()) => self.unread = true,
                    Err(_) => return Ok(None),
                },
                batch = self.events.recv() => match batch {
                    Ok(batch) if !batch.iter().any(|event| may_end(event, self.task)) => {}
                    // Lagged: the end may be among what was missed.
                    Ok(_) | Err(RecvError::Lagged(_)) => self.look().await?,
                    Err(RecvError::Closed) => return Ok(None),
                },
                () = tokio::time::sleep_until(keep_alive_at) => return Ok(Some(": alive\n\n".to_owned())),
            }
        }
        Ok(None)
    }

    /// Whether the task has ended. Its last line is written before that is known.
    async fn look(&mut self) -> io::Result<()> {
        let state = match self.store.task(self.task).await {
            Ok(Some(task)) if !task.status.state.is_terminal() => return Ok(()),
            Ok(Some(task)) => task.status.state.name(),
            Ok(None) => "purged",
            Err(error) => return Err(io::Error::other(error)),
        };
        (self.phase, self.unread) = (Phase::Rest(state), true);
        Ok(())
    }

    /// The next slice, if there is anything new.
    async fn read(&mut self) -> io::Result<String> {
        // What comes after this is another change.
        self.lines.mark_unchanged();
        self.slice.settled = self.phase == Phase::Lines;
        let page = self.logs.read(self.task, self.slice).await?;
        self.slice.offset = page.next_offset;
        self.unread = !page.eof;
        let mut text = String::new();
        for (line, end) in page.lines.iter().zip(&page.ends) {
            // Writing to a string does not fail. A line is JSON text without a line break.
            let _ = write!(text, "id: {end}\nevent: line\ndata: {line}\n\n");
        }
        // Behind the lines that are there.
        if self.slice.settled && page.eof && std::mem::replace(&mut self.dropped, page.dropped) != page.dropped {
            let _ = write!(text, "event: dropped\ndata: {{\"lines\":{}}}\n\n", page.dropped);
        }
        Ok(text)
    }
}
