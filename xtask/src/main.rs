//! `cargo xtask`: what a developer runs. Builds the plugins, shows the whole thing at work, tests everything, measures.

mod bench;
mod deadline;
mod demo;
mod fuzz;
mod http;
mod plugins;
mod shell;
mod test;
mod tools;

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
    /// Show it at work: upload, cut, stream, trash, clear, swap a plugin
    Demo(demo::Options),
    /// Test everything; installs what is missing
    Test(test::Options),
    /// Measure
    Bench(bench::Options),
    /// Throw components that nobody wrote at the loader
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Plugins => tools::need_wasm_target().and_then(|()| plugins::build()).map(|dir| {
            shell::say(&format!("plugins and their manifests are in {}", dir.display()));
        }),
        Command::Demo(options) => demo::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Bench(options) => bench::run(&options),
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
