//! Reads a configuration file: TOML with places.

use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::key::{KEYS, Key, Raw, abridged};
use super::mistake::{Place, suggestion};
use super::source::Draft;
use super::{limit, preset, schedule, secret};

/// The section with sections of its own, and their name in it.
const PRESETS: (&str, &str) = ("ffmpeg", "presets");

/// Turns byte ranges of a file into places.
#[derive(Clone, Copy)]
pub(super) struct Document<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Document<'_> {
    /// Where a range begins.
    pub(super) fn place(self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Place::Line { file: self.file.to_owned(), line, column }
    }
}

/// Reads a file's text into the draft.
pub(super) fn read(file: &Path, text: &str, draft: &mut Draft) {
    let document = Document { file, text };
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut unreadable = Vec::new();
    for error in errors {
        let place = document.place(&error.span().unwrap_or(0..0));
        unreadable.extend(line_of(&place));
        draft.wrong(place, error.message().replace('\n', ", "));
    }
    let known = draft.mistakes.len();
    for (name, value) in root.get_ref() {
        let place = document.place(&name.span());
        let name = name.get_ref().as_ref();
        match (name, value.get_ref()) {
            ("schedule", _) => schedule::read(value, place, document, draft),
            ("limit", _) => limit::read(value, place, document, draft),
            ("fairness", _) => limit::read_fairness(value, place, document, draft),
            ("secrets", _) => secret::read(value, place, document, draft),
            (_, DeValue::Table(section)) if is_section(name) => read_section(name, section, document, draft),
            (_, _) if is_section(name) => {
                draft.wrong(place, format!("`{name}` is a section: write `[{name}]` with its keys below it"));
            }
            (_, value) => match Key::find(name).filter(|key| key.split().0.is_empty()) {
                Some(key) => draft.set(key, raw(value), place),
                None => draft.wrong(place, unknown("", name)),
            },
        }
    }
    // What is left of a line that is not TOML says nothing about its author.
    let mistakes = draft.mistakes.split_off(known);
    let sound = |place: &Place| line_of(place).is_none_or(|line| !unreadable.contains(&line));
    draft.mistakes.extend(mistakes.into_iter().filter(|mistake| sound(&mistake.place)));
}

fn read_section(section: &str, keys: &DeTable<'_>, document: Document<'_>, draft: &mut Draft) {
    for (name, value) in keys {
        if (section, name.get_ref().as_ref()) == PRESETS {
            preset::read(value, document.place(&name.span()), document, draft);
            continue;
        }
        match Key::find(&format!("{section}.{}", name.get_ref())) {
            Some(key) => draft.set(key, raw(value.get_ref()), document.place(&value.span())),
            None => draft.wrong(document.place(&name.span()), unknown(section, name.get_ref())),
        }
    }
}

/// A value of the file as it was written.
pub(super) fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Other("an integer beyond 64 bits"),
        },
        DeValue::Float(_) => Raw::Other("a number with a fraction"),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(items) => {
            let text = |item: &toml::Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
            let texts: Option<Vec<_>> = items.iter().map(text).collect();
            texts.map_or(Raw::Other("an array of other things than strings"), Raw::Texts)
        }
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| !name.is_empty() && key.split().0 == name)
}

fn line_of(place: &Place) -> Option<usize> {
    if let Place::Line { line, .. } = place { Some(*line) } else { None }
}

/// What to say about a key that does not exist in `section`.
fn unknown(section: &str, name: &str) -> String {
    let siblings = KEYS.iter().map(Key::split).chain([PRESETS]).filter(|key| key.0 == section).map(|key| key.1);
    let sections = KEYS
        .iter()
        .map(|key| key.split().0)
        .chain(["schedule", "limit", "fairness", "secrets"])
        .filter(|name| !name.is_empty());
    let mut hint = match section {
        "" => suggestion(name, siblings.chain(sections)),
        _ => suggestion(name, siblings),
    };
    if hint.is_empty()
        && let Some(key) = KEYS.iter().find(|key| key.split().1 == name)
    {
        hint = match key.split() {
            ("", name) => format!("; `{name}` belongs above all sections"),
            (section, name) => format!("; `{name}` belongs under `[{section}]`"),
        };
    }
    let place = if section.is_empty() { String::new() } else { format!(" in `[{section}]`") };
    format!("unknown key `{}`{place}{hint}", abridged(name))
}
