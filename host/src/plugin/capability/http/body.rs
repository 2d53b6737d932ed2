//! Bodies between a guest and the web: counted, bounded in bytes and in time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use wasmtime_wasi_http::{Error, WasiBody};

use super::send::of_hyper;
use super::usage::Usage;

/// Why a request's body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    /// More than the bound.
    #[error("the body has more than {0} bytes")]
    TooLong(u64),
    /// The guest gave it up, or did not keep to the length that it had announced.
    #[error("the guest did not finish the body")]
    Abandoned,
}

impl Broken {
    pub(super) fn error(self) -> Error {
        match self {
            Self::TooLong(most) => Error::HttpRequestBodySize(Some(most)),
            Self::Abandoned => Error::HttpProtocolError,
        }
    }
}

/// A request's body on its way out.
pub(super) struct RequestBody {
    pub(super) inner: WasiBody,
    pub(super) usage: Arc<Usage>,
    pub(super) most: u64,
    pub(super) left: u64,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Pin::new(&mut self.inner).poll_frame(cx).map(|frame| {
            frame.map(|frame| {
                let frame = frame.map_err(|_| Broken::Abandoned)?;
                if let Some(data) = frame.data_ref() {
                    self.left = self.left.checked_sub(data.len() as u64).ok_or(Broken::TooLong(self.most))?;
                    self.usage.sent(data.len());
                }
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response's body on its way in.
pub(super) struct ResponseBody {
    inner: Incoming,
    usage: Arc<Usage>,
    most: u64,
    left: u64,
    until: Pin<Box<Sleep>>,
    /// The longest pause, and its end.
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
    ended: bool,
    _seat: OwnedSemaphorePermit,
}

impl ResponseBody {
    /// At most `most` bytes by `until`.
    pub(super) fn new(
        inner: Incoming,
        (usage, seat): (Arc<Usage>, OwnedSemaphorePermit),
        most: u64,
        until: Instant,
        pause: Option<Duration>,
    ) -> Self {
        let pause = pause.map(|pause| (pause, Box::pin(sleep(pause))));
        Self { inner, usage, most, left: most, until: Box::pin(sleep_until(until)), pause, ended: false, _seat: seat }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.until.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Error::HttpResponseTimeout)));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else {
            let paused = self.pause.as_mut().is_some_and(|(_, end)| end.as_mut().poll(cx).is_ready());
            return if paused { Poll::Ready(Some(Err(Error::ConnectionReadTimeout))) } else { Poll::Pending };
        };
        if let Some((pause, end)) = &mut self.pause {
            *end = Box::pin(sleep(*pause));
        }
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(|error| of_hyper(&error))?;
            if let Some(data) = frame.data_ref() {
                self.usage.received(data.len());
                let left = self.left.checked_sub(data.len() as u64);
                self.left = left.ok_or(Error::HttpResponseBodySize(Some(self.most)))?;
            }
            Ok(frame)
        }))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let next = self.next(cx);
        self.ended = matches!(next, Poll::Ready(None | Some(Err(_))));
        next
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
