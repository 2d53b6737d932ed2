//! What a task is counted under.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::task::{NewTask, text};

/// Bytes of a path.
const MAX_PATH_LEN: usize = 256;
/// Bytes of a value that are kept; a longer one is known by its digest.
const MAX_VALUE_LEN: usize = 128;
const ATTRIBUTE: &str = "attributes.";

/// Where a task has its key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPath {
    /// An attribute: `attributes.NAME`.
    Attribute(String),
    /// A JSON Pointer into the input: `/customer/id`. It costs reading the input.
    Input(String),
}

impl FromStr for KeyPath {
    type Err = String;

    fn from_str(path: &str) -> Result<Self, String> {
        const RULE: &str = "a key is `attributes.NAME` or a JSON Pointer into the input, such as `/customer/id`";
        if path.len() > MAX_PATH_LEN {
            return Err(format!("it has {} bytes, more than {MAX_PATH_LEN}", path.len()));
        }
        if let Some(name) = path.strip_prefix(ATTRIBUTE).filter(|name| !name.is_empty()) {
            return Ok(Self::Attribute(name.to_owned()));
        }
        if !path.starts_with('/') {
            return Err(RULE.to_owned());
        }
        if path.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err("a `~` of a JSON Pointer is written `~0`, a `/` in a name `~1`".to_owned());
        }
        Ok(Self::Input(path.to_owned()))
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attribute(name) => write!(f, "{ATTRIBUTE}{name}"),
            Self::Input(pointer) => f.write_str(pointer),
        }
    }
}

/// The values of one task. Its input is read once, if at all.
#[derive(Debug)]
pub struct Values<'a> {
    task: &'a NewTask,
    input: OnceCell<Value>,
}

impl<'a> Values<'a> {
    /// Of this task.
    pub fn of(task: &'a NewTask) -> Self {
        Self { task, input: OnceCell::new() }
    }

    /// What the task has there: text as it is, a number or a truth value as JSON writes it. Anything else is
    /// no value.
    pub fn get(&self, path: &KeyPath) -> Option<Cow<'_, str>> {
        let value = match path {
            KeyPath::Attribute(name) => {
                let found = self.task.attributes.iter().find(|(attribute, _)| attribute == name);
                Cow::Borrowed(found?.1.as_str())
            }
            KeyPath::Input(pointer) => {
                let input = self.input.get_or_init(|| serde_json::from_str(&self.task.input).unwrap_or_default());
                match input.pointer(pointer)? {
                    Value::String(text) => Cow::Borrowed(text.as_str()),
                    Value::Number(number) => Cow::Owned(number.to_string()),
                    Value::Bool(truth) => Cow::Owned(truth.to_string()),
                    Value::Null | Value::Array(_) | Value::Object(_) => return None,
                }
            }
        };
        if value.len() <= MAX_VALUE_LEN {
            return Some(value);
        }
        Some(Cow::Owned(format!("sha256:{}", text::encode_hex(&Sha256::digest(value.as_bytes())))))
    }
}

#[cfg(test)]
mod tests {
    use super::{KeyPath, Values};
    use crate::task::NewTask;

    #[test]
    fn a_path_reads_back_and_a_wrong_one_is_told_what_would_be_right() {
        for path in ["attributes.tenant", "attributes.a.b", "/customer/id", "/a~1b~0"] {
            assert_eq!(path.parse::<KeyPath>().unwrap().to_string(), path);
        }
        for wrong in ["", "tenant", "attributes.", "input.a", "$.a"] {
            assert!(wrong.parse::<KeyPath>().unwrap_err().contains("`attributes.NAME` or a JSON Pointer"), "{wrong}");
        }
        assert!("/a~2".parse::<KeyPath>().unwrap_err().contains("`~0`"));
        assert!(format!("/{}", "x".repeat(300)).parse::<KeyPath>().unwrap_err().contains("301 bytes"));
    }

    #[test]
    fn a_value_is_text_a_number_or_a_truth_value() {
        let input = r#"{"text":"a","number":1.50,"truth":true,"none":null,"list":[{"x":7}],"a/b":"c"}"#;
        let attributes = vec![("tenant".to_owned(), "acme".to_owned())];
        let task = NewTask { attributes, ..NewTask::new("echo", input) };
        let values = Values::of(&task);
        let value = |path: &str| values.get(&path.parse().unwrap()).map(std::borrow::Cow::into_owned);
        let found = ["attributes.tenant", "/text", "/number", "/truth", "/list/0/x", "/a~1b"].map(value);
        assert_eq!(found.map(Option::unwrap), ["acme", "a", "1.5", "true", "7", "c"]);
        for path in ["attributes.other", "/none", "/list", "/missing"] {
            assert_eq!(value(path), None, "{path}");
        }
    }

    #[test]
    fn i8_a_long_value_is_known_by_its_digest() {
        let long = |last: char| NewTask::new("echo", format!("{{\"a\":\"{}{last}\"}}", "x".repeat(1_000_000)));
        let value = |task: &NewTask| Values::of(task).get(&KeyPath::Input("/a".to_owned())).unwrap().into_owned();
        let (a, b) = (value(&long('a')), value(&long('b')));
        assert!(a.starts_with("sha256:") && a.len() < 80 && a != b && a == value(&long('a')));
    }
}
