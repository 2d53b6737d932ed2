//! What threads share the small parts by whose every order of steps is tried (`models/`). There, these
//! names stand for the same with a scheduler of its own.

pub use std::sync::atomic::{AtomicU8, Ordering};
pub use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use tokio::sync::{Notify, watch};
