//! The process's own log: to the standard error, where a service manager collects it.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Format, Level, Log};

/// Starts logging; to be called once.
pub(super) fn start(settings: &Log) {
    let terminal = stderr().is_terminal();
    let text = match settings.format {
        Format::Auto => terminal,
        Format::Text => true,
        Format::Json => false,
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(stderr).with_ansi(terminal && text);
    let layer = if text { layer.boxed() } else { layer.json().flatten_event(true).boxed() };
    tracing_subscriber::registry().with(layer.with_filter(filter(settings.level))).init();
}

/// The libraries below say much at `debug`, and what they say concerns their authors.
fn filter(level: Level) -> Targets {
    let own = match level {
        Level::Off => LevelFilter::OFF,
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(own.min(LevelFilter::INFO)).with_target("taskhost", own)
}

#[cfg(test)]
mod tests {
    use tracing::Level as At;

    use super::filter;
    use crate::config::Level;

    #[test]
    fn libraries_are_quieter_than_the_host() {
        let debug = filter(Level::Debug);
        assert!(debug.would_enable("taskhost::runner", &At::DEBUG) && !debug.would_enable("taskhost", &At::TRACE));
        assert!(debug.would_enable("hyper", &At::INFO) && !debug.would_enable("hyper", &At::DEBUG));
        let error = filter(Level::Error);
        assert!(error.would_enable("hyper", &At::ERROR) && !error.would_enable("hyper", &At::WARN));
        assert!(!filter(Level::Off).would_enable("taskhost", &At::ERROR));
    }
}
