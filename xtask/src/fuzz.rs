//! Throws components that nobody wrote at the loader.

use anyhow::Result;
use clap::Args;

use crate::shell::{cargo, run as run_command, target};

/// How many when nobody says.
const COUNT: u32 = 20_000;

/// How many.
#[derive(Args)]
pub(crate) struct Options {
    /// How many are generated; as many are made by bending sound plugins
    #[arg(long, default_value_t = COUNT)]
    count: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { count: COUNT }
    }
}

/// Generates the components and loads each.
pub(crate) fn run(options: &Options) -> Result<()> {
    // The test runs in another folder.
    let file = std::path::absolute(target().join("components"))?;
    let count = options.count.to_string();
    let mut generate = cargo(&["run", "--release", "--manifest-path", "host/fuzz/Cargo.toml", "--", &count]);
    run_command(generate.arg(&file))?;
    let mut load =
        cargo(&["test", "--package", "taskhost", "--lib", "whatever_is_thrown_at_the_loader", "--", "--nocapture"]);
    run_command(load.env("TASKHOST_COMPONENTS", &file))
}
