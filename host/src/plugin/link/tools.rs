//! What may be asked of ffmpeg.

use std::fmt;
use std::str::FromStr;

/// ffmpeg is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FfmpegGrant {
    /// What may be asked of it; everything when absent.
    pub operations: Option<Vec<FfmpegOperation>>,
    /// Presets that may be used; every one of the host's when absent.
    pub presets: Option<Vec<String>>,
    /// Size of one output, in bytes; the host's bound when absent.
    pub max_output_bytes: Option<u64>,
    /// Runs at the same time; as many as the host has when absent.
    pub jobs: Option<u32>,
}

/// What can be asked of ffmpeg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FfmpegOperation {
    /// What a file holds.
    Probe,
    /// A part of a file.
    Cut,
    /// A file encoded anew.
    Transcode,
    /// Files joined.
    Concat,
    /// The sound of a file.
    ExtractAudio,
    /// A picture of a file.
    Thumbnail,
}

impl FfmpegOperation {
    const ALL: [Self; 6] = [Self::Probe, Self::Cut, Self::Transcode, Self::Concat, Self::ExtractAudio, Self::Thumbnail];

    /// Their names in a manifest.
    pub const NAMES: [&'static str; 6] = ["probe", "cut", "transcode", "concat", "extract-audio", "thumbnail"];

    /// Its name in a manifest.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().zip(Self::NAMES).find(|(operation, _)| **operation == self).map_or("", |(_, name)| name)
    }
}

impl fmt::Display for FfmpegOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for FfmpegOperation {
    type Err = UnknownOperation;

    fn from_str(name: &str) -> Result<Self, UnknownOperation> {
        let found = Self::ALL.iter().zip(Self::NAMES).find(|(_, known)| *known == name);
        found.map(|(operation, _)| *operation).ok_or(UnknownOperation)
    }
}

/// A name that is none of [`FfmpegOperation::NAMES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an operation of ffmpeg")]
pub struct UnknownOperation;
