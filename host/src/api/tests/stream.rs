//! A client of server-sent events.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::harness::Api;

/// One block of a stream.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) data: Value,
}

/// A client of the stream.
pub(super) struct Stream {
    body: Body,
    text: String,
}

impl Stream {
    pub(super) async fn open(api: &Api, uri: &str, last: Option<&str>) -> Self {
        let mut request = Request::get(uri).header("host", "localhost");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        Self::of(api, request.body(Body::empty()).unwrap()).await
    }

    pub(super) async fn of(api: &Api, request: Request<Body>) -> Self {
        let response = tower::ServiceExt::oneshot(api.router.clone(), request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut stream = Self { body: response.into_body(), text: String::new() };
        assert_eq!(stream.block().await.unwrap(), "retry: 2000");
        stream
    }

    pub(super) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let data = self.body.frame().await?.unwrap().into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    pub(super) async fn next(&mut self) -> Block {
        let block = self.block().await.unwrap();
        let fields: Vec<_> = block.lines().map(|line| line.split_once(": ").unwrap()).collect();
        let [("id", id), ("event", name), ("data", data)] = fields[..] else { panic!("{block}") };
        Block { id: id.to_owned(), name: name.to_owned(), data: serde_json::from_str(data).unwrap() }
    }

    pub(super) async fn names(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..count {
            names.push(self.next().await.name);
        }
        names
    }
}
