//! Everything that a change must pass.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::shell::{cargo, complain, run as run_command, say};
use crate::tools::WASM_TARGET;
use crate::{deadline, demo, fuzz, languages, plugins, tools};

/// How much to test.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave out plugins in other languages, the documentation and the demo
    #[arg(long)]
    quick: bool,
    /// Leave out plugins in Python, JavaScript and C, whose tools take some 400 MB
    #[arg(long)]
    no_languages: bool,
    /// Also repeat for as long as it takes what is tested for seconds otherwise, which takes about an hour
    #[arg(long)]
    long: bool,
}

/// A check and what it runs.
struct Check {
    name: &'static str,
    run: fn() -> Result<()>,
    when: When,
}

/// Which runs a check is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Not with `--quick`.
    Whole,
    /// Neither with `--quick` nor with `--no-languages`.
    Languages,
    /// Only with `--long`.
    Long,
}

/// How often each test is repeated that has a number of rounds, by the variable that says so.
const LONG: [(&str, &str); 8] = [
    ("TASKHOST_FAULT_ROUNDS", "400"),
    ("TASKHOST_POWER_ROUNDS", "100"),
    ("TASKHOST_KILL_ROUNDS", "200"),
    ("TASKHOST_CHANGE_KILL_ROUNDS", "400"),
    ("TASKHOST_ORDERS", "100000"),
    ("TASKHOST_ATTEMPTS", "100000"),
    ("TASKHOST_STORM_SECONDS", "60"),
    ("TASKHOST_RELOADS", "1000"),
];

const CHECKS: [Check; 14] = [
    Check { name: "tools", run: install, when: When::Always },
    Check { name: "contract", run: crate::wit::check, when: When::Always },
    Check { name: "plugins", run: || plugins::build().map(drop), when: When::Always },
    Check { name: "format", run: || run_command(&mut cargo(&["fmt", "--all", "--check"])), when: When::Always },
    Check { name: "lints", run: lint, when: When::Always },
    Check { name: "lints for WebAssembly", run: lint_plugins, when: When::Always },
    Check { name: "tests", run: || run_command(&mut cargo(&["test", "--workspace"])), when: When::Always },
    Check { name: "plugins in other languages", run: || languages::build(true), when: When::Languages },
    Check { name: "tests in other languages", run: test_languages, when: When::Languages },
    Check { name: "long tests", run: test_long, when: When::Long },
    Check { name: "components that nobody wrote", run: || fuzz::run(&fuzz::Options::default()), when: When::Long },
    Check { name: "dependencies", run: crate::deny::run_if_there, when: When::Whole },
    Check { name: "documentation", run: document, when: When::Whole },
    Check { name: "demo", run: || demo::run(&demo::Options::default()), when: When::Whole },
];

/// Runs every check, also after one failed, and says how each went.
pub(crate) fn run(options: &Options) -> Result<()> {
    let checks = CHECKS.iter().filter(|check| match check.when {
        When::Always => true,
        When::Whole => !options.quick,
        When::Long => options.long,
        When::Languages => !options.quick && !options.no_languages,
    });
    let results: Vec<(&str, bool, Duration)> = checks.map(perform).collect();
    say("");
    for (name, passed, took) in &results {
        let verdict = if *passed { "passed" } else { "FAILED" };
        say(&format!("{verdict}  {:6.1} s  {name}", took.as_secs_f64()));
    }
    let failed: Vec<&str> = results.iter().filter(|(_, passed, _)| !passed).map(|(name, ..)| *name).collect();
    if !failed.is_empty() {
        bail!("{} of {} checks failed: {}", failed.len(), results.len(), failed.join(", "));
    }
    Ok(())
}

fn perform(check: &Check) -> (&'static str, bool, Duration) {
    say(&format!("\n=== {}", check.name));
    let started = deadline::now();
    let result = (check.run)();
    if let Err(error) = &result {
        complain(&format!("error: {error:#}"));
    }
    (check.name, result.is_ok(), started.elapsed())
}

fn install() -> Result<()> {
    tools::need_lints()?;
    tools::need_wasm_target()?;
    tools::need_ffmpeg()
}

/// Those that need what [`languages::build`] has built.
fn test_languages() -> Result<()> {
    // Each of them computes for many seconds: two at a time.
    let arguments = ["test", "--workspace", "--test", "it", "languages::", "--", "--ignored", "--test-threads=2"];
    run_command(&mut cargo(&arguments))
}

/// Those with a number of rounds, by the modules that they are in.
fn test_long() -> Result<()> {
    let filters = [
        "sled::tests::faults",
        "sled::tests::power",
        "kill_loop",
        "plugin_kills",
        "orders",
        "hostile::leaks",
        "reload_storm",
    ];
    // One after the other: some hold the host's memory against what it was.
    let arguments = [&["test", "--workspace", "--"], filters.as_slice(), &["--test-threads=1"]].concat();
    run_command(cargo(&arguments).envs(LONG))
}

fn lint() -> Result<()> {
    run_command(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// What plugins export exists only in WebAssembly.
fn lint_plugins() -> Result<()> {
    let packages: Vec<&str> =
        plugins::PLUGINS.iter().chain(&plugins::TESTERS).flat_map(|(name, _)| ["--package", name]).collect();
    let arguments = [&["clippy", "--target", WASM_TARGET], packages.as_slice(), &["--", "-D", "warnings"]].concat();
    run_command(&mut cargo(&arguments))
}

fn document() -> Result<()> {
    run_command(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}
