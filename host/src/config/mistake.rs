//! What is wrong with a configuration, where, and what would be right.

use std::fmt;
use std::path::PathBuf;

use crate::spelling::distance;

/// Where a value, or a mistake, comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nobody said anything.
    Default,
    /// A configuration file that could not be read.
    File(PathBuf),
    /// A place in a configuration file; line and column count from 1, columns in characters.
    Line {
        /// The file as it was named.
        file: PathBuf,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A command line flag.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Line { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Every mistake that was found, at least one, in the order of their places; one line each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.0.iter().map(|mistake| format!("{}: {}", mistake.place, mistake.message));
        f.write_str(&lines.collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for Mistakes {}

/// `; did you mean …?` for the candidate that is nearest to `word`, or nothing when none is near.
pub(super) fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    let bound = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= bound)
        .min()
        .map_or_else(String::new, |(_, candidate)| format!("; did you mean `{candidate}`?"))
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn the_nearest_word_is_suggested_and_a_far_one_is_not() {
        let keys = ["max_body", "max_input", "listen"];
        assert_eq!(suggestion("max_boddy", keys), "; did you mean `max_body`?");
        assert_eq!(suggestion("lisen", keys), "; did you mean `listen`?");
        assert_eq!(suggestion("workers", keys), "");
    }
}
