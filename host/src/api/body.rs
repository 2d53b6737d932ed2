//! A JSON body, read with a bound on its size and its time, field by field.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::extract::multipart::Multipart;
use axum::http::{HeaderMap, Request, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::once;
use super::problem::{FieldError, Problem, echo};
use crate::spelling::distance;

/// A JSON body may take this long to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);
/// What a client still sends after it was refused is taken and dropped, up to this many bytes …
const LINGER_BYTES: u64 = 64 << 20;
/// … and for this long: a connection that is closed while the client writes may lose the answer.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes of an unknown field's name that is compared with the known ones.
const MAX_SLIP_LEN: usize = 32;
/// Fields of the body's object at most.
const MAX_FIELDS: usize = 64;

/// The bytes of a JSON body of at most `max_bytes`.
pub async fn read_json(request: Request<Body>, max_bytes: usize) -> Result<Bytes, Problem> {
    let (parts, mut body) = request.into_parts();
    if body.is_end_stream() {
        return Err(empty());
    }
    let collected = match check(&parts.headers, max_bytes) {
        Ok(()) => collect(&mut body, max_bytes).await,
        Err(problem) => Err(problem),
    };
    match collected {
        Ok(bytes) if bytes.is_empty() => Err(empty()),
        Ok(bytes) => Ok(bytes),
        Err(problem) => {
            linger(&parts.headers, body).await;
            Err(problem)
        }
    }
}

/// Takes a body of at most `max_bytes`, of whatever type, and drops it.
pub async fn discard(request: Request<Body>, max_bytes: usize) -> Result<(), Problem> {
    let (parts, mut body) = request.into_parts();
    let declared = content_length(&parts.headers).unwrap_or(0);
    let taken =
        if declared > max_bytes as u64 { Err(too_large(max_bytes)) } else { collect(&mut body, max_bytes).await };
    if let Err(problem) = taken {
        linger(&parts.headers, body).await;
        return Err(problem);
    }
    Ok(())
}

fn check(headers: &HeaderMap, max_bytes: usize) -> Result<(), Problem> {
    match content_length(headers) {
        Some(0) => Err(empty()),
        Some(length) if length > max_bytes as u64 => Err(too_large(max_bytes)),
        Some(_) | None => check_json_type(headers),
    }
}

/// Lets a client that was refused finish writing, within bounds, so that it reads the answer.
pub async fn linger(headers: &HeaderMap, mut body: Body) {
    // Such a client waits to be told; reading would tell it to go on.
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let mut left = LINGER_BYTES;
    let drop_all = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len() as u64));
            if left == 0 {
                return;
            }
        }
    };
    // Both ways the answer follows.
    let _ = tokio::time::timeout(LINGER, drop_all).await;
}

/// The same for a form that was refused within one of its parts.
pub async fn linger_form(expects: bool, form: &mut Multipart) {
    if expects {
        return;
    }
    // What is left of the part, too; the answer follows when a part is more than comes in time.
    let drop_all = async { while let Ok(Some(_)) = form.next_field().await {} };
    let _ = tokio::time::timeout(LINGER, drop_all).await;
}

/// The declared length of a body.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn empty() -> Problem {
    Problem::bad_request("empty-body", "the body is empty; a JSON object is expected")
}

fn too_large(max_bytes: usize) -> Problem {
    Problem::too_large("body-too-large", format!("the body is larger than {max_bytes} bytes"))
}

fn check_json_type(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Err(Problem::unsupported_media_type("there is no Content-Type; send application/json"));
    };
    let text = value.to_str().unwrap_or("");
    let essence = text.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(Problem::unsupported_media_type(format!("the Content-Type is {:?}; send application/json", echo(text))))
}

async fn collect(body: &mut Body, max_bytes: usize) -> Result<Bytes, Problem> {
    let mut collected = BytesMut::new();
    let deadline = tokio::time::Instant::now() + BODY_DEADLINE;
    loop {
        let frame = tokio::time::timeout_at(deadline, body.frame()).await.map_err(|_| {
            let detail = format!("the body did not arrive within {} seconds", BODY_DEADLINE.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body came too slowly", detail)
        })?;
        let Some(frame) = frame else { return Ok(collected.freeze()) };
        let frame =
            frame.map_err(|_| Problem::bad_request("body-incomplete", "the body ended before it was complete"))?;
        let Ok(data) = frame.into_data() else { continue };
        if collected.len() + data.len() > max_bytes {
            return Err(too_large(max_bytes));
        }
        collected.extend_from_slice(&data);
    }
}

/// The fields of a JSON object, each still text. Each is taken once; what is left is unknown.
#[derive(Debug)]
pub struct Fields<'a> {
    prefix: String,
    left: Vec<(String, &'a RawValue)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The fields of a body.
    pub fn of_body(bytes: &'a [u8]) -> Result<Self, Problem> {
        Self::of_value(Self::value_of(bytes)?, "").map_err(|error| Problem::invalid("invalid-body", vec![error]))
    }

    /// A body as one value.
    pub fn value_of(bytes: &'a [u8]) -> Result<&'a RawValue, Problem> {
        serde_json::from_slice(bytes).map_err(|error| {
            let detail = match std::str::from_utf8(bytes) {
                // Also the line and the column.
                Ok(_) => format!("the body is not JSON: {error}"),
                Err(error) => format!("the body is not UTF-8, from byte {} on", error.valid_up_to()),
            };
            Problem::bad_request("invalid-json", detail)
        })
    }

    /// The fields of a value that is at `prefix` in the body.
    pub fn of_value(value: &'a RawValue, prefix: impl Into<String>) -> Result<Self, FieldError> {
        let prefix = prefix.into();
        let wrong = |message: &str| FieldError::pointer(prefix.clone(), message);
        let Ok(Object(left)) = serde_json::from_str(value.get()) else {
            return Err(wrong("must be a JSON object with text keys"));
        };
        if left.len() > MAX_FIELDS {
            return Err(wrong(&format!("has {} fields; at most {MAX_FIELDS}", left.len())));
        }
        Ok(Self { prefix, left, known: Vec::new(), errors: Vec::new() })
    }

    /// Where the object is.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The text of field `name`, which is still to be taken.
    pub fn peek(&self, name: &str) -> Option<&'a RawValue> {
        self.left.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// Field `name` as one of these words.
    pub fn choice<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Option<T> {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let expected = format!("one of {}", known.join(", "));
        let given: String = self.parse(name, &expected)?;
        let found = words.iter().find(|(word, _)| *word == given).map(|(_, value)| *value);
        if found.is_none() {
            self.wrong(name, format!("{:?} is not {expected}", echo(&given)));
        }
        found
    }

    /// The text of field `name`; giving it twice is an error.
    pub fn raw(&mut self, name: &'static str) -> Option<&'a RawValue> {
        self.known.push(name);
        let (value, wrong) = once::take(&mut self.left, name);
        if let Some(wrong) = wrong {
            self.wrong(name, wrong);
        }
        value
    }

    /// Field `name` as `T`; absent and `null` are the same. `expected` says what would be right.
    pub fn parse<T: DeserializeOwned>(&mut self, name: &'static str, expected: &str) -> Option<T> {
        let raw = self.raw(name)?;
        let parsed = serde_json::from_str::<Option<T>>(raw.get());
        if parsed.is_err() {
            self.wrong(name, format!("{} is not {expected}", echo(raw.get())));
        }
        parsed.ok().flatten()
    }

    /// Field `name` as a whole number in `range`.
    pub fn number(&mut self, name: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.parse(name, &expected)?;
        if range.contains(&number) {
            return Some(number);
        }
        self.wrong(name, format!("{number} is not {expected}"));
        None
    }

    /// All fields that are left, by name, each of which must be text and be given once.
    pub fn texts(&mut self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (name, raw) in std::mem::take(&mut self.left) {
            match serde_json::from_str::<String>(raw.get()) {
                Err(_) => self.wrong(&name, format!("{} is not text", echo(raw.get()))),
                Ok(_) if texts.contains_key(&name) => self.wrong(&name, "is given more than once"),
                Ok(text) => drop(texts.insert(name, text)),
            }
        }
        texts
    }

    /// Adds an error about an entry of field `name`.
    pub fn wrong_in(&mut self, name: &str, entry: &str, message: impl Into<String>) {
        let pointer = format!("{}/{name}/{}", self.prefix, escaped(entry));
        self.errors.push(FieldError::pointer(pointer, message));
    }

    /// Adds an error about field `name`.
    pub fn wrong(&mut self, name: &str, message: impl Into<String>) {
        let pointer = format!("{}/{}", self.prefix, escaped(name));
        self.errors.push(FieldError::pointer(pointer, message));
    }

    /// The known field whose name differs from `name` by a slip.
    fn nearest(&self, name: &str) -> Option<&'static str> {
        // A longer name is no slip, and costs its length to compare.
        if name.len() > MAX_SLIP_LEN {
            return None;
        }
        let distances = self.known.iter().map(|known| (distance(name, known), *known));
        distances.filter(|(slips, known)| *slips <= 2 && *slips < known.len()).min().map(|(_, known)| known)
    }

    /// Adds errors that were found deeper.
    pub fn append(&mut self, errors: Vec<FieldError>) {
        self.errors.extend(errors);
    }

    /// Everything that was wrong or unknown.
    pub fn finish(mut self) -> Vec<FieldError> {
        let known = self.known.join(", ");
        for (name, _) in std::mem::take(&mut self.left) {
            let near = self.nearest(&name).map_or_else(String::new, |near| format!(" did you mean {near:?}?"));
            self.wrong(&name, format!("unknown field;{near} known: {known}"));
        }
        self.errors
    }
}

/// A name as a part of a JSON Pointer.
fn escaped(name: &str) -> String {
    echo(name).replace('~', "~0").replace('/', "~1")
}

/// An object's entries in the order of the text, repeated keys and all.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::Fields;

    #[test]
    fn every_mistake_of_an_object_is_named_with_its_pointer() {
        let text = br#"{"a": 1, "a": 2, "b": "x", "c/d~": 0, "n": null, "big": 12, "bit": 1}"#;
        let mut fields = Fields::of_body(text).unwrap();
        fields.raw("a");
        assert_eq!(fields.parse::<u32>("b", "a number"), None);
        assert_eq!(fields.number("n", 0..=9), None);
        assert_eq!(fields.number("big", 0..=9), None);
        let errors = serde_json::to_string(&fields.finish()).unwrap();
        assert_eq!(
            errors,
            r#"[{"pointer":"/a","message":"is given more than once"},{"pointer":"/b","message":"\"x\" is not a number"},"#
                .to_owned()
                + r#"{"pointer":"/big","message":"12 is not a whole number from 0 to 9"},"#
                + r#"{"pointer":"/c~1d~0","message":"unknown field; known: a, b, n, big"},"#
                + r#"{"pointer":"/bit","message":"unknown field; did you mean \"big\"? known: a, b, n, big"}]"#
        );
    }
}
