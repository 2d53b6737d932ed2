//! The query string and the ids of a path, with errors that name what was wrong.

use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Uri};

use super::once;
use super::problem::{FieldError, Problem, echo};

/// Items of a page when the client does not say.
pub const DEFAULT_PAGE: u32 = 100;
/// Items of a page at most.
pub const MAX_PAGE: u32 = 1_000;
/// Bytes of an id or of a cursor at most; longer ones name nothing.
const MAX_ID_LEN: usize = 128;
/// Parameters of a query at most.
const MAX_PARAMETERS: usize = 32;

/// The parameters of a query. Each is taken once; what is left in the end is unknown.
#[derive(Debug)]
pub struct Parameters {
    left: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Parameters {
    /// Reads the query of `uri`.
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        let axum::extract::Query(left) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::bad_request("invalid-query", "the query is not percent-encoded UTF-8"))?;
        if left.len() > MAX_PARAMETERS {
            let detail = format!("the query has {} parameters; at most {MAX_PARAMETERS} are read", left.len());
            return Err(Problem::bad_request("invalid-query", detail));
        }
        Ok(Self { left, known: Vec::new(), errors: Vec::new() })
    }

    /// The text of parameter `name`; giving it twice is an error.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let (value, wrong) = once::take(&mut self.left, name);
        if let Some(wrong) = wrong {
            self.wrong(name, wrong);
        }
        value
    }

    /// Parameter `name` as `T`; `expected` says what would be right.
    pub fn parse<T: FromStr>(&mut self, name: &'static str, expected: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(name, format!("{:?} is not {expected}", echo(&text)));
        }
        parsed
    }

    /// Parameter `name` as a number in `range`.
    pub fn number(&mut self, name: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let number = self.parse(name, &expected)?;
        if range.contains(&number) {
            return Some(number);
        }
        self.wrong(name, format!("{number} is not {expected}"));
        None
    }

    /// How many items the client asks for.
    pub fn limit(&mut self) -> u32 {
        let limit = self.number("limit", 1..=u64::from(MAX_PAGE));
        limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(DEFAULT_PAGE)
    }

    /// Adds an error about parameter `name`.
    pub fn wrong(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError::parameter(name, message));
    }

    /// Fails when something was wrong or unknown.
    pub fn finish(mut self) -> Result<(), Problem> {
        let known = self.known.join(", ");
        for (name, _) in std::mem::take(&mut self.left) {
            let hint = if known.is_empty() { "there are none here".to_owned() } else { format!("known: {known}") };
            self.wrong(&name, format!("unknown parameter; {hint}"));
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid("invalid-query", self.errors)) }
    }
}

/// The id in a path, still to be parsed: short, printable ASCII without separators.
#[derive(Debug)]
pub struct PathId(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let invalid = |detail| Problem::bad_request("invalid-id", detail);
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| invalid("the id is not percent-encoded UTF-8".to_owned()))?;
        if id.len() > MAX_ID_LEN {
            return Err(invalid(format!("the id has {} bytes; ids have at most {MAX_ID_LEN}", id.len())));
        }
        if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(invalid(format!("{:?} is not an id: ids are letters, digits, - and _", echo(&id))));
        }
        Ok(Self(id))
    }
}

/// The id of a task in a path.
#[derive(Debug)]
pub struct TaskPath(pub crate::task::TaskId);

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let PathId(id) = PathId::from_request_parts(parts, state).await?;
        match id.parse() {
            Ok(id) => Ok(Self(id)),
            Err(expected) => Err(Problem::bad_request("invalid-id", format!("{:?}: {expected}", echo(&id)))),
        }
    }
}

/// Where a list goes on. Opaque to clients: the prefix says which list, so that a cursor of
/// another one is refused.
pub fn cursor(list: char, position: &str) -> String {
    use std::fmt::Write as _;
    let mut text = format!("{list}1_");
    for byte in position.bytes() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The position in a cursor that [`cursor`] made.
pub fn position(list: char, text: &str) -> Option<String> {
    let digits = text.strip_prefix(list)?.strip_prefix("1_")?;
    let is_hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if !is_hex || digits.len() % 2 != 0 || digits.len() > 2 * MAX_ID_LEN {
        return None;
    }
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    String::from_utf8(bytes.collect::<Result<_, _>>().ok()?).ok()
}

/// `Link: <…>; rel="next"` for the page after the one at `uri`.
pub fn next_link(uri: &Uri, next: &str) -> Option<HeaderValue> {
    let others = uri.query().unwrap_or("").split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let query: String = others.flat_map(|pair| [pair, "&"]).collect();
    HeaderValue::try_from(format!("<{}?{query}cursor={next}>; rel=\"next\"", uri.path())).ok()
}

#[cfg(test)]
mod tests {
    use super::{Parameters, cursor, next_link, position};

    #[test]
    fn a_cursor_is_read_back_by_its_own_list_only() {
        let text = cursor('t', "01912d4c-7b1e");
        assert_eq!(position('t', &text).as_deref(), Some("01912d4c-7b1e"));
        assert_eq!(position('m', &text), None);
        for wrong in ["", "t1_", "t1_abc", "t1_+1", "t1_zz", "t2_00", "t1_ff"] {
            assert!(position('t', wrong).is_none_or(|p| p.is_empty()), "{wrong}");
        }
    }

    #[test]
    fn the_next_link_keeps_the_filters() {
        let uri = "/v1/tasks?kind=echo&cursor=old&limit=2".parse().unwrap();
        assert_eq!(next_link(&uri, "new").unwrap(), "</v1/tasks?kind=echo&limit=2&cursor=new>; rel=\"next\"");
    }

    #[test]
    fn every_mistake_of_a_query_is_named() {
        let uri = "/x?limit=1&limit=0&what=1".parse().unwrap();
        let mut parameters = Parameters::of(&uri).unwrap();
        assert_eq!(parameters.limit(), super::DEFAULT_PAGE);
        let problem = format!("{:?}", parameters.finish().unwrap_err());
        for expected in ["more than once", "0 is not a whole number from 1 to 1000", "unknown parameter; known: limit"]
        {
            assert!(problem.contains(expected), "{problem}");
        }
    }
}
