//! taskhost: a task host whose task logic is sandboxed WebAssembly.

pub mod api;
pub mod event;
pub mod limiter;
pub mod plugin;
pub mod retry;
pub mod schedule;
pub mod store;
pub mod task;
pub mod time;
