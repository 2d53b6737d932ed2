//! What holds for a plugin, value by value, and where each one comes from.

use serde_json::{Map, Value, json};

use super::Manifest;
use super::origin::{Origin, Origins};
use super::read::join;
use super::schema::per_second;
use super::table::{Key, Slot, Table, Unit};

/// Every limit, grant and policy that holds for a plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective {
    /// What the manifest is called in messages.
    file: String,
    root: Vec<(String, Node)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Value(Held),
    Table(Vec<(String, Self)>),
    List(Vec<Self>),
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// A number in the smallest unit, a text, a truth value or a list; null when nothing is said. A setting
    /// of `[config]` is null, too: it may be a secret.
    pub value: Value,
    /// The value as a manifest would write it, where that differs: `64MiB`.
    pub text: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

impl Effective {
    pub(super) fn of(manifest: &Manifest, file: &str) -> Self {
        let root = walk("", &mut manifest.clone(), &manifest.origins);
        Self { file: file.to_owned(), root }
    }

    /// As JSON: tables as in a manifest, each value as `{"value", "text", "origin"}` with `file` and `line` when the
    /// manifest says so. Whether something is granted stands under `granted`.
    pub fn to_json(&self) -> Value {
        self.table(&self.root)
    }

    fn table(&self, nodes: &[(String, Node)]) -> Value {
        Value::Object(nodes.iter().map(|(name, node)| (name.clone(), self.json(node))).collect())
    }

    fn json(&self, node: &Node) -> Value {
        match node {
            Node::Value(held) => self.held(held),
            Node::Table(nodes) => self.table(nodes),
            Node::List(nodes) => Value::Array(nodes.iter().map(|node| self.json(node)).collect()),
        }
    }

    fn held(&self, held: &Held) -> Value {
        let mut json = Map::new();
        json.insert("value".to_owned(), held.value.clone());
        if let Some(text) = &held.text {
            json.insert("text".to_owned(), json!(text));
        }
        json.insert("origin".to_owned(), json!(held.origin.name()));
        if let Some(line) = held.origin.line() {
            json.insert("file".to_owned(), json!(self.file));
            json.insert("line".to_owned(), json!(line));
        }
        if let Origin::Config { by, .. } = held.origin {
            json.insert("by".to_owned(), json!(by));
        }
        Value::Object(json)
    }

    /// Every value with its path, in the order of their declaration: `limits.memory`, `grant.state.quota`.
    pub fn flat(&self) -> Vec<(String, &Held)> {
        let mut found = Vec::new();
        for (name, node) in &self.root {
            flatten(name.clone(), node, &mut found);
        }
        found
    }

    /// An origin in words: `default`, `cut.toml:3`, `config: plugins.memory_total`.
    pub fn origin(&self, held: &Held) -> String {
        match held.origin {
            Origin::Default => "default".to_owned(),
            Origin::Manifest { line } => format!("{}:{line}", self.file),
            Origin::Config { by, .. } => format!("config: {by}"),
        }
    }
}

fn flatten<'a>(path: String, node: &'a Node, found: &mut Vec<(String, &'a Held)>) {
    match node {
        Node::Value(held) => found.push((path, held)),
        Node::Table(nodes) => nodes.iter().for_each(|(name, node)| flatten(join(&path, name), node, found)),
        Node::List(nodes) => {
            nodes.iter().enumerate().for_each(|(index, node)| flatten(format!("{path}[{index}]"), node, found));
        }
    }
}

fn walk(path: &str, table: &mut dyn Table, origins: &Origins) -> Vec<(String, Node)> {
    table.keys().iter_mut().map(|key| (key.name.to_owned(), node(&join(path, key.name), key, origins))).collect()
}

/// An entry of a list: a table, or the word that stands for one.
fn entry(path: &str, table: &mut dyn Table, origins: &Origins) -> Node {
    match table.word().and_then(|word| word.clone()) {
        Some(word) => Node::Value(Held { value: json!(word), text: None, origin: origins.of(path) }),
        None => Node::Table(walk(path, table, origins)),
    }
}

fn node(path: &str, key: &mut Key<'_>, origins: &Origins) -> Node {
    let value = |value| Node::Value(Held { value, text: None, origin: origins.of(path) });
    match &mut key.slot {
        Slot::Flag(at) => value(json!(**at)),
        Slot::Number { at, unit, .. } => {
            let number = at.get();
            if *unit == Unit::PerSecond {
                return value(number.map_or(Value::Null, per_second));
            }
            let text = number.filter(|_| *unit != Unit::Count).map(|number| unit.show(number));
            Node::Value(Held { value: json!(number), text, origin: origins.of(path) })
        }
        Slot::Text(at, _) => value(json!(at.get())),
        Slot::Texts { at, .. } => value(if at.is_absent() { Value::Null } else { json!(at.get()) }),
        Slot::Counts { at, .. } => value(json!(at)),
        Slot::Table(inner) => Node::Table(walk(path, *inner, origins)),
        Slot::Grant(grant) => {
            let inner = grant.table().map(|inner| walk(path, inner, origins));
            let granted = ("granted".to_owned(), value(json!(inner.is_some())));
            Node::Table(std::iter::once(granted).chain(inner.into_iter().flatten()).collect())
        }
        Slot::List { at, .. } => {
            let tables = at.tables().into_iter().enumerate();
            Node::List(tables.map(|(index, inner)| entry(&format!("{path}[{index}]"), inner, origins)).collect())
        }
        Slot::Map { at, .. } => {
            let inner = |(name, inner): (&str, &mut dyn Table)| {
                (name.to_owned(), Node::Table(walk(&join(path, name), inner, origins)))
            };
            Node::Table(at.tables().into_iter().map(inner).collect())
        }
        Slot::Free { at, .. } => {
            let origin = |name: &str| origins.of(&join(path, name));
            let hidden = |name: &String| Node::Value(Held { value: Value::Null, text: None, origin: origin(name) });
            Node::Table(at.keys().map(|name| (name.clone(), hidden(name))).collect())
        }
    }
}
