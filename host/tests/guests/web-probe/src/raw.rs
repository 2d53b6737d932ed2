//! Requests as a hostile guest would make them, and the codes that it gets.

use serde::Deserialize;
use serde_json::{Value, json};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme, http_error_code,
};
use wasip2::io::streams::StreamError;

/// Requests that are all under way before the first answer is read.
#[derive(Deserialize)]
pub(crate) struct Raw {
    method: Option<String>,
    scheme: Option<String>,
    authority: Option<String>,
    #[serde(default = "root")]
    path: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    /// So many headers more.
    #[serde(default)]
    more_headers: u32,
    /// All three timeouts.
    timeout_ns: Option<u64>,
    /// Bytes of body that are written.
    body_bytes: Option<usize>,
    /// The body is what stands for this secret, written in pieces of three bytes.
    split_secret: Option<String>,
    /// End the attempt without waiting for an answer.
    #[serde(default)]
    abandon: bool,
    /// Wait for all heads before the first body is read.
    #[serde(default)]
    heads_first: bool,
    /// How often the request is made, side by side.
    #[serde(default = "one")]
    times: u32,
}

impl Raw {
    /// The body, and how much of it is written at once.
    fn body(&self) -> Option<(Vec<u8>, usize)> {
        if let Some(name) = &self.split_secret {
            let placeholder = taskhost_sdk::config::get(&format!("secret.{name}")).unwrap_or_default();
            return Some((placeholder.into_bytes(), 3));
        }
        self.body_bytes.map(|bytes| (vec![b'x'; bytes], 4096))
    }
}

#[expect(clippy::unnecessary_wraps, reason = "null means none")]
fn root() -> Option<String> {
    Some("/".to_owned())
}

fn one() -> u32 {
    1
}

pub(crate) fn run(raw: &Raw) -> Value {
    let under_way: Vec<_> = (0..raw.times).map(|_| begin(raw)).collect();
    if raw.abandon {
        // What is under way stays with the instance.
        std::mem::forget(under_way);
        return json!([]);
    }
    if raw.heads_first {
        for answer in under_way.iter().flatten() {
            answer.subscribe().block();
        }
    }
    let ends: Vec<_> =
        under_way.into_iter().map(|begun| begun.map_or_else(|error| error, |answer| end(&answer))).collect();
    json!(ends)
}

/// The error's name without what it carries.
fn named(what: &str, error: &impl std::fmt::Debug) -> Value {
    let text = format!("{error:?}");
    let name = text.trim_start_matches("ErrorCode::").trim_start_matches("HeaderError::");
    json!({ what: name.split(['(', ' ', '{']).next() })
}

fn begin(raw: &Raw) -> Result<FutureIncomingResponse, Value> {
    let fields = Fields::new();
    for (name, value) in &raw.headers {
        fields.append(name, value.as_bytes()).map_err(|error| named("header", &error))?;
    }
    for number in 0..raw.more_headers {
        fields.append(&format!("x-{number}"), b"v").map_err(|error| named("header", &error))?;
    }
    let request = OutgoingRequest::new(fields);
    if let Some(method) = &raw.method {
        request.set_method(&Method::Other(method.clone())).map_err(|()| json!({ "set": "method" }))?;
    }
    let scheme = raw.scheme.as_deref().map(|scheme| match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    });
    request.set_scheme(scheme.as_ref()).map_err(|()| json!({ "set": "scheme" }))?;
    request.set_authority(raw.authority.as_deref()).map_err(|()| json!({ "set": "authority" }))?;
    request.set_path_with_query(raw.path.as_deref()).map_err(|()| json!({ "set": "path" }))?;
    let body = raw.body().map(|(bytes, piece)| (request.body(), bytes, piece));
    let options = raw.timeout_ns.map(|nanos| {
        let options = RequestOptions::new();
        let _ = options.set_connect_timeout(Some(nanos));
        let _ = options.set_first_byte_timeout(Some(nanos));
        let _ = options.set_between_bytes_timeout(Some(nanos));
        options
    });
    let answer = handle(request, options).map_err(|error| named("handle", &error))?;
    if let Some((body, bytes, piece)) = body {
        let body = body.map_err(|()| json!({ "set": "body" }))?;
        write(body, &bytes, piece).map_err(|error| named("body", &error))?;
    }
    Ok(answer)
}

fn write(body: OutgoingBody, bytes: &[u8], piece: usize) -> Result<(), ErrorCode> {
    if let Ok(stream) = body.write() {
        for piece in bytes.chunks(piece) {
            // The answer says why nobody reads it any more.
            if stream.blocking_write_and_flush(piece).is_err() {
                break;
            }
        }
    }
    OutgoingBody::finish(body, None)
}

fn end(answer: &FutureIncomingResponse) -> Value {
    answer.subscribe().block();
    let response = match answer.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(error))) => return named("error", &error),
        Some(Err(())) | None => return json!("no answer"),
    };
    let status = response.status();
    let Ok(body) = response.consume() else { return json!("no body") };
    let (bytes, broken) = read(&body);
    json!({ "status": status, "bytes": bytes, "broken": broken })
}

fn read(body: &IncomingBody) -> (usize, Value) {
    let Ok(stream) = body.stream() else { return (0, json!("no stream")) };
    let mut bytes = 0;
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(chunk) => bytes += chunk.len(),
            Err(StreamError::Closed) => return (bytes, Value::Null),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = http_error_code(&error).map(|code| named("error", &code));
                return (bytes, code.unwrap_or_else(|| json!(error.to_debug_string())));
            }
        }
    }
}
