//! The contract's released versions: what lies in `wit/` may only add to them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Subcommand;
use semver::Version;
use taskhost_shape::{Contract, release};

use crate::plugins::{self, place};
use crate::shell::{root, say};

/// What to do with the contract.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Refuse what breaks plugins that were built for a released version, and say what to do instead
    Check,
    /// Freeze the contract as this version, with plugins that were built for it
    Release {
        /// The version, which every package in wit/ has to carry
        version: Version,
    },
}

/// Plugins that are kept as they are built today: they have to load and run ever after. Small ones, which together import
/// and export every interface; `tasks.json` beside them says what some are asked and what they answer.
const KEPT: [(&str, Source); 9] = [
    ("echo", Source::Rust),
    ("video-clear", Source::Rust),
    ("video-cut", Source::Rust),
    ("command", Source::Rust),
    ("remote-cut", Source::Rust),
    ("outside", Source::Tester("[grant]\nstate = true\nlibrary = { add = true }\n")),
    ("borrower", Source::Tester("[grant]\nffmpeg = true\nqueue = { kinds = [\"echo\"] }\n")),
    ("checksum", Source::C),
    ("ok", Source::Text("ok.wat")),
];

/// What is asked of the kept plugins.
const TASKS: &str = r#"[
  { "plugin": "echo", "kind": "echo", "input": { "hello": "world" }, "output": { "hello": "world" } },
  { "plugin": "checksum", "kind": "media.checksum", "input": { "text": "abc" },
    "output": { "bytes": 3, "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" } },
  { "plugin": "ok", "kind": "ok", "input": [1, 2], "output": [1, 2] }
]
"#;

/// Where a kept plugin comes from.
#[derive(Clone, Copy)]
enum Source {
    Rust,
    /// A plugin that only tests use, with this manifest.
    Tester(&'static str),
    C,
    /// A fixture in component text.
    Text(&'static str),
}

/// Runs one of the commands.
pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Check => check(),
        Command::Release { version } => freeze(version),
    }
}

fn wit() -> PathBuf {
    root().join("wit")
}

fn released(version: &Version) -> PathBuf {
    wit().join("released").join(version.to_string())
}

/// Compares `wit/` with every released version.
pub(crate) fn check() -> Result<()> {
    let current = Contract::of_folder(&wit()).map_err(|error| anyhow!("wit/ cannot be read: {error}"))?;
    let versions = release::versions(&wit().join("released"));
    let versions = versions.map_err(|error| anyhow!("wit/released cannot be read: {error}"))?;
    if versions.is_empty() {
        say("no version of the contract is released yet: anything may change");
    }
    let mut refused = Vec::new();
    for (version, contract) in &versions {
        let verdict = release::check(contract, &current);
        say(&format!(
            "against {version}: {} differences that break, {} additions",
            verdict.refused.len(),
            verdict.added.len()
        ));
        verdict.added.iter().for_each(|line| say(&format!("  added    {line}")));
        refused.extend(verdict.refused.into_iter().map(|line| format!("  {version}: {line}")));
    }
    if refused.is_empty() {
        return Ok(());
    }
    bail!("the contract breaks plugins that were built for a released version:\n{}", refused.join("\n"))
}

fn freeze(version: &Version) -> Result<()> {
    let current = Contract::of_folder(&wit()).map_err(|error| anyhow!("wit/ cannot be read: {error}"))?;
    let others: Vec<_> =
        current.packages.iter().filter(|(_, of)| of != version).map(|(name, of)| format!("{name}@{of}")).collect();
    if !others.is_empty() {
        bail!("all packages move together, but {} is not of version {version}", others.join(", "));
    }
    check()?;
    let to = released(version);
    if to.exists() {
        bail!("{version} was released already, and what was released stays: raise the version of the packages in wit/");
    }
    copy(&wit(), &to)?;
    keep(&root().join("host/tests/fixtures/released").join(version.to_string()))?;
    say(&format!("{version} is frozen in {}; commit it with host/tests/fixtures/released/{version}", to.display()));
    Ok(())
}

/// Every WIT file, but not what was released before.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().filter(|name| *name != "released") else { continue };
        if path.is_dir() {
            copy(&path, &to.join(name))?;
        } else if path.extension().is_some_and(|end| end == "wit") {
            place(&path, &to.join(name))?;
        }
    }
    Ok(())
}

/// Builds the plugins that are kept, and copies them.
fn keep(to: &Path) -> Result<()> {
    let rust = plugins::build()?;
    crate::languages::build_one("c")?;
    std::fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for (name, source) in KEPT {
        let (component, manifest) = (format!("{name}.wasm"), format!("{name}.toml"));
        let from = match source {
            Source::Rust => rust.clone(),
            Source::C => crate::languages::plugins(),
            Source::Tester(text) => {
                place(&plugins::testers().join(&component), &to.join(&component))?;
                let at = to.join(&manifest);
                std::fs::write(&at, text).with_context(|| format!("cannot write {}", at.display()))?;
                continue;
            }
            Source::Text(file) => {
                place(&root().join("host/tests/fixtures").join(file), &to.join(format!("{name}.wat")))?;
                continue;
            }
        };
        place(&from.join(&component), &to.join(&component))?;
        place(&from.join(&manifest), &to.join(&manifest))?;
    }
    std::fs::write(to.join("tasks.json"), TASKS).context("cannot write tasks.json")
}
