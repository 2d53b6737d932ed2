//! JSON whose objects have each name once. Parsers differ in which of two entries counts: what the schema saw need
//! not be what the guest reads.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Why a text is refused.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is not JSON, or nested too deeply.
    NotJson(serde_json::Error),
    /// A name is given twice. The JSON Pointer says where.
    Repeated(String),
}

/// Whether `text` is JSON with distinct names. Takes memory for the names of the objects that surround a place.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let mut walk = Walk { path: Vec::new(), repeated: None };
    let mut parser = serde_json::Deserializer::from_str(text);
    let walked = walk.value().deserialize(&mut parser).and_then(|()| parser.end());
    match (walked, walk.repeated) {
        (_, Some(pointer)) => Err(Fault::Repeated(pointer)),
        (Err(error), None) => Err(Fault::NotJson(error)),
        (Ok(()), None) => Ok(()),
    }
}

/// From an object or an array to what is in it.
enum Step<'de> {
    Name(Cow<'de, str>),
    At(usize),
}

struct Walk<'de> {
    path: Vec<Step<'de>>,
    /// The first repeated name.
    repeated: Option<String>,
}

impl<'de> Walk<'de> {
    fn value(&mut self) -> Value<'_, 'de> {
        Value(self)
    }

    fn pointer(&self, name: &str) -> String {
        let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
        let step = |step: &Step<'_>| match step {
            Step::Name(name) => format!("/{}", escaped(name)),
            Step::At(at) => format!("/{at}"),
        };
        let way: String = self.path.iter().map(step).collect();
        format!("{way}/{}", escaped(name))
    }
}

/// What is walked next.
struct Value<'a, 'de>(&'a mut Walk<'de>);

impl<'de> DeserializeSeed<'de> for Value<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Self(walk) = self;
        for at in 0.. {
            walk.path.push(Step::At(at));
            let item = items.next_element_seed(walk.value())?;
            walk.path.pop();
            if item.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self(walk) = self;
        let mut names = Vec::new();
        while let Some(name) = entries.next_key_seed(Name)? {
            names.push(name.clone());
            walk.path.push(Step::Name(name));
            entries.next_value_seed(walk.value())?;
            walk.path.pop();
        }
        names.sort_unstable();
        match names.windows(2).find(|pair| pair.first() == pair.last()) {
            Some(pair) => {
                walk.repeated = pair.first().map(|name| walk.pointer(name));
                Err(A::Error::custom("a name is repeated"))
            }
            None => Ok(()),
        }
    }
}

/// The name of an entry, without a copy unless it has escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, check};

    #[test]
    fn a_repeated_name_is_told_with_its_place() {
        for (text, expected) in [
            (r#"{"a":1,"b":2,"a":3}"#, "/a"),
            (r#"[0,{"x/y":{"~":[{"k":{}},{"k":null,"k":null}]}}]"#, "/1/x~1y/~0/1/k"),
            // The same name, written differently; the empty one; and one far from the other.
            (r#"{"é":1,"\u00e9":2}"#, "/é"),
            (r#"{"":1,"":2}"#, "/"),
            (&format!(r#"{{"z":0,{}"z":1}}"#, (0..10_000).map(|n| format!("\"{n}\":0,")).collect::<String>()), "/z"),
        ] {
            let Err(Fault::Repeated(pointer)) = check(text) else { panic!("{text:.80}") };
            assert_eq!(pointer, expected);
        }
    }

    #[test]
    fn other_json_passes_and_nothing_else_does() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for text in [
            "null",
            "-1.5e3",
            "18446744073709551615",
            r#" {"a":{"a":[{"a":"a"},{"a":true}]},"A":-1} "#,
            r#""\ud83d\ude00""#,
            &deep(127),
        ] {
            assert!(check(text).is_ok(), "{text}");
        }
        for text in ["", "{", "{\"a\":1,}", "1 2", "nul", "{a:1}", "\"\\ud800\"", &deep(128), &deep(100_000)] {
            assert!(matches!(check(text), Err(Fault::NotJson(_))), "{text:.80}");
        }
    }
}
