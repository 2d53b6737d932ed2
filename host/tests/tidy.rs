//! What the repository has to look like, checked against its sources.
//!
//! Each rule is a test; a finding reads `path:line: error: …`. The rules are checked themselves by
//! the tests at the end.

#[path = "tidy/features.rs"]
mod features;
#[path = "tidy/flaws.rs"]
mod flaws;
#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rules::{Finding, has_word};
use source::Source;

/// Invariants of the design; ARCHITECTURE.md may add to them.
const INVARIANTS: usize = 15;

#[test]
fn modules_use_only_what_the_table_of_edges_allows() {
    check(rules::edges);
}

#[test]
fn files_and_functions_are_short() {
    check(rules::budgets);
}

#[test]
fn nothing_unfinished_is_left() {
    check(rules::leftovers);
}

#[test]
fn tests_wait_for_events_and_never_for_time() {
    check(rules::sleeps);
}

#[test]
fn libraries_stay_behind_their_modules() {
    check(rules::homes);
}

#[test]
fn i9_nobody_below_the_loops_reads_a_clock_the_environment_or_a_global() {
    let lints = read("clippy.toml");
    for banned in ["SystemTime::now", "Instant::now", "env::var", "tokio::spawn"] {
        assert!(lints.contains(banned), "clippy.toml:1: error: `{banned}` has to be among the disallowed methods");
    }
    // What is left is our own clock, which belongs to loops and handlers.
    let timeless = ["retry", "task", "schedule", "limit", "event", "store", "limiter", "media", "process", "ffmpeg"];
    let reads_clock = |source: &Source| {
        let name = source.path.strip_prefix("host/src/")?.split(['/', '.']).next()?;
        let is_clock = |at: usize| {
            source.is(at, "time") && source.is_path_separator(at + 1) && source.is(at + 3, "now") && !source.is_test(at)
        };
        let at = (0..source.tokens.len()).find(|at| timeless.contains(&name) && is_clock(*at))?;
        let message = "the time is an argument here".to_owned();
        Some(Finding { path: source.path.clone(), line: source.tokens[at].line, message })
    };
    report(&sources().iter().filter_map(reads_clock).collect::<Vec<_>>());
}

#[test]
fn i10_no_lock_is_held_across_an_await() {
    let manifest = read("Cargo.toml");
    assert!(
        manifest.lines().any(|line| line.trim() == "await_holding_lock = \"deny\""),
        "Cargo.toml:1: error: the lint `await_holding_lock` has to be denied"
    );
}

#[test]
fn each_fixture_is_used_by_a_test() {
    let tests: String = sources().iter().map(Source::test_text).collect();
    let mut found = Vec::new();
    for path in files("host/tests/fixtures", "wat") {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let stem = name.trim_end_matches(".wat");
        // Named as a file or, for the harness's helpers, as a string.
        if !has_word(&tests, name) && !tests.contains(&format!("\"{stem}\"")) {
            found.push(Finding { message: format!("no test mentions the fixture `{name}`"), path, line: 1 });
        }
    }
    report(&found);
}

#[test]
fn each_invariant_is_named_by_a_test() {
    let path = "ARCHITECTURE.md";
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| {
        panic!("{path}:1: error: the invariants are listed there as `- **I1** …`, but it cannot be read: {error}")
    });
    let mut tests: String = sources().iter().map(Source::test_text).collect();
    // Two of them are held here; of this file only the names of tests count.
    tests.extend(read("host/tests/tidy.rs").split_inclusive('\n').filter(|line| line.starts_with("fn i")));
    report(&unnamed_invariants(path, &text, &tests));
}

#[test]
fn each_flaw_of_older_systems_has_a_row_and_each_row_a_test() {
    let tests: String = sources().iter().map(Source::test_text).collect();
    report(&flaws::check("ARCHITECTURE.md", &read("ARCHITECTURE.md"), &tests));
}

/// Invariants that are missing in the document, or in the tests.
fn unnamed_invariants(path: &str, text: &str, tests: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut listed = BTreeSet::new();
    for (at, line) in text.lines().enumerate() {
        let number = line.strip_prefix("- **I").and_then(|rest| rest.split_once("**")).map(|(number, _)| number);
        let Some(number) = number.and_then(|number| number.parse::<usize>().ok()) else { continue };
        listed.insert(number);
        if !has_word(tests, &format!("I{number}")) && !names_function(tests, number) {
            let message = format!("no test names I{number} (`fn i{number}_…` or a comment `I{number}`)");
            found.push(Finding { path: path.to_owned(), line: at + 1, message });
        }
    }
    let last = listed.last().copied().unwrap_or_default().max(INVARIANTS);
    for number in (1..=last).filter(|number| !listed.contains(number)) {
        let message = format!("I{number} is not listed as `- **I{number}** …`");
        found.push(Finding { path: path.to_owned(), line: 1, message });
    }
    found
}

/// Whether there is a function called `i7_…`.
fn names_function(tests: &str, number: usize) -> bool {
    tests.contains(&format!("fn i{number}_"))
}

fn check(rule: fn(&Source) -> Vec<Finding>) {
    report(&sources().iter().flat_map(rule).collect::<Vec<_>>());
}

fn report(found: &[Finding]) {
    let lines = found.iter().map(|finding| format!("\n{}:{}: error: {}", finding.path, finding.line, finding.message));
    assert!(found.is_empty(), "{} findings{}", found.len(), lines.collect::<String>());
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}:1: error: {error}"))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Rust file of ours, except for these rules, which name what they forbid.
fn sources() -> Vec<Source> {
    let folders = ["host/src", "host/shape", "host/tests", "plugins", "examples", "xtask"];
    let paths =
        folders.iter().flat_map(|folder| files(folder, "rs")).filter(|path| !path.starts_with("host/tests/tidy"));
    let read =
        |path: String| Source::new(&path, &std::fs::read_to_string(root().join(&path)).expect("a source can be read"));
    let mut sources: Vec<_> = paths.map(read).collect();
    // `#[cfg(test)] mod tests;` in `foo.rs` makes `foo/tests.rs`, and what is below it, a test.
    let of_source = |source: &Source| {
        let folder = source.path.trim_end_matches(".rs").trim_end_matches("/lib").to_owned();
        source.test_modules().into_iter().map(move |name| format!("{folder}/{name}"))
    };
    let tests: Vec<_> = sources.iter().flat_map(of_source).collect();
    for source in &mut sources {
        let path = source.path.trim_end_matches(".rs");
        if tests.iter().any(|test| path == test || path.starts_with(&format!("{test}/"))) {
            source.mark_as_test();
        }
    }
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

/// The files below a folder with an extension, relative to the repository.
fn files(folder: &str, extension: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(root().join(folder)) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.expect("a folder can be read");
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if root().join(&path).is_dir() {
            // Built things and what examples install are not ours.
            if !["target", "node_modules", ".venv"].iter().any(|name| path.ends_with(name)) {
                found.extend(files(&path, extension));
            }
        } else if Path::new(&path).extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn lines_of(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
}

#[test]
fn the_rule_of_edges_sees_every_way_to_name_a_module() {
    let text = "use crate::task::X;\n\
                use crate::{\n    time::now, runner::{self, Y},\n};\n\
                fn f() { crate::store::x(); }\n\
                use super::api;\n\
                mod inner { use super::x; use super::super::host; }\n\
                // crate::cli::x\n\
                const S: &str = \"crate::cli::x\";\n\
                #[cfg(test)]\nmod tests { use crate::cli; fn t() {} }\n\
                use crate::api::y;\n";
    assert_eq!(lines_of(rules::edges, "host/src/schedule.rs", text), [2, 5, 6, 7, 12]);
    let nested = "use super::x;\nuse super::super::limiter;\nuse super::super::store::y;\n";
    assert_eq!(lines_of(rules::edges, "host/src/store/sled.rs", nested), [2]);
    assert_eq!(lines_of(rules::edges, "host/src/main.rs", "use taskhost::cli::Cli;\nuse taskhost::host::Host;\n"), [2]);
    assert_eq!(lines_of(rules::edges, "host/src/utils.rs", ""), [1], "a module without a row");
    for (module, allowed) in rules::EDGES {
        assert!(allowed.iter().all(|name| rules::EDGES.iter().any(|(row, _)| row == name)), "{module}");
    }
}

#[test]
fn the_rule_of_budgets_counts_lines_of_code() {
    let body = "    let x = 1;\n\n    // a comment\n".repeat(60);
    assert_eq!(lines_of(rules::budgets, "x.rs", &format!("fn f() {{\n{body}}}\n")), [] as [usize; 0]);
    let body = format!("{body}    let y = \"{{\";\n");
    assert_eq!(
        lines_of(rules::budgets, "x.rs", &format!("type F = fn(u8);\nfn f<'a>(x: [u8; 3]) {{\n{body}}}\n")),
        [2]
    );
    assert_eq!(lines_of(rules::budgets, "x.rs", &"\n".repeat(401)), [401]);
    assert_eq!(lines_of(rules::budgets, "host/src/main.rs", &"\n".repeat(61)), [61]);
}

#[test]
fn the_rules_of_leftovers_and_sleeps_see_code_and_not_text() {
    let text = "fn f() { todo!() }\n// FIXME later\nlet x = \"todo!()\";\nlet XXXL = 1;\ndbg!(r#\"\"\"#);\n";
    assert_eq!(lines_of(rules::leftovers, "x.rs", text), [1, 5, 2]);
    let text = "thread::sleep(d);\n\
                // tidy: the clock itself is under test\n\
                tokio::time::sleep(d).await;\n\
                sleep(d).await; // tidy: \n\
                sleep(d).await; // tidy: a real pause\n\
                guest.sleep(d); let s = 'a'; let t = \"sleep(\"; /* sleep( */ fn sleep() {}\n";
    assert_eq!(lines_of(rules::sleeps, "host/tests/it.rs", text), [1, 4]);
    assert_eq!(lines_of(rules::sleeps, "host/src/it.rs", text), [] as [usize; 0]);
    let text = "fn f() { sleep(d); }\n#[cfg(test)]\n#[expect(x)]\nmod tests {\n    sleep(d);\n}\nfn g() { sleep(d) }\n";
    assert_eq!(lines_of(rules::sleeps, "host/src/it.rs", text), [5]);
}

#[test]
fn the_rule_of_homes_knows_libraries_from_modules() {
    let text = "use sled::Db;\nuse crate::store::sled::X;\nuse crate::store::{self, sled::X};\nfn f() -> anyhow::Result<()> {}\n";
    assert_eq!(lines_of(rules::homes, "host/src/host.rs", text), [1]);
    assert_eq!(lines_of(rules::homes, "host/src/store/sled.rs", text), [4]);
}

#[test]
fn the_rule_of_invariants_wants_each_listed_and_named() {
    let all = |line: fn(usize) -> String| (1..=15).map(line).collect::<Vec<_>>().join("\n");
    let list = all(|number| format!("- **I{number}** text"));
    let tests = all(|number| format!("fn i{number}_x() {{}}"));
    assert_eq!(unnamed_invariants("A.md", &list, &tests), []);
    let lines = |found: Vec<Finding>| found.into_iter().map(|finding| finding.line).collect::<Vec<_>>();
    assert_eq!(lines(unnamed_invariants("A.md", &list, &tests.replace("fn i1_", "fn j1_"))), [1]);
    assert_eq!(
        lines(unnamed_invariants("A.md", &list, &tests.replace("fn i1_", "// I1 \nfn j1_"))),
        Vec::<usize>::new()
    );
    assert_eq!(lines(unnamed_invariants("A.md", &list.replace("I9*", "I99*"), &tests)).len(), 85);
}

#[test]
fn the_rule_of_flaws_wants_a_row_for_each_and_tests_that_carry_the_number() {
    let mut rows = Vec::new();
    for (letter, count) in flaws::NUMBERS {
        let small = letter.to_ascii_lowercase();
        rows.extend((1..=count).map(|number| format!("| {letter}{number} | x | `{small}{number}_x` |")));
    }
    let tests: String = rows.iter().flat_map(|row| ["fn ", row.split('`').nth(1).unwrap(), "() {}\n"]).collect();
    let lines = |rows: &[String], tests: &str| -> Vec<usize> {
        flaws::check("A.md", &rows.join("\n"), tests).into_iter().map(|finding| finding.line).collect()
    };
    assert_eq!(lines(&rows, &tests), [] as [usize; 0]);
    assert_eq!(lines(&rows[1..], &tests), [1], "no row");
    assert_eq!(lines(&rows, &tests.replace("fn v2_x", "fn v22_x")), [2, 1], "no test, and one of no number");
    let with = |proof: &str| {
        let mut rows = rows.clone();
        rows[3] = format!("| V4 | x | {proof} |");
        lines(&rows, &format!("{tests}fn i1_v4_y() {{}} fn y_v4() {{}}"))
    };
    assert_eq!(with("`i1_v4_y`, `v4_x`"), [] as [usize; 0]);
    assert_eq!(with("none: there are no users"), [] as [usize; 0]);
    for wrong in ["", "none: ", "`y_v4`", "`v5_x`", "`v4_x`, `gone`"] {
        assert_eq!(with(wrong), [4], "{wrong}");
    }
}
