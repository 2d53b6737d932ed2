//! The published schema and the reader accept the same manifests.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::table::{Slot, Table as _};
use super::super::{Limits, Manifest, everything, schema};

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

/// A manifest as JSON, as an editor sees it.
fn as_json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

#[test]
fn the_schema_is_one() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(jsonschema::meta::is_valid(&schema));
    each_table(&schema, &mut |table| {
        assert_eq!(table["additionalProperties"], false, "{table:#}");
        for (name, key) in table["properties"].as_object().unwrap() {
            assert!(key["title"].is_string(), "{name}");
            assert!(key["description"].as_str().is_some_and(|about| about.ends_with('.')), "{name}");
        }
    });
}

/// Calls `look` with each schema of a table whose keys are known.
fn each_table(schema: &Value, look: &mut impl FnMut(&Value)) {
    if schema.get("properties").is_some() {
        look(schema);
    }
    match schema {
        Value::Object(entries) => entries.values().for_each(|entry| each_table(entry, look)),
        Value::Array(entries) => entries.iter().for_each(|entry| each_table(entry, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_manifests_that_come_along_match_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = Vec::new();
    for folder in ["plugins", "examples", "host/templates"] {
        manifests(&root.join(folder), &mut found);
    }
    assert!(found.len() >= 6, "{found:?}");
    let validator = validator();
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        Manifest::parse(&path.display().to_string(), &text).unwrap();
        let errors: Vec<_> = validator.iter_errors(&as_json(&text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
}

/// `*.toml` that is not somebody else's.
fn manifests(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let foreign = ["Cargo.toml", "pyproject.toml", "target", "node_modules", ".venv"].contains(&name.as_str());
        if path.is_dir() && !foreign {
            manifests(&path, found);
        } else if path.extension().is_some_and(|end| end == "toml") && !foreign {
            found.push(path);
        }
    }
}

/// One manifest for each key that the schema knows, with a value that it allows, and one with a value that it does not.
fn samples(schema: &Value, path: &[String], found: &mut Vec<(Vec<String>, Value, Value)>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required = schema.get("required").is_some();
    for (name, key) in properties {
        let path: Vec<_> = path.iter().chain([name]).cloned().collect();
        // A key that needs others is tried by the tests of its own table.
        let alone = !required && name != "burst";
        if alone && let Some(good) = good(key) {
            found.push((path.clone(), good, json!({"no": [1.5]})));
        }
        samples(key, &path, found);
        for alternative in key["oneOf"].as_array().into_iter().flatten() {
            samples(alternative, &path, found);
        }
    }
}

fn good(key: &Value) -> Option<Value> {
    if let Some(default) = key.get("default").filter(|default| !default.is_null()) {
        return Some(default.clone());
    }
    match key["type"].as_str() {
        Some("string") if key.get("enum").is_some() => Some(key["enum"][0].clone()),
        Some("boolean") => Some(json!(true)),
        Some("integer") => Some(key["minimum"].clone()),
        Some("object") if key["additionalProperties"].get("properties").is_some() => Some(json!({})),
        Some("object") if key["additionalProperties"].is_object() => Some(json!({"any": 1, "other": "text"})),
        Some("object") => Some(json!({})),
        Some("array") => Some(json!([])),
        _ => key["anyOf"][1].get("minimum").cloned(),
    }
}

#[test]
fn the_schema_and_the_reader_know_the_same_keys_and_values() {
    let (validator, mut found) = (validator(), Vec::new());
    samples(&schema(), &[], &mut found);
    for key in ["limits.instances", "limits.memory", "grant.state.quota", "grant.queue.kinds", "config"] {
        assert!(found.iter().any(|(path, ..)| path.join(".") == key), "{key} has no sample");
    }
    for (path, good, bad) in found {
        for (value, fits) in [(good, true), (bad, false)] {
            let whole = path.iter().rev().fold(value, |inner, name| json!({ name.as_str(): inner }));
            let text = toml::to_string(&whole).unwrap();
            let read = Manifest::parse("a.toml", &text);
            assert_eq!(read.is_ok(), fits, "{text}: {read:?}");
            assert_eq!(validator.is_valid(&whole), fits, "{text}");
        }
        let typo = path.iter().rev().fold(json!({"zzz": 1}), |inner, name| json!({ name.as_str(): inner }));
        let is_table = path.last().is_some_and(|name| ["limits", "grant", "state"].contains(&name.as_str()));
        if is_table {
            assert!(Manifest::parse("a.toml", &toml::to_string(&typo).unwrap()).is_err() && !validator.is_valid(&typo));
        }
    }
}

#[test]
fn what_is_out_of_range_fits_neither() {
    let validator = validator();
    for text in [
        "[limits]\nmemory = 1\n",
        "[limits]\nmemory = \"64 megs\"\n",
        "[limits]\ncpu = 99999999999\n",
        "[limits]\ninstances = 0\n",
        "[grant]\nqueue = { kinds = [\"Video\"] }\n",
        "sha256 = \"12\"\n",
        "[config]\nlist = []\n",
    ] {
        assert!(Manifest::parse("a.toml", text).is_err(), "{text}");
        assert!(!validator.is_valid(&as_json(text)), "{text}");
    }
    for text in
        ["[limits]\nmemory = \"64 MiB\"\n", "[limits]\nmemory = 67108864\ncpu = \"1h\"\n", "[grant]\nstate = false\n"]
    {
        assert!(Manifest::parse("a.toml", text).is_ok(), "{text}");
        assert!(validator.is_valid(&as_json(text)), "{text}");
    }
}

/// Every leaf below a schema, by its path; of a list the first entry, of tables by name the one called `any`.
fn leaves(schema: &Value, path: &str, found: &mut Vec<String>) {
    let named = &schema["additionalProperties"];
    let tables = schema["oneOf"].as_array().into_iter().flatten().chain([schema, &schema["items"], named]);
    let tables: Vec<_> = tables.filter(|table| table.get("properties").is_some()).collect();
    if tables.is_empty() {
        found.push(path.to_owned());
    }
    for table in tables {
        let list = match (schema.get("items"), named.get("properties")) {
            (Some(_), _) => "[0]",
            (None, Some(_)) => ".any",
            (None, None) => "",
        };
        for (name, key) in table["properties"].as_object().unwrap() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}{list}.{name}") };
            leaves(key, &path, found);
        }
    }
}

#[test]
fn every_key_has_a_place_in_what_holds_and_in_the_guide() {
    let mut found = Vec::new();
    leaves(&schema(), "", &mut found);
    let manifest = Manifest { grants: everything(), ..Manifest::default() };
    let effective = manifest.effective("a.toml");
    let shown: Vec<_> = effective.flat().into_iter().map(|(path, _)| path).collect();
    let guide = include_str!("../../../../../plugins/README.md");
    let (_, guide) = guide.split_once("\n## Manifest\n").unwrap();
    let words: Vec<_> = guide.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    // What has no value of its own until somebody says something.
    let empty = ["grant.command.any.arguments", "grant.command.any.environment"];
    for path in found.iter().filter(|path| *path != "config") {
        let granted = format!("{path}.granted");
        assert!(
            empty.contains(&path.as_str()) || shown.contains(path) || shown.contains(&granted),
            "{path} is not in {shown:?}"
        );
        let name = path.rsplit('.').next().unwrap();
        assert!(words.contains(&name), "plugins/README.md does not tell `{path}`");
    }
}

#[test]
fn the_manifest_of_the_guide_is_read_and_its_defaults_are_those_that_hold() {
    let guide = include_str!("../../../../../plugins/README.md");
    let (_, guide) = guide.split_once("\n## Manifest\n").unwrap();
    let (_, block) = guide.split_once("```toml\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let manifest = Manifest::parse("NAME.toml", &block.replace('…', &"0".repeat(64))).unwrap();
    assert_eq!(manifest.limits, Limits::default());
    let mut limits = Limits::default();
    for key in limits.keys() {
        let Slot::Number { unit, range, .. } = &key.slot else { panic!("{} is no number", key.name) };
        let line = block.lines().find(|line| line.starts_with(&format!("{} = ", key.name)) && line.contains(" to "));
        let line = line.unwrap_or_else(|| panic!("no line tells `{}` and its range", key.name));
        let range = format!("# {} to {} ", unit.show(*range.start()), unit.show(*range.end()));
        assert!(line.contains(&range), "{line:?} should say {range:?}");
    }
}
