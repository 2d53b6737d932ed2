//! HTTP ranges and conditions (RFC 9110, sections 13 and 14) as pure functions.

use crate::time::Timestamp;

/// What identifies the bytes of a representation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators {
    /// A strong entity tag with its quotes.
    pub etag: String,
    /// When the bytes last changed; HTTP knows it to the second.
    pub last_modified: Timestamp,
}

impl Validators {
    /// The validators of a file of the library, whose content never changes.
    pub fn of_media(id: &str, created_at: Timestamp) -> Self {
        Self { etag: format!("\"{id}\""), last_modified: created_at }
    }

    /// The value of `Last-Modified`.
    pub fn last_modified_date(&self) -> String {
        let seconds = std::time::Duration::from_secs(self.last_modified_seconds());
        httpdate::fmt_http_date(std::time::UNIX_EPOCH + seconds)
    }

    fn last_modified_seconds(&self) -> u64 {
        self.last_modified.as_millis() / 1000
    }
}

/// Which bytes to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All: 200.
    Full,
    /// Some: 206. Both ends are inside of the representation.
    Partial {
        /// The first byte.
        start: u64,
        /// The last byte.
        end_inclusive: u64,
    },
    /// None of what was asked for exists: 416.
    Unsatisfiable,
}

/// Decides what a `GET` with these headers gets of a representation of `len` bytes.
///
/// One range is served. Several ranges, other units and mistakes are answered with everything,
/// which is always allowed.
pub fn decide(range: Option<&str>, if_range: Option<&str>, validators: &Validators, len: u64) -> Selection {
    let Some(range) = range else { return Selection::Full };
    if if_range.is_some_and(|condition| !same_representation(condition, validators)) {
        return Selection::Full;
    }
    select(range, len).unwrap_or(Selection::Full)
}

/// `None` when the header has to be ignored.
fn select(header: &str, len: u64) -> Option<Selection> {
    let (unit, set) = header.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim_matches([' ', '\t']).split_once('-')?;
    if first.is_empty() {
        let suffix = position(last)?;
        return Some(match (suffix, len) {
            (0, _) => Selection::Unsatisfiable,
            // The whole of nothing: a partial answer could not say which bytes it has.
            (_, 0) => Selection::Full,
            _ => Selection::Partial { start: len.saturating_sub(suffix), end_inclusive: len - 1 },
        });
    }
    let start = position(first)?;
    let last = if last.is_empty() { u64::MAX } else { position(last)? };
    if last < start {
        return None;
    }
    if start >= len {
        return Some(Selection::Unsatisfiable);
    }
    Some(Selection::Partial { start, end_inclusive: last.min(len - 1) })
}

/// Digits only; a number beyond any file is as good as the largest.
fn position(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// `If-Range`: the bytes that the client has a part of are still the same.
fn same_representation(condition: &str, validators: &Validators) -> bool {
    let condition = condition.trim();
    if condition.starts_with('"') {
        return condition == validators.etag;
    }
    // Weak tags never match here; a date has to be exactly ours.
    seconds(condition) == Some(validators.last_modified_seconds())
}

fn seconds(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date.trim()).ok()?;
    date.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// The conditional headers of a `GET` or `HEAD`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    /// `If-Match`.
    pub if_match: Option<&'a str>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a str>,
}

/// What follows from the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Answer as if there were none.
    Proceed,
    /// 304.
    NotModified,
    /// 412.
    PreconditionFailed,
}

/// Evaluates the conditions in the order of RFC 9110, section 13.2.2. Dates that are none are ignored.
pub fn conditional(conditions: Conditions<'_>, validators: &Validators) -> Precondition {
    let modified_after = |date: &str| seconds(date).map(|date| validators.last_modified_seconds() > date);
    let holds = match (conditions.if_match, conditions.if_unmodified_since) {
        (Some(tags), _) => lists(tags, &validators.etag, false),
        (None, Some(date)) => modified_after(date) != Some(true),
        (None, None) => true,
    };
    if !holds {
        return Precondition::PreconditionFailed;
    }
    let known = match (conditions.if_none_match, conditions.if_modified_since) {
        (Some(tags), _) => lists(tags, &validators.etag, true),
        (None, Some(date)) => modified_after(date) == Some(false),
        (None, None) => false,
    };
    if known { Precondition::NotModified } else { Precondition::Proceed }
}

/// Whether a list of tags has `etag` in it; `weak` also accepts its weak form.
fn lists(tags: &str, etag: &str, weak: bool) -> bool {
    // Our tags hold no commas, so a tag that is split by one cannot match by accident.
    tags.trim() == "*"
        || tags.split(',').map(str::trim).any(|tag| tag == etag || weak && tag.strip_prefix("W/") == Some(etag))
}

#[cfg(test)]
mod tests;
