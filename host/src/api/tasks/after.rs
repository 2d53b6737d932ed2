//! The part `after` of a task: which tasks end first. Those of one request refer to each other by
//! names that mean nothing beyond it.

use std::collections::HashMap;

use crate::api::body::Fields;
use crate::api::problem::{FieldError, Problem, echo};
use crate::store::{LinkedTask, StoreError};
use crate::task::flow::order;
use crate::task::{MAX_PARENTS, NewTask, OnParentFailure, TaskId};

/// Bytes of a name.
const MAX_NAME_LEN: usize = 64;
/// Names that the tasks of one request refer to together, at most.
const MAX_LINKS: usize = 100_000;
/// Elements that are told to be wrong at once.
const MAX_TOLD: usize = 10;
/// Tasks of a cycle that are named.
const MAX_NAMED: usize = 10;
const RULES: [(&str, OnParentFailure); 3] =
    [("fail", OnParentFailure::Fail), ("run", OnParentFailure::Run), ("cancel", OnParentFailure::Cancel)];

/// A task of a request, with what it says of others.
#[derive(Debug, PartialEq, Eq)]
pub struct Draft {
    /// The task; its `after` has the ids that were given.
    pub new: NewTask,
    /// The rest.
    pub links: Links,
}

/// What a task of a request says of others, by their places in `after`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// What others of the request call it.
    name: Option<String>,
    /// Others of the request.
    locals: Vec<(usize, String)>,
    /// Tasks that were there before.
    given: Vec<(usize, TaskId)>,
}

/// Takes `ref`, `after` and `on_parent_failure`.
pub(super) fn read(fields: &mut Fields<'_>, new: &mut NewTask) -> Links {
    let mut links = Links { name: fields.parse("ref", "text"), ..Links::default() };
    if let Some(wrong) = links.name.as_deref().filter(|name| !is_name(name)) {
        fields.wrong("ref", format!("{:?} is not a name: {}", echo(wrong), name_form()));
    }
    let after: Option<Vec<String>> = fields.parse("after", "an array of ids of tasks");
    let rule = fields.choice("on_parent_failure", &RULES);
    let after = after.unwrap_or_default();
    if after.is_empty() && rule.is_some() {
        fields.wrong("on_parent_failure", "means nothing without after");
    }
    if after.len() > MAX_PARENTS {
        fields.wrong("after", format!("has {} elements; a task comes after {MAX_PARENTS} at most", after.len()));
        return links;
    }
    if !after.is_empty() && new.unique_key.is_some() && new.unique.mode.replaces() {
        let message = "cannot be joined with a unique mode that replaces: the task could end up waiting for itself";
        fields.wrong("after", message);
    }
    new.on_parent_failure = rule.unwrap_or_default();
    let mut errors = Vec::new();
    for (at, text) in after.into_iter().enumerate() {
        if let Some(name) = text.strip_prefix('#') {
            links.locals.push((at, name.to_owned()));
        } else if let Ok(id) = text.parse() {
            links.given.push((at, id));
            if !new.after.contains(&id) {
                new.after.push(id);
            }
        } else if errors.len() < MAX_TOLD {
            let message = format!("{:?} is neither the id of a task nor #name", echo(&text));
            errors.push(element(fields.prefix(), at, message));
        }
    }
    fields.append(errors);
    links
}

/// Refuses what means something only among the tasks of one request.
pub(super) fn require_alone(fields: &mut Fields<'_>, links: &Links) {
    let text = "tasks refer to each other by name only within one batch";
    if links.name.is_some() {
        fields.wrong("ref", format!("means nothing here: {text}"));
    }
    let errors = links.locals.iter().take(MAX_TOLD);
    let errors = errors.map(|(at, name)| element(fields.prefix(), *at, format!("\"#{}\": {text}", echo(name))));
    fields.append(errors.collect());
}

/// A rule by its name.
pub(super) fn rule_name(rule: OnParentFailure) -> &'static str {
    RULES.iter().find(|(_, known)| *known == rule).map_or("", |(name, _)| name)
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_LEN).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn name_form() -> String {
    format!("1 to {MAX_NAME_LEN} letters, digits, -, _ and .")
}

fn element(prefix: &str, at: usize, message: String) -> FieldError {
    FieldError::pointer(format!("{prefix}/after/{at}"), message)
}

impl Links {
    /// Whether the task says nothing of others.
    pub(in crate::api) fn is_empty(&self) -> bool {
        self.name.is_none() && self.locals.is_empty() && self.given.is_empty()
    }

    /// A refusal that is about this task, which is at `prefix`, says where.
    pub(super) fn blame(&self, error: StoreError, prefix: &str) -> Problem {
        let StoreError::NoParent { parent, .. } = &error else { return error.into() };
        let at = self.given.iter().find(|(_, id)| id == parent).map_or(0, |(at, _)| *at);
        Problem::invalid("unknown-parent", vec![element(prefix, at, error.to_string())])
    }
}

/// The tasks of a request, each after those that it refers to.
#[derive(Debug)]
pub(in crate::api) struct Resolved {
    /// For the store.
    pub(in crate::api) tasks: Vec<LinkedTask>,
    /// The place of each in the request.
    places: Vec<usize>,
    /// In the order of the request.
    links: Vec<Links>,
}

/// Finds what the tasks of a request mean by their names.
pub(super) fn resolve(drafts: Vec<Draft>) -> Result<Resolved, Vec<FieldError>> {
    let (tasks, links): (Vec<_>, Vec<_>) = drafts.into_iter().map(|draft| (draft.new, draft.links)).unzip();
    let (after, mut errors) = by_place(&links);
    let count: usize = after.iter().map(Vec::len).sum();
    if count > MAX_LINKS {
        let message = format!("refer to each other {count} times; at most {MAX_LINKS} times in one request");
        errors.push(FieldError::pointer("/tasks", message));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let places = order(&after).map_err(|cycle| vec![told(&cycle, &links)])?;
    let mut rank = vec![0; places.len()];
    for (at, place) in places.iter().enumerate() {
        if let Some(rank) = rank.get_mut(*place) {
            *rank = at;
        }
    }
    let mut tasks: Vec<_> = tasks.into_iter().map(Some).collect();
    let linked = places.iter().filter_map(|place| {
        let new = tasks.get_mut(*place)?.take()?;
        let before = after.get(*place).into_iter().flatten();
        Some(LinkedTask { new, earlier: before.filter_map(|place| rank.get(*place).copied()).collect() })
    });
    Ok(Resolved { tasks: linked.collect(), places, links })
}

/// For each task the places of the others that it comes after.
fn by_place(links: &[Links]) -> (Vec<Vec<usize>>, Vec<FieldError>) {
    let (mut names, mut errors) = (HashMap::new(), Vec::new());
    for (at, name) in links.iter().enumerate().filter_map(|(at, links)| Some((at, links.name.as_deref()?))) {
        if let Some(first) = names.insert(name, at) {
            let message = format!("{:?} is the name of /tasks/{first} already", echo(name));
            errors.push(FieldError::pointer(format!("/tasks/{at}/ref"), message));
        }
    }
    let mut after = Vec::with_capacity(links.len());
    for (at, links) in links.iter().enumerate() {
        let mut places: Vec<usize> = Vec::with_capacity(links.locals.len());
        for (element_at, name) in &links.locals {
            match names.get(name.as_str()) {
                Some(place) if !places.contains(place) => places.push(*place),
                Some(_) => {}
                None => {
                    let message = format!("no task of this request has the ref {:?}", echo(name));
                    errors.push(element(&format!("/tasks/{at}"), *element_at, message));
                }
            }
        }
        after.push(places);
    }
    (after, errors)
}

/// The cycle, spelled out.
fn told(cycle: &[usize], links: &[Links]) -> FieldError {
    let name = |at: &usize| links.get(*at).and_then(|links| links.name.as_deref()).unwrap_or_default().to_owned();
    let first = cycle.first().copied().unwrap_or_default();
    let mut names: Vec<_> = cycle.iter().take(MAX_NAMED).map(|at| format!("#{}", name(at))).collect();
    if cycle.len() > MAX_NAMED {
        names.push(format!("{} more", cycle.len() - MAX_NAMED));
    }
    names.push(format!("#{}", name(&first)));
    let message = format!("a cycle: {}", names.join(" comes after "));
    FieldError::pointer(format!("/tasks/{first}/after"), message)
}

impl Resolved {
    /// What the store answered, in the order of the request.
    pub(in crate::api) fn in_order<T>(&self, enqueued: Vec<T>) -> Vec<T> {
        let mut sorted: Vec<_> = self.places.iter().copied().zip(enqueued).collect();
        sorted.sort_unstable_by_key(|(place, _)| *place);
        sorted.into_iter().map(|(_, one)| one).collect()
    }

    /// A refusal that is about one task says about which.
    pub(in crate::api) fn blame(&self, error: StoreError) -> Problem {
        let (StoreError::Taken { at, .. } | StoreError::NoParent { at, .. }) = &error else { return error.into() };
        let place = self.places.get(*at).copied().unwrap_or(*at);
        if let (StoreError::NoParent { .. }, Some(links)) = (&error, self.links.get(place)) {
            return links.blame(error, &format!("/tasks/{place}"));
        }
        let message = error.to_string();
        Problem::from(error).with_errors(vec![FieldError::pointer(format!("/tasks/{place}"), message)])
    }
}
