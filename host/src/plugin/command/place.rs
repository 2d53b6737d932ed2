//! One place in a command's list of arguments, and what fits there.

use regex::{Regex, RegexBuilder};

use super::MAX_ARGUMENT_BYTES;
use crate::plugin::contract::clip;
use crate::plugin::ports::Argument;

/// Bytes that a compiled pattern may take.
const MAX_PATTERN_BYTES: usize = 1 << 20;
/// Bytes of a media id: anything longer names nothing.
const MAX_ID_BYTES: usize = 128;

/// A place in the list of arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A fixed word. It is always there, and guests do not give it.
    Literal(String),
    /// What a guest gives.
    Open {
        /// What messages call it.
        name: Option<String>,
        /// What fits.
        takes: Takes,
        /// How many of them.
        count: Count,
    },
}

/// How many arguments a place takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// None up to so many.
    Rest(u32),
}

/// What fits into a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Text.
    Text {
        /// Which covers all of it.
        pattern: Pattern,
        /// Whether it may begin with a dash, and so be an option of the program.
        dash: bool,
    },
    /// The id of a live file of the media library; the program gets a path under which it is open.
    Media,
}

/// A regular expression that covers a whole argument.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// The pattern, or what is wrong with it, in a line.
    pub fn new(text: &str) -> Result<Self, String> {
        let build = |text: &str| RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build();
        // By itself first: `a)|(b` would break out of what holds it to the whole argument.
        let regex = build(text).and_then(|_alone| build(&format!(r"\A(?:{text})\z")));
        match regex {
            Ok(regex) => Ok(Self { text: text.to_owned(), regex }),
            Err(error) => {
                let error = error.to_string();
                let line = error.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
                Err(line.unwrap_or_else(|| error.lines().next().unwrap_or_default()).to_owned())
            }
        }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Count {
    /// Arguments that have to be there.
    pub(super) fn least(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Optional | Self::Rest(_) => 0,
        }
    }

    /// Arguments that may be there.
    pub(super) fn most(self) -> u32 {
        match self {
            Self::One | Self::Optional => 1,
            Self::Rest(most) => most,
        }
    }
}

impl Place {
    /// `argument 2 (TARGET)`.
    pub(super) fn call(&self, index: usize) -> String {
        match self {
            Self::Open { name: Some(name), .. } => format!("argument {} ({})", index + 1, name.to_uppercase()),
            Self::Open { .. } | Self::Literal(_) => format!("argument {}", index + 1),
        }
    }

    /// How it stands in a usage line; fixed words do not.
    pub(super) fn shown(&self) -> Option<String> {
        let Self::Open { name, takes, count } = self else { return None };
        let kind = match takes {
            Takes::Text { .. } => "ARGUMENT",
            Takes::Media => "MEDIA",
        };
        let name = name.as_ref().map_or_else(|| kind.to_owned(), |name| name.to_uppercase());
        Some(match count {
            Count::One => name,
            Count::Optional => format!("[{name}]"),
            Count::Rest(_) => format!("[{name}…]"),
        })
    }
}

impl Takes {
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
        match self {
            Self::Text { dash: false, .. } if value.starts_with('-') => {
                let remedy = "only a place with `dash = true` takes options";
                Err(format!("{shown:?} begins with a dash: {remedy}"))
            }
            Self::Text { pattern, .. } if !pattern.regex.is_match(&value) => {
                Err(format!("{shown:?} does not match the pattern {:?}", pattern.text))
            }
            Self::Text { .. } => Ok(Argument::Text(value)),
            Self::Media if value.is_empty() || value.len() > MAX_ID_BYTES => {
                Err(format!("{shown:?} is not the id of a media file"))
            }
            Self::Media => Ok(Argument::Media(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn patterns_that_are_none_or_too_much_are_told_in_a_line() {
        for (text, why) in [("(", "unclosed group"), ("a)|(b", "unopened group"), ("(?x)a #", "unclosed group")] {
            let error = Pattern::new(text).unwrap_err();
            assert!(error.contains(why) && error.lines().count() == 1, "{text}: {error}");
        }
        assert!(Pattern::new(&"(a{1000}){1000}".repeat(3)).unwrap_err().contains("size limit"));
    }
}
