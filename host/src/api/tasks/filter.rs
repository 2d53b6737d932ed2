//! Which tasks a request about many of them means.

use super::create::{attributes, instant};
use crate::api::body::Fields;
use crate::api::problem::{Problem, echo};
use crate::api::query::{cursor, position};
use crate::store::TaskFilter;
use crate::task::{TaskId, is_valid_kind, is_valid_queue};
use crate::time::Timestamp;

/// Tasks that one request changes at most, and when it does not say.
pub(super) const MAX_TASKS: u64 = 1_000;

/// What may be selected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// The states that the verb can do something about.
    pub(super) states: &'static [&'static str],
    /// Tells cursors of one list from those of another.
    pub(super) list: char,
    /// Tasks may be selected by when they have ended.
    pub(super) by_end: bool,
}

impl Choice {
    /// The filter in a body. One that selects everything has to say so, by its states.
    pub(super) fn parse(self, bytes: &[u8], now: Timestamp) -> Result<TaskFilter, Problem> {
        let mut fields = Fields::of_body(bytes)?;
        let mut filter = TaskFilter {
            states: self.states(&mut fields),
            kind: name(&mut fields, "kind", is_valid_kind),
            queue: name(&mut fields, "queue", is_valid_queue),
            ..TaskFilter::default()
        };
        filter.attributes = attributes(&mut fields, "");
        if self.by_end {
            filter.ended_before = ended_before(&mut fields, now);
        }
        let selects = !filter.states.is_empty()
            || filter.kind.is_some()
            || filter.queue.is_some()
            || !filter.attributes.is_empty()
            || filter.ended_before.is_some();
        filter.limit = limit(&mut fields);
        filter.after = after(&mut fields, self.list);
        if !selects {
            let all = self.states.join("\", \"");
            fields.wrong("states", format!("nothing is selected; to mean every task, give all of [\"{all}\"]"));
        }
        let errors = fields.finish();
        if errors.is_empty() { Ok(filter) } else { Err(Problem::invalid("invalid-filter", errors)) }
    }

    fn states(self, fields: &mut Fields<'_>) -> Vec<String> {
        let states: Vec<String> = fields.parse("states", "an array of states").unwrap_or_default();
        if let Some(wrong) = states.iter().find(|state| !self.states.contains(&state.as_str())) {
            fields.wrong("states", format!("{:?} is not one of {}", echo(wrong), self.states.join(", ")));
        }
        states
    }

    /// Where the list goes on.
    pub(super) fn cursor(self, next: Option<TaskId>) -> Option<String> {
        next.map(|id| cursor(self.list, &id.to_string()))
    }
}

fn ended_before(fields: &mut Fields<'_>, now: Timestamp) -> Option<Timestamp> {
    let before = instant(fields, "ended_before");
    let age_ms = fields.number("older_than_ms", 0..=now.as_millis());
    if before.is_some() && age_ms.is_some() {
        fields.wrong("older_than_ms", "cannot be joined with ended_before: give one of them");
    }
    before.or_else(|| age_ms.map(|age_ms| Timestamp::from_millis(now.as_millis() - age_ms)))
}

/// How many tasks at most.
pub(super) fn limit(fields: &mut Fields<'_>) -> u32 {
    let limit = fields.number("limit", 1..=MAX_TASKS).unwrap_or(MAX_TASKS);
    u32::try_from(limit).unwrap_or(u32::MAX)
}

/// Where an earlier request ended.
pub(super) fn after(fields: &mut Fields<'_>, list: char) -> Option<TaskId> {
    let given: Option<String> = fields.parse("cursor", "text");
    let after = given.as_deref().and_then(|text| position(list, text)).and_then(|id| id.parse().ok());
    if given.is_some() && after.is_none() {
        fields.wrong("cursor", "is not a cursor of this list: use next_cursor as it was given");
    }
    after
}

/// A name that something may have.
pub(super) fn name(fields: &mut Fields<'_>, field: &'static str, is_valid: impl Fn(&str) -> bool) -> Option<String> {
    let text: Option<String> = fields.parse(field, "text");
    if let Some(wrong) = text.as_deref().filter(|text| !is_valid(text)) {
        fields.wrong(field, format!("{:?} names no {field}", echo(wrong)));
    }
    text
}
