//! Typed ffmpeg over files of the library.

use std::sync::Arc;

use async_trait::async_trait;

use crate::task::TaskId;

/// Why ffmpeg did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FfmpegError {
    /// There is no such live file.
    #[error("there is no such media")]
    NotFound,
    /// The file is not audio or video of an accepted format, or the request does not fit it.
    #[error("{0}")]
    BadInput(String),
    /// This host's ffmpeg cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// A bound was reached (time, memory, the library's size).
    #[error("{0}")]
    Limit(String),
    /// The output is larger than so many bytes.
    #[error("the output is larger than the {0} bytes that are allowed")]
    TooLarge(u64),
    /// The attempt's deadline came first.
    #[error("the deadline passed")]
    TimedOut,
    /// The attempt was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The tool ran and failed.
    #[error("the tool failed: {stderr_tail}")]
    Tool {
        /// Its exit code; absent when a signal ended it.
        exit_code: Option<i32>,
        /// The end of what it wrote to standard error.
        stderr_tail: String,
    },
    /// Not installed, or the host is stopping. The text says what to do.
    #[error("{0}")]
    Unavailable(String),
}

/// One stream of a media file.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamInfo {
    /// Pictures.
    Video {
        /// Codec name as ffprobe has it.
        codec: String,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Average rate.
        frames_per_second: f64,
    },
    /// Sound.
    Audio {
        /// Codec name as ffprobe has it.
        codec: String,
        /// Hertz.
        sample_rate: u32,
        /// How many.
        channels: u32,
    },
    /// Anything else, by its type.
    Other(String),
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeInfo {
    /// Container format, as ffprobe names it.
    pub container: String,
    /// Length in milliseconds, when the container tells.
    pub duration_ms: Option<u64>,
    /// Bytes.
    pub size: u64,
    /// Its streams.
    pub streams: Vec<StreamInfo>,
}

/// How exact a cut is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accuracy {
    /// Stream copy from the keyframe at or before the start.
    Keyframe,
    /// Re-encode, exact to the frame.
    Exact,
}

/// What becomes of what a tool makes.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The new file's name; derived from the input's when absent.
    pub name: Option<String>,
    /// The task that asks: recorded on the output.
    pub task: Option<TaskId>,
    /// The new file's size at most, in bytes, as far as the plugin is bound; the host's own bound holds, too.
    pub max_bytes: Option<u64>,
}

/// A cut to be made.
#[derive(Clone, Debug)]
pub struct CutRequest {
    /// The file to cut from.
    pub input: String,
    /// Start, in milliseconds.
    pub start_ms: u64,
    /// End, in milliseconds, after the start.
    pub end_ms: u64,
    /// How exact.
    pub accuracy: Accuracy,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// How a still picture is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
}

/// A picture to be taken.
#[derive(Clone, Debug)]
pub struct StillRequest {
    /// The file to take it from.
    pub input: String,
    /// When, in milliseconds.
    pub at_ms: u64,
    /// How it is stored.
    pub format: ImageFormat,
    /// Scaled down to this width, in pixels, when it is wider.
    pub max_width: Option<u32>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// A file to be encoded anew.
#[derive(Clone, Debug)]
pub struct TranscodeRequest {
    /// The file.
    pub input: String,
    /// A preset of the operator's.
    pub preset: String,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// Files to be joined.
#[derive(Clone, Debug)]
pub struct ConcatRequest {
    /// The files, in order.
    pub inputs: Vec<String>,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// How sound is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioFormat {
    /// As it is.
    Original,
    /// AAC in MP4.
    Aac,
    /// MP3.
    Mp3,
    /// Opus in Ogg.
    Opus,
    /// FLAC.
    Flac,
    /// PCM in WAV.
    Wav,
}

/// Sound to be taken out of a file.
#[derive(Clone, Debug)]
pub struct AudioRequest {
    /// The file.
    pub input: String,
    /// How it is stored.
    pub format: AudioFormat,
    /// What becomes of it.
    pub outcome: Outcome,
}

/// Called with percent done, 0 to 100, as the tool advances.
pub type OnPercent = Arc<dyn Fn(u8) + Send + Sync>;

/// Typed ffmpeg. Dropping a returned future kills the whole process group and leaves nothing behind.
#[async_trait]
pub trait FfmpegPort: Send + Sync {
    /// What a live file holds.
    async fn probe(&self, input: &str) -> Result<ProbeInfo, FfmpegError>;
    /// Cuts and adopts the output into the library; answers its id.
    async fn cut(&self, request: CutRequest, on_percent: OnPercent) -> Result<String, FfmpegError>;
    /// Takes a picture and adopts it into the library; answers its id.
    async fn still(&self, _request: StillRequest) -> Result<String, FfmpegError> {
        Err(FfmpegError::Unsupported("this host takes no pictures".to_owned()))
    }
    /// Encodes a file anew and adopts the output into the library; answers its id.
    async fn transcode(&self, _request: TranscodeRequest, _on_percent: OnPercent) -> Result<String, FfmpegError> {
        Err(FfmpegError::Unsupported("this host encodes nothing".to_owned()))
    }
    /// Joins files and adopts the output into the library; answers its id.
    async fn concat(&self, _request: ConcatRequest, _on_percent: OnPercent) -> Result<String, FfmpegError> {
        Err(FfmpegError::Unsupported("this host joins nothing".to_owned()))
    }
    /// Takes the sound out of a file and adopts it into the library; answers its id.
    async fn extract_audio(&self, _request: AudioRequest, _on_percent: OnPercent) -> Result<String, FfmpegError> {
        Err(FfmpegError::Unsupported("this host extracts nothing".to_owned()))
    }
}
