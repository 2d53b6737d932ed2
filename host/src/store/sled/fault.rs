//! Places at which a test ends the process as `kill -9` would. Elsewhere they cost nothing.

/// Where a commit is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Point {
    /// A group was taken, nothing of it applied.
    Taken,
    /// Every verb of the group is applied.
    Applied,
    /// The commit is complete, and not durable.
    Sealed,
    /// It is durable, nobody knows.
    Flushed,
    /// Its events are told, the callers do not know.
    Published,
    /// The callers know.
    Answered,
    /// The mark is written, and not durable.
    MarkWritten,
    /// The mark is created and empty.
    MarkEmptied,
    /// The database is closed and will be opened again.
    Reopening,
    /// Attempts of an older start are taken back, and that is not durable.
    Reclaimed,
}

#[cfg(not(test))]
pub(super) fn point(_: Point) {}

#[cfg(test)]
pub(super) use armed::{ALL, arm, point};

#[cfg(test)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Point;

    /// Every point.
    pub(in crate::store::sled) const ALL: [Point; 10] = [
        Point::Taken,
        Point::Applied,
        Point::Sealed,
        Point::Flushed,
        Point::Published,
        Point::Answered,
        Point::MarkWritten,
        Point::MarkEmptied,
        Point::Reopening,
        Point::Reclaimed,
    ];

    static ARMED: OnceLock<(Point, AtomicU64)> = OnceLock::new();

    /// The process ends when `point` is passed for the `count`th time.
    pub(in crate::store::sled) fn arm(point: Point, count: u64) {
        ARMED.set((point, AtomicU64::new(count))).expect("one fault a process");
    }

    pub(in crate::store::sled) fn point(at: Point) {
        if let Some((point, left)) = ARMED.get()
            && *point == at
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }
}
