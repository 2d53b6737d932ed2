//! What may become of a released version: nothing that was there changes; what is new comes beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use semver::Version;

use crate::difference::{Difference, Item, Sides, What, compare};
use crate::read::{Contract, ReadError, World};

const SIDES: Sides = Sides { left: "the released version", right: "wit/" };

/// What a comparison with a released version found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What breaks plugins that were built for it, and what to do instead; a line each.
    pub refused: Vec<String>,
    /// What is new, a line each.
    pub added: Vec<String>,
}

/// Every version below `dir`, a folder each, oldest first.
pub fn versions(dir: &Path) -> Result<Vec<(Version, Contract)>, ReadError> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(Vec::new()) };
    let named = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        Some((Version::parse(path.file_name()?.to_str()?).ok()?, path))
    });
    let sorted: BTreeMap<_, _> = named.collect();
    sorted.into_iter().map(|(version, path)| Ok((version, Contract::of_folder(&path)?))).collect()
}

/// Compares what was released with what there is now.
pub fn check(released: &Contract, current: &Contract) -> Verdict {
    let mut verdict = Verdict::default();
    let mut grown = BTreeSet::new();
    for (id, old) in &released.interfaces {
        let Some((now, new)) = counterpart(&current.interfaces, id) else {
            verdict.refused.push(gone("interface", id));
            continue;
        };
        for difference in compare(old, new, false) {
            let line = format!("{now}: {}", difference.told(&SIDES));
            match advice(&difference) {
                None => {
                    grown.insert(now.as_str());
                    verdict.added.push(line);
                }
                Some(advice) => verdict.refused.push(format!("{line}. {advice}")),
            }
        }
    }
    for (id, old) in &released.worlds {
        match counterpart(&current.worlds, id) {
            None => verdict.refused.push(gone("world", id)),
            Some((now, new)) => world(&mut verdict, now, old, new),
        }
    }
    let known: BTreeSet<_> = released.interfaces.keys().map(|id| line_of(id)).collect();
    for id in current.interfaces.keys().filter(|id| !known.contains(&line_of(id))) {
        grown.insert(id.as_str());
        verdict.added.push(format!("{id}: the interface is new"));
    }
    for id in grown.iter().filter(|id| is_released(released, id)) {
        let line = format!(
            "{id}: its package has the released version's number; raise its patch version before the next release"
        );
        verdict.added.push(line);
    }
    verdict
}

/// Whether the package of an interface is of a released version.
fn is_released(released: &Contract, id: &str) -> bool {
    version(id).is_some_and(|(name, version)| {
        let package = name.split('/').next().unwrap_or(&name);
        released.packages.contains(&(package.to_owned(), version))
    })
}

fn world(verdict: &mut Verdict, id: &str, old: &World, new: &World) {
    let lines = |of: &BTreeSet<String>| of.iter().map(|id| line_of(id)).collect::<BTreeSet<_>>();
    for (what, old, new) in
        [("import", lines(&old.imports), lines(&new.imports)), ("export", lines(&old.exports), lines(&new.exports))]
    {
        for name in old.difference(&new) {
            verdict.refused.push(format!("{id}: the world has no longer the {what} `{name}`. Put it back"));
        }
        for name in new.difference(&old) {
            let line = format!("{id}: the world has the {what} `{name}` now");
            if what == "import" {
                verdict.added.push(line);
            } else {
                verdict.refused.push(format!("{line}, which plugins for it do not have. Make a new world of it"));
            }
        }
    }
}

fn gone(what: &str, id: &str) -> String {
    format!(
        "{id}: the {what} is gone, or has a version that plugins for it cannot use. Put it back as it was; what is new comes \
         under a new name, or as a package of another version beside it"
    )
}

/// What to do instead; nothing when it may be done.
fn advice(difference: &Difference) -> Option<&'static str> {
    Some(match &difference.what {
        What::Added(Item::Function | Item::Type, _) => return None,
        What::Added(Item::Field, _) => {
            "Records cannot grow: take the field out again. Carry the value in `attributes`, or add a function that takes a new record"
        }
        What::Added(Item::Case | Item::Flag, _) => {
            "Enums, variants and flags cannot grow: take it out again. Use the case `other`, or add a function with a new type"
        }
        What::Added(Item::Parameter, _) => {
            "Functions cannot take more: take it out again. Add a function under a new name"
        }
        What::Missing(..) => {
            "Put it back as it was; say in its comment that it is deprecated, and what to use in its place"
        }
        What::Renamed(..) => "Keep the old name; what is to have another one comes as a new function or type beside it",
        What::Moved(..) => "Put them back into the released order",
        What::Changed(..) => "Leave it as it was, and add a function or a type under a new name",
    })
}

/// `taskhost:host/log@0.1.0` as `taskhost:host/log` and the version.
fn version(id: &str) -> Option<(String, Version)> {
    let (name, version) = id.split_once('@')?;
    Some((name.to_owned(), Version::parse(version).ok()?))
}

/// Versions of one line take each other's place: `0.1` of 0.1.2, `1` of 1.4.0.
fn line_of(id: &str) -> String {
    match version(id) {
        Some((name, Version { major: 0, minor, .. })) => format!("{name}@0.{minor}"),
        Some((name, Version { major, .. })) => format!("{name}@{major}"),
        None => id.to_owned(),
    }
}

/// What stands where `id` stood: of the same name and line, and not older.
fn counterpart<'a, T>(all: &'a BTreeMap<String, T>, id: &str) -> Option<(&'a String, &'a T)> {
    let line = line_of(id);
    let at_least = version(id).map(|(_, version)| version);
    all.iter()
        .filter(|(other, _)| line_of(other) == line && version(other).map(|(_, version)| version) >= at_least)
        .max_by_key(|(other, _)| version(other).map(|(_, version)| version))
}

#[cfg(test)]
mod tests {
    use super::{check, versions};
    use crate::read::Contract;

    const OLD: &str = "package a:b@0.1.0;
        interface log { enum level { low, high } record entry { text: string } log: func(level: level, entry: entry); }
        interface more { ask: func() -> string; }
        world plugin { import log; export more; }";

    fn verdict(new: &str) -> super::Verdict {
        check(&Contract::of_text(OLD).unwrap(), &Contract::of_text(new).unwrap())
    }

    fn changed(from: &str, to: &str) -> super::Verdict {
        assert!(OLD.contains(from), "{from}");
        verdict(&OLD.replacen(from, to, 1))
    }

    #[test]
    fn what_was_released_may_only_be_added_to() {
        assert_eq!(verdict(OLD), super::Verdict::default());
        for (from, to) in [
            ("ask: func", "tell: func(x: u8); ask: func"),
            ("enum level", "enum colour { red } enum level"),
            ("interface more", "interface extra { f: func(); } interface more"),
            ("world plugin {", "interface log2 { f: func(); } world plugin { import log2;"),
            ("@0.1.0", "@0.1.7"),
            ("world plugin {", "world second { import log; } world plugin {"),
        ] {
            let verdict = changed(from, to);
            assert!(verdict.refused.is_empty(), "{to}: {verdict:#?}");
        }
        let added = changed("ask: func", "tell: func(x: u8); ask: func").added;
        assert!(
            added[0].contains("wit/ has the function `tell`") && added[1].contains("raise its patch version"),
            "{added:?}"
        );
        let text = OLD.replace("ask: func", "tell: func(x: u8); ask: func").replace("@0.1.0", "@0.1.1");
        assert_eq!(verdict(&text).added.len(), 1, "the version was raised");
    }

    #[test]
    fn what_breaks_plugins_is_refused_with_what_to_do_instead() {
        for (from, to, expected) in [
            (
                "low, high",
                "low, high, top",
                "enum `level`: wit/ has the case `top`, which the released version lacks. Enums, variants and flags cannot grow",
            ),
            ("low, high", "high, low", "another order"),
            ("low, high", "low", "wit/ lacks the case `high`, which the released version has. Put it back"),
            (
                "text: string",
                "text: string, at: u64",
                "record `entry`: wit/ has the field `at: u64`, which the released version lacks. Records cannot grow",
            ),
            (
                "text: string",
                "words: string",
                "the field that the released version calls `text` is `words` in wit/. Keep the old name",
            ),
            (
                "text: string",
                "text: list<u8>",
                "the field `text` is `string` in the released version and `list<u8>` in wit/. Leave it",
            ),
            ("log: func(level: level, ", "log: func(level: level, more: bool, ", "Functions cannot take more"),
            (
                "log: func(level: level",
                "log: func(grade: level",
                "the parameter that the released version calls `level` is `grade`",
            ),
            ("ask: func", "query: func", "wit/ lacks the function `ask`"),
            ("interface log {", "interface logs {", "a:b/log@0.1.0: the interface is gone"),
            ("world plugin", "world plugins", "a:b/plugin@0.1.0: the world is gone"),
            ("import log; ", "", "the world has no longer the import `a:b/log@0.1`"),
            (
                "export more;",
                "export more; export log;",
                "the export `a:b/log@0.1` now, which plugins for it do not have",
            ),
            (
                "@0.1.0",
                "@0.2.0",
                "a:b/log@0.1.0: the interface is gone, or has a version that plugins for it cannot use",
            ),
            ("@0.1.0", "@0.0.9", "the interface is gone"),
        ] {
            let text = OLD.replacen(from, to, 1);
            let text = if to == "interface logs {" { text.replace("import log;", "import logs;") } else { text };
            let refused = verdict(&text).refused.join("\n");
            assert!(refused.contains(expected), "{to}: {refused}");
        }
    }

    #[test]
    fn released_versions_are_read_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["0.10.0", "0.9.0"] {
            let folder = dir.path().join(version);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("b.wit"), OLD.replace("0.1.0", version)).unwrap();
        }
        std::fs::write(dir.path().join("README.md"), "").unwrap();
        let found: Vec<_> = versions(dir.path()).unwrap().into_iter().map(|(version, _)| version.to_string()).collect();
        assert_eq!(found, ["0.9.0", "0.10.0"]);
        assert!(versions(&dir.path().join("none")).unwrap().is_empty());
        std::fs::write(dir.path().join("0.9.0/b.wit"), "package").unwrap();
        assert!(versions(dir.path()).is_err());
    }
}
