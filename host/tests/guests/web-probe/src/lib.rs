//! A plugin for tests. `web.ask` asks through the SDK, `web.raw` through `wasi:http` itself and answers its codes,
//! `web.wasi` tries what WASI must deny.

mod ask;
mod raw;
mod wasi;

use serde_json::Value;
use serde_json::value::RawValue;
use taskhost_sdk::{Context, Descriptor, Executor, Kind, Plugin, TaskError};

/// The component has no state: this type only carries the roles.
#[derive(Debug)]
pub struct WebProbe;

impl Plugin for WebProbe {
    fn describe() -> Descriptor {
        Descriptor::new("web-probe", "1.0.0", "Asks the web")
            .with(Kind::new("web.ask", "Asks through the SDK"))
            .with(Kind::new("web.raw", "Asks through wasi:http"))
            .with(Kind::new("web.wasi", "Tries what WASI must deny"))
    }
}

impl Executor for WebProbe {
    type Input = Box<RawValue>;
    type Output = Value;

    fn execute(input: Box<RawValue>, context: &Context) -> Result<Value, TaskError> {
        let wrong = |error: serde_json::Error| TaskError::invalid_input("bad-input", error.to_string());
        match context.task().kind.as_str() {
            "web.ask" => ask::run(&serde_json::from_str(input.get()).map_err(wrong)?, context),
            "web.raw" => Ok(raw::run(&serde_json::from_str(input.get()).map_err(wrong)?)),
            _ => Ok(wasi::run()),
        }
    }
}

taskhost_sdk::export!(WebProbe, executor);
