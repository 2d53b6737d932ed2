//! The parts of the host that several threads share, compiled from its own sources over primitives
//! whose every order of steps can be tried. `tests/` does that.

#[path = "../../src/limiter/attempts.rs"]
pub mod attempts;
#[path = "../../src/plugin/control.rs"]
pub mod control;
pub mod sync;
pub mod task;
