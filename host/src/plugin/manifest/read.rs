//! From a manifest's text to its tables: every mistake with its place, and the line of every value.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::place::{Source, abridged, nearest, unknown};
use super::table::{Grant, List, Map, Number, Slot, Table, Texts, Unit, Words};
use super::{Mistake, Origins};

/// Mistakes that are told; what comes after them is mostly their consequence.
pub(super) const MAX_MISTAKES: usize = 16;

type Entries<'a> = DeTable<'a>;
type Value<'a> = Spanned<DeValue<'a>>;

/// Reads one text.
pub(super) struct Reader<'a> {
    source: Source<'a>,
    /// Every key with its table, for hints.
    everywhere: Vec<(String, &'static str)>,
    origins: Origins,
    mistakes: Vec<(usize, String)>,
}

/// Reads a manifest into `root`, whose values are the defaults. Either nothing is wrong, or at least one mistake is told.
pub(super) fn read(source: Source<'_>, root: &mut dyn Table) -> Result<Origins, Vec<Mistake>> {
    let (entries, errors) = DeTable::parse_recoverable(source.text);
    if !errors.is_empty() {
        // What is meant by the rest is not certain.
        return Err(source.explain(&errors));
    }
    let mut everywhere = Vec::new();
    list_keys("", root, &mut everywhere);
    let mut reader = Reader { source, everywhere, origins: Origins::default(), mistakes: Vec::new() };
    reader.table("", 0, root, entries.get_ref());
    reader.mistakes.sort();
    if reader.mistakes.is_empty() {
        return Ok(reader.origins);
    }
    let mistakes = reader.mistakes.into_iter().take(MAX_MISTAKES);
    Err(mistakes.map(|(offset, message)| source.at(offset, message)).collect())
}

/// Every key with the path of its table.
fn list_keys(path: &str, table: &mut dyn Table, found: &mut Vec<(String, &'static str)>) {
    for mut key in table.keys() {
        found.push((path.to_owned(), key.name));
        if let Slot::Table(table) = &mut key.slot {
            list_keys(&join(path, key.name), *table, found);
        }
    }
}

/// The path of a key: `limits.memory`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Reader<'_> {
    fn table(&mut self, path: &str, offset: usize, table: &mut dyn Table, entries: &Entries<'_>) {
        let known_before = self.mistakes.len();
        let mut keys = table.keys();
        for (name, value) in entries {
            // What comes after so many mistakes is not looked at.
            if self.mistakes.len() >= MAX_MISTAKES {
                return;
            }
            let Some(key) = keys.iter_mut().find(|key| key.name == name.get_ref().as_ref()) else {
                let known: Vec<_> = keys.iter().map(|key| key.name).collect();
                let message = unknown(name.get_ref(), &known, &self.everywhere);
                self.mistakes.push((name.span().start, message));
                continue;
            };
            let path = join(path, key.name);
            self.origins.note(&path, self.source.line(name.span().start));
            self.value(&path, &mut key.slot, value);
        }
        for key in keys.iter().filter(|key| key.required && !entries.contains_key(key.name)) {
            self.mistakes.push((offset, format!("`{}` is missing here: {}", key.name, key.about)));
        }
        drop(keys);
        if self.mistakes.len() == known_before
            && let Err(conflict) = table.check()
        {
            let at = entries.get_key_value(conflict.key).map_or(offset, |(name, _)| name.span().start);
            self.mistakes.push((at, conflict.message));
        }
    }

    fn value(&mut self, path: &str, slot: &mut Slot<'_>, value: &Value<'_>) {
        let offset = value.span().start;
        let found = value.get_ref();
        let read = match (slot, found) {
            (Slot::Flag(at), DeValue::Boolean(flag)) => {
                **at = *flag;
                Ok(())
            }
            (Slot::Flag(_), _) => Err("true or false".to_owned()),
            (Slot::Number { at, unit, range }, _) => number(*at, *unit, range, found),
            (Slot::Text(at, words), DeValue::String(text)) => match words.why_not(text) {
                Some(why) => return self.unusable(path, &why, &words.what(), value),
                None => fit(words, text).map(|()| at.set(text)),
            },
            (Slot::Text(_, words), _) => Err(words.what()),
            (Slot::Texts { at, words, max }, DeValue::Array(_)) => return self.texts(path, (*at, words, *max), value),
            (Slot::Texts { words, .. }, _) => Err(format!("a list of strings, each {}", words.what())),
            (Slot::Counts { at, range, max }, DeValue::Array(items)) => counts(at, range, *max, items),
            (Slot::Counts { range, max, .. }, _) => Err(what_counts(range, *max)),
            (Slot::Table(table), DeValue::Table(entries)) => return self.table(path, offset, *table, entries),
            (Slot::Grant(grant), _) => return self.grant(path, *grant, value),
            (Slot::List { at, max }, _) => return self.list(path, *at, *max, value),
            (Slot::Map { at, words, max }, DeValue::Table(entries)) => {
                return self.map(path, (*at, words, *max), entries, offset);
            }
            // As everywhere, `false` grants nothing.
            (Slot::Map { .. }, DeValue::Boolean(false)) => Ok(()),
            (Slot::Map { .. }, _) => {
                Err(format!("tables by name: write `[{path}.NAME]` with the keys of one below it"))
            }
            (Slot::Free { at, max }, DeValue::Table(entries)) => return self.free(path, at, *max, entries, offset),
            (Slot::Table(_) | Slot::Free { .. }, _) => Err(format!("a table: write `[{path}]` with its keys below it")),
        };
        if let Err(expected) = read {
            self.wrong(path, &expected, value);
        }
    }

    fn texts(&mut self, path: &str, (at, words, max): (&mut dyn Texts, &Words, usize), value: &Value<'_>) {
        let DeValue::Array(items) = value.get_ref() else { return };
        if let Some(extra) = items.get(max) {
            self.mistakes.push((extra.span().start, format!("`{}` has more than {max} entries", last(path))));
            return;
        }
        at.clear();
        for item in items {
            let text = item.get_ref().as_str();
            let read = text.map_or_else(|| Err(words.what()), |text| fit(words, text).map(|()| at.push(text)));
            if let Err(expected) = read {
                let message = format!("an entry of `{}` must be {expected}, not {}", last(path), sort(item.get_ref()));
                self.mistakes.push((item.span().start, message));
            }
        }
    }

    fn grant(&mut self, path: &str, grant: &mut dyn Grant, value: &Value<'_>) {
        if let DeValue::Boolean(granted) = value.get_ref() {
            grant.set(*granted);
        } else if let DeValue::Table(entries) = value.get_ref() {
            grant.set(true);
            if let Some(table) = grant.table() {
                self.table(path, value.span().start, table, entries);
            }
        } else {
            self.wrong(path, "true, false or a table", value);
        }
    }

    fn list(&mut self, path: &str, list: &mut dyn List, max: usize, value: &Value<'_>) {
        let DeValue::Array(items) = value.get_ref() else {
            return self.wrong(
                path,
                &format!("a list of tables: write `[[{path}]]` with the keys of one below it"),
                value,
            );
        };
        for (index, item) in items.iter().enumerate() {
            let offset = item.span().start;
            if index == max {
                self.mistakes.push((offset, format!("`{}` has more than {max} entries", last(path))));
                return;
            }
            let path = format!("{path}[{index}]");
            let table = list.add();
            self.origins.note(&path, self.source.line(offset));
            match (item.get_ref(), table.word()) {
                (DeValue::Table(entries), _) => self.table(&path, offset, table, entries),
                (DeValue::String(text), Some(word)) => *word = Some(text.to_string()),
                (_, Some(_)) => self.wrong(&path, "a string or a table", item),
                (_, None) => self.wrong(&path, "a table", item),
            }
        }
    }

    fn map(
        &mut self,
        path: &str,
        (map, words, max): (&mut dyn Map, &Words, usize),
        entries: &Entries<'_>,
        offset: usize,
    ) {
        if entries.len() > max {
            self.mistakes.push((offset, format!("[{path}] has more than {max} tables")));
            return;
        }
        for (name, value) in entries {
            let (name, at) = (name.get_ref().as_ref(), name.span().start);
            if let Err(expected) = fit(words, name) {
                self.mistakes.push((at, format!("a name in [{path}] must be {expected}, not \"{}\"", abridged(name))));
                continue;
            }
            let path = join(path, name);
            let DeValue::Table(entries) = value.get_ref() else {
                self.wrong(&path, "a table", value);
                continue;
            };
            self.origins.note(&path, self.source.line(at));
            self.table(&path, at, map.add(name), entries);
        }
    }

    fn free(
        &mut self,
        path: &str,
        at: &mut BTreeMap<String, String>,
        max: usize,
        entries: &Entries<'_>,
        offset: usize,
    ) {
        if entries.len() > max {
            self.mistakes.push((offset, format!("[{path}] has more than {max} settings")));
            return;
        }
        for (name, value) in entries {
            let text = match value.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                DeValue::Boolean(flag) => Some(flag.to_string()),
                DeValue::Integer(_) => integer(value.get_ref()).map(|number| number.to_string()),
                DeValue::Float(float) => float.as_str().parse().ok().map(|number: f64| number.to_string()),
                DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
            };
            let path = join(path, name.get_ref());
            self.origins.note(&path, self.source.line(name.span().start));
            match text {
                Some(text) => drop(at.insert(name.get_ref().to_string(), text)),
                None => self.wrong(&path, "a string, a number of at most 64 bits or true/false", value),
            }
        }
    }

    fn unusable(&mut self, path: &str, why: &str, expected: &str, value: &Value<'_>) {
        let (key, found) = (last(path), sort(value.get_ref()));
        let message = format!("`{key}` is not usable: {why}; {expected} is expected, not {found}");
        self.mistakes.push((value.span().start, message));
    }

    fn wrong(&mut self, path: &str, expected: &str, value: &Value<'_>) {
        let message = format!("`{}` must be {expected}, not {}", last(path), sort(value.get_ref()));
        self.mistakes.push((value.span().start, message));
    }
}

/// What a message calls a key: its own name, as it was written.
fn last(path: &str) -> String {
    abridged(path.rsplit('.').next().unwrap_or(path))
}

fn number(at: &mut dyn Number, unit: Unit, range: &RangeInclusive<u64>, value: &DeValue<'_>) -> Result<(), String> {
    let number = match value.as_str() {
        Some(text) => unit.parse(text),
        None if unit == Unit::PerSecond => thousandths(value),
        None => integer(value).and_then(|number| u64::try_from(number).ok()),
    };
    let bounds = format!("between {} and {}", unit.show(*range.start()), unit.show(*range.end()));
    match number {
        Some(number) if range.contains(&number) => {
            at.set(number);
            Ok(())
        }
        Some(_) => Err(bounds),
        None => Err(format!("{}, {bounds}", unit.what())),
    }
}

/// A number with a fraction; whole thousandths, or none.
fn thousandths(value: &DeValue<'_>) -> Option<u64> {
    let DeValue::Float(float) = value else {
        return integer(value).and_then(|number| u64::try_from(number).ok()?.checked_mul(1000));
    };
    let number = float.as_str().replace('_', "").parse::<f64>().ok()? * 1000.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast ends at the type's ends")]
    let rounded = number.round() as u64;
    (number.is_finite() && number >= 0.0 && (number - number.round()).abs() < 1e-6).then_some(rounded)
}

fn counts(at: &mut Vec<u16>, range: &RangeInclusive<u16>, max: usize, items: &[Value<'_>]) -> Result<(), String> {
    let number = |item: &Value<'_>| integer(item.get_ref()).and_then(|number| u16::try_from(number).ok());
    let numbers: Option<Vec<_>> =
        items.iter().map(|item| number(item).filter(|number| range.contains(number))).collect();
    *at = numbers.filter(|numbers| numbers.len() <= max).ok_or_else(|| what_counts(range, max))?;
    Ok(())
}

fn what_counts(range: &RangeInclusive<u16>, max: usize) -> String {
    format!("a list of at most {max} integers between {} and {}", range.start(), range.end())
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let DeValue::Integer(number) = value else { return None };
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn fit(words: &Words, text: &str) -> Result<(), String> {
    if words.fit(text) {
        return Ok(());
    }
    let hint = match words {
        Words::OneOf(known) => nearest(text, known).map(|near| format!(" (did you mean {near:?}?)")),
        Words::Like { .. } | Words::Read { .. } => None,
    };
    Err(words.what() + &hint.unwrap_or_default())
}

/// What a value is, for messages.
fn sort(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", abridged(text)),
        DeValue::Integer(number) => abridged(&number.to_string()),
        DeValue::Float(number) => abridged(number.as_str()),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
