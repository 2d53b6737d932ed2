//! The command line: one file a subcommand.

mod compile;
mod config;
mod exit;
mod logging;
mod plugin;
mod serve;
mod signals;
mod store;

use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::host::COMPILE_COMMAND;

pub use self::exit::Exit;

/// Ends the help of every command: scripts and service managers rely on these.
const EXIT_CODES: &str = "\
Exit codes:
  0    done; a server: stopped after it was asked to
  1    failed
  2    the command line is wrong
  74   the data directory cannot be used
  78   the configuration is wrong
  130  interrupted twice (SIGINT), or before the server was up
  143  terminated twice (SIGTERM), or before the server was up";

/// Those of `plugin test` say how the task ended.
const TEST_EXIT_CODES: &str = "\
Exit codes:
  0    the task succeeded
  1    it was not run: the plugin does not load, or its input is refused
  2    the command line is wrong
  3    it failed, or was cancelled
  4    its guest crashed
  5    it would be tried again: it failed for now, or put itself off
  78   the configuration is wrong";

/// Runs tasks in sandboxed WebAssembly plugins, durably.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the server until it is asked to stop.
    ///
    /// SIGTERM or Ctrl-C stops it gracefully: nothing new is begun, running attempts may go on for
    /// `runner.shutdown_grace`, then return to the queue. A second one ends it at once; tasks that
    /// were running are tried again at the next start.
    #[command(after_help = EXIT_CODES)]
    Serve(serve::Arguments),
    /// About plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// About the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// About the store of a host that does not run.
    #[command(subcommand)]
    Store(StoreCommand),
    /// What a host starts to compile a component.
    #[command(name = COMPILE_COMMAND, hide = true)]
    Compile(compile::Arguments),
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Writes everything that the store keeps as JSON Lines with check sums.
    ///
    /// Contents of media files are not part of it: copy the folder `media` of the data directory beside it.
    #[command(after_help = EXIT_CODES)]
    Export(store::ExportArguments),
    /// Makes a store of an export, in a data directory that has none; all or nothing.
    #[command(after_help = EXIT_CODES)]
    Import(store::ImportArguments),
    /// Looks at every record; says what is damaged or does not agree. Changes nothing.
    #[command(after_help = EXIT_CODES)]
    Check(store::CheckArguments),
}

#[derive(Debug, Subcommand)]
enum PluginCommand {
    /// Says whether a server would accept a component, and what it asks for.
    #[command(after_help = EXIT_CODES)]
    Check(plugin::CheckArguments),
    /// Says what is in a component, without compiling or running it: imports, exports, sections, its world as WIT.
    #[command(after_help = EXIT_CODES)]
    Inspect(plugin::InspectArguments),
    /// Makes a pair of keys for signing plugins.
    #[command(after_help = EXIT_CODES)]
    Keygen(plugin::KeygenArguments),
    /// Signs a component: writes `FILE.minisig`, or the file that its manifest names, which minisign understands, too.
    #[command(after_help = EXIT_CODES)]
    Sign(plugin::SignArguments),
    /// Writes a new plugin that works: its code, manifest, README and the contract, and says how to build it.
    #[command(after_help = EXIT_CODES)]
    New(plugin::NewArguments),
    /// Runs one task of a plugin without a server, and tells everything about it.
    ///
    /// In the real sandbox, with the manifest's limits and grants. The library is a folder, state and queue are in
    /// memory, ffmpeg is the real one. Nothing is kept but what --out and --state name. Ctrl-C asks the task to stop.
    #[command(after_help = TEST_EXIT_CODES)]
    Test(plugin::TestArguments),
    /// Prints the JSON Schema of a manifest (`NAME.toml`), for editors and for checks of one's own.
    #[command(after_help = EXIT_CODES)]
    Schema,
    /// Writes the contract of this host (WIT), for a plugin that was written for an older one.
    #[command(after_help = EXIT_CODES)]
    Wit(plugin::WitArguments),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints the effective configuration with the origin of each value, or every mistake in it.
    #[command(after_help = EXIT_CODES)]
    Check(config::Arguments),
}

/// Which file the configuration is read from.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file [default: ./taskhost.toml or /etc/taskhost/taskhost.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> Exit {
        match self.command {
            Command::Serve(arguments) => serve::run(arguments),
            Command::Plugin(PluginCommand::Check(arguments)) => plugin::check(arguments),
            Command::Plugin(PluginCommand::Inspect(arguments)) => plugin::inspect(arguments),
            Command::Plugin(PluginCommand::Keygen(arguments)) => plugin::keygen(&arguments),
            Command::Plugin(PluginCommand::Sign(arguments)) => plugin::sign(arguments),
            Command::Plugin(PluginCommand::New(arguments)) => plugin::new(arguments),
            Command::Plugin(PluginCommand::Test(arguments)) => plugin::test(arguments),
            Command::Plugin(PluginCommand::Schema) => plugin::schema(),
            Command::Plugin(PluginCommand::Wit(arguments)) => plugin::wit(&arguments),
            Command::Compile(arguments) => compile::run(&arguments),
            Command::Config(ConfigCommand::Check(arguments)) => config::check(arguments),
            Command::Store(StoreCommand::Export(arguments)) => store::export(arguments),
            Command::Store(StoreCommand::Import(arguments)) => store::import(arguments),
            Command::Store(StoreCommand::Check(arguments)) => store::check(arguments),
        }
    }
}

/// Writes an answer to the standard output. A reader that went away, such as `head`, is no failure.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Writes what went wrong before there is a log. Nothing can be done when nobody reads it.
fn complain(text: &str) {
    drop(std::io::stderr().lock().write_all(format!("taskhost: {text}\n").as_bytes()));
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Exit};

    #[test]
    fn the_command_line_is_well_formed_and_documents_each_exit_code() {
        Cli::command().debug_assert();
        for line in [
            "taskhost serve --listen localhost",
            "taskhost serve extra",
            "taskhost plugin check",
            "taskhost plugin new sum",
            "taskhost plugin new sum --lang cobol",
            "taskhost store import",
            "taskhost plugin test",
            "taskhost plugin test a.wasm --attempts 0",
            "taskhost plugin test a.wasm --dispatch --kind a",
            "taskhost",
        ] {
            assert_eq!(Cli::try_parse_from(line.split(' ')).unwrap_err().exit_code(), 2, "{line}");
        }
        let help = Cli::command().render_help().to_string() + super::TEST_EXIT_CODES;
        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::Store,
            Exit::Config,
            Exit::Signal(2),
            Exit::Signal(15),
            Exit::TaskFailed,
            Exit::Crashed,
            Exit::TryAgain,
        ] {
            assert!(help.contains(&format!("\n  {:<5}", exit.code())), "{exit:?}\n{help}");
        }
    }
}
