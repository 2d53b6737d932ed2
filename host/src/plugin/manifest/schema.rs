//! The JSON Schema of a manifest (draft 2020-12), made from the same declarations that the reader follows.

use serde_json::{Map, Value, json};

use super::Manifest;
use super::table::{Key, Slot, Table, Unit, Words};

/// The schema of a whole manifest.
pub fn schema() -> Value {
    let mut schema = table(&mut Manifest::default());
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("taskhost plugin manifest");
    schema["description"] = json!(
        "What the operator says about one plugin: NAME.toml beside NAME.wasm in the plugins folder. Without it a plugin has the default limits and no grant."
    );
    schema
}

fn table(table: &mut dyn Table) -> Value {
    let mut keys = table.keys();
    let required: Vec<_> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let properties: Map<String, Value> = keys.iter_mut().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn property(key: &mut Key<'_>) -> Value {
    let mut schema = match &mut key.slot {
        Slot::Flag(at) => json!({"type": "boolean", "default": **at}),
        Slot::Number { at, unit, range } => {
            let mut schema = number(*unit, *range.start(), *range.end());
            if let Some(value) = at.get() {
                schema["default"] = match unit {
                    Unit::Count => json!(value),
                    Unit::PerSecond => per_second(value),
                    Unit::Bytes | Unit::Millis => json!(unit.show(value)),
                };
            }
            schema
        }
        Slot::Text(at, words) => {
            let mut schema = text(words);
            if let Some(value) = at.get() {
                schema["default"] = json!(value);
            }
            schema
        }
        Slot::Texts { at, words, max } => {
            let mut schema = json!({"type": "array", "items": text(words), "maxItems": max});
            let by_default = at.get();
            if !by_default.is_empty() {
                schema["default"] = json!(by_default);
            }
            schema
        }
        Slot::Counts { range, max, .. } => {
            let number = number(Unit::Count, u64::from(*range.start()), u64::from(*range.end()));
            json!({"type": "array", "items": number, "maxItems": max})
        }
        Slot::Table(inner) => table(*inner),
        Slot::Grant(grant) => {
            let by_default = grant.table().is_some();
            grant.set(true);
            let full = grant.table().map_or(Value::Null, table);
            json!({"oneOf": [{"type": "boolean"}, full], "default": by_default})
        }
        Slot::List { at, max } => {
            let entry = at.add();
            let mut items = table(entry);
            if entry.word().is_some() {
                items = json!({"anyOf": [{"type": "string"}, items]});
            }
            json!({"type": "array", "items": items, "maxItems": max})
        }
        Slot::Map { at, words, max } => {
            let (names, entry) = (text(words), table(at.add("")));
            json!({"type": "object", "propertyNames": names, "additionalProperties": entry, "maxProperties": max})
        }
        Slot::Free { max, .. } => {
            json!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}, "maxProperties": max})
        }
    };
    schema["title"] = json!(title(key.name));
    schema["description"] = json!(key.about);
    schema
}

/// Thousandths as a manifest writes them.
pub(super) fn per_second(thousandths: u64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "ranges end far below 2^53")]
    let number = thousandths as f64 / 1000.0;
    json!(number)
}

fn number(unit: Unit, min: u64, max: u64) -> Value {
    if unit == Unit::PerSecond {
        return json!({"type": "number", "minimum": per_second(min), "maximum": per_second(max)});
    }
    let integer = json!({"type": "integer", "minimum": min, "maximum": max});
    let Some(pattern) = unit.pattern() else { return integer };
    let words = format!("{}, from {} to {}.", unit.what(), unit.show(min), unit.show(max));
    json!({"anyOf": [{"type": "string", "pattern": pattern, "description": words}, integer]})
}

fn text(words: &Words) -> Value {
    match words {
        Words::OneOf(known) => json!({"type": "string", "enum": known}),
        Words::Like { pattern, .. } | Words::Read { pattern, .. } => json!({"type": "string", "pattern": pattern}),
    }
}

/// `log_bytes` as people read it: `Log bytes`.
fn title(name: &str) -> String {
    let mut words = name.replace('_', " ");
    if let Some(first) = words.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    words
}
