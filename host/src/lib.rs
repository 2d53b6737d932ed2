//! taskhost: a task host whose task logic is sandboxed WebAssembly.

pub mod api;
pub mod event;
pub mod ffmpeg;
pub mod limiter;
pub mod logs;
pub mod media;
pub mod plugin;
pub mod process;
pub mod retry;
pub mod schedule;
pub mod store;
pub mod task;
pub mod time;
