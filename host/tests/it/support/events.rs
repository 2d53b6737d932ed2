//! A reader of `GET /v1/events` with a deadline on every wait.

use std::pin::Pin;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use serde_json::Value;
use tokio::time::timeout;

/// Nothing in these tests takes longer, even on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

/// One event as a browser would see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Event {
    /// What `Last-Event-ID` would be.
    pub(crate) id: String,
    /// Its name, such as `task.succeeded`.
    pub(crate) name: String,
    /// Its JSON.
    pub(crate) data: Value,
}

impl Event {
    /// The task that it is about.
    pub(crate) fn task(&self) -> &str {
        self.data["task"].as_str().unwrap_or_default()
    }
}

/// An open stream.
pub(crate) struct Events {
    body: Pin<Box<dyn Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    buffer: Vec<u8>,
}

impl Events {
    /// Reads the body of an answer whose headers have arrived.
    pub(crate) fn of(answer: reqwest::Response) -> Self {
        Self { body: Box::pin(answer.bytes_stream()), buffer: Vec::new() }
    }

    /// The next event; `None` when the host ended the stream. Comments are passed over.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        timeout(PATIENCE, self.read()).await.expect("no event came in time")
    }

    /// Reads on until an event that `wanted` accepts, and returns everything read, that one last.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let read = async {
            let mut seen = Vec::new();
            loop {
                let event = self.read().await.unwrap_or_else(|| panic!("the stream ended after {seen:#?}"));
                let done = wanted(&event);
                seen.push(event);
                if done {
                    return seen;
                }
            }
        };
        timeout(PATIENCE, read).await.expect("the awaited event did not come in time")
    }

    /// Reads on until the event `name` of the task `id`.
    pub(crate) async fn task(&mut self, id: &str, name: &str) -> Event {
        self.until(|event| event.name == name && event.task() == id).await.pop().expect("the awaited event is last")
    }

    /// Reads to the end of the stream, which must come in time.
    pub(crate) async fn drain(&mut self) -> Vec<Event> {
        let read = async {
            let mut seen = Vec::new();
            while let Some(event) = self.read().await {
                seen.push(event);
            }
            seen
        };
        timeout(PATIENCE, read).await.expect("the stream did not end in time")
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                if let Some(event) = parse(std::str::from_utf8(&block).expect("events are UTF-8")) {
                    return Some(event);
                }
                continue;
            }
            match self.body.next().await? {
                Ok(bytes) => self.buffer.extend_from_slice(&bytes),
                Err(_closed) => return None,
            }
        }
    }
}

/// One block of lines; `None` for comments and keep-alives.
fn parse(block: &str) -> Option<Event> {
    let mut event = Event::default();
    let mut data = String::new();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut event.id),
            "event" => value.clone_into(&mut event.name),
            "data" => data.push_str(value),
            _ => {}
        }
    }
    if data.is_empty() && event.name.is_empty() {
        return None;
    }
    event.data = serde_json::from_str(&data).unwrap_or(Value::String(data));
    Some(event)
}
