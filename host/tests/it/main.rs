//! The whole host, end to end: every test starts a real one on a directory of its own.
//!
//! The plugins that `cargo xtask plugins` builds and ffmpeg must be there. Tests are named by what
//! they prove; `i3_…` proves the invariant I3 of ARCHITECTURE.md.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

mod actuator;
mod author;
mod bad_input;
mod cancel;
mod command;
mod compile;
mod cut;
mod events;
mod flaws;
mod flow;
mod grants;
mod hostile;
mod kill_loop;
mod languages;
mod lifecycle;
mod limits;
mod media;
mod media_bad;
mod plugin_changes;
mod plugin_events;
mod plugin_kills;
mod plugin_signed;
mod plugin_tools;
mod poison;
mod recovery;
mod released;
mod reload;
mod reload_canary;
mod reload_drain;
mod reload_files;
mod reload_load;
mod reload_storm;
mod schedules;
mod shutdown;
mod space;
mod store_tools;
mod task_limits;
mod web;
