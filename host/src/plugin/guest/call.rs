//! The calls that the host makes, each with its arguments and its answer.

use std::future::Future;

use wasmtime::component::Instance;
use wasmtime::{Result, Store, format_err};

use super::Guest;
use crate::plugin::contract::{actuator, dispatcher, metadata, wire};
use crate::plugin::link::Code;

/// One function of a guest, called in a store that nothing else uses.
pub(super) trait Invoke: Send + 'static {
    /// What the guest returns.
    type Answer: Send + 'static;

    /// Whether an instance that stayed may serve it, and stay after it.
    const MAY_STAY: bool = false;

    /// Calls it.
    fn invoke(
        self,
        code: &Code,
        store: &mut Store<Guest>,
        instance: Instance,
    ) -> impl Future<Output = Result<Self::Answer>> + Send;
}

pub(super) struct Execute(pub(super) wire::Task);

impl Invoke for Execute {
    type Answer = std::result::Result<String, wire::TaskError>;

    const MAY_STAY: bool = true;

    async fn invoke(self, code: &Code, store: &mut Store<Guest>, instance: Instance) -> Result<Self::Answer> {
        let role = code.executor.as_ref().ok_or_else(|| format_err!("the plugin is not an executor"))?;
        role.load(&mut *store, &instance)?.call_execute(store, &self.0).await
    }
}

pub(super) struct Dispatch {
    pub(super) limit: u32,
    pub(super) cursor: Option<Vec<u8>>,
}

impl Invoke for Dispatch {
    type Answer = std::result::Result<dispatcher::Batch, wire::Failure>;

    async fn invoke(self, code: &Code, store: &mut Store<Guest>, instance: Instance) -> Result<Self::Answer> {
        let role = code.dispatcher.as_ref().ok_or_else(|| format_err!("the plugin is not a dispatcher"))?;
        role.load(&mut *store, &instance)?.call_dispatch(store, self.limit, self.cursor.as_deref()).await
    }
}

pub(super) struct Start(pub(super) wire::Task);

impl Invoke for Start {
    type Answer = std::result::Result<Vec<u8>, wire::TaskError>;

    async fn invoke(self, code: &Code, store: &mut Store<Guest>, instance: Instance) -> Result<Self::Answer> {
        let role = code.actuator.as_ref().ok_or_else(|| format_err!("the plugin is not an actuator"))?;
        role.load(&mut *store, &instance)?.call_start(store, &self.0).await
    }
}

/// A look at outside work, by its handle.
pub(super) struct Status(pub(super) Vec<u8>);

impl Invoke for Status {
    type Answer = std::result::Result<actuator::Report, wire::Failure>;

    async fn invoke(self, code: &Code, store: &mut Store<Guest>, instance: Instance) -> Result<Self::Answer> {
        let role = code.actuator.as_ref().ok_or_else(|| format_err!("the plugin is not an actuator"))?;
        role.load(&mut *store, &instance)?.call_status(store, &self.0).await
    }
}

pub(super) struct StopWork(pub(super) Vec<u8>, pub(super) actuator::StopMode);

impl Invoke for StopWork {
    type Answer = std::result::Result<(), wire::Failure>;

    async fn invoke(self, code: &Code, store: &mut Store<Guest>, instance: Instance) -> Result<Self::Answer> {
        let role = code.actuator.as_ref().ok_or_else(|| format_err!("the plugin is not an actuator"))?;
        role.load(&mut *store, &instance)?.call_stop(store, &self.0, self.1).await
    }
}

/// The task, the handle of its outside work, and what that came to.
pub(super) struct Collect(pub(super) wire::Task, pub(super) Vec<u8>, pub(super) String);

impl Invoke for Collect {
    type Answer = std::result::Result<String, wire::TaskError>;

    async fn invoke(self, code: &Code, store: &mut Store<Guest>, instance: Instance) -> Result<Self::Answer> {
        let role = code.collector.as_ref().ok_or_else(|| format_err!("the plugin is not a collector"))?;
        role.load(&mut *store, &instance)?.call_collect(store, &self.0, &self.1, &self.2).await
    }
}

pub(super) struct Describe;

impl Invoke for Describe {
    type Answer = metadata::Descriptor;

    async fn invoke(self, code: &Code, store: &mut Store<Guest>, instance: Instance) -> Result<Self::Answer> {
        // The shape of a role is only compared when it is loaded: find out now rather than in the first attempt.
        if let Some(role) = &code.executor {
            role.load(&mut *store, &instance)?;
        }
        if let Some(role) = &code.dispatcher {
            role.load(&mut *store, &instance)?;
        }
        if let Some(role) = &code.actuator {
            role.load(&mut *store, &instance)?;
        }
        if let Some(role) = &code.collector {
            role.load(&mut *store, &instance)?;
        }
        code.metadata.load(&mut *store, &instance)?.call_describe(store).await
    }
}

pub(super) struct Validate;

impl Invoke for Validate {
    type Answer = std::result::Result<(), Vec<wire::Failure>>;

    async fn invoke(self, code: &Code, store: &mut Store<Guest>, instance: Instance) -> Result<Self::Answer> {
        code.metadata.load(&mut *store, &instance)?.call_validate_config(store, &code.config).await
    }
}
