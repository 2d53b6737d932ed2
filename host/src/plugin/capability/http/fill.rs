//! Secrets in requests: the guest writes placeholders, and the host fills in what they stand for, towards those hosts
//! and in those places that the manifest names.

use std::borrow::Cow;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request};
use uuid::Uuid;
use wasmtime_wasi_http::Error;

use super::{MAX_HEADER_BYTES, MAX_URI_BYTES};
use crate::plugin::link::{HttpRule, Place};
use crate::secret::{Secret, in_percent};

/// What stands for a secret in one attempt. It says nothing and is of no use anywhere else.
#[derive(Debug)]
pub(super) struct Placeholder {
    pub(super) name: String,
    pub(super) text: String,
    secret: Secret,
}

impl Placeholder {
    pub(super) fn new(name: &str, secret: &Secret) -> Self {
        let text = format!("secret-{}", Uuid::new_v4().simple());
        Self { name: name.to_owned(), text, secret: secret.clone() }
    }
}

/// What is filled into one request.
#[derive(Debug)]
pub(super) struct Fill {
    pairs: Vec<(String, Secret)>,
    places: Vec<Place>,
}

impl Fill {
    /// The secrets that a rule lists.
    pub(super) fn new(rule: &HttpRule, placeholders: &[Placeholder]) -> Self {
        let listed = placeholders.iter().filter(|placeholder| rule.secrets.contains(&placeholder.name));
        let pairs = listed.map(|placeholder| (placeholder.text.clone(), placeholder.secret.clone())).collect();
        Self { pairs, places: rule.replace_in.clone() }
    }

    /// Whether something is filled in there.
    pub(super) fn is_for(&self, place: Place) -> bool {
        !self.pairs.is_empty() && self.places.contains(&place)
    }

    /// A secret whose placeholder stays as it is in the head of this request: its author may wonder.
    pub(super) fn left_out<'p, B>(&self, request: &Request<B>, placeholders: &'p [Placeholder]) -> Option<&'p str> {
        let is_left = |placeholder: &&Placeholder| {
            let text = placeholder.text.as_bytes();
            let listed = self.pairs.iter().any(|(known, _)| *known == placeholder.text);
            let has = |place, bytes: &[u8]| !(listed && self.is_for(place)) && find(bytes, text).is_some();
            let uri = request.uri();
            request.headers().values().any(|value| has(Place::Headers, value.as_bytes()))
                || has(Place::Path, uri.path().as_bytes())
                || has(Place::Query, uri.query().unwrap_or_default().as_bytes())
        };
        placeholders.iter().find(is_left).map(|placeholder| placeholder.name.as_str())
    }

    /// Fills in values of headers.
    pub(super) fn headers(&self, headers: &mut HeaderMap) -> Result<(), Error> {
        if !self.is_for(Place::Headers) {
            return Ok(());
        }
        let mut left = MAX_HEADER_BYTES;
        for value in headers.values_mut() {
            let filled = self.bytes(value.as_bytes(), plain, left);
            if let Cow::Owned(filled) = filled.map_err(|TooLong| Error::HttpRequestHeaderSectionSize(None))? {
                left -= filled.len();
                *value = HeaderValue::from_bytes(&filled).map_err(|_| Error::ConfigurationError)?;
                value.set_sensitive(true);
            }
        }
        Ok(())
    }

    /// Fills in the path and the query. A secret is one piece of text there: it cannot begin a new segment or parameter.
    pub(super) fn target(&self, path: &str, query: Option<&str>) -> Result<PathAndQuery, Error> {
        let fill = |place, text: &str| {
            if !self.is_for(place) {
                return Ok(text.to_owned());
            }
            let filled = self.bytes(text.as_bytes(), encoded, MAX_URI_BYTES);
            let filled = filled.map_err(|TooLong| Error::HttpRequestUriTooLong)?;
            Ok::<_, Error>(String::from_utf8_lossy(&filled).into_owned())
        };
        let mut text = fill(Place::Path, path)?;
        if let Some(query) = query {
            text.push('?');
            text.push_str(&fill(Place::Query, query)?);
        }
        text.parse().map_err(|_| Error::HttpRequestUriInvalid)
    }

    /// Fills in a whole body, which may have `most` bytes then.
    pub(super) fn body(&self, body: Bytes, most: u64) -> Result<Bytes, Error> {
        let filled = self.bytes(&body, plain, usize::try_from(most).unwrap_or(usize::MAX));
        match filled.map_err(|TooLong| Error::HttpRequestBodySize(Some(most)))? {
            Cow::Owned(filled) => Ok(filled.into()),
            Cow::Borrowed(_) => Ok(body),
        }
    }

    /// With secrets in place of placeholders, `most` bytes at most if there was any: a secret may be far longer than
    /// what stands for it.
    fn bytes<'t>(
        &self,
        text: &'t [u8],
        write: fn(&str) -> Cow<'_, [u8]>,
        most: usize,
    ) -> Result<Cow<'t, [u8]>, TooLong> {
        let mut filled = Cow::Borrowed(text);
        for (placeholder, secret) in &self.pairs {
            if find(&filled, placeholder.as_bytes()).is_some() {
                filled = Cow::Owned(replaced(&filled, placeholder.as_bytes(), &write(secret.expose()), most)?);
            }
        }
        Ok(filled)
    }
}

/// What was filled in goes beyond a bound.
#[derive(Debug)]
struct TooLong;

fn encoded(secret: &str) -> Cow<'_, [u8]> {
    in_percent(secret).into_bytes().into()
}

fn plain(secret: &str) -> Cow<'_, [u8]> {
    secret.as_bytes().into()
}

/// `text` with every `from` exchanged.
fn replaced(text: &[u8], from: &[u8], to: &[u8], most: usize) -> Result<Vec<u8>, TooLong> {
    let (mut rest, mut result) = (text, Vec::with_capacity(text.len() + to.len()));
    while let Some(at) = find(rest, from) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(to);
        rest = &rest[at + from.len()..];
        if result.len() > most {
            return Err(TooLong);
        }
    }
    result.extend_from_slice(rest);
    if result.len() > most { Err(TooLong) } else { Ok(result) }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Request};

    use super::{Bytes, Error, Fill, Placeholder};
    use crate::plugin::link::{HostPattern, HttpRule, Place};
    use crate::secret::{MAX_SECRET_BYTES, Secret};

    fn placeholders() -> Vec<Placeholder> {
        ["A", "B"]
            .iter()
            .map(|name| Placeholder::new(name, &Secret::new(&format!("real/key/{name}")).unwrap()))
            .collect()
    }

    fn fill(known: &[Placeholder], places: &[Place]) -> Fill {
        let rule = HttpRule {
            host: HostPattern::parse("a.test").unwrap(),
            secrets: vec!["A".to_owned()],
            replace_in: places.to_vec(),
            ..HttpRule::default()
        };
        Fill::new(&rule, known)
    }

    fn value(text: &str) -> HeaderValue {
        text.parse().unwrap()
    }

    #[test]
    fn a_listed_secret_is_filled_in_where_it_may() {
        let known = placeholders();
        let (a, b) = (&known[0].text, &known[1].text);
        let fill = fill(&known, &[Place::Headers, Place::Query]);
        let mut headers = HeaderMap::new();
        headers.insert("x-key", value(&format!("Bearer {a}, {a}, {b}")));
        fill.headers(&mut headers).unwrap();
        assert_eq!(headers["x-key"], format!("Bearer real/key/A, real/key/A, {b}"));
        assert!(headers["x-key"].is_sensitive());
        let target = fill.target(&format!("/{a}"), Some(&format!("k={a}"))).unwrap();
        assert_eq!(target.as_str(), format!("/{a}?k=real%2Fkey%2FA"));
        assert!(!fill.is_for(Place::Body) && fill.is_for(Place::Query));
    }

    #[test]
    fn a_body_is_filled_in_as_a_whole() {
        let known = placeholders();
        let fill = fill(&known, &[Place::Body]);
        let body = format!("[{0}{0}]{1}", known[0].text, known[1].text);
        assert_eq!(fill.body(Bytes::from(body), 100).unwrap(), format!("[real/key/Areal/key/A]{}", known[1].text));
        assert_eq!(fill.body(Bytes::from_static(b"plain"), 100).unwrap(), "plain");
    }

    #[test]
    fn a_secret_that_is_repeated_fills_no_memory() {
        let known = [Placeholder::new("A", &Secret::new(&"x".repeat(MAX_SECRET_BYTES)).unwrap())];
        let fill = fill(&known, &[Place::Headers, Place::Query, Place::Body]);
        let text = known[0].text.repeat(20);
        let body = fill.body(Bytes::from(text.clone()), 1 << 16);
        assert!(matches!(body, Err(Error::HttpRequestBodySize(Some(65_536)))), "{body:?}");
        let mut headers = HeaderMap::new();
        headers.insert("x", value(&text));
        assert!(matches!(fill.headers(&mut headers), Err(Error::HttpRequestHeaderSectionSize(_))));
        assert!(matches!(fill.target("/", Some(&text)), Err(Error::HttpRequestUriTooLong)));
    }

    #[test]
    fn what_stays_a_placeholder_is_told() {
        let known = placeholders();
        let fill = fill(&known, &[Place::Headers]);
        let request = |name: &str, text: &str| Request::builder().uri("/x").header(name, text).body(()).unwrap();
        assert_eq!(fill.left_out(&request("k", &known[0].text), &known), None);
        assert_eq!(fill.left_out(&request("k", &known[1].text), &known), Some("B"));
        let query = Request::builder().uri(format!("/?{}", known[0].text)).body(()).unwrap();
        assert_eq!(fill.left_out(&query, &known), Some("A"));
    }

    #[test]
    fn placeholders_are_new_each_time_and_say_nothing() {
        let (first, second) = (placeholders(), placeholders());
        assert_ne!(first[0].text, second[0].text);
        assert!(!format!("{first:?}").contains("real"));
    }
}
