//! A rule as somebody wrote it, before it is checked as a whole: the same rules for a configuration
//! file and for a client.

use std::collections::BTreeMap;

use super::fairness::{MAX_WEIGHT, MAX_WEIGHTS};
use super::{Fairness, KeyPath, LimitRule, MAX_NAME_LEN, MAX_PER_MS, MAX_SCOPE, MAX_TASKS, Rate, is_valid_name};
use crate::task::{MAX_QUEUE_LEN, is_valid_kind, is_valid_queue};

/// What is wrong with a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The field's name; durations without their unit.
    pub field: String,
    /// What, and what would be right.
    pub message: String,
}

/// The fields of a rule, as far as they are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    /// Queues in its scope.
    pub queues: Option<Vec<String>>,
    /// Kinds in its scope.
    pub kinds: Option<Vec<String>>,
    /// A [`KeyPath`].
    pub key: Option<String>,
    /// Tasks at the same time.
    pub concurrency: Option<u64>,
    /// Tasks that begin.
    pub rate: Option<RateDeclaration>,
}

/// The fields of a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateDeclaration {
    /// Tasks.
    pub tasks: Option<u64>,
    /// Within, in milliseconds.
    pub per_ms: Option<u64>,
    /// At once; as many as `tasks` when absent.
    pub burst: Option<u64>,
}

impl Declaration {
    /// The rule, or everything that is wrong with it.
    pub fn check(self, name: &str) -> Result<LimitRule, Vec<Wrong>> {
        let mut wrong = Vec::new();
        if !is_valid_name(name) {
            wrong.push(told("name", format!("a rule's name is 1 to {MAX_NAME_LEN} of a-z, 0-9, -, _ and .")));
        }
        let queue_rule = format!("a queue's name is 1 to {MAX_QUEUE_LEN} of a-z, 0-9, -, _ and .");
        let queues = scope("queues", self.queues, is_valid_queue, &queue_rule, &mut wrong);
        let kind_rule = "a kind is lower-case words joined by dots, such as video.cut";
        let kinds = scope("kinds", self.kinds, is_valid_kind, kind_rule, &mut wrong);
        let key = self.key.map(|key| key.parse::<KeyPath>());
        let key = key.transpose().map_err(|message| wrong.push(told("key", message))).unwrap_or_default();
        let concurrency = self.concurrency.and_then(|number| count("concurrency", number, &mut wrong));
        if self.concurrency.is_none() && self.rate.is_none() {
            let text = "says nothing: how many at the same time (`concurrency`), or how many within a time (`rate`)";
            wrong.push(told("", text));
        }
        let rate = self.rate.and_then(|rate| rate.check(&mut wrong));
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(LimitRule { name: name.to_owned(), queues, kinds, key, concurrency, rate })
    }
}

impl RateDeclaration {
    fn check(self, wrong: &mut Vec<Wrong>) -> Option<Rate> {
        let mut needed = |field: &str, given: Option<u64>| {
            if given.is_none() {
                wrong.push(told(field, "is missing"));
            }
            given
        };
        let (tasks, per_ms) = (needed("rate.tasks", self.tasks), needed("rate.per", self.per_ms));
        let tasks = tasks.and_then(|tasks| count("rate.tasks", tasks, wrong));
        let burst = self.burst.map_or(tasks, |burst| count("rate.burst", burst, wrong));
        let per_ms = per_ms.filter(|per_ms| {
            let fits = (1..=MAX_PER_MS).contains(per_ms);
            if !fits {
                wrong.push(told("rate.per", format!("{per_ms} ms is not a time from 1 ms to 30 days")));
            }
            fits
        });
        Some(Rate { tasks: tasks?, per_ms: per_ms?, burst: burst? })
    }
}

impl Fairness {
    /// Shares by a key, or everything that is wrong with it.
    pub fn check(key: &str, weights: BTreeMap<String, u64>) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let key = key.parse::<KeyPath>().map_err(|message| wrong.push(told("key", message))).ok();
        if weights.len() > MAX_WEIGHTS {
            wrong.push(told("weights", format!("{} are named; at most {MAX_WEIGHTS} are right", weights.len())));
        }
        let mut checked = BTreeMap::new();
        for (group, weight) in weights {
            match u32::try_from(weight).ok().filter(|weight| (1..=MAX_WEIGHT).contains(weight)) {
                Some(weight) => drop(checked.insert(group, weight)),
                None => wrong.push(told("weights", format!("{weight} is not a whole number from 1 to {MAX_WEIGHT}"))),
            }
        }
        key.filter(|_| wrong.is_empty()).map(|key| Self { key, weights: checked }).ok_or(wrong)
    }
}

fn told(field: impl Into<String>, message: impl Into<String>) -> Wrong {
    Wrong { field: field.into(), message: message.into() }
}

fn count(field: &str, number: u64, wrong: &mut Vec<Wrong>) -> Option<u32> {
    let fits = u32::try_from(number).ok().filter(|number| (1..=MAX_TASKS).contains(number));
    if fits.is_none() {
        wrong.push(told(field, format!("{number} is not a whole number from 1 to {MAX_TASKS}")));
    }
    fits
}

/// The names of a scope, each once and in order: a second way to say the same would be another rule.
fn scope(
    field: &'static str,
    names: Option<Vec<String>>,
    is_valid: fn(&str) -> bool,
    rule: &str,
    wrong: &mut Vec<Wrong>,
) -> Vec<String> {
    let Some(mut names) = names else { return Vec::new() };
    if names.is_empty() || names.len() > MAX_SCOPE {
        let text = format!("has {} entries; 1 to {MAX_SCOPE} are right, or leave it out for all", names.len());
        wrong.push(told(field, text));
    }
    for (at, _) in names.iter().enumerate().filter(|(_, name)| !is_valid(name)) {
        wrong.push(told(format!("{field}.{at}"), rule));
    }
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Declaration, Fairness, RateDeclaration};
    use crate::limit::Rate;

    fn fields(declaration: Declaration) -> Vec<String> {
        declaration.check("rule").unwrap_err().into_iter().map(|wrong| wrong.field).collect()
    }

    #[test]
    fn every_mistake_is_told_at_its_field() {
        let wrong = Declaration {
            queues: Some(Vec::new()),
            kinds: Some(vec!["ok".to_owned(), "Not Ok".to_owned()]),
            key: Some("tenant".to_owned()),
            concurrency: Some(0),
            rate: Some(RateDeclaration { tasks: Some(2_000_000), per_ms: Some(0), burst: Some(0) }),
        };
        let expected = ["queues", "kinds.1", "key", "concurrency", "rate.tasks", "rate.burst", "rate.per"];
        assert_eq!(fields(wrong), expected);
        assert_eq!(fields(Declaration::default()), [""]);
        let rate = Some(RateDeclaration::default());
        assert_eq!(fields(Declaration { rate, ..Declaration::default() }), ["rate.tasks", "rate.per"]);
        assert_eq!(Declaration { concurrency: Some(1), ..Declaration::default() }.check("A b").unwrap_err().len(), 1);
    }

    #[test]
    fn what_says_the_same_is_the_same_rule() {
        let of = |queues: &[&str]| Declaration {
            queues: Some(queues.iter().map(|queue| (*queue).to_owned()).collect()),
            rate: Some(RateDeclaration { tasks: Some(5), per_ms: Some(10), burst: None }),
            ..Declaration::default()
        };
        let rule = of(&["b", "a", "b"]).check("rule").unwrap();
        assert_eq!(rule, of(&["a", "b"]).check("rule").unwrap());
        assert_eq!(rule.rate, Some(Rate { tasks: 5, per_ms: 10, burst: 5 }));
        assert!(rule.covers("any", "a") && !rule.covers("any", "c"));
    }

    #[test]
    fn weights_are_whole_and_bounded() {
        let weights = |weight| BTreeMap::from([("acme".to_owned(), weight)]);
        let fairness = Fairness::check("attributes.tenant", weights(4)).unwrap();
        assert_eq!(fairness.stride("acme") * 4, fairness.stride("other"));
        assert_eq!(Fairness::check("tenant", weights(0)).unwrap_err().len(), 2);
    }
}
