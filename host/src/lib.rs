//! taskhost: a task host whose task logic is sandboxed WebAssembly.
//!
//! A task comes in through [`api`], is kept by [`store`], claimed by [`runner`] within the permits
//! of [`limiter`], run inside a component by [`plugin`], and ends with a commit in [`store`] whose
//! event goes out through [`api`]. `ARCHITECTURE.md` follows one task all the way.
//!
//! In reading order:
//!
//! - [`time`], [`retry`], [`task`], [`schedule`], [`event`]: the domain, plain data and pure functions
//! - [`store`]: what must not be lost
//! - [`plugin`]: the sandbox, the live plugins, the ports that guests borrow through
//! - [`limiter`], [`runner`], [`ticker`]: how much at once; what is due; what happens by itself
//! - [`process`], [`ffmpeg`], [`media`], [`logs`]: child processes, cuts, files, task logs
//! - [`crate::api`] speaks HTTP
//! - [`config`], [`host`], [`cli`]: composed, started and stopped
//! - [`spelling`]: what a mistyped word may have meant
//! - [`quantity`]: sizes and durations as people write them
//! - [`secret`]: what nobody may see

pub mod api;
pub mod cli;
pub mod config;
pub mod event;
pub mod ffmpeg;
pub mod host;
pub mod limit;
pub mod limiter;
pub mod logs;
pub mod mac;
pub mod media;
pub mod plugin;
pub mod process;
pub mod quantity;
pub mod retry;
pub mod runner;
pub mod schedule;
pub mod secret;
pub mod spelling;
pub mod store;
pub mod sync;
pub mod task;
pub mod ticker;
pub mod time;
