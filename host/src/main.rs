//! The life of the process: what was asked for is parsed, done, and answered with an exit code.

use std::process::ExitCode;

use clap::Parser;
use taskhost::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().into()
}
