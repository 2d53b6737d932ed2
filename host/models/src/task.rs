//! What `control` reports, reduced to what is compared.

/// Stands for the host's type of this name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How far the guest is.
    pub done: u64,
}

/// Stands for the host's type of this name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSize {
    /// Lines that were kept.
    pub lines: u64,
}
