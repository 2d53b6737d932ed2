//! Says where in a manifest something is wrong, and what was probably meant.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::ManifestError;

/// A range and how its ends are written in a message.
pub(super) type Bounds = (RangeInclusive<u64>, fn(u64) -> String);

/// The text that is being read.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// An error at a byte offset.
    pub(super) fn at(self, offset: usize, message: String) -> ManifestError {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ManifestError {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
        }
    }

    /// An error of the file as a whole.
    pub(super) fn at_start(self, message: String) -> ManifestError {
        self.at(0, message)
    }

    /// The parser's error, in our words where the parser's do not help.
    pub(super) fn explain(self, error: &toml::de::Error) -> ManifestError {
        let offset = error.span().map_or(0, |span| span.start);
        let message = unknown_key(error.message()).unwrap_or_else(|| first_line(error.message()));
        self.at(offset, message)
    }

    /// The value, if there is one and it is within its bounds.
    pub(super) fn in_range<T>(
        self,
        value: Option<Spanned<T>>,
        number: impl FnOnce(&T) -> u64,
        key: &str,
        bounds: Bounds,
    ) -> Result<Option<u64>, ManifestError> {
        let Some(value) = value else { return Ok(None) };
        let (range, format) = bounds;
        let number = number(value.get_ref());
        if range.contains(&number) {
            return Ok(Some(number));
        }
        let message = format!("`{key}` must be between {} and {}", format(*range.start()), format(*range.end()));
        Err(self.at(value.span().start, message))
    }
}

fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

/// Rewrites "unknown field `x`, expected one of `a`, `b`" so that it names what was probably meant.
fn unknown_key(message: &str) -> Option<String> {
    let quoted = message.strip_prefix("unknown field ")?;
    let mut words = quoted.split('`').skip(1).step_by(2);
    let unknown = words.next()?;
    let known: Vec<&str> = words.collect();
    Some(match nearest(unknown, &known) {
        Some(near) => format!("unknown key `{unknown}`; did you mean `{near}`?"),
        None if known.is_empty() => format!("unknown key `{unknown}`; no key is known here"),
        None => format!("unknown key `{unknown}`; known here: {}", known.join(", ")),
    })
}

/// The candidate that fewest edits turn into `word`, if few enough.
fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_lowercase();
    let enough = (word.chars().count() / 3).max(1) + 1;
    candidates
        .iter()
        .map(|candidate| (edits(&word, candidate), *candidate))
        .filter(|(distance, _)| *distance <= enough)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
