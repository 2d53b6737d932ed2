//! The kinds of a generation.

use crate::plugin::KindInfo;
use crate::plugin::limits::Limits;
use crate::plugin::link::Kind as Described;
use crate::plugin::schema::Schema;
use crate::task::is_valid_kind;

/// Kinds of one plugin at most.
const MAX_KINDS: usize = 64;

/// A kind and what its tasks have to be.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) info: KindInfo,
    pub(super) default_timeout_ms: Option<u64>,
    pub(super) input: Schema,
}

/// The kinds that a plugin says it executes.
pub(super) fn kinds_of(described: Vec<Described>, plugin: &str, limits: &Limits) -> Result<Vec<Kind>, String> {
    if described.len() > MAX_KINDS {
        return Err(format!("`describe` names {} kinds, the limit is {MAX_KINDS}", described.len()));
    }
    let mut kinds: Vec<Kind> = Vec::with_capacity(described.len());
    for kind in described {
        if kinds.iter().any(|known| known.info.name == kind.name) {
            return Err(format!("`describe` names the kind {:?} twice", kind.name));
        }
        kinds.push(Kind::new(kind, plugin, limits.concurrency)?);
    }
    Ok(kinds)
}

impl Kind {
    fn new(kind: Described, plugin: &str, concurrency: u32) -> Result<Self, String> {
        let name = kind.name;
        if !is_valid_kind(&name) {
            return Err(format!(
                "{name:?} is not a kind: words of a-z, 0-9, - and _, joined by dots, at most 128 bytes"
            ));
        }
        let compile = |what: &str, text: Option<&str>| {
            Schema::compile(text).map_err(|error| format!("the {what} schema of kind {name:?} is not usable: {error}"))
        };
        let input = compile("input", kind.input_schema.as_deref())?;
        compile("output", kind.output_schema.as_deref())?;
        let info = KindInfo {
            name,
            summary: kind.summary,
            input_schema: kind.input_schema,
            output_schema: kind.output_schema,
            plugin: plugin.to_owned(),
            concurrency,
        };
        Ok(Self { info, default_timeout_ms: kind.default_timeout_ms, input })
    }
}
