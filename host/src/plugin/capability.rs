//! What guests may ask of the host: one file a capability. A refusal is a typed answer, never a trap.

mod command;
mod config;
mod context;
mod ffmpeg;
pub(super) mod http;
pub(super) mod library;
pub(super) mod log;
mod queue;
mod state;
pub(super) mod stdio;
mod steer;
#[cfg(test)]
mod tests;

use super::guest::{Guest, Purpose};

/// Why nothing works while a plugin describes itself.
const DESCRIBING: &str = "not available while a plugin describes itself or checks its settings";

impl Guest {
    /// Whether the plugin is only asked what it is.
    fn describing(&self) -> bool {
        self.call.purpose == Purpose::Describe
    }
}
