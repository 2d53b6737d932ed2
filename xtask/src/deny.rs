//! What may be depended on: `deny.toml`, by `cargo deny`.

use anyhow::{Result, bail};
use clap::Args;

use crate::shell::{cargo, output, run as run_command, say};

/// The version that is installed.
const VERSION: &str = "0.20.2";
/// What needs nothing but this repository and the registry that cargo uses.
const LOCAL: [&str; 3] = ["licenses", "bans", "sources"];

/// What to check.
#[derive(Args)]
pub(crate) struct Options {
    /// Also look for known vulnerabilities: the database of advisories is fetched from GitHub
    #[arg(long)]
    advisories: bool,
}

/// Installs `cargo deny` if it is missing, and runs it.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !is_there() {
        say("installing cargo-deny, which takes some minutes");
        run_command(&mut cargo(&["install", "--locked", "--version", VERSION, "cargo-deny"]))?;
        if !is_there() {
            bail!("cargo-deny was installed, but `cargo deny --version` still fails");
        }
    }
    check(&LOCAL)?;
    if options.advisories {
        check(&["advisories"])?;
    }
    Ok(())
}

/// Part of `cargo xtask test` where it is installed: building it takes as long as the host itself.
pub(crate) fn run_if_there() -> Result<()> {
    if is_there() {
        return check(&LOCAL);
    }
    say("cargo-deny is not installed: `cargo xtask deny` installs it and checks licences, bans and sources");
    Ok(())
}

fn is_there() -> bool {
    output(&mut cargo(&["deny", "--version"])).is_ok()
}

fn check(what: &[&str]) -> Result<()> {
    run_command(cargo(&["deny", "--workspace", "check"]).args(what))
}
