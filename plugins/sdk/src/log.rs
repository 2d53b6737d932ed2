//! Writing into the log of the task that runs.

use crate::Level;
use crate::bindings::imports::taskhost::host::log as host;

/// Writes one line with fields: `log(Level::Info, "cut", &[("media", &id)])`. For text alone there are
/// [`debug!`](crate::debug), [`info!`](crate::info), [`warn!`](crate::warn) and [`error!`](crate::error).
pub fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<(String, String)> = fields.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    host::log(level, message, &fields);
}

/// Logs for the plugin's author, formatted like `format!`.
#[macro_export]
macro_rules! debug {
    ($($text:tt)+) => { $crate::log($crate::Level::Debug, &::std::format!($($text)+), &[]) };
}

/// Logs what happens, formatted like `format!`.
#[macro_export]
macro_rules! info {
    ($($text:tt)+) => { $crate::log($crate::Level::Info, &::std::format!($($text)+), &[]) };
}

/// Logs that something is odd, formatted like `format!`.
#[macro_export]
macro_rules! warn {
    ($($text:tt)+) => { $crate::log($crate::Level::Warn, &::std::format!($($text)+), &[]) };
}

/// Logs that something failed, formatted like `format!`.
#[macro_export]
macro_rules! error {
    ($($text:tt)+) => { $crate::log($crate::Level::Error, &::std::format!($($text)+), &[]) };
}
