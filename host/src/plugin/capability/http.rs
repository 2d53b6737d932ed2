//! `wasi:http/outgoing-handler`: requests of guests, each checked against the manifest before anything is sent.
//!
//! The host follows no redirect: the guest sees it and may ask anew, which is checked anew. A refusal is an error code
//! of `wasi:http`, which has no room for words; the task's log says what was refused and which line would grant it.

mod address;
mod body;
mod codes;
mod fill;
mod queue;
mod send;
mod usage;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderMap, HeaderName, Request, Response, header};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView,
    WasiHttpHooks, WasiHttpView,
};

use self::fill::{Fill, Placeholder};
use self::queue::Queued;
use self::send::Plan;
use self::usage::Usage;
use super::log::Book;
use crate::plugin::guest::Guest;
use crate::plugin::link::{Code, HttpGrant, HttpLimits, Target, decide};
use crate::plugin::ports::LogLevel;

/// Memory of one set of headers that a guest makes; it may hold as many as it has handles.
const MAX_FIELDS_BYTES: usize = 64 * 1024;
/// Headers of one request.
const MAX_HEADERS: usize = 128;
/// Bytes of all names and values of one request's headers.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Bytes of a request's path and query.
const MAX_URI_BYTES: usize = 8 * 1024;
/// Bytes that a guest writes into a request's body at once; the host holds two of them for each body, of which a guest
/// may have hundreds.
const BODY_CHUNK_BYTES: usize = 16 * 1024;
/// Answers that wait to be read, for each request that may be under way. Who asks many at once and reads all heads first
/// must not wait for itself.
const ANSWERS_PER_SEAT: usize = 16;
/// Lines that the host writes into a task's log about requests of one attempt.
const MAX_LINES: u32 = 32;
/// What the host writes itself, besides what `wasi:http` always keeps for it.
const ALSO_FORBIDDEN: [HeaderName; 3] = [header::TE, header::TRAILER, header::EXPECT];

type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

/// What one attempt has of the web.
pub(in crate::plugin) struct Web {
    context: WasiHttpCtx,
    gate: Gate,
}

/// Where every request of an attempt passes.
struct Gate {
    attempt: Arc<Attempt>,
    /// Requests end with the attempt, also when the instance stays.
    _end: DropGuard,
}

/// What the requests of one attempt share.
struct Attempt {
    code: Arc<Code>,
    book: Arc<Book>,
    deadline: Instant,
    /// Not while the plugin describes itself.
    works: bool,
    usage: Arc<Usage>,
    /// As many requests wait for their answers at the same time; the others wait for them.
    seats: Semaphore,
    /// As many answers are there and not read to their ends.
    places: Arc<Semaphore>,
    placeholders: Vec<Placeholder>,
    lines: AtomicU32,
    end: CancellationToken,
}

/// Links what a grant opens.
pub(in crate::plugin) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)?;
    codes::add_to_linker(linker)
}

impl Guest {
    /// The attempt's part of the web; made when it is first used.
    fn web(&mut self) -> &mut Web {
        let works = !self.describing();
        self.web.get_or_insert_with(|| Box::new(Web::new(&self.code, &self.call.book, self.call.deadline, works)))
    }

    /// What stands for a secret in this attempt; absent when the manifest fills it in nowhere.
    pub(super) fn placeholder(&mut self, secret: &str) -> Option<String> {
        if !self.code.grants.http.is_given() {
            return None;
        }
        let placeholders = &self.web().gate.attempt.placeholders;
        placeholders.iter().find(|placeholder| placeholder.name == secret).map(|found| found.text.clone())
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.web();
        let web = self.web.as_mut().expect("made in the line above");
        WasiHttpCtxView { hooks: &mut web.gate, table: &mut self.table, ctx: &mut web.context }
    }
}

impl Web {
    fn new(code: &Arc<Code>, book: &Arc<Book>, deadline: Instant, works: bool) -> Self {
        let end = CancellationToken::new();
        let concurrency = code.grants.http.limits.concurrency as usize;
        let attempt = Attempt {
            code: Arc::clone(code),
            book: Arc::clone(book),
            deadline,
            works,
            usage: Arc::default(),
            seats: Semaphore::new(concurrency),
            places: Arc::new(Semaphore::new(concurrency * ANSWERS_PER_SEAT)),
            placeholders: code.secrets.iter().map(|(name, secret)| Placeholder::new(name, secret)).collect(),
            lines: AtomicU32::new(0),
            end: end.clone(),
        };
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(MAX_FIELDS_BYTES);
        Self { context, gate: Gate { attempt: Arc::new(attempt), _end: end.drop_guard() } }
    }
}

/// What an attempt has used is told at its end.
impl Drop for Web {
    fn drop(&mut self) {
        if let Some(summary) = self.gate.attempt.usage.summary() {
            self.gate.attempt.book.host(LogLevel::Info, summary);
        }
    }
}

impl WasiHttpHooks for Gate {
    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name| DEFAULT_FORBIDDEN_HEADERS.contains(name) || ALSO_FORBIDDEN.contains(name))
    }

    /// It is written when the target has been read.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let plan = self.attempt.admit(&request);
        Box::new(async move { send::send(plan?, request, options.unwrap_or_default()).await })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }
}

impl Attempt {
    /// Decides whether a request is sent at all, and counts it.
    fn admit(self: &Arc<Self>, request: &Request<WasiBody>) -> Result<(Plan, Queued), Error> {
        if !self.works {
            return Err(Error::HttpRequestDenied);
        }
        let HttpGrant { rules, limits } = &self.code.grants.http;
        if !self.usage.count_request(limits.requests) {
            return Err(self.limit(&format!("the attempt has made {} requests", limits.requests), "requests"));
        }
        check_head(request)?;
        let Some(target) = Target::of(request.method(), request.uri()) else {
            return Err(Error::HttpRequestUriInvalid);
        };
        let rule = decide(rules, &target).map_err(|refusal| {
            self.tell(&refusal.explain(&target, &self.code.name));
            Error::HttpRequestDenied
        })?;
        check_length(request.headers(), limits)?;
        let fill = Fill::new(rule, &self.placeholders);
        if let Some(name) = fill.left_out(request, &self.placeholders) {
            self.tell(&format!(
                "{target}: the secret {name} is not filled in: its rule does not list it for this place"
            ));
        }
        let (attempt, private, limits) = (Arc::clone(self), rule.private, limits.clone());
        Ok((Plan { attempt, target, private, limits, fill }, Queued::among(&self.places)))
    }

    /// A number of `[grant.http_limits]` is used up.
    fn limit(&self, what: &str, key: &str) -> Error {
        let file = format!("plugins/{}.toml", self.code.name);
        self.tell(&format!("{what}: raise `{key}` under [grant.http_limits] in {file}"));
        Error::ConnectionLimitReached
    }

    /// Writes into the task's log, some times.
    fn tell(&self, message: &str) {
        if self.lines.fetch_add(1, Ordering::Relaxed) < MAX_LINES {
            self.book.host(LogLevel::Warn, format!("http: {message}"));
        }
    }
}

/// The bounds of a request's head.
fn check_head(request: &Request<WasiBody>) -> Result<(), Error> {
    if request.uri().path_and_query().is_some_and(|text| text.as_str().len() > MAX_URI_BYTES) {
        return Err(Error::HttpRequestUriTooLong);
    }
    let bytes = size(request.headers());
    if request.headers().len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES {
        return Err(Error::HttpRequestHeaderSectionSize(u32::try_from(bytes).ok()));
    }
    Ok(())
}

/// Bytes of names and values.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// A length that is announced is believed when it is too much.
fn check_length(headers: &HeaderMap, limits: &HttpLimits) -> Result<(), Error> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(bytes) if bytes > limits.request_bytes => Err(Error::HttpRequestBodySize(Some(limits.request_bytes))),
        Some(_) | None => Ok(()),
    }
}
