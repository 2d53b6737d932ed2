use super::{Newer, Sides, compare, newer};
use crate::{Contract, Interface};

const OLD: &str = "
    record entry { key: string, size: u64, parts: list<part> }
    record part { at: u32 }
    enum level { low, high }
    variant error { denied(string), gone, other(string) }
    flags states { queued, running }
    put: func(key: string, entry: entry) -> result<u64, error>;
    tell: func(level: level, states: states);
    get: func() -> tuple<u32, option<string>>;";

fn interface(body: &str) -> Interface {
    let text = format!("package a:b@1.0.0;\ninterface i {{ {body} }}");
    Contract::of_text(&text).unwrap().interfaces.remove("a:b/i@1.0.0").unwrap()
}

fn told(new: &str, linked: bool) -> (Vec<String>, Newer) {
    let sides = Sides { left: "A", right: "B" };
    let found = compare(&interface(OLD), &interface(new), linked);
    (found.iter().map(|difference| difference.told(&sides).to_string()).collect(), newer(&found))
}

/// What is written in place of what, and what is said about it.
const TABLE: &[(&str, &str, &[&str], Newer)] = &[
    (
        "get: func",
        "get2: func",
        &["B lacks the function `get`, which A has", "B has the function `get2`, which A lacks"],
        Newer::Neither,
    ),
    ("get: func() -> tuple<u32, option<string>>;", "", &["B lacks the function `get`, which A has"], Newer::Left),
    ("get: func()", "more: func(); get: func()", &["B has the function `more`, which A lacks"], Newer::Right),
    ("size: u64,", "", &["record `entry`: B lacks the field `size: u64`, which A has"], Newer::Left),
    (
        "size: u64,",
        "size: u64, why: option<part>,",
        &["record `entry`: B has the field `why: option<part>`, which A lacks"],
        Newer::Right,
    ),
    ("size: u64,", "bytes: u64,", &["record `entry`: the field that A calls `size` is `bytes` in B"], Newer::Neither),
    ("size: u64,", "size: u32,", &["record `entry`: the field `size` is `u64` in A and `u32` in B"], Newer::Neither),
    (
        "parts: list<part>",
        "parts: option<part>",
        &["record `entry`: the field `parts` is `list<part>` in A and `option<part>` in B"],
        Newer::Neither,
    ),
    (
        "key: string, size: u64",
        "size: u64, key: string",
        &[
            "record `entry`: the fields are in another order: A has `key`, `size`, `parts`, B has `size`, `key`, `parts`",
        ],
        Newer::Neither,
    ),
    ("at: u32 ", "at: u32, to: u32 ", &["record `part`: B has the field `to: u32`, which A lacks"], Newer::Right),
    ("low, high", "low, high, top", &["enum `level`: B has the case `top`, which A lacks"], Newer::Right),
    ("low, high", "low", &["enum `level`: B lacks the case `high`, which A has"], Newer::Left),
    ("low, high", "low, top", &["enum `level`: the case that A calls `high` is `top` in B"], Newer::Neither),
    (
        "low, high",
        "high, low",
        &["enum `level`: the cases are in another order: A has `low`, `high`, B has `high`, `low`"],
        Newer::Neither,
    ),
    ("gone,", "", &["variant `error`: B lacks the case `gone`, which A has"], Newer::Left),
    ("gone,", "gone, late(u32),", &["variant `error`: B has the case `late(u32)`, which A lacks"], Newer::Right),
    (
        "gone,",
        "gone(u8),",
        &["variant `error`: what the case `gone` carries is `nothing` in A and `u8` in B"],
        Newer::Neither,
    ),
    (
        "denied(string)",
        "denied(u8)",
        &["variant `error`: the case `denied` is `string` in A and `u8` in B"],
        Newer::Neither,
    ),
    (
        "queued, running",
        "queued, running, ended",
        &["flags `states`: B has the flag `ended`, which A lacks"],
        Newer::Right,
    ),
    (
        "key: string, entry: entry)",
        "key: string)",
        &["function `put`: B lacks the parameter `entry: entry`, which A has"],
        Newer::Left,
    ),
    (
        "key: string, entry: entry)",
        "key: string, entry: entry, ttl: u64)",
        &["function `put`: B has the parameter `ttl: u64`, which A lacks"],
        Newer::Right,
    ),
    (
        "put: func(key: string,",
        "put: func(key: list<u8>,",
        &["function `put`: the parameter `key` is `string` in A and `list<u8>` in B"],
        Newer::Neither,
    ),
    (
        "result<u64, error>",
        "result<u32, error>",
        &["function `put`: its result is `result<u64, error>` in A and `result<u32, error>` in B"],
        Newer::Neither,
    ),
    (
        "result<u64, error>",
        "result<u64>",
        &["function `put`: its result is `result<u64, error>` in A and `result<u64>` in B"],
        Newer::Neither,
    ),
    (
        "tuple<u32, option<string>>",
        "tuple<u32, string>",
        &["function `get`: its result is `tuple<u32, option<string>>` in A and `tuple<u32, string>` in B"],
        Newer::Neither,
    ),
    (
        " -> tuple<u32, option<string>>",
        "",
        &["function `get`: its result is `tuple<u32, option<string>>` in A and `nothing` in B"],
        Newer::Neither,
    ),
];

#[test]
fn every_kind_of_difference_is_told_at_its_place() {
    for (from, to, expected, side) in TABLE {
        assert!(OLD.contains(from), "{from}");
        let (found, newer) = told(&OLD.replacen(from, to, 1), true);
        assert_eq!((found, newer), (expected.iter().map(ToString::to_string).collect(), *side), "{from} -> {to}");
    }
}

#[test]
fn what_is_the_same_passes() {
    assert_eq!(told(OLD, false), (Vec::new(), Newer::Neither));
    // Nothing is linked by the names of parameters; who writes calls by name sees them.
    let renamed = OLD.replace("put: func(key: string", "put: func(name: string");
    assert_eq!(told(&renamed, true).0, [] as [&str; 0]);
    assert_eq!(told(&renamed, false).0, ["function `put`: the parameter that A calls `key` is `name` in B"]);
    // Neither by the names of types.
    let renamed = OLD.replace("part", "piece").replace("pieces:", "parts:");
    let found = compare(&interface(OLD), &Interface { types: interface(OLD).types, ..interface(&renamed) }, true);
    assert_eq!(found, []);
}

#[test]
fn one_change_is_told_once_and_several_are_all_told() {
    let new = OLD.replace("low, high", "low").replace("gone,", "").replace("tell: func(", "tell: func(who: level, ");
    let (found, newer) = told(&new, true);
    let expected = [
        "variant `error`: B lacks the case `gone`, which A has",
        "function `tell`: B has the parameter `who: level`, which A lacks",
        "enum `level`: B lacks the case `high`, which A has",
    ];
    for line in expected {
        assert_eq!(found.iter().filter(|found| *found == line).count(), 1, "{line}: {found:#?}");
    }
    assert_eq!((found.len(), newer), (3, Newer::Neither), "{found:#?}");
    // Another type altogether is not told field by field.
    let (found, _) = told(&OLD.replace("entry: entry)", "entry: part)"), true);
    assert_eq!(found, ["function `put`: the parameter `entry` is `entry` in A and `part` in B"]);
}
