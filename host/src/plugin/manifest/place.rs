//! Says where in a manifest something is wrong, and what was probably meant.

use std::ops::Range;

use crate::spelling::distance;

use super::Mistake;
use super::read::MAX_MISTAKES;

/// Characters of a key or a value that a message repeats.
const MAX_SHOWN: usize = 60;

/// The text that is being read.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// A mistake at a byte offset.
    pub(super) fn at(self, offset: usize, message: String) -> Mistake {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Mistake {
            file: self.file.to_owned(),
            line: self.line(offset),
            column: before[line_start..].trim_start_matches('\u{feff}').chars().count() + 1,
            message,
        }
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(self, offset: usize) -> usize {
        self.text.get(..offset).unwrap_or(self.text).matches('\n').count() + 1
    }

    /// The parser's errors, the first of each line: those behind it are its consequences.
    pub(super) fn explain(self, errors: &[toml::de::Error]) -> Vec<Mistake> {
        let mut mistakes: Vec<_> = errors.iter().map(|error| self.explain_one(error)).collect();
        mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
        mistakes.dedup_by_key(|mistake| mistake.line);
        mistakes.truncate(MAX_MISTAKES);
        mistakes
    }

    fn explain_one(self, error: &toml::de::Error) -> Mistake {
        let Range { start, end } = error.span().unwrap_or(0..0);
        let mut message = error.message().lines().collect::<Vec<_>>().join(", ");
        if message == "duplicate key" {
            let key = abridged(self.text.get(start..end).unwrap_or_default());
            message = format!("duplicate key: `{key}` is there above; merge the two");
        }
        // It may begin behind the last line.
        self.at(start.min(self.text.trim_end_matches(['\r', '\n']).len()), message)
    }
}

/// What to say about a key that does not exist where `known` keys do; `elsewhere` are all keys, with their tables.
pub(super) fn unknown(name: &str, known: &[&str], elsewhere: &[(String, &str)]) -> String {
    let shown = abridged(name);
    if let Some(near) = nearest(name, known) {
        return format!("unknown key `{shown}`; did you mean `{near}`?");
    }
    match elsewhere.iter().find(|(_, key)| *key == name) {
        Some((table, _)) if table.is_empty() => format!("unknown key `{shown}`; it belongs above all tables"),
        Some((table, _)) => format!("unknown key `{shown}`; it belongs under `[{table}]`"),
        None if known.is_empty() => format!("unknown key `{shown}`; no key is known here"),
        None => format!("unknown key `{shown}`; known here: {}", known.join(", ")),
    }
}

/// The candidate that fewest edits turn into `word`, if few enough.
pub(super) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    if word.len() > MAX_SHOWN {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let enough = (word.chars().count() / 3).max(1) + 1;
    let near = candidates.iter().map(|candidate| (distance(&word, candidate), *candidate));
    let near = near.filter(|(distance, candidate)| *distance <= enough && *distance < candidate.len());
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// A message repeats no more of what somebody wrote than a line can show.
pub(super) fn abridged(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().count() > MAX_SHOWN {
        shown.push('…');
    }
    shown
}
