//! `taskhost serve`

use std::net::SocketAddr;
use std::path::PathBuf;

use tracing::{error, info};

use super::signals::Signals;
use super::{ConfigFile, Exit, complain, config, logging};
use crate::config::{Config, Flags, Format};
use crate::host::{DataDirectory, Host, this_program};
use crate::store::sled::OpenError;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    file: ConfigFile,
    /// The folder of everything that is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The folder of the plugins
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// Where HTTP is served, such as 127.0.0.1:7420; port 0 takes a free one
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Opens a store that ends before its latest acknowledged write, for this start
    #[arg(long)]
    accept_data_loss: bool,
    /// For authors of plugins: a changed file is loaded sooner, the terminal tells what became of it, and backtraces name
    /// files and lines. What is refused stays the same
    #[arg(long)]
    dev: bool,
}

/// Runs a host until it is asked to stop.
pub(super) fn run(arguments: Arguments) -> Exit {
    let Arguments { file, data, plugins, listen, accept_data_loss, dev } = arguments;
    let mut loaded = match config::load(file.config, Flags { data, plugins, listen, accept_data_loss }) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    loaded.config.plugins.compiler = Some(this_program());
    loaded.config.plugins.dev = dev;
    if dev && loaded.config.log.format == Format::Auto {
        loaded.config.log.format = Format::Text;
    }
    if let Err(exit) = config::rules(&loaded.config) {
        return exit;
    }
    logging::start(&loaded.config.log);
    let file = loaded.file.as_ref().map(|file| file.display().to_string());
    info!(version = env!("CARGO_PKG_VERSION"), config = file.as_deref().unwrap_or("defaults"), "starting");
    match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("host").build() {
        Ok(runtime) => runtime.block_on(serve(loaded.config)),
        Err(error) => {
            complain(&format!("cannot start threads: {error}"));
            Exit::Failed
        }
    }
}

async fn serve(config: Config) -> Exit {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed("cannot listen for signals", &error.into()),
    };
    let started = tokio::select! {
        started = Host::start(config) => started,
        exit = signals.next() => at_once(exit),
    };
    let host = match started {
        Ok(host) => host,
        Err(error) => return failed("cannot start", &error),
    };
    info!(address = %host.addr(), "listening");
    signals.next().await;
    info!("stopping; a second signal ends the process at once");
    let stopped = tokio::select! {
        stopped = host.stop() => stopped,
        exit = signals.next() => at_once(exit),
    };
    match stopped {
        Ok(()) => {
            info!("stopped");
            Exit::Done
        }
        Err(error) => failed("did not stop cleanly", &error),
    }
}

/// Ends the process as a crash would: the store keeps every acknowledged write (invariant I15), and
/// waiting for anything is what the operator asked not to do.
fn at_once(exit: Exit) -> ! {
    info!("ended at once by a signal");
    std::process::exit(exit.code().into())
}

fn failed(what: &str, error: &anyhow::Error) -> Exit {
    error!(error = format!("{error:#}"), "{what}");
    if error.is::<OpenError>() || error.is::<DataDirectory>() { Exit::Store } else { Exit::Failed }
}

#[cfg(test)]
mod tests {
    use super::{Exit, failed};
    use crate::config::Config;
    use crate::host::Host;

    #[tokio::test]
    async fn a_data_directory_that_cannot_be_used_is_told_by_the_exit_code() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        std::fs::write(dir.path().join("data/media"), "").unwrap();
        for (data, said) in
            [(file.join("data"), "cannot create"), (file, "cannot create"), (dir.path().join("data"), "cannot use")]
        {
            let error = Host::start(Config { data: data.clone(), ..Config::default() }).await.unwrap_err();
            assert_eq!(failed("cannot start", &error), Exit::Store, "{error:#}");
            let text = format!("{error:#}");
            assert!(text.starts_with(said) && text.contains(data.to_str().unwrap()), "{text}");
        }
    }
}
