//! Measuring.

use anyhow::Result;
use clap::Args;

use crate::{languages, plugins, shell, tools};

/// What to measure and how to show it.
#[derive(Args)]
pub(crate) struct Options {
    /// Benches by name; all when none is given
    names: Vec<String>,
    /// One JSON object a line in place of a table
    #[arg(long)]
    json: bool,
}

/// Builds the plugins that the benches load, and runs them.
pub(crate) fn run(options: &Options) -> Result<()> {
    tools::need_wasm_target()?;
    tools::need_ffmpeg()?;
    plugins::build()?;
    if options.names.is_empty() || options.names.iter().any(|name| name == "languages") {
        languages::build(true)?;
    }
    let mut arguments = vec!["bench", "--workspace", "--bench", "bench", "--"];
    arguments.extend(options.names.iter().map(String::as_str));
    if options.json {
        arguments.push("--json");
    }
    shell::run(&mut shell::cargo(&arguments))
}
