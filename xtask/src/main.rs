//! `cargo xtask`: what a developer runs. Builds the plugins, shows the whole thing at work, tests everything, measures.

mod bench;
mod deadline;
mod demo;
mod deny;
mod fuzz;
mod http;
mod languages;
mod plugins;
mod shell;
mod test;
mod tools;
mod wit;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests and shows taskhost.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build every plugin into target/plugins
    Plugins,
    /// Install what plugins in Python, JavaScript and C need, and build the examples into target/languages/plugins
    Languages(LanguagesOptions),
    /// Show it at work: upload, cut, stream, trash, clear, swap a plugin
    Demo(demo::Options),
    /// Test everything; installs what is missing
    Test(test::Options),
    /// Measure
    Bench(bench::Options),
    /// Hold the contract in wit/ against its released versions, or release one
    #[command(subcommand)]
    Wit(wit::Command),
    /// Look at licences, bans and sources of every dependency, and at advisories where the network allows
    Deny(deny::Options),
    /// Throw components that nobody wrote at the loader
    Fuzz(fuzz::Options),
}

#[derive(clap::Args)]
struct LanguagesOptions {
    /// Also build what `taskhost plugin new` writes, once a language
    #[arg(long)]
    templates: bool,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Plugins => build_plugins(),
        Command::Languages(options) => languages::build(options.templates).map(|()| {
            shell::say(&format!("plugins and their manifests are in {}", languages::plugins().display()));
        }),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Deny(options) => deny::run(&options),
        Command::Wit(command) => wit::run(&command),
        Command::Fuzz(options) => fuzz::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Those in Rust, and those in other languages whose tools are there.
fn build_plugins() -> anyhow::Result<()> {
    tools::need_wasm_target()?;
    let dir = plugins::build()?;
    languages::build_possible()?;
    shell::say(&format!("plugins and their manifests are in {}", dir.display()));
    shell::say(&format!("those in other languages than Rust are in {}", languages::plugins().display()));
    Ok(())
}
