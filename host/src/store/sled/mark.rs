//! The high-water mark: the number of a commit that is certainly in the database, kept apart from
//! it. sled stops reading its log at the first damaged frame and opens with what it has; a
//! database that ends before the mark has lost acknowledged commits, and the operator must hear it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::fault::{self, Point};

/// The mark's file.
const FILE: &str = "commit.mark";
/// The mark may be this much behind: what was lost since is not noticed.
const PERIOD: Duration = Duration::from_secs(1);
/// Two slots in different sectors, written in turn: a torn write leaves the other one.
const SLOTS: [u64; 2] = [0, 4_096];
/// Bytes of a slot: epoch, commit, check sum.
const LEN: usize = 16;

/// A commit, in a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Names the database.
    pub(super) epoch: u32,
    /// Names the commit.
    pub(super) seq: u64,
}

/// The file, and what was written to it.
pub(super) struct Mark {
    file: Option<File>,
    written: Position,
    written_at: Instant,
    turn: usize,
}

impl Mark {
    /// What the directory's mark says. `None` without a readable one: nothing is known then.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Position>> {
        let file = match File::open(dir.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut latest: Option<Position> = None;
        for at in SLOTS {
            let mut slot = [0; LEN];
            let found = file.read_exact_at(&mut slot, at).ok().and_then(|()| decode(slot));
            latest = latest.max_by_seq(found);
        }
        if latest.is_none() {
            tracing::warn!("{FILE} is damaged: lost commits would not be noticed at this start");
        }
        Ok(latest)
    }

    /// Starts a mark at `position`, whatever was there.
    pub(super) fn create(dir: &Path, position: Position) -> io::Result<Self> {
        let file = File::options().write(true).create(true).truncate(true).open(dir.join(FILE))?;
        fault::point(Point::MarkEmptied);
        let mut mark = Self { file: Some(file), written: position, written_at: Instant::now(), turn: 0 };
        for _ in SLOTS {
            mark.write(position.seq)?;
        }
        File::open(dir)?.sync_all()?;
        Ok(mark)
    }

    /// For what does not outlive the process.
    pub(super) fn nowhere() -> Self {
        Self { file: None, written: Position { epoch: 0, seq: 0 }, written_at: Instant::now(), turn: 0 }
    }

    /// How long until the mark must be written, given the latest commit; `None` when it is there.
    pub(super) fn due_in(&self, seq: u64) -> Option<Duration> {
        (self.file.is_some() && self.written.seq != seq).then(|| PERIOD.saturating_sub(self.written_at.elapsed()))
    }

    /// Moves the mark to a commit that is durable.
    pub(super) fn write(&mut self, seq: u64) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let position = Position { seq, ..self.written };
        let [first, second] = SLOTS;
        file.write_all_at(&encode(position), if self.turn == 0 { first } else { second })?;
        fault::point(Point::MarkWritten);
        file.sync_data()?;
        self.turn = 1 - self.turn;
        self.written = position;
        self.written_at = Instant::now();
        Ok(())
    }
}

/// The later of two readings.
trait MaxBySeq {
    fn max_by_seq(self, other: Self) -> Self;
}

impl MaxBySeq for Option<Position> {
    fn max_by_seq(self, other: Self) -> Self {
        self.into_iter().chain(other).max_by_key(|position| position.seq)
    }
}

fn encode(position: Position) -> [u8; LEN] {
    let mut slot = [0; LEN];
    let body = [position.epoch.to_be_bytes().as_slice(), &position.seq.to_be_bytes()].concat();
    let sum = crc32fast::hash(&body).to_be_bytes();
    for (to, from) in slot.iter_mut().zip(body.iter().chain(&sum)) {
        *to = *from;
    }
    slot
}

fn decode(slot: [u8; LEN]) -> Option<Position> {
    let (epoch, rest) = slot.split_first_chunk::<4>()?;
    let (seq, _) = rest.split_first_chunk::<8>()?;
    let position = Position { epoch: u32::from_be_bytes(*epoch), seq: u64::from_be_bytes(*seq) };
    (encode(position) == slot).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::{FILE, Mark, Position};

    #[test]
    fn the_later_of_two_slots_counts_and_a_torn_one_does_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), None);
        let mut mark = Mark::create(dir.path(), Position { epoch: 7, seq: 1 }).unwrap();
        mark.write(2).unwrap();
        mark.write(3).unwrap();
        assert_eq!(mark.due_in(3), None);
        assert!(mark.due_in(4).is_some());
        assert_eq!(Mark::read(dir.path()).unwrap(), Some(Position { epoch: 7, seq: 3 }));
        let file = dir.path().join(FILE);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[4_096 + 11] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        assert_eq!(Mark::read(dir.path()).unwrap(), Some(Position { epoch: 7, seq: 2 }));
    }
}
