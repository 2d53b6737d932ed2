//! `[[schedule]]`: what happens by itself.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Document, raw};
use super::key::{abridged, count, flag, millis, text};
use super::mistake::{Place, suggestion};
use super::source::Draft;
use crate::schedule::declaration::{MAX_CAP, MAX_JITTER_MS};
use crate::schedule::{
    Action, Declaration, MAX_INTERVAL_MS, MAX_NAME_LEN, MIN_INTERVAL_MS, ON_TIME_MS, ScheduleSpec, Wrong,
};
use crate::task::{MAX_KIND_LEN, is_valid_kind};

/// Tasks asked of a dispatcher at once when nothing is said.
pub(super) const DEFAULT_BATCH: u32 = 100;
/// Live tasks of a dispatching schedule when nothing is said.
pub(super) const DEFAULT_CAPACITY: u32 = 1_000;

const MAX_BATCH: u32 = 10_000;
const MAX_CAPACITY: u32 = 1_000_000;
/// Schedules of a file.
const MAX_SCHEDULES: usize = 10_000;
/// Tables within tables of an input; as deep as JSON that clients may send.
const MAX_INPUT_DEPTH: usize = 64;
const FIELDS: [&str; 23] = [
    "name",
    "enabled",
    "dispatch",
    "batch",
    "capacity",
    "enqueue",
    "input",
    "every",
    "phase",
    "cron",
    "zone",
    "dst",
    "at",
    "start",
    "end",
    "jitter",
    "max_fires",
    "overlap",
    "overlap_cap",
    "catch_up",
    "catch_up_cap",
    "catch_up_window",
    "pause_on_failure",
];
/// The fields that say when.
const TRIGGERS: [&str; 3] = ["every", "cron", "at"];

/// The schedules of a file, by name; without a spec when switched off.
#[derive(Default)]
pub(super) struct Declarations(BTreeMap<String, (Place, Option<ScheduleSpec>)>);

impl Declarations {
    /// The built-in schedules that nothing replaces, and those of the file.
    pub(super) fn effective(&self, builtin: Vec<ScheduleSpec>) -> Vec<ScheduleSpec> {
        let kept = builtin.into_iter().filter(|spec| !self.0.contains_key(&spec.name));
        kept.chain(self.0.values().filter_map(|(_, spec)| spec.clone())).collect()
    }

    /// Where a schedule is declared.
    pub(super) fn place(&self, name: &str) -> Place {
        self.0.get(name).map_or(Place::Default, |(place, _)| place.clone())
    }

    /// Where each is declared.
    pub(super) fn places(self) -> BTreeMap<String, Place> {
        self.0.into_iter().map(|(name, (place, _))| (name, place)).collect()
    }
}

/// Reads every `[[schedule]]` of a file.
pub(super) fn read(value: &Spanned<DeValue<'_>>, place: Place, document: Document<'_>, draft: &mut Draft) {
    let DeValue::Array(array) = value.get_ref() else {
        return draft.wrong(place, "schedules are a list: write `[[schedule]]`, once for each".to_owned());
    };
    if array.len() > MAX_SCHEDULES {
        return draft.wrong(place, format!("{} schedules, more than {MAX_SCHEDULES}", array.len()));
    }
    for entry in array {
        let place = document.place(&entry.span());
        if let DeValue::Table(table) = entry.get_ref() {
            Reader { table, place, document, draft, misread: false }.read();
        } else {
            draft.wrong(place, "a schedule is a table: write `[[schedule]]`".to_owned());
        }
    }
}

/// Reads one `[[schedule]]`.
struct Reader<'a> {
    table: &'a DeTable<'a>,
    place: Place,
    document: Document<'a>,
    draft: &'a mut Draft,
    /// Some field is not what it has to be by itself.
    misread: bool,
}

impl<'a> Reader<'a> {
    fn read(mut self) {
        for name in self.table.keys() {
            let text = name.get_ref().as_ref();
            if !FIELDS.contains(&text) {
                let hint = suggestion(text, FIELDS);
                let place = self.document.place(&name.span());
                self.draft.wrong(place, format!("unknown key `{}` in `[[schedule]]`{hint}", abridged(text)));
            }
        }
        let name = self.value("name", name);
        let enabled = self.value("enabled", |value| flag(&raw(value))).unwrap_or(true);
        let declaration = self.declaration();
        let action = self.action(enabled);
        if !self.table.contains_key("name") {
            self.wrong("`name` is missing");
        }
        let has_trigger = TRIGGERS.iter().any(|name| self.table.contains_key(*name));
        if enabled && !has_trigger {
            self.wrong("when it fires is missing: `every`, `cron` or `at`");
        }
        let Some(name) = name else { return };
        if let Some((first, _)) = self.draft.schedules.0.get(&name) {
            let message = format!("a schedule called `{name}` is declared before, at {first}");
            return self.draft.wrong(self.place, message);
        }
        let checked = action.filter(|_| enabled && has_trigger && !self.misread);
        let spec = checked.and_then(|action| match declaration.check(&name, action) {
            Ok(spec) => Some(spec),
            Err(wrong) => {
                self.report(wrong);
                None
            }
        });
        self.draft.schedules.0.insert(name, (self.place, spec));
    }

    /// When it fires, and how.
    fn declaration(&mut self) -> Declaration {
        let (dst_gap, dst_overlap) = self.value("dst", dst).unwrap_or_default();
        Declaration {
            every_ms: self.value("every", |value| millis(raw(value), MIN_INTERVAL_MS, MAX_INTERVAL_MS)),
            phase_ms: self.value("phase", |value| millis(raw(value), 0, MAX_INTERVAL_MS)),
            cron: self.value("cron", |value| text(raw(value))),
            zone: self.value("zone", |value| text(raw(value))),
            dst_gap,
            dst_overlap,
            at: self.value("at", instants),
            overlap: self.value("overlap", |value| text(raw(value))),
            overlap_cap: self.value("overlap_cap", |value| count(&raw(value), 1, MAX_CAP).map(u64::from)),
            catch_up: self.value("catch_up", |value| text(raw(value))),
            catch_up_cap: self.value("catch_up_cap", |value| count(&raw(value), 1, MAX_CAP).map(u64::from)),
            catch_up_window_ms: self.value("catch_up_window", |value| millis(raw(value), ON_TIME_MS, MAX_INTERVAL_MS)),
            jitter_ms: self.value("jitter", |value| millis(raw(value), 0, MAX_JITTER_MS)),
            start: self.value("start", instant),
            end: self.value("end", instant),
            max_fires: self.value("max_fires", |value| count(&raw(value), 1, u32::MAX).map(u64::from)),
            pause_on_failure: self.value("pause_on_failure", |value| count(&raw(value), 1, 1_000_000).map(u64::from)),
        }
    }

    /// What is wrong with the schedule as a whole, each at its field.
    fn report(&mut self, wrong: Vec<Wrong>) {
        for Wrong { field, message, .. } in wrong {
            let key = field.split('.').next().unwrap_or(field);
            let place = self.table.get(key).map(|value| self.document.place(&value.span()));
            let place = place.unwrap_or_else(|| self.place.clone());
            self.draft.wrong(place, format!("`{field}` of a schedule: {message}"));
        }
    }

    fn action(&mut self, enabled: bool) -> Option<Action> {
        let batch = self.value("batch", |value| count(&raw(value), 1, MAX_BATCH));
        let capacity = self.value("capacity", |value| count(&raw(value), 1, MAX_CAPACITY));
        let input = self.value("input", |value| json(value, 0));
        let plugin = self.value("dispatch", plugin);
        let kind = self.value("enqueue", kind);
        let has = |name| self.table.contains_key(name);
        match (has("dispatch"), has("enqueue")) {
            (true, true) => self.wrong("`dispatch` and `enqueue` exclude each other"),
            (false, false) if enabled => {
                self.wrong("what happens is missing: `dispatch = \"PLUGIN\"` or `enqueue = \"KIND\"`");
            }
            (true, false) if has("input") => self.wrong("`input` is for `enqueue`; a dispatcher gets none"),
            (false, true) if has("batch") || has("capacity") => {
                self.wrong("`batch` and `capacity` are for `dispatch`; `enqueue` creates one task");
            }
            (true, false) => {
                let (batch, capacity) = (batch.unwrap_or(DEFAULT_BATCH), capacity.unwrap_or(DEFAULT_CAPACITY));
                return plugin.map(|plugin| Action::Dispatch { plugin, batch, capacity });
            }
            (false, true) => {
                let input = input.unwrap_or_else(|| Value::Object(Map::new())).to_string();
                return kind.map(|kind| Action::Enqueue { kind, input });
            }
            (false, false) => {}
        }
        None
    }

    /// A field, if it is there and right; a wrong one is noted.
    fn value<T>(&mut self, name: &'static str, parse: fn(&DeValue<'a>) -> Result<T, String>) -> Option<T> {
        let field = self.table.get(name)?;
        match parse(field.get_ref()) {
            Ok(value) => Some(value),
            Err(message) => {
                let place = self.document.place(&field.span());
                self.misread = true;
                self.draft.wrong(place, format!("`{name}` of a schedule: {message}"));
                None
            }
        }
    }

    fn wrong(&mut self, message: &str) {
        self.draft.wrong(self.place.clone(), message.to_owned());
    }
}

/// What happens when clocks are changed, such as `{ gap = "skip", overlap = "both" }`.
fn dst(value: &DeValue<'_>) -> Result<(Option<String>, Option<String>), String> {
    const RULE: &str = "expected a table such as `{ gap = \"shift\", overlap = \"first\" }`";
    let DeValue::Table(table) = value else { return Err(RULE.to_owned()) };
    if let Some(unknown) = table.keys().find(|key| !["gap", "overlap"].contains(&key.get_ref().as_ref())) {
        return Err(format!("unknown key `{}`: {RULE}", abridged(unknown.get_ref())));
    }
    let word = |name: &str| table.get(name).map(|word| text(raw(word.get_ref()))).transpose();
    Ok((word("gap")?, word("overlap")?))
}

/// An instant, as a string or as TOML's own.
fn instant(value: &DeValue<'_>) -> Result<String, String> {
    if let DeValue::Datetime(instant) = value { Ok(instant.to_string()) } else { text(raw(value)) }
}

/// One instant or several.
fn instants(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match value {
        DeValue::Array(array) => array.iter().map(|item| instant(item.get_ref())).collect(),
        DeValue::String(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Boolean(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => Ok(vec![instant(value)?]),
    }
}

/// A schedule's name.
fn name(value: &DeValue<'_>) -> Result<String, String> {
    word(value, "a schedule's name is 1 to 64 of a-z, 0-9, `-`, `_` and `.`", b"-_.")
}

/// A plugin's name: that of its file, without the extension.
fn plugin(value: &DeValue<'_>) -> Result<String, String> {
    word(value, "a plugin's name is 1 to 64 of a-z, 0-9 and `-`, like its file without `.wasm`", b"-")
}

fn word(value: &DeValue<'_>, rule: &str, others: &[u8]) -> Result<String, String> {
    let name = text(raw(value))?;
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || others.contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME_LEN || !name.bytes().all(fits) {
        return Err(format!("`{}`: {rule}", abridged(&name)));
    }
    Ok(name)
}

fn kind(value: &DeValue<'_>) -> Result<String, String> {
    let kind = text(raw(value))?;
    if is_valid_kind(&kind) {
        return Ok(kind);
    }
    let rule = format!("a kind is lower-case words joined by dots, such as `video.cut`, at most {MAX_KIND_LEN} bytes");
    Err(format!("`{}`: {rule}", abridged(&kind)))
}

/// The JSON that a value of the file stands for.
fn json(value: &DeValue<'_>, depth: usize) -> Result<Value, String> {
    if depth > MAX_INPUT_DEPTH {
        return Err(format!("it is nested deeper than {MAX_INPUT_DEPTH}"));
    }
    Ok(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(Value::from)
            .map_err(|_| "an integer is beyond 64 bits".to_owned())?,
        DeValue::Float(number) => number
            .as_str()
            .parse()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| format!("JSON has no number `{}`", number.as_str()))?,
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Datetime(date) => Value::from(date.to_string()),
        DeValue::Array(array) => {
            array.iter().map(|item| json(item.get_ref(), depth + 1)).collect::<Result<Vec<_>, _>>()?.into()
        }
        DeValue::Table(table) => {
            let pair = |(name, item): (&Spanned<_>, &Spanned<_>)| {
                let name: &std::borrow::Cow<'_, str> = name.get_ref();
                Ok((name.to_string(), json(item.get_ref(), depth + 1)?))
            };
            Value::Object(table.iter().map(pair).collect::<Result<_, String>>()?)
        }
    })
}
