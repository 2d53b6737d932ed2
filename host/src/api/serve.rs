//! Accepts connections and serves a router on them, with bounds on how many there are and on how
//! long each may keep the host waiting.

mod explain;
mod stall;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::explain::Explained;
use self::stall::StallGuard;

/// Streams at the same time on one HTTP/2 connection.
const MAX_HTTP2_STREAMS: u32 = 64;
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// An HTTP/2 client that says nothing is asked whether it lives this often, and may take as long to answer.
const HTTP2_PING: Duration = Duration::from_secs(20);
/// After the system refused to accept (too many open files), the next try comes this much later.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connections at the same time; further ones wait in the system's queue.
    pub max_connections: u32,
    /// A request's head must arrive within this, also after an idle time, in milliseconds.
    pub header_timeout_ms: u64,
    /// A client that takes nothing of a response for this long is cut off, in milliseconds.
    pub stall_timeout_ms: u64,
    /// After a stop, running requests may go on for this long, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_connections: 1_024, header_timeout_ms: 10_000, stall_timeout_ms: 60_000, drain_ms: 5_000 }
    }
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off because their requests did not end in time.
    pub cut_off: usize,
}

/// Serves `router` until `stop`, then lets running requests end, within bounds.
pub async fn serve(listener: TcpListener, router: Router, settings: Settings, stop: CancellationToken) -> Drained {
    let server = Server::new(router, settings, stop);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = server.stop.cancelled() => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = server.accept(&listener) => match accepted {
                Some((stream, permit)) => drop(connections.spawn(server.clone().connection(stream, permit))),
                None => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    server.drain(connections).await
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection panicked");
    }
}

#[derive(Clone)]
struct Server {
    router: Router,
    builder: auto::Builder<Tracked>,
    streams: TaskTracker,
    places: Arc<Semaphore>,
    settings: Settings,
    stop: CancellationToken,
}

impl Server {
    fn new(router: Router, settings: Settings, stop: CancellationToken) -> Self {
        let streams = TaskTracker::new();
        let mut builder = auto::Builder::new(Tracked(streams.clone()));
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(settings.header_timeout_ms))
            .max_buf_size(MAX_HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_HTTP2_STREAMS)
            .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(HTTP2_PING)
            .keep_alive_timeout(HTTP2_PING);
        let places = Arc::new(Semaphore::new(settings.max_connections.max(1) as usize));
        Self { router, builder, streams, places, settings, stop }
    }

    /// The next connection, once there is a place for it; `None` when the system refuses.
    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections now");
                    return None;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        // Without it small answers wait for the client's acknowledgement; an error only costs speed.
        let _ = stream.set_nodelay(true);
        let stream = StallGuard::new(stream, Duration::from_millis(self.settings.stall_timeout_ms));
        let stream = Explained::new(stream);
        let heard = CancellationToken::new();
        let service = {
            let (inner, heard) = (TowerToHyperService::new(self.router.clone()), heard.clone());
            hyper::service::service_fn(move |request: Request<Incoming>| {
                heard.cancel();
                inner.call(request)
            })
        };
        let mut connection = std::pin::pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let mut first_head = std::pin::pin!(tokio::time::sleep(Duration::from_millis(self.settings.header_timeout_ms)));
        let (mut waits_for_first, mut drains) = (true, false);
        loop {
            tokio::select! {
                // An error is the client's: it went away or did not speak HTTP.
                _ = connection.as_mut() => return,
                () = self.stop.cancelled(), if !drains => {
                    drains = true;
                    connection.as_mut().graceful_shutdown();
                }
                // The timeout of heads starts when the protocol is known: this one covers what is before.
                () = first_head.as_mut(), if waits_for_first => {
                    waits_for_first = false;
                    if !heard.is_cancelled() {
                        return;
                    }
                }
            }
        }
    }

    async fn drain(self, mut connections: JoinSet<()>) -> Drained {
        let ended = async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        };
        let in_time = tokio::time::timeout(Duration::from_millis(self.settings.drain_ms), ended).await;
        let cut_off = if in_time.is_ok() { 0 } else { connections.len() };
        connections.shutdown().await;
        self.streams.close();
        // Their connections are gone, so they end by themselves; a handler that does not is left behind.
        if tokio::time::timeout(ACCEPT_PAUSE, self.streams.wait()).await.is_err() {
            tracing::warn!(streams = self.streams.len(), "requests outlived their connections");
        }
        Drained { cut_off }
    }
}

/// Errors that say something of one connection only: the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Runs the streams of HTTP/2 connections where they can be waited for.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, future: F) {
        drop(self.0.spawn(future));
    }
}
