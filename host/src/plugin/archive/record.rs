//! The generations of one plugin, in the order in which they went live: pure bookkeeping.

use serde::{Deserialize, Serialize};

use crate::task::Digest;
use crate::time::Timestamp;

/// Generations of one plugin that are remembered.
const MAX_RECORDS: usize = 64;

/// Why a generation went live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A file in the folder was new or had changed.
    File,
    /// It was uploaded.
    Upload,
    /// Somebody went back to it.
    Rollback,
}

impl Cause {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Upload => "upload",
            Self::Rollback => "rollback",
        }
    }
}

/// Why a generation is live no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// Another one took its place.
    Replaced,
    /// Somebody went back to the one before it.
    RolledBack,
    /// Its file is gone.
    Removed,
}

impl End {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::RolledBack => "rolled-back",
            Self::Removed => "removed",
        }
    }
}

/// The end of a generation's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub why: End,
}

/// A generation that is or was live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Counts the generations of the plugin, from 1.
    pub number: u64,
    /// SHA-256 of the component.
    pub digest: Digest,
    /// SHA-256 of the manifest, if there is one.
    pub manifest: Option<Digest>,
    /// SHA-256 of the signature, if there is one.
    pub signature: Option<Digest>,
    /// What it called its version.
    pub version: String,
    /// Why it went live.
    pub cause: Cause,
    /// The number of the generation that it brought back.
    pub restores: Option<u64>,
    /// When it went live. A restart of the host does not count.
    pub live_at: Timestamp,
    /// Absent while it is live.
    pub ended: Option<Ended>,
    /// Its files are kept.
    pub kept: bool,
}

/// The digests of a component, of its manifest and of its signature.
pub(super) type MadeOf = (Digest, Option<Digest>, Option<Digest>);

impl Record {
    /// Equal ones are the same generation.
    fn made_of(&self) -> MadeOf {
        (self.digest, self.manifest, self.signature)
    }
}

/// A generation that goes live.
#[derive(Clone, Copy)]
pub(super) struct Fresh<'a> {
    pub(super) digest: Digest,
    pub(super) manifest: Option<Digest>,
    pub(super) signature: Option<Digest>,
    pub(super) version: &'a str,
    pub(super) cause: Cause,
    pub(super) restores: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Line {
    /// Oldest first; at most the last has no end.
    records: Vec<Record>,
}

impl Line {
    pub(super) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Records whose files are kept.
    pub(super) fn kept(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| record.kept)
    }

    /// What is live, as far as is recorded.
    pub(super) fn live(&self) -> Option<&Record> {
        self.records.last().filter(|record| record.ended.is_none())
    }

    /// Whether exactly this is live, as far as is recorded.
    pub(super) fn is_live(&self, made_of: MadeOf) -> bool {
        self.live().is_some_and(|live| live.made_of() == made_of)
    }

    /// Takes note of what is live now; whether that is news. A start of the host finds what was live before.
    pub(super) fn arrive(&mut self, fresh: Fresh<'_>, now: Timestamp) -> bool {
        let Fresh { digest, manifest, signature, version, cause, restores } = fresh;
        if self.is_live((digest, manifest, signature)) {
            return false;
        }
        self.end(if cause == Cause::Rollback { End::RolledBack } else { End::Replaced }, now);
        let number = self.records.last().map_or(1, |last| last.number + 1);
        let version = version.to_owned();
        let record = Record {
            number,
            digest,
            manifest,
            signature,
            version,
            cause,
            restores,
            live_at: now,
            ended: None,
            kept: true,
        };
        self.records.push(record);
        let surplus = self.records.len().saturating_sub(MAX_RECORDS);
        self.records.drain(..surplus);
        true
    }

    /// Nothing is live any more; whether something was.
    pub(super) fn end(&mut self, why: End, now: Timestamp) -> bool {
        let Some(live) = self.records.last_mut().filter(|record| record.ended.is_none()) else { return false };
        live.ended = Some(Ended { at: now, why });
        true
    }

    /// Since when nothing is live, if nothing is.
    pub(super) fn gone_since(&self) -> Option<Timestamp> {
        self.records.last().map_or(Some(Timestamp::default()), |last| last.ended.map(|ended| ended.at))
    }

    /// Where a rollback leads: to the latest kept generation before the live one that nobody went back from. When nothing
    /// is live, that is the last that was.
    pub(super) fn previous(&self) -> Option<&Record> {
        let live = self.live();
        // What was brought back stands where it stood first, so the next rollback goes further back.
        let before = live.map_or(u64::MAX, |live| live.restores.unwrap_or(live.number));
        let sound = |record: &&Record| {
            let differs = live.is_none_or(|live| live.made_of() != record.made_of());
            let left = record.ended.is_some_and(|ended| ended.why != End::RolledBack);
            record.kept && record.number < before && left && differs
        };
        self.records.iter().rev().find(sound)
    }

    /// Keeps the files of the live generation and of those that a rollback leads to; not more than `most`.
    pub(super) fn keep_latest(&mut self, most: usize) {
        let mut left = most;
        for record in self.records.iter_mut().rev() {
            let gone_back_from = record.ended.is_some_and(|ended| ended.why == End::RolledBack);
            record.kept = record.kept && !gone_back_from && left > 0;
            left -= usize::from(record.kept);
        }
    }

    /// The files of the live generation could not be kept.
    pub(super) fn lose_live(&mut self) {
        self.records.last_mut().into_iter().for_each(|record| record.kept = false);
    }

    /// When the oldest generation ended whose files can be done without: those of the live one and of the one before
    /// it cannot.
    pub(super) fn oldest_spare(&self) -> Option<Timestamp> {
        self.spare().and_then(|at| self.records[at].ended).map(|ended| ended.at)
    }

    /// Keeps the files of that generation no longer.
    pub(super) fn give_up_spare(&mut self) {
        if let Some(at) = self.spare() {
            self.records[at].kept = false;
        }
    }

    fn spare(&self) -> Option<usize> {
        let needed = self.previous().map(|record| record.number);
        let spare = |record: &Record| record.kept && record.ended.is_some() && Some(record.number) != needed;
        self.records.iter().position(spare)
    }
}
