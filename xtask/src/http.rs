//! A client of the host's HTTP API.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::Value;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};

use crate::deadline::Deadline;

/// One request and its answer, at most.
const TIMEOUT: Duration = Duration::from_mins(2);
/// An answer's body, at most.
const MAX_BODY_BYTES: u64 = 256 * 1024 * 1024;

/// What the host answered.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The `Content-Range` header, if any.
    pub(crate) content_range: Option<String>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn read(request: &str, response: Result<Response<Body>, ureq::Error>) -> Result<Self> {
        let response = response.with_context(|| format!("{request} failed"))?;
        let status = response.status();
        let content_range = response.headers().get("content-range").and_then(|v| v.to_str().ok()).map(str::to_owned);
        let body = response.into_body().with_config().limit(MAX_BODY_BYTES).read_to_vec();
        let body = body.with_context(|| format!("the answer to {request} broke off"))?;
        Ok(Self { status, content_range, body })
    }

    /// The body as JSON, if the status is one of success.
    pub(crate) fn json(self) -> Result<Value> {
        let text = String::from_utf8_lossy(&self.body);
        if !self.status.is_success() {
            bail!("the host answered {}: {text}", self.status);
        }
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("the host's answer is not JSON: {text}"))
    }
}

/// A client of one host.
pub(crate) struct Client {
    agent: Agent,
    base: String,
}

impl Client {
    /// A client of the host at `address`, such as `127.0.0.1:7420`.
    pub(crate) fn new(address: &str) -> Self {
        let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).proxy(None);
        Self { agent: config.build().into(), base: format!("http://{address}") }
    }

    /// `GET`, with headers.
    pub(crate) fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        let request = self.agent.get(format!("{}{path}", self.base));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Answer::read(&format!("GET {path}"), request.call())
    }

    /// `DELETE`.
    pub(crate) fn delete(&self, path: &str) -> Result<Answer> {
        Answer::read(&format!("DELETE {path}"), self.agent.delete(format!("{}{path}", self.base)).call())
    }

    /// `POST` of JSON, or of nothing.
    pub(crate) fn post(&self, path: &str, json: Option<&Value>) -> Result<Answer> {
        let request = self.agent.post(format!("{}{path}", self.base));
        let response = match json {
            Some(json) => request.header("content-type", "application/json").send(json.to_string()),
            None => request.send_empty(),
        };
        Answer::read(&format!("POST {path}"), response)
    }

    /// `POST` of a file.
    pub(crate) fn upload(&self, path: &str, file: &Path, content_type: &str) -> Result<Answer> {
        let file = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        let request = self.agent.post(format!("{}{path}", self.base)).header("content-type", content_type);
        Answer::read(&format!("POST {path}"), request.send(&file))
    }

    /// Opens the stream of events, from now on.
    pub(crate) fn events(&self) -> Result<Events> {
        let config = Agent::config_builder().timeout_connect(Some(TIMEOUT)).proxy(None).build();
        let response = Agent::from(config).get(format!("{}/v1/events", self.base)).call();
        let response = response.context("GET /v1/events failed")?;
        let (sender, receiver) = mpsc::channel();
        let lines = BufReader::new(response.into_body().into_with_config().limit(u64::MAX).reader()).lines();
        // Ends with the stream, that is with the host, or when nobody listens any more.
        std::thread::spawn(move || {
            let data = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("data:").map(str::to_owned));
            let events = data.filter_map(|data| serde_json::from_str::<Value>(&data).ok());
            for event in events {
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        Ok(Events { receiver })
    }
}

/// The host's events in the order of its commits, as JSON.
pub(crate) struct Events {
    receiver: Receiver<Value>,
}

impl Events {
    /// Reads on until `look` finds what it wants. `what` says what was waited for.
    pub(crate) fn find<T>(&self, what: &str, mut look: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        let deadline = Deadline::seconds(60);
        loop {
            let event = self.receiver.recv_timeout(deadline.left()).map_err(|error| match error {
                RecvTimeoutError::Timeout => anyhow!("waited too long for {what}"),
                RecvTimeoutError::Disconnected => anyhow!("the stream of events ended before {what}"),
            })?;
            if let Some(found) = look(&event) {
                return Ok(found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use super::Client;

    /// A server that answers one request with `answer`, and its address.
    fn serve_once(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            head.take_while(|line| !line.is_empty()).for_each(drop);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn events_come_in_order_and_their_end_is_told() {
        let address = serve_once(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
             : alive\nid: 1-1\n\nid: 1-2\nevent: a\ndata: {\"seq\":2}\n\nevent: b\ndata: {\"seq\":3}\n\n",
        );
        let events = Client::new(&address).events().unwrap();
        assert_eq!(events.find("the second", |e| e["seq"].as_u64().filter(|seq| *seq == 3)).unwrap(), 3);
        let error = events.find("the third", |_| Some(())).unwrap_err();
        assert_eq!(error.to_string(), "the stream of events ended before the third");
    }

    #[test]
    fn a_refusal_carries_what_the_host_said() {
        let address = serve_once("HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\nconnection: close\r\n\r\ngone");
        let error = Client::new(&address).get("/x", &[]).unwrap().json().unwrap_err();
        assert_eq!(error.to_string(), "the host answered 404 Not Found: gone");
    }
}
