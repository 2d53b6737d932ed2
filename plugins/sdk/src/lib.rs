//! Writes a plugin for taskhost in ten lines of Rust.
//!
//! ```
//! use taskhost_sdk::{Context, Descriptor, Executor, Kind, Plugin, TaskError};
//!
//! struct Upper;
//!
//! impl Plugin for Upper {
//!     fn describe() -> Descriptor {
//!         Descriptor::new("upper", "1.0.0", "Writes loudly").with(Kind::new("text.upper", "Upper-cases a text"))
//!     }
//! }
//!
//! impl Executor for Upper {
//!     type Input = String;
//!     type Output = String;
//!     fn execute(input: String, _: &Context) -> Result<String, TaskError> {
//!         Ok(input.to_uppercase())
//!     }
//! }
//!
//! taskhost_sdk::export!(Upper, executor);
//! # fn main() {}
//! ```
//!
//! A plugin describes itself ([`Plugin`]), takes a role or several ([`Executor`], or [`Actuator`] with or without
//! [`Collector`]; [`Dispatcher`]) and names them in [`export!`]. What it may ask of the host is granted by the operator,
//! interface by interface: [`config`], [`state`], [`queue`], [`library`], [`ffmpeg`], [`command`], [`http`]. The
//! component imports only what the plugin calls.
//! Errors of the host turn into a [`TaskError`] that fits by `?`.

mod actuator;
#[expect(missing_docs, clippy::same_length_and_capacity, reason = "generated; the contract is documented in wit/")]
pub mod bindings;
pub mod command;
mod context;
mod error;
pub mod http;
mod log;
mod role;
mod task;

pub use actuator::{Actuator, Collector, Report, StopMode};
pub use bindings::dispatcher::exports::taskhost::plugin::dispatcher::Batch;
pub use bindings::imports::taskhost::host::context::{Directive, Parent, ParentState, Webhook};
pub use bindings::imports::taskhost::host::log::Level;
pub use bindings::imports::taskhost::host::{config, queue, state};
pub use bindings::imports::taskhost::media::{ffmpeg, library};
pub use bindings::imports::taskhost::task::types::{
    Backoff, Failure, Growth, Jitter, NewTask, Progress, RetryRequest, Task, TaskError, TaskStates, Unique, UniqueBy,
    UniqueMode,
};
pub use bindings::metadata::exports::taskhost::plugin::metadata::{Descriptor, Kind};
pub use context::Context;
pub use log::log;
pub use role::{Dispatcher, Executor, Plugin};

/// Makes the component: `export!(MyPlugin, executor)`, `export!(MyPlugin, dispatcher, executor)`,
/// `export!(MyPlugin, actuator, collector)` and so on.
///
/// `MyPlugin` implements [`Plugin`] and the trait of each role that is named. Outside of WebAssembly it only checks
/// that, so that a plugin's unit tests run natively.
#[macro_export]
macro_rules! export {
    ($plugin:ident $(, $role:ident)+ $(,)?) => {
        #[cfg(target_family = "wasm")]
        $crate::bindings::metadata::export_metadata!($plugin with_types_in $crate::bindings::metadata);
        $($crate::__export_role!($plugin, $role);)+
    };
}

/// One role of [`export!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __export_role {
    ($plugin:ident, dispatcher) => {
        #[cfg(target_family = "wasm")]
        $crate::bindings::dispatcher::export_dispatcher!($plugin with_types_in $crate::bindings::dispatcher);
        #[cfg(not(target_family = "wasm"))]
        const _: fn(u32, Option<Vec<u8>>) -> Result<$crate::Batch, $crate::Failure> =
            <$plugin as $crate::Dispatcher>::dispatch;
    };
    ($plugin:ident, executor) => {
        #[cfg(target_family = "wasm")]
        $crate::bindings::executor::export_executor!($plugin with_types_in $crate::bindings::executor);
        #[cfg(not(target_family = "wasm"))]
        const _: fn(
            <$plugin as $crate::Executor>::Input,
            &$crate::Context,
        ) -> Result<<$plugin as $crate::Executor>::Output, $crate::TaskError> = <$plugin as $crate::Executor>::execute;
    };
    ($plugin:ident, actuator) => {
        #[cfg(target_family = "wasm")]
        $crate::bindings::actuator::export_actuator!($plugin with_types_in $crate::bindings::actuator);
        #[cfg(not(target_family = "wasm"))]
        const _: fn(
            <$plugin as $crate::Actuator>::Input,
            &$crate::Context,
        ) -> Result<<$plugin as $crate::Actuator>::Handle, $crate::TaskError> = <$plugin as $crate::Actuator>::start;
    };
    ($plugin:ident, collector) => {
        #[cfg(target_family = "wasm")]
        $crate::bindings::collector::export_collector!($plugin with_types_in $crate::bindings::collector);
        #[cfg(not(target_family = "wasm"))]
        const _: fn(
            &<$plugin as $crate::Actuator>::Handle,
            <$plugin as $crate::Collector>::Found,
            &$crate::Context,
        ) -> Result<<$plugin as $crate::Collector>::Brought, $crate::TaskError> = <$plugin as $crate::Collector>::collect;
    };
}
