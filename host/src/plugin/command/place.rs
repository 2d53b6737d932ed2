//! One place in a command's list of arguments, and what fits there.

use regex::{Regex, RegexBuilder};

use super::MAX_ARGUMENT_BYTES;
use crate::plugin::contract::clip;
use crate::plugin::names::expression_error;
use crate::plugin::ports::Argument;

/// Bytes that a compiled pattern may take.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// Bytes of a media id: anything longer names nothing.
const MAX_ID_BYTES: usize = 128;

/// A place in the list of arguments: a fixed word, or what a guest gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// A fixed word. It is always there, and guests do not give it; nothing below means anything then.
    pub word: Option<String>,
    /// What messages call it.
    pub name: Option<String>,
    /// Text that this covers, unless it is `media`.
    pub pattern: Option<Pattern>,
    /// Whether text may begin with a dash, and so be an option of the program.
    pub dash: bool,
    /// The id of a live file of the media library; the program gets a path under which it is open.
    pub media: bool,
    /// It may be left out.
    pub optional: bool,
    /// It takes none up to so many.
    pub rest: Option<u32>,
}

/// A regular expression that covers a whole argument.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Result<Regex, String>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// The pattern. One that is not usable matches nothing.
    pub fn new(text: &str) -> Self {
        let build = |text: &str| RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build();
        // By itself first: `a)|(b` would break out of what holds it to the whole argument.
        let regex = build(text).and_then(|_alone| build(&format!(r"\A(?:{text})\z")));
        Self { text: text.to_owned(), regex: regex.map_err(|error| expression_error(&error)) }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What is wrong with it, in a line.
    pub fn error(&self) -> Option<&str> {
        self.regex.as_ref().err().map(String::as_str)
    }

    fn is_match(&self, value: &str) -> bool {
        self.regex.as_ref().is_ok_and(|regex| regex.is_match(value))
    }
}

impl Place {
    /// Arguments that have to be there and that may be there.
    pub(super) fn bounds(&self) -> (u32, u32) {
        match (self.rest, self.optional) {
            (Some(most), _) => (0, most),
            (None, optional) => (u32::from(!optional), 1),
        }
    }

    /// `argument 2 (TARGET)`.
    pub(super) fn call(&self, index: usize) -> String {
        match &self.name {
            Some(name) => format!("argument {} ({})", index + 1, name.to_uppercase()),
            None => format!("argument {}", index + 1),
        }
    }

    /// How it stands in a usage line; fixed words do not.
    pub(super) fn shown(&self) -> Option<String> {
        if self.word.is_some() {
            return None;
        }
        let kind = if self.media { "MEDIA" } else { "ARGUMENT" };
        let name = self.name.as_ref().map_or_else(|| kind.to_owned(), |name| name.to_uppercase());
        Some(match (self.rest, self.optional) {
            (Some(_), _) => format!("[{name}…]"),
            (None, true) => format!("[{name}]"),
            (None, false) => name,
        })
    }

    /// The argument, if it fits.
    pub(super) fn take(&self, value: String) -> Result<Argument, String> {
        if value.len() > MAX_ARGUMENT_BYTES {
            return Err(format!("it has {} bytes, the limit is {MAX_ARGUMENT_BYTES}", value.len()));
        }
        let shown = clip(&value);
        // Whatever the pattern says: nobody means to let them through, and much breaks on them.
        if value.chars().any(char::is_control) {
            return Err(format!("{shown:?} has a control character, such as a line break or NUL"));
        }
        let Some(pattern) = &self.pattern else {
            if value.is_empty() || value.len() > MAX_ID_BYTES {
                return Err(format!("{shown:?} is not the id of a media file"));
            }
            return Ok(Argument::Media(value));
        };
        if !self.dash && value.starts_with('-') {
            return Err(format!("{shown:?} begins with a dash: only a place with `dash = true` takes options"));
        }
        if !pattern.is_match(&value) {
            return Err(format!("{shown:?} does not match the pattern {:?}", pattern.text));
        }
        Ok(Argument::Text(value))
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_that_are_none_or_too_much_are_told_in_a_line() {
        for (text, why) in [("(", "unclosed group"), ("a)|(b", "unopened group"), ("(?x)a #", "unclosed group")] {
            let error = Pattern::new(text).error().unwrap().to_owned();
            assert!(error.contains(why) && error.lines().count() == 1, "{text}: {error}");
        }
        assert!(Pattern::new(&"(a{1000}){1000}".repeat(3)).error().unwrap().contains("size limit"));
    }
}
