//! What a plugin is for.

/// What a component exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Turns a tick into tasks.
    Dispatcher,
    /// Does the work of a task.
    Executor,
    /// Steers work that lives elsewhere.
    Actuator,
    /// Brings the results of such work home.
    Collector,
}

impl Role {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dispatcher => "dispatcher",
            Self::Executor => "executor",
            Self::Actuator => "actuator",
            Self::Collector => "collector",
        }
    }
}
