//! JSON Schemas that plugins publish, compiled once a generation. Nothing is fetched, and patterns
//! run in linear time: a schema is a stranger's program that the host runs on every request.

mod distinct;

use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use self::distinct::Fault;
use super::InputError;

/// Bytes of a schema's text at most.
const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// Bytes of one compiled pattern at most.
const MAX_PATTERN_BYTES: usize = 256 * 1024;
/// Levels of arrays and objects: what the parser follows.
const MAX_DEPTH: usize = 127;
/// Violations that are told.
const MAX_VIOLATIONS: usize = 16;
/// Bytes of one violation's text or pointer.
const MAX_TEXT_BYTES: usize = 256;
/// Beyond this many bytes of input only the first violation is looked for: the library collects
/// all of them before the first is seen.
const COLLECT_BELOW_BYTES: usize = 16 * 1024;

/// What a kind takes as input.
pub(super) struct Schema {
    validator: Option<Validator>,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("any", &self.validator.is_none()).finish_non_exhaustive()
    }
}

impl Schema {
    /// Compiles a schema's text; without one any JSON is accepted.
    pub(super) fn compile(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text else { return Ok(Self { validator: None }) };
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(format!("it has {} bytes, the limit is {MAX_SCHEMA_BYTES}", text.len()));
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let patterns = PatternOptions::regex().size_limit(MAX_PATTERN_BYTES).dfa_size_limit(MAX_PATTERN_BYTES);
        let validator = jsonschema::options()
            .with_pattern_options(patterns)
            .build(&schema)
            .map_err(|error| truncate(error.to_string()))?;
        Ok(Self { validator: Some(validator) })
    }

    /// Whether `input` is JSON that the schema of `kind` accepts.
    pub(super) fn check(&self, kind: &str, input: &str) -> Result<(), InputError> {
        distinct::check(input).map_err(|fault| match fault {
            Fault::NotJson(error) => not_json(error),
            Fault::Repeated(pointer) => InputError::Repeated(truncate(pointer)),
        })?;
        let Some(validator) = &self.validator else { return Ok(()) };
        let value: Value = serde_json::from_str(input).map_err(not_json)?;
        if validator.is_valid(&value) {
            return Ok(());
        }
        let violations = if input.len() > COLLECT_BELOW_BYTES {
            validator.validate(&value).err().iter().map(describe).collect()
        } else {
            validator.iter_errors(&value).take(MAX_VIOLATIONS).map(|error| describe(&error)).collect()
        };
        Err(InputError::Mismatch { kind: kind.to_owned(), violations })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
fn not_json(error: serde_json::Error) -> InputError {
    let said = error.to_string();
    if said.starts_with("recursion limit exceeded") {
        return InputError::NotJson(format!("is nested more than {MAX_DEPTH} levels deep"));
    }
    InputError::NotJson(said)
}

/// The place in the input and what is wrong there. The value itself stays out: it may be large or secret.
fn describe(error: &jsonschema::ValidationError<'_>) -> (String, String) {
    let pointer = truncate(error.instance_path().to_string());
    (pointer, truncate(error.masked_with("the value").to_string()))
}

fn truncate(mut text: String) -> String {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{InputError, MAX_DEPTH, MAX_VIOLATIONS, Schema};

    const CUT: &str = r#"{
        "type": "object",
        "required": ["media"],
        "additionalProperties": false,
        "properties": {
            "media": {"type": "string", "pattern": "^[a-z]+$"},
            "ranges": {"type": "array", "items": {"type": "object", "properties": {"a/b": {"type": "number"}}}}
        }
    }"#;

    fn violations(schema: &Schema, input: &str) -> Vec<(String, String)> {
        match schema.check("video.cut", input) {
            Err(InputError::Mismatch { kind, violations }) => {
                assert_eq!(kind, "video.cut");
                violations
            }
            other => panic!("{input} gave {other:?}"),
        }
    }

    #[test]
    fn violations_point_at_the_place_in_the_input() {
        let schema = Schema::compile(Some(CUT)).unwrap();
        schema.check("video.cut", r#"{"media": "x", "ranges": [{"a/b": 1}]}"#).unwrap();
        let found = violations(&schema, r#"{"media": 1, "ranges": [{}, {"a/b": "secret"}]}"#);
        let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers, ["/media", "/ranges/1/a~1b"]);
        assert!(!found[1].1.contains("secret"), "{}", found[1].1);
        assert_eq!(violations(&schema, "{}")[0].0, "");
        assert_eq!(violations(&schema, r#"{"media": "x", "extra": 1}"#)[0].0, "");
    }

    #[test]
    fn what_is_told_is_bounded() {
        let schema = Schema::compile(Some(r#"{"items": {"type": "string"}}"#)).unwrap();
        assert_eq!(violations(&schema, &format!("[{}1]", "1,".repeat(100))).len(), MAX_VIOLATIONS);
        assert_eq!(violations(&schema, &format!("[{}1]", "1,".repeat(100_000))).len(), 1);
        let long = format!(r#"{{"properties": {{"{}": {{"type": "string"}}}}}}"#, "ä".repeat(500));
        let schema = Schema::compile(Some(&long)).unwrap();
        let found = violations(&schema, &format!(r#"{{"{}": 1}}"#, "ä".repeat(500)));
        assert!(found[0].0.len() < 300);
    }

    #[test]
    fn input_must_be_json_even_without_a_schema() {
        let schema = Schema::compile(None).unwrap();
        schema.check("any", "[1, {}]").unwrap();
        for bad in ["", "{", "nope", "1 2", &"[".repeat(100_000)] {
            assert!(matches!(schema.check("any", bad), Err(InputError::NotJson(_))));
        }
    }

    #[test]
    fn input_is_followed_to_a_bounded_depth_with_and_without_a_schema() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for schema in [None, Some("{}")] {
            let schema = Schema::compile(schema).unwrap();
            schema.check("any", &deep(MAX_DEPTH)).unwrap();
            schema.check("any", &format!("[{}{{}}]", "{},".repeat(1_000))).unwrap();
            for depth in [MAX_DEPTH + 1, 100_000] {
                let Err(InputError::NotJson(why)) = schema.check("any", &deep(depth)) else { panic!("{depth}") };
                assert_eq!(why, "is nested more than 127 levels deep");
            }
        }
    }

    #[test]
    fn a_name_that_is_given_twice_is_refused_with_and_without_a_schema() {
        for schema in [None, Some("{}")] {
            let schema = Schema::compile(schema).unwrap();
            let refused = schema.check("any", r#"{"a": [{"b": 1, "b": 1}]}"#).unwrap_err();
            assert_eq!(refused.to_string(), "/a/0/b is given more than once in the input");
            let long = "x".repeat(100_000);
            let refused = schema.check("any", &format!(r#"{{"{long}": 1, "{long}": 2}}"#)).unwrap_err();
            assert!(refused.to_string().len() < 400);
        }
    }

    #[test]
    fn bad_schemas_are_refused() {
        for bad in [
            "nope",
            r#"{"type": "sometimes"}"#,
            r#"{"$ref": "https://example.com/schema.json"}"#,
            r#"{"$ref": "file:///etc/passwd"}"#,
            r#"{"pattern": "(?=look-around)"}"#,
            r#"{"pattern": "((a{1000}){1000}){1000}"}"#,
        ] {
            assert!(Schema::compile(Some(bad)).is_err(), "{bad}");
        }
    }
}
