//! How a manifest's keys are declared: each in ONE place, from which the reader, the JSON Schema and the
//! effective view follow.
//!
//! To add a key:
//!
//! 1. Add a field to the struct that holds the value (`Limits`, `StateGrant`, `Manifest`, …) and its
//!    default to the struct's `Default`.
//! 2. The struct's `impl Table` takes itself apart, so it no longer compiles until the key is
//!    declared there: its name, the field, its range or its [`Words`], and a description for people.
//! 3. Say it in `plugins/README.md`.
//!
//! To add a table: write its struct with `Default` and `impl Table`, and declare it in its parent:
//! [`Key::table`] when it is always there (`[limits]`), [`Key::grant`] for an `Option<T>` that is also
//! written `name = true`, [`Key::list`] for a `Vec<T>` (`[[grant.http]]`, or an array of inline tables),
//! [`Key::map`] for tables by their names (`[grant.command.NAME]`).
//! Keys that need each other are compared in [`Table::check`]. A value of another form implements
//! [`Text`] or [`Number`]; one that stands in a list is read by its `FromStr`.

mod value;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub use self::value::{Number, Text, Texts};
use crate::quantity::{parse_bytes, parse_millis, show_bytes, show_millis};

/// A table of the manifest.
pub trait Table {
    /// Its keys, each bound to the place of its value.
    fn keys(&mut self) -> Vec<Key<'_>>;

    /// Where a word goes that may stand in a list instead of this table.
    fn word(&mut self) -> Option<&mut Option<String>> {
        None
    }

    /// What no key alone can tell.
    fn check(&self) -> Result<(), Conflict> {
        Ok(())
    }
}

/// Values that do not go together.
#[derive(Debug)]
pub struct Conflict {
    /// The key that the message points at; its table when it is not there.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub message: String,
}

/// A key, and where its value goes.
pub struct Key<'a> {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) required: bool,
    pub(super) slot: Slot<'a>,
}

/// Where a value goes, and what fits there.
pub(super) enum Slot<'a> {
    Flag(&'a mut bool),
    Number { at: &'a mut dyn Number, unit: Unit, range: RangeInclusive<u64> },
    Text(&'a mut dyn Text, &'static Words),
    Texts { at: &'a mut dyn Texts, words: &'static Words, max: usize },
    Counts { at: &'a mut Vec<u16>, range: RangeInclusive<u16>, max: usize },
    Table(&'a mut dyn Table),
    Grant(&'a mut dyn Grant),
    List { at: &'a mut dyn List, max: usize },
    Map { at: &'a mut dyn Map, words: &'static Words, max: usize },
    Free { at: &'a mut BTreeMap<String, String>, max: usize },
}

/// What a number counts, and so how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain integer.
    Count,
    /// So many a second, with up to three places behind the point; kept in thousandths.
    PerSecond,
    /// `"64MiB"`, or an integer of bytes.
    Bytes,
    /// `"30s"`, or an integer of milliseconds.
    Millis,
}

/// Which strings fit.
#[derive(Debug)]
pub enum Words {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// What the pattern matches.
    Like {
        /// What it is, for messages, with an example: "a kind such as \"video.cut\"".
        what: &'static str,
        /// A regular expression (ECMA 262) for the schema. It may let more pass than `fits`.
        pattern: &'static str,
        /// Whether a string fits.
        fits: fn(&str) -> bool,
    },
    /// What a reader takes, which says what is wrong with the others.
    Read {
        /// What it is, for messages, with an example.
        what: &'static str,
        /// A regular expression (ECMA 262) for the schema. It may let more pass than `check`.
        pattern: &'static str,
        /// What is wrong with a string.
        check: fn(&str) -> Result<(), String>,
    },
}

impl std::fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<'a> Key<'a> {
    fn new(name: &'static str, about: &'static str, slot: Slot<'a>) -> Self {
        Self { name, about, required: false, slot }
    }

    /// It has to be there.
    #[must_use]
    pub fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// True or false.
    pub fn flag(name: &'static str, at: &'a mut bool, about: &'static str) -> Self {
        Self::new(name, about, Slot::Flag(at))
    }

    /// A whole number.
    pub fn count(name: &'static str, at: &'a mut dyn Number, range: RangeInclusive<u64>, about: &'static str) -> Self {
        Self::new(name, about, Slot::Number { at, unit: Unit::Count, range })
    }

    /// A size in bytes.
    pub fn bytes(name: &'static str, at: &'a mut dyn Number, range: RangeInclusive<u64>, about: &'static str) -> Self {
        Self::new(name, about, Slot::Number { at, unit: Unit::Bytes, range })
    }

    /// A duration in milliseconds.
    pub fn millis(name: &'static str, at: &'a mut dyn Number, range: RangeInclusive<u64>, about: &'static str) -> Self {
        Self::new(name, about, Slot::Number { at, unit: Unit::Millis, range })
    }

    /// A string.
    pub fn text(name: &'static str, at: &'a mut dyn Text, words: &'static Words, about: &'static str) -> Self {
        Self::new(name, about, Slot::Text(at, words))
    }

    /// A number a second, which may have a fraction; the range is in thousandths, as is the value.
    pub fn per_second(
        name: &'static str,
        at: &'a mut dyn Number,
        range: RangeInclusive<u64>,
        about: &'static str,
    ) -> Self {
        Self::new(name, about, Slot::Number { at, unit: Unit::PerSecond, range })
    }

    /// At most `max` strings.
    pub fn texts(
        name: &'static str,
        at: &'a mut dyn Texts,
        (words, max): (&'static Words, usize),
        about: &'static str,
    ) -> Self {
        Self::new(name, about, Slot::Texts { at, words, max })
    }

    /// At most `max` small numbers.
    pub fn counts(
        name: &'static str,
        at: &'a mut Vec<u16>,
        (range, max): (RangeInclusive<u16>, usize),
        about: &'static str,
    ) -> Self {
        Self::new(name, about, Slot::Counts { at, range, max })
    }

    /// A table that is always there.
    pub fn table(name: &'static str, at: &'a mut dyn Table, about: &'static str) -> Self {
        Self::new(name, about, Slot::Table(at))
    }

    /// Something that is granted or not: `true`, `false`, or a table that says how much.
    pub fn grant(name: &'static str, at: &'a mut dyn Grant, about: &'static str) -> Self {
        Self::new(name, about, Slot::Grant(at))
    }

    /// At most `max` tables.
    pub fn list(name: &'static str, at: &'a mut dyn List, max: usize, about: &'static str) -> Self {
        Self::new(name, about, Slot::List { at, max })
    }

    /// At most `max` tables by names that fit.
    pub fn map(
        name: &'static str,
        at: &'a mut dyn Map,
        (words, max): (&'static Words, usize),
        about: &'static str,
    ) -> Self {
        Self::new(name, about, Slot::Map { at, words, max })
    }

    /// A table of at most `max` keys that somebody else knows; text, numbers and truth values are kept as text.
    pub fn free(name: &'static str, at: &'a mut BTreeMap<String, String>, max: usize, about: &'static str) -> Self {
        Self::new(name, about, Slot::Free { at, max })
    }
}

/// A table that is there or not.
pub trait Grant {
    /// Grants the usual, or nothing.
    fn set(&mut self, granted: bool);
    /// What is granted.
    fn table(&mut self) -> Option<&mut dyn Table>;
}

impl<T: Table + Default> Grant for Option<T> {
    fn set(&mut self, granted: bool) {
        *self = granted.then(T::default);
    }

    fn table(&mut self) -> Option<&mut dyn Table> {
        self.as_mut().map(|table| -> &mut dyn Table { table })
    }
}

/// Any number of tables of one sort.
pub trait List {
    /// Adds one, with nothing said yet.
    fn add(&mut self) -> &mut dyn Table;
    /// All of them.
    fn tables(&mut self) -> Vec<&mut dyn Table>;
}

impl<T: Table + Default> List for Vec<T> {
    fn add(&mut self) -> &mut dyn Table {
        self.push(T::default());
        self.last_mut().expect("one was just added")
    }

    fn tables(&mut self) -> Vec<&mut dyn Table> {
        self.iter_mut().map(|table| -> &mut dyn Table { table }).collect()
    }
}

/// Any number of tables of one sort, by their names.
pub trait Map {
    /// Adds one, with nothing said yet.
    fn add(&mut self, name: &str) -> &mut dyn Table;
    /// All of them.
    fn tables(&mut self) -> Vec<(&str, &mut dyn Table)>;
}

impl<T: Table + Default> Map for BTreeMap<String, T> {
    fn add(&mut self, name: &str) -> &mut dyn Table {
        self.entry(name.to_owned()).or_default()
    }

    fn tables(&mut self) -> Vec<(&str, &mut dyn Table)> {
        self.iter_mut().map(|(name, table)| -> (&str, &mut dyn Table) { (name, table) }).collect()
    }
}

impl Unit {
    /// A value in words: "64MiB".
    pub(super) fn show(self, value: u64) -> String {
        match self {
            Self::Count => value.to_string(),
            Self::PerSecond if value.is_multiple_of(1000) => (value / 1000).to_string(),
            Self::PerSecond => format!("{}.{:03}", value / 1000, value % 1000).trim_end_matches('0').to_owned(),
            Self::Bytes => show_bytes(value),
            Self::Millis => show_millis(value),
        }
    }

    /// What a string means.
    pub(super) fn parse(self, text: &str) -> Option<u64> {
        match self {
            Self::Count | Self::PerSecond => None,
            Self::Bytes => parse_bytes(text).ok(),
            Self::Millis => parse_millis(text).ok(),
        }
    }

    /// What fits, in words.
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::Count => "an integer",
            Self::PerSecond => "a number, with up to three places behind the point",
            Self::Bytes => "a size such as \"64MiB\" (B, KiB, MiB, GiB, TiB) or a number of bytes",
            Self::Millis => "a duration such as \"30s\" (ms, s, m, h, d) or a number of milliseconds",
        }
    }

    /// The units of a string, for the schema.
    pub(super) fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Count | Self::PerSecond => None,
            Self::Bytes => Some("^[0-9]+ *(B|KiB|MiB|GiB|TiB)$"),
            Self::Millis => Some("^[0-9]+ *(ms|s|m|h|d)$"),
        }
    }
}

impl Words {
    /// Whether a string fits.
    pub(super) fn fit(&self, text: &str) -> bool {
        match self {
            Self::OneOf(words) => words.contains(&text),
            Self::Like { fits, .. } => fits(text),
            Self::Read { check, .. } => check(text).is_ok(),
        }
    }

    /// What fits, in words.
    pub(super) fn what(&self) -> String {
        match self {
            Self::OneOf(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
                format!("one of {}", words.join(", "))
            }
            Self::Like { what, .. } | Self::Read { what, .. } => (*what).to_owned(),
        }
    }

    /// Why a string does not fit, where its reader says that.
    pub(super) fn why_not(&self, text: &str) -> Option<String> {
        match self {
            Self::OneOf(_) | Self::Like { .. } => None,
            Self::Read { check, .. } => check(text).err(),
        }
    }
}
