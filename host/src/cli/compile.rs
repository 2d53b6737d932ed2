//! What a running host starts to compile one component. It ends within the limits that the host set.

use super::{Exit, complain};
use crate::plugin::compile::run_child;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Machine code that knows files and lines
    #[arg(long)]
    details: bool,
}

/// Reads a component from the standard input and writes its machine code to the standard output.
pub(super) fn run(arguments: &Arguments) -> Exit {
    match run_child(std::io::stdin().lock(), std::io::stdout().lock(), arguments.details) {
        Ok(()) => Exit::Done,
        Err(reason) => {
            complain(&reason);
            Exit::Failed
        }
    }
}
