//! `[[limit]]`: how much runs at the same time or within a time. `[fairness]`: whose turn it is.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Document, raw};
use super::key::{abridged, count, millis, text};
use super::mistake::{Place, suggestion};
use super::source::Draft;
use crate::limit::declaration::RateDeclaration;
use crate::limit::{Declaration, Fairness, MAX_PER_MS, MAX_RULES, Wrong};

const FIELDS: [&str; 6] = ["name", "queues", "kinds", "key", "concurrency", "rate"];
const RATE: [&str; 3] = ["tasks", "per", "burst"];
const FAIRNESS: [&str; 2] = ["key", "weights"];

/// Reads every `[[limit]]` of a file.
pub(super) fn read(value: &Spanned<DeValue<'_>>, place: Place, document: Document<'_>, draft: &mut Draft) {
    let DeValue::Array(array) = value.get_ref() else {
        return draft.wrong(place, "limits are a list: write `[[limit]]`, once for each".to_owned());
    };
    if array.len() > MAX_RULES {
        return draft.wrong(place, format!("{} limits, more than {MAX_RULES}", array.len()));
    }
    for entry in array {
        let place = document.place(&entry.span());
        if let DeValue::Table(table) = entry.get_ref() {
            let mut reader = Reader { table, place, document, draft, what: "a limit", misread: false };
            reader.rule();
        } else {
            draft.wrong(place, "a limit is a table: write `[[limit]]`".to_owned());
        }
    }
}

/// Reads `[fairness]`.
pub(super) fn read_fairness(value: &Spanned<DeValue<'_>>, place: Place, document: Document<'_>, draft: &mut Draft) {
    let DeValue::Table(table) = value.get_ref() else {
        return draft.wrong(place, "`fairness` is a section: write `[fairness]` with its keys below it".to_owned());
    };
    let mut reader = Reader { table, place, document, draft, what: "the fairness", misread: false };
    reader.fairness();
}

/// Reads one table.
pub(super) struct Reader<'a, 'd> {
    pub(super) table: &'a DeTable<'a>,
    pub(super) place: Place,
    pub(super) document: Document<'a>,
    pub(super) draft: &'d mut Draft,
    pub(super) what: &'static str,
    /// Some field is not what it has to be by itself.
    pub(super) misread: bool,
}

impl<'a> Reader<'a, '_> {
    fn rule(&mut self) {
        self.unknown("[[limit]]", &FIELDS);
        let Some(name) = self.value("name", |value| text(raw(value))) else {
            if !self.table.contains_key("name") {
                self.draft.wrong(self.place.clone(), "`name` is missing".to_owned());
            }
            return;
        };
        let declaration = Declaration {
            queues: self.value("queues", texts),
            kinds: self.value("kinds", texts),
            key: self.value("key", |value| text(raw(value))),
            concurrency: self.value("concurrency", |value| count(&raw(value), 0, u32::MAX).map(u64::from)),
            rate: self.value("rate", rate),
        };
        if self.misread {
            return;
        }
        match declaration.check(&name) {
            Ok(rule) if self.draft.config.limits.iter().any(|known| known.name == rule.name) => {
                self.draft.wrong(self.place.clone(), format!("a limit called `{name}` is declared before"));
            }
            Ok(rule) => {
                self.draft.limits.insert(rule.name.clone(), self.place.clone());
                self.draft.config.limits.push(rule);
            }
            Err(wrong) => self.report(wrong),
        }
    }

    fn fairness(&mut self) {
        self.unknown("[fairness]", &FAIRNESS);
        let weights = self.value("weights", weights).unwrap_or_default();
        let Some(key) = self.value("key", |value| text(raw(value))) else {
            if !self.table.contains_key("key") {
                let text = "`key` is missing: `attributes.NAME`, or a JSON Pointer into the input";
                self.draft.wrong(self.place.clone(), text.to_owned());
            }
            return;
        };
        if self.misread {
            return;
        }
        match Fairness::check(&key, weights) {
            Ok(fairness) => {
                self.draft.origins.insert("fairness", self.place.clone());
                self.draft.config.fairness = Some(fairness);
            }
            Err(wrong) => self.report(wrong),
        }
    }

    pub(super) fn unknown(&mut self, section: &str, fields: &[&str]) {
        let table = self.table;
        for name in table.keys().filter(|name| !fields.contains(&name.get_ref().as_ref())) {
            let hint = suggestion(name.get_ref(), fields.iter().copied());
            let text = format!("unknown key `{}` in `{section}`{hint}", abridged(name.get_ref()));
            self.draft.wrong(self.document.place(&name.span()), text);
        }
    }

    /// What is wrong with the table as a whole, each at its field.
    fn report(&mut self, wrong: Vec<Wrong>) {
        for Wrong { field, message } in wrong {
            self.wrong(&field, &message);
        }
    }

    /// Notes what is wrong with a field, or, without one, with the table.
    pub(super) fn wrong(&mut self, field: &str, message: &str) {
        let key = field.split('.').next().unwrap_or_default();
        let place = self.table.get(key).map(|value| self.document.place(&value.span()));
        let place = place.unwrap_or_else(|| self.place.clone());
        let field = if field.is_empty() { self.what.to_owned() } else { format!("`{field}` of {}:", self.what) };
        self.draft.wrong(place, format!("{field} {message}"));
    }

    /// A field, if it is there and right; a wrong one is noted.
    pub(super) fn value<T>(&mut self, name: &'static str, parse: fn(&DeValue<'a>) -> Result<T, String>) -> Option<T> {
        let field = self.table.get(name)?;
        match parse(field.get_ref()) {
            Ok(value) => Some(value),
            Err(message) => {
                self.misread = true;
                let place = self.document.place(&field.span());
                self.draft.wrong(place, format!("`{name}` of {}: {message}", self.what));
                None
            }
        }
    }
}

fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let DeValue::Array(array) = value else { return Err("expected a list of strings".to_owned()) };
    array.iter().map(|item| text(raw(item.get_ref()))).collect()
}

/// Such as `{ tasks = 100, per = "1m", burst = 20 }`.
fn rate(value: &DeValue<'_>) -> Result<RateDeclaration, String> {
    const RULE: &str = "expected a table such as `{ tasks = 100, per = \"1m\", burst = 20 }`";
    let DeValue::Table(table) = value else { return Err(RULE.to_owned()) };
    if let Some(unknown) = table.keys().find(|key| !RATE.contains(&key.get_ref().as_ref())) {
        return Err(format!("unknown key `{}`: {RULE}", abridged(unknown.get_ref())));
    }
    let number = |name: &str| {
        let value = table.get(name).map(|value| count(&raw(value.get_ref()), 0, u32::MAX).map(u64::from));
        value.transpose().map_err(|error| format!("`{name}`: {error}"))
    };
    let per = table.get("per").map(|value| millis(raw(value.get_ref()), 1, MAX_PER_MS));
    let per_ms = per.transpose().map_err(|error| format!("`per`: {error}"))?;
    Ok(RateDeclaration { tasks: number("tasks")?, per_ms, burst: number("burst")? })
}

/// Such as `{ acme = 5 }`.
fn weights(value: &DeValue<'_>) -> Result<BTreeMap<String, u64>, String> {
    let DeValue::Table(table) = value else { return Err("expected a table such as `{ acme = 5 }`".to_owned()) };
    let pair = |(name, weight): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        let weight =
            count(&raw(weight.get_ref()), 0, u32::MAX).map_err(|error| format!("`{}`: {error}", name.get_ref()));
        Ok((name.get_ref().to_string(), u64::from(weight?)))
    };
    table.iter().map(pair).collect()
}
