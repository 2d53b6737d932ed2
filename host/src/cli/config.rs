//! `taskhost config check`

use std::path::PathBuf;

use super::{ConfigFile, Exit, complain, print};
use crate::config::{Config, Flags, Loaded, Sources};
use crate::host::plugin_rules;
use crate::plugin::Rules;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
}

/// Prints the effective configuration.
pub(super) fn check(arguments: Arguments) -> Exit {
    let loaded = load(arguments.file.config, Flags::default());
    match loaded.and_then(|loaded| rules(&loaded.config).map(|_| loaded)) {
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
    Config::load(&Sources::of_process(file, flags)).map_err(|mistakes| wrong(&mistakes.to_string()))
}

/// What the configuration says about plugins; keys that it names but that cannot be read are told.
pub(super) fn rules(config: &Config) -> Result<Rules, Exit> {
    plugin_rules(config).map_err(|mistake| wrong(&mistake))
}

fn wrong(mistakes: &str) -> Exit {
    complain(&format!("the configuration is wrong\n{mistakes}"));
    Exit::Config
}
