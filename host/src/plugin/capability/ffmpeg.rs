//! `taskhost:media/ffmpeg`: what may be done to media, and how it is stopped.

use std::future::Future;
use std::sync::Arc;

use tokio::time::{Duration, sleep_until};

use super::DESCRIBING;
use crate::plugin::contract::ffmpeg::{
    self, AudioStream, Error, Host, ImageFormat, Info, Range, Stream, ToolFailure, VideoStream,
};
use crate::plugin::control::Directive;
use crate::plugin::guest::{Call, Guest};
use crate::plugin::ports::{self, Accuracy, CutRequest, FfmpegError, OnPercent, ProbeInfo, StillRequest, StreamInfo};
use crate::task::{Progress, TaskId};

/// The tool is stopped so long before the attempt's deadline that the guest can still say what happened.
const MARGIN: Duration = Duration::from_millis(500);
const MAX_ID_BYTES: usize = 128;
const MAX_NAME_BYTES: usize = 255;
/// Pixels: what JPEG and WebP can store, and more than any screen shows.
const MAX_WIDTH: u32 = 16_383;

impl Guest {
    fn ffmpeg_allowed(&self, input: &str) -> Result<(), Error> {
        if self.describing() {
            return Err(Error::Denied(DESCRIBING.to_owned()));
        }
        if input.len() > MAX_ID_BYTES { Err(Error::NotFound) } else { Ok(()) }
    }

    /// The task that runs, which is recorded on what is made.
    fn task(&self) -> Option<TaskId> {
        self.call.purpose.attempt().map(|(task, _)| task)
    }

    fn on_percent(&self) -> OnPercent {
        let control = self.call.control.clone();
        Arc::new(move |percent| {
            let done = u64::from(percent.min(100));
            control.report(Progress { done, total: Some(100), unit: "percent".to_owned(), message: None });
        })
    }
}

impl Call {
    /// Runs the tool until it is done, the attempt is cancelled or its time is up. Dropping the
    /// port's future ends the tool's processes.
    async fn steered<T>(&self, tool: impl Future<Output = Result<T, FfmpegError>>) -> Result<T, Error> {
        let deadline = self.deadline.checked_sub(MARGIN).unwrap_or(self.deadline);
        tokio::select! {
            biased;
            _ = self.control.directed(|directive| directive == Directive::Cancel) => Err(Error::Cancelled),
            () = sleep_until(deadline) => Err(Error::TimedOut),
            done = tool => done.map_err(error),
        }
    }
}

fn unsupported(function: &str) -> Error {
    Error::Unsupported(format!("{function} is not in this version of the host"))
}

fn error(error: FfmpegError) -> Error {
    match error {
        FfmpegError::NotFound => Error::NotFound,
        FfmpegError::BadInput(reason) => Error::BadInput(reason),
        FfmpegError::Unsupported(reason) => Error::Unsupported(reason),
        FfmpegError::Limit(reason) => Error::Limit(reason),
        FfmpegError::TimedOut => Error::TimedOut,
        FfmpegError::Cancelled => Error::Cancelled,
        FfmpegError::Tool { exit_code, stderr_tail } => Error::ToolFailed(ToolFailure { exit_code, stderr_tail }),
        FfmpegError::Unavailable(reason) => Error::Unavailable(reason),
    }
}

fn info(info: ProbeInfo) -> Info {
    let stream = |stream| match stream {
        StreamInfo::Video { codec, width, height, frames_per_second } => {
            Stream::Video(VideoStream { codec, width, height, frames_per_second })
        }
        StreamInfo::Audio { codec, sample_rate, channels } => {
            Stream::Audio(AudioStream { codec, sample_rate, channels })
        }
        StreamInfo::Other(kind) => Stream::Other(kind),
    };
    Info {
        container: info.container,
        duration: info.duration_ms,
        size: info.size,
        streams: info.streams.into_iter().map(stream).collect(),
    }
}

impl Host for Guest {
    async fn probe(&mut self, input: String) -> Result<Info, Error> {
        self.ffmpeg_allowed(&input)?;
        self.call.steered(self.code.shared.ports.ffmpeg.probe(&input)).await.map(info)
    }

    async fn cut(
        &mut self,
        input: String,
        range: Range,
        accuracy: ffmpeg::Accuracy,
        name: Option<String>,
    ) -> Result<String, Error> {
        self.ffmpeg_allowed(&input)?;
        if range.end <= range.start {
            let message = format!("the range ends at {} ms, not after its start at {} ms", range.end, range.start);
            return Err(Error::BadInput(message));
        }
        if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
            return Err(Error::BadInput(format!("a name has 1 to {MAX_NAME_BYTES} bytes")));
        }
        let accuracy = match accuracy {
            ffmpeg::Accuracy::Keyframe => Accuracy::Keyframe,
            ffmpeg::Accuracy::Exact => Accuracy::Exact,
        };
        let request = CutRequest { input, start_ms: range.start, end_ms: range.end, accuracy, name, task: self.task() };
        self.call.steered(self.code.shared.ports.ffmpeg.cut(request, self.on_percent())).await
    }

    async fn transcode(&mut self, _: String, _: String, _: Option<String>) -> Result<String, Error> {
        Err(unsupported("transcode"))
    }

    async fn concat(&mut self, _: Vec<String>, _: Option<String>) -> Result<String, Error> {
        Err(unsupported("concat"))
    }

    async fn extract_audio(&mut self, _: String, _: Option<String>) -> Result<String, Error> {
        Err(unsupported("extract-audio"))
    }

    async fn thumbnail(
        &mut self,
        input: String,
        at_ms: u64,
        format: ImageFormat,
        max_width: Option<u32>,
    ) -> Result<String, Error> {
        self.ffmpeg_allowed(&input)?;
        if max_width.is_some_and(|width| !(1..=MAX_WIDTH).contains(&width)) {
            return Err(Error::BadInput(format!("a picture is 1 to {MAX_WIDTH} pixels wide")));
        }
        let format = match format {
            ImageFormat::Jpeg => ports::ImageFormat::Jpeg,
            ImageFormat::Png => ports::ImageFormat::Png,
            ImageFormat::Webp => ports::ImageFormat::Webp,
        };
        let request = StillRequest { input, at_ms, format, max_width, task: self.task() };
        self.call.steered(self.code.shared.ports.ffmpeg.still(request)).await
    }
}
