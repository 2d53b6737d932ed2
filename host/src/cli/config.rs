//! `taskhost config check`

use std::path::PathBuf;

use super::{ConfigFile, Exit, complain, print};
use crate::config::{Config, Flags, Loaded, Sources};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
}

/// Prints the effective configuration.
pub(super) fn check(arguments: Arguments) -> Exit {
    match load(arguments.file.config, Flags::default()) {
        Ok(loaded) => {
            let source = loaded.file.as_ref().map_or_else(|| "no file".to_owned(), |file| file.display().to_string());
            print(&format!("# the effective configuration ({source})\n{loaded}"));
            Exit::Done
        }
        Err(exit) => exit,
    }
}

/// The configuration of this process; mistakes are told.
pub(super) fn load(file: Option<PathBuf>, flags: Flags) -> Result<Loaded, Exit> {
    Config::load(&Sources::of_process(file, flags)).map_err(|mistakes| {
        complain(&format!("the configuration is wrong\n{mistakes}"));
        Exit::Config
    })
}
