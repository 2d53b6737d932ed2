//! The table of flaws in ARCHITECTURE.md: every number has a row, every row names tests that exist.

use std::collections::{BTreeMap, BTreeSet};

use super::rules::Finding;

/// The numbers that there are: a letter, and how many.
pub(crate) const NUMBERS: [(char, usize); 4] = [('V', 17), ('S', 14), ('L', 23), ('C', 16)];
/// How the reason begins why a flaw cannot exist here.
const ABSENT: &str = "none: ";

/// What does not agree between the table in `text` and the tests.
pub(crate) fn check(path: &str, text: &str, tests: &str) -> Vec<Finding> {
    let finding = |line: usize, message: String| Finding { path: path.to_owned(), line, message };
    let names = names(tests);
    let mut rows = BTreeMap::new();
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [number, what, proof] = cells[..] else { continue };
        if !line.starts_with('|') || !is_number(number) {
            continue;
        }
        if rows.insert(number.to_owned(), at + 1).is_some() {
            found.push(finding(at + 1, format!("{number} has another row")));
        }
        if what.is_empty() {
            found.push(finding(at + 1, format!("{number} does not say what broke")));
        }
        found.extend(proof_of(number, proof, &names).map(|message| finding(at + 1, message)));
    }
    for number in all().filter(|number| !rows.contains_key(number)) {
        found.push(finding(1, format!("{number} has no row in the table of flaws")));
    }
    for name in &names {
        for number in carried(name).filter(|number| !number.starts_with('I') && !is_number(number)) {
            found.push(finding(1, format!("the test `{name}` names {number}, which there is not")));
        }
    }
    found
}

/// What is wrong with the proof of a number: tests in backticks, or the reason why there is none.
fn proof_of(number: &str, proof: &str, names: &BTreeSet<&str>) -> Option<String> {
    let given: Vec<_> = proof.split('`').skip(1).step_by(2).collect();
    if given.is_empty() {
        let is_reason = proof.strip_prefix(ABSENT).is_some_and(|why| why.len() >= 10);
        return (!is_reason).then(|| format!("{number} names no test; if there can be none, `{ABSENT}` and why"));
    }
    given.into_iter().find_map(|name| {
        if !names.contains(name) {
            return Some(format!("{number}: there is no test `{name}`"));
        }
        let carries = carried(name).any(|carried| carried == number);
        (!carries).then(|| format!("{number}: the test `{name}` does not have it in its name"))
    })
}

fn all() -> impl Iterator<Item = String> {
    NUMBERS.into_iter().flat_map(|(letter, count)| (1..=count).map(move |number| format!("{letter}{number}")))
}

fn is_number(text: &str) -> bool {
    all().any(|number| number == text)
}

/// The numbers that a test's name begins with, such as V1 and I8 of `v1_i8_…`.
fn carried(name: &str) -> impl Iterator<Item = String> {
    let is_number = |word: &&str| {
        let digits = word.strip_prefix(['v', 's', 'l', 'c', 'i']);
        digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name.split('_').take_while(is_number).map(str::to_uppercase)
}

/// The names of functions.
fn names(tests: &str) -> BTreeSet<&str> {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    tests.split("fn ").skip(1).filter_map(|rest| rest.split(ends).next()).collect()
}
