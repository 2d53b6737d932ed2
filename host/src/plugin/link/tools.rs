//! What may be asked of ffmpeg.

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
    /// Every operation and its name in a manifest.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("probe", Self::Probe),
        ("cut", Self::Cut),
        ("transcode", Self::Transcode),
        ("concat", Self::Concat),
        ("extract-audio", Self::ExtractAudio),
        ("thumbnail", Self::Thumbnail),
    ];

    /// Its name in a manifest.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, operation)| *operation == self).map_or("", |(name, _)| name)
    }
}
