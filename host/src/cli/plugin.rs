//! `taskhost plugin check`

use std::path::PathBuf;

use super::{Exit, complain, print};
use crate::plugin::check;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The component; its manifest is the file beside it with the extension `toml`, if there is one
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Checks a component as a server would on load.
pub(super) fn check(arguments: &Arguments) -> Exit {
    match check::check(&arguments.file) {
        Ok(report) => {
            print(&format!("{report}\n"));
            Exit::Done
        }
        Err(error) => {
            complain(&format!("{}: {error}", arguments.file.display()));
            Exit::Failed
        }
    }
}
