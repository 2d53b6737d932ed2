//! Outgoing HTTP: a small blocking client over `wasi:http`. The operator grants it with `[[grant.http]]`.
//!
//! ```no_run
//! # fn demo() -> Result<(), taskhost_sdk::TaskError> {
//! use taskhost_sdk::http;
//!
//! let answer = http::post("https://api.example.com/v1/orders")
//!     .header("authorization", &format!("Bearer {}", http::secret("API_KEY")?))
//!     .json(&serde_json::json!({ "id": 7 }))?
//!     .send()?
//!     .success()?;
//! let order: serde_json::Value = answer.json()?;
//! # Ok(())
//! # }
//! ```
//!
//! Redirects are not followed: an answer with status 3xx is an answer, and where it leads is a new request, which
//! needs a grant of its own. A denied request is [`Error::Denied`], which names the lines that would grant it; the task's
//! log says which of them is missing.

mod error;
mod later;
mod url;

use std::io::{self, Read};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
    http_error_code,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

pub use self::error::Error;
use self::url::Url;

/// Bytes that are read at once.
const CHUNK_BYTES: u64 = 64 * 1024;
/// Bytes of an error's answer that a message repeats.
const SHOWN_BYTES: usize = 200;

/// What stands for the operator's secret `name` in requests of this attempt: the host fills in the secret itself, where
/// the manifest allows it. The plugin never sees it. Do not keep the placeholder for another attempt.
pub fn secret(name: &str) -> Result<String, Error> {
    crate::config::get(&format!("secret.{name}")).ok_or_else(|| Error::NoSecret(name.to_owned()))
}

/// `GET url`
pub fn get(url: &str) -> Request {
    Request::new("GET", url)
}

/// `POST url`
pub fn post(url: &str) -> Request {
    Request::new("POST", url)
}

/// `PUT url`
pub fn put(url: &str) -> Request {
    Request::new("PUT", url)
}

/// `DELETE url`
pub fn delete(url: &str) -> Request {
    Request::new("DELETE", url)
}

/// A request that is being made.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    timeout: Option<Duration>,
}

impl Request {
    /// A request with any method, in capital letters. The host writes `Host` and what frames the message itself.
    pub fn new(method: &str, url: &str) -> Self {
        Self { method: method.to_owned(), url: url.to_owned(), headers: Vec::new(), body: None, timeout: None }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets the body to JSON, and its content type.
    pub fn json(self, body: &impl Serialize) -> Result<Self, Error> {
        let text =
            serde_json::to_vec(body).map_err(|error| Error::Invalid(format!("the body is not JSON: {error}")))?;
        Ok(self.header("content-type", "application/json").body(text))
    }

    /// How long to wait for the connection, for the answer's beginning, and between its parts. The operator's bound
    /// and the attempt's deadline hold in any case.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends it and waits for the head of the answer. A status of 4xx or 5xx is an answer; see [`Response::success`].
    pub fn send(self) -> Result<Response, Error> {
        let url = Url::parse(&self.url)?;
        let request = OutgoingRequest::new(self.fields()?);
        let wrong = |what: &str| Error::Invalid(format!("{what} of {} {:?} is not valid", self.method, self.url));
        request.set_method(&method(&self.method)).map_err(|()| wrong("the method"))?;
        request
            .set_scheme(Some(if url.tls { &Scheme::Https } else { &Scheme::Http }))
            .map_err(|()| wrong("the scheme"))?;
        request.set_authority(Some(url.authority)).map_err(|()| wrong("the host"))?;
        request.set_path_with_query(Some(&url.path_with_query())).map_err(|()| wrong("the path"))?;
        // Without one the request says that it has none.
        let out = self.body.as_ref().map(|_| request.body().map_err(|()| wrong("the length"))).transpose()?;
        let failed = |code: ErrorCode| Error::of_request(&code, &self.method, &url);
        let answer = handle(request, self.timeout.map(options)).map_err(failed)?;
        if let (Some(out), Some(body)) = (out, &self.body) {
            write(out, body)?;
        }
        let ready = answer.subscribe();
        ready.block();
        drop(ready);
        match answer.get() {
            Some(Ok(answer)) => Response::of(&answer.map_err(failed)?),
            Some(Err(())) | None => Err(Error::Failed("the host has no answer".to_owned())),
        }
    }

    fn fields(&self) -> Result<Fields, Error> {
        let fields = Fields::new();
        let add = |name: &str, value: &str| {
            let wrong = |why| Error::Invalid(format!("the header {name:?} is not possible: {why:?}"));
            fields.append(name, value.as_bytes()).map_err(wrong)
        };
        self.headers.iter().try_for_each(|(name, value)| add(name, value))?;
        if let Some(body) = &self.body {
            add("content-length", &body.len().to_string())?;
        }
        Ok(fields)
    }
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn options(timeout: Duration) -> RequestOptions {
    let options = RequestOptions::new();
    let nanos = Some(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
    // A host that does not know one of them has its own.
    let _ = options.set_connect_timeout(nanos);
    let _ = options.set_first_byte_timeout(nanos);
    let _ = options.set_between_bytes_timeout(nanos);
    options
}

/// Hands over the body. When nobody reads it any more, the answer says why.
fn write(out: OutgoingBody, bytes: &[u8]) -> Result<(), Error> {
    if !bytes.is_empty() {
        let stream = out.write().map_err(|()| Error::Failed("the body cannot be written".to_owned()))?;
        if write_all(&stream, bytes).is_err() {
            return Ok(());
        }
    }
    // Its error is the answer's, too.
    let _ = OutgoingBody::finish(out, None);
    Ok(())
}

fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    let ready = stream.subscribe();
    while !bytes.is_empty() {
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        let (now, later) = bytes.split_at(room.min(bytes.len()));
        if now.is_empty() {
            ready.block();
        } else {
            stream.write(now)?;
        }
        bytes = later;
    }
    Ok(())
}

/// The head of an answer, and its body as it arrives ([`Read`]).
#[derive(Debug)]
pub struct Response {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    /// Before the body that it belongs to.
    stream: InputStream,
    _body: IncomingBody,
}

impl Response {
    fn of(response: &IncomingResponse) -> Result<Self, Error> {
        let status = response.status();
        let headers = response.headers().entries();
        let no_body = |()| Error::Failed("the answer has no body".to_owned());
        let body = response.consume().map_err(no_body)?;
        let stream = body.stream().map_err(no_body)?;
        Ok(Self { status, headers, stream, _body: body })
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Every header, names in small letters, in the order of the answer.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The first header of this name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    /// When the other side wants to be asked again (`Retry-After`), a day at most; absent when it does not say.
    pub fn retry_after(&self) -> Option<Duration> {
        #[expect(clippy::disallowed_methods, reason = "nobody hands a guest the time")]
        later::delay(self.header("retry-after")?, SystemTime::now())
    }

    /// The answer, if its status is 2xx; otherwise an error with the status and the beginning of the body.
    pub fn success(self) -> Result<Self, Error> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        let (status, retry_after) = (self.status, self.retry_after());
        let mut bytes = Vec::new();
        // What cannot be read is not told.
        let _ = self.take(SHOWN_BYTES as u64).read_to_end(&mut bytes);
        Err(Error::Status { status, retry_after, body: String::from_utf8_lossy(&bytes).trim().to_owned() })
    }

    /// The whole body.
    pub fn bytes(mut self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(CHUNK_BYTES)? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The whole body as text; what is not UTF-8 is replaced.
    pub fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// The whole body as JSON.
    pub fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        let status = self.status;
        let bytes = self.bytes()?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Error::Failed(format!("the answer with status {status} is not the JSON wanted: {error}")))
    }

    /// The next bytes of the body, `most` at most; absent at its end.
    pub fn chunk(&mut self, most: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.stream.blocking_read(most) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(StreamError::Closed) => Ok(None),
            Err(StreamError::LastOperationFailed(error)) => {
                Err(http_error_code(&error).map_or_else(|| Error::Failed(error.to_debug_string()), Error::from))
            }
        }
    }
}

impl Read for Response {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.chunk(buffer.len() as u64).map_err(io::Error::other)? {
                None => return Ok(0),
                // Only an end is empty.
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    return Ok(bytes.len());
                }
            }
        }
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Self::of(&code)
    }
}
