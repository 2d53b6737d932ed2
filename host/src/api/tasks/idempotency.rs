//! Requests that may be repeated: the key of the client, and what the request was.

use axum::http::HeaderMap;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::api::body::Fields;
use crate::api::problem::{FieldError, Problem};
use crate::task::Idempotency;

/// The header.
const HEADER: &str = "idempotency-key";
/// The same as a field of a task.
pub(super) const FIELD: &str = "idempotency_key";
/// Bytes of a key.
const MAX_KEY_LEN: usize = 255;

/// The key in the header.
pub(in crate::api) fn of_headers(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or("").trim();
    // The draft standard writes it as a quoted string; most clients do not.
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if values.next().is_none() && is_key(key) {
        return Ok(Some(key.to_owned()));
    }
    let error = FieldError::header("Idempotency-Key", expected());
    Err(Problem::invalid("invalid-idempotency-key", vec![error]))
}

/// The key of one task: its own field, or the header's. Both may be given when they agree.
pub(super) fn of_task(fields: &mut Fields<'_>, header: Option<&str>) -> Option<String> {
    let key: Option<String> = fields.parse(FIELD, "text");
    if let Some(key) = &key
        && !is_key(key)
    {
        fields.wrong(FIELD, expected());
    } else if let (Some(key), Some(header)) = (&key, header)
        && key != header
    {
        fields.wrong(FIELD, "differs from the header Idempotency-Key");
    }
    key.or_else(|| header.map(str::to_owned))
}

fn is_key(key: &str) -> bool {
    (1..=MAX_KEY_LEN).contains(&key.len()) && key.bytes().all(|b| (b' '..=b'~').contains(&b))
}

fn expected() -> String {
    format!("must be given once, as 1 to {MAX_KEY_LEN} printable ASCII characters")
}

/// The request with its key; what was asked for is the JSON value, however it is written.
pub(in crate::api) fn request(key: String, body: &RawValue) -> Idempotency {
    let text = match serde_json::from_str(body.get()) {
        Ok(Value::Object(mut object)) => {
            object.remove(FIELD);
            Value::Object(object).to_string()
        }
        Ok(other) => other.to_string(),
        Err(_) => body.get().to_owned(),
    };
    let mut fingerprint = [0; 16];
    for (to, from) in fingerprint.iter_mut().zip(Sha256::digest(text)) {
        *to = from;
    }
    Idempotency { key, fingerprint }
}

/// The key of one task of a batch whose key is in the header. No client's own key has a line end.
pub(super) fn of_batch(key: &str, at: usize) -> String {
    format!("{key}\n{at}")
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::{of_headers, request};

    #[test]
    fn a_request_is_the_same_however_it_is_written() {
        let of = |text: &str| request("k".to_owned(), &RawValue::from_string(text.to_owned()).unwrap()).fingerprint;
        let one = of(r#"{"kind":"echo","input":{"a":1}}"#);
        assert_eq!(of(r#"{ "input" : {"a" : 1}, "kind": "echo", "idempotency_key": "k" }"#), one);
        assert_ne!(of(r#"{"kind":"echo","input":{"a":2}}"#), one);
    }

    #[test]
    fn the_header_is_read_with_and_without_quotes() {
        let of = |text: &str| {
            let mut headers = axum::http::HeaderMap::new();
            headers.insert("idempotency-key", text.parse().unwrap());
            of_headers(&headers).ok().flatten()
        };
        assert_eq!(of("abc").as_deref(), Some("abc"));
        assert_eq!(of("\"abc\"").as_deref(), Some("abc"));
        assert_eq!(of(""), None);
        assert_eq!(of(&"k".repeat(256)), None);
    }
}
