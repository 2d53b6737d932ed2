//! One exchange: the name is resolved once, the addresses are checked, and the connection goes to exactly those.

use std::error::Error as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::address::{Reach, reach};
use super::body::{Broken, RequestBody, ResponseBody};
use super::fill::Fill;
use super::queue::Queued;
use super::{Attempt, Sent, size};
use crate::plugin::link::{HostName, HttpLimits, Place, Scheme, Target};

/// No time is shorter: a timer of nothing would be over before anything could happen.
const MIN_TIME: Duration = Duration::from_millis(1);
/// How long an address is tried when there is another one: a machine may have a way to the one family only.
const ADDRESS_TIME: Duration = Duration::from_secs(2);
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// Headers of a response.
const MAX_RESPONSE_HEADERS: usize = 128;
/// Bytes of a response's head.
const MAX_RESPONSE_HEAD_BYTES: usize = 64 * 1024;

type Stream = Either<TcpStream, TlsStream<TcpStream>>;
type OutBody = http_body_util::combinators::UnsyncBoxBody<Bytes, Broken>;
type Connection = http1::Connection<TokioIo<Stream>, OutBody>;

/// A request that was allowed.
pub(super) struct Plan {
    pub(super) attempt: Arc<Attempt>,
    pub(super) target: Target,
    pub(super) private: bool,
    pub(super) limits: HttpLimits,
    pub(super) fill: Fill,
}

/// Sends it, for as long as it may take and its attempt lasts.
pub(super) async fn send((plan, place): (Plan, Queued), request: Request<WasiBody>, options: RequestOptions) -> Sent {
    let end = plan.attempt.end.clone();
    let longest = Instant::now() + Duration::from_millis(plan.limits.timeout_ms);
    let until = plan.attempt.deadline.min(longest).max(Instant::now() + MIN_TIME);
    let (attempt, concurrency) = (Arc::clone(&plan.attempt), plan.limits.concurrency);
    let exchange = async {
        let full = |_| {
            let others = format!("others were under way ({concurrency}) or not read to their ends");
            attempt.limit(&format!("a request found no place: {others}"), "concurrency")
        };
        let closed = |_| Error::ConnectionTerminated;
        let place = timeout_at(until, place.permit()).await.map_err(full)?.map_err(closed)?;
        let _until_the_head_is_there =
            timeout_at(until, attempt.seats.acquire()).await.map_err(full)?.map_err(closed)?;
        let exchange = timeout_at(until, plan.exchange(request, options, (place, until)));
        exchange.await.unwrap_or(Err(Error::HttpResponseTimeout))
    };
    let (response, connection) = tokio::select! {
        biased;
        () = end.cancelled() => return Err(Error::ConnectionTerminated),
        done = exchange => done?,
    };
    // Carries the response's body; its errors are the body's.
    let carry = async move {
        if let Some(connection) = connection {
            tokio::select! {
                () = end.cancelled() => {}
                _told_by_the_body = connection => {}
            }
        }
        Ok(())
    };
    Ok((response, Box::new(carry)))
}

impl Plan {
    async fn exchange(
        self,
        request: Request<WasiBody>,
        options: RequestOptions,
        (place, until): (OwnedSemaphorePermit, Instant),
    ) -> Result<(Response<WasiBody>, Option<Connection>), Error> {
        // What nobody asked for ends with the whole request, which has its own answer.
        let time = |asked: Option<Duration>| asked.map_or(Duration::MAX, |asked| asked.max(MIN_TIME));
        let request = self.prepare(request).await?;
        let connecting = timeout(time(options.connect_timeout), self.connect());
        let stream = connecting.await.unwrap_or(Err(Error::ConnectionTimeout))?;
        let handshake = http1::Builder::new()
            .max_headers(MAX_RESPONSE_HEADERS)
            .max_buf_size(MAX_RESPONSE_HEAD_BYTES)
            .handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| of_hyper(&error))?;
        let answering = answer(sender.send_request(request), connection);
        let answered = timeout(time(options.first_byte_timeout), answering).await;
        let (response, connection) = answered.unwrap_or(Err(Error::ConnectionReadTimeout))?;
        // The client's own bound is one of its buffer, which may hold more at the moment it is filled.
        if size(response.headers()) > MAX_RESPONSE_HEAD_BYTES {
            return Err(too_long_head());
        }
        let most = self.limits.response_bytes;
        if response.body().size_hint().lower() > most {
            return Err(Error::HttpResponseBodySize(Some(most)));
        }
        let pause = options.between_bytes_timeout.map(|pause| pause.max(MIN_TIME));
        let shared = (Arc::clone(&self.attempt.usage), place);
        let response = response.map(|body| ResponseBody::new(body, shared, most, until, pause).boxed_unsync());
        Ok((response, connection))
    }

    /// The request as it goes over the wire.
    async fn prepare(&self, request: Request<WasiBody>) -> Result<Request<OutBody>, Error> {
        let (mut head, body) = request.into_parts();
        let most = self.limits.request_bytes;
        let body = RequestBody { inner: body, usage: Arc::clone(&self.attempt.usage), most, left: most };
        let target = self.fill.target(&self.target.path, head.uri.query())?;
        head.uri = target.into();
        self.fill.headers(&mut head.headers)?;
        let host = HeaderValue::try_from(self.target.host_header()).map_err(|_| Error::HttpRequestUriInvalid)?;
        head.headers.insert(HOST, host);
        let body = if self.fill.is_for(Place::Body) {
            let whole = body.collect().await.map_err(Broken::error)?.to_bytes();
            let filled = self.fill.body(whole, most)?;
            if head.headers.contains_key(CONTENT_LENGTH) {
                head.headers.insert(CONTENT_LENGTH, filled.len().into());
            }
            Full::new(filled).map_err(|never| match never {}).boxed_unsync()
        } else {
            body.boxed_unsync()
        };
        Ok(Request::from_parts(head, body))
    }

    /// Connects to the first of the checked addresses that answers.
    async fn connect(&self) -> Result<Stream, Error> {
        let mut failed = Error::DestinationNotFound;
        let addresses = self.addresses().await?;
        for (index, address) in addresses.iter().enumerate() {
            let network = &self.attempt.code.shared.ports.outside.network;
            let connecting = network.connect(SocketAddr::new(*address, self.target.port));
            let time = if index + 1 < addresses.len() { ADDRESS_TIME } else { Duration::MAX };
            match timeout(time, connecting).await {
                Ok(Ok(stream)) => return self.secure(stream).await,
                Ok(Err(error)) => failed = of_connect(&error),
                Err(_) => failed = Error::ConnectionTimeout,
            }
        }
        Err(failed)
    }

    /// The addresses that may be reached. They are looked up once: whatever the name means a moment later, the
    /// connection goes to one of these.
    async fn addresses(&self) -> Result<Vec<IpAddr>, Error> {
        let found = match &self.target.host {
            HostName::Address(address) => vec![*address],
            HostName::Name(name) => {
                let outside = &self.attempt.code.shared.ports.outside;
                let unknown =
                    |_| Error::DnsError { rcode: Some("the name has no address".to_owned()), info_code: None };
                outside.network.resolve(name).await.map_err(unknown)?
            }
        };
        let mut allowed = Vec::new();
        let mut why = None;
        for address in found {
            match reach(address) {
                Reach::Public => allowed.push(address),
                Reach::Private(_) if self.private => allowed.push(address),
                Reach::Private(what) => {
                    let host = self.target.host.to_string();
                    let file = format!("plugins/{}.toml", self.attempt.code.name);
                    let fix =
                        format!("`private = true` in the [[grant.http]] of host {host:?} in {file} would allow it");
                    why = Some(format!("{} leads to {address}, {what}: {fix}", self.target));
                }
                Reach::Never(what) => {
                    why.get_or_insert_with(|| format!("{} leads to {address}, {what}: never allowed", self.target));
                }
            }
        }
        allowed.truncate(MAX_ADDRESSES);
        match (allowed.is_empty(), why) {
            (false, _) => Ok(allowed),
            (true, Some(why)) => {
                self.attempt.tell(&why);
                Err(Error::DestinationIpProhibited)
            }
            (true, None) => Err(Error::DestinationNotFound),
        }
    }

    async fn secure(&self, stream: TcpStream) -> Result<Stream, Error> {
        // Small requests go out at once; an error here only makes them later.
        let _ = stream.set_nodelay(true);
        if self.target.scheme == Scheme::Http {
            return Ok(Either::Left(stream));
        }
        let name = match &self.target.host {
            HostName::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Error::HttpRequestUriInvalid)?,
            HostName::Address(address) => ServerName::from(*address),
        };
        let connector = TlsConnector::from(self.attempt.code.shared.ports.outside.trust.config());
        let secured = connector.connect(name, stream).await.map_err(|error| {
            self.attempt.tell(&format!("{}: {error}", self.target));
            of_tls(&error)
        })?;
        Ok(Either::Right(secured))
    }
}

/// Waits for a response while the connection carries the request. A connection that is done is not asked again.
async fn answer(
    response: impl Future<Output = hyper::Result<Response<Incoming>>>,
    mut connection: Connection,
) -> Result<(Response<Incoming>, Option<Connection>), Error> {
    let mut response = std::pin::pin!(response);
    let ended = tokio::select! {
        biased;
        response = &mut response => {
            return Ok((response.map_err(|error| of_hyper(&error))?, Some(connection)));
        }
        ended = &mut connection => ended,
    };
    match (response.await, ended) {
        (Ok(response), _) => Ok((response, None)),
        (Err(_), Err(cause)) => Err(of_hyper(&cause)),
        (Err(error), Ok(())) => Err(of_hyper(&error)),
    }
}

fn too_long_head() -> Error {
    Error::HttpResponseHeaderSectionSize(u32::try_from(MAX_RESPONSE_HEAD_BYTES).ok())
}

/// What went wrong on a connection, as the guest is told.
pub(super) fn of_hyper(error: &hyper::Error) -> Error {
    if let Some(broken) = error.source().and_then(|source| source.downcast_ref::<Broken>()) {
        return broken.error();
    }
    if error.is_parse_too_large() {
        return too_long_head();
    }
    if error.is_incomplete_message() {
        return Error::HttpResponseIncomplete;
    }
    if error.is_timeout() {
        return Error::HttpResponseTimeout;
    }
    let broken_off = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    if broken_off == Some(io::ErrorKind::UnexpectedEof) {
        return Error::HttpResponseIncomplete;
    }
    if error.is_closed() || error.is_canceled() || broken_off.is_some() {
        return Error::ConnectionTerminated;
    }
    Error::HttpProtocolError
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the guest can do nothing with the finer differences")]
fn of_connect(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::DestinationUnavailable,
    }
}

fn of_tls(error: &io::Error) -> Error {
    match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
        Some(rustls::Error::AlertReceived(alert)) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        Some(_) => Error::TlsProtocolError,
        None => Error::ConnectionTerminated,
    }
}
