//! `taskhost:media/ffmpeg`: what may be done to media, and how it is stopped.

use std::future::Future;
use std::sync::Arc;

use super::DESCRIBING;
use super::steer::CutShort;
use crate::plugin::contract::clip;
use crate::plugin::contract::ffmpeg::{
    self, AudioStream, Error, Host, ImageFormat, Info, Range, Stream, ToolFailure, VideoStream,
};
use crate::plugin::guest::{Call, Guest};
use crate::plugin::link::{Code, FfmpegGrant, FfmpegOperation};
use crate::plugin::ports::{
    self, Accuracy, AudioFormat, AudioRequest, ConcatRequest, CutRequest, FfmpegError, OnPercent, Outcome, ProbeInfo,
    StillRequest, StreamInfo, TranscodeRequest,
};
use crate::task::Progress;

const MAX_ID_BYTES: usize = 128;
const MAX_NAME_BYTES: usize = 255;
/// Files that are joined at most.
const MAX_JOINED: usize = 64;
/// Pixels: what JPEG and WebP can store, and more than any screen shows.
const MAX_WIDTH: u32 = 16_383;

impl Guest {
    /// The grant, if it covers an operation on these files.
    fn ffmpeg_allowed(&self, operation: FfmpegOperation, inputs: &[String]) -> Result<FfmpegGrant, Error> {
        if self.describing() {
            return Err(Error::Denied(DESCRIBING.to_owned()));
        }
        let (grant, plugin) = (self.code.grants.ffmpeg.clone().unwrap_or_default(), &self.code.name);
        if grant.operations.as_ref().is_some_and(|granted| !granted.contains(&operation)) {
            let name = operation.name();
            let remedy = format!("add {name:?} to `operations` of `ffmpeg` under [grant] in plugins/{plugin}.toml");
            return Err(Error::Denied(format!("plugin {plugin:?} is not granted {name}: {remedy}")));
        }
        if inputs.iter().any(|input| input.len() > MAX_ID_BYTES) { Err(Error::NotFound) } else { Ok(grant) }
    }

    /// What becomes of what is made: the task that runs is recorded on it.
    fn outcome(&self, grant: &FfmpegGrant, name: Option<String>) -> Result<Outcome, Error> {
        if name.as_ref().is_some_and(|name| name.is_empty() || name.len() > MAX_NAME_BYTES) {
            return Err(Error::BadInput(format!("a name has 1 to {MAX_NAME_BYTES} bytes")));
        }
        let task = self.call.purpose.attempt().map(|(task, _)| task);
        Ok(Outcome { name, task, max_bytes: grant.max_output_bytes })
    }

    fn on_percent(&self) -> OnPercent {
        let control = self.call.control.clone();
        Arc::new(move |percent| {
            let done = u64::from(percent.min(100));
            control.report(Progress { done, total: Some(100), unit: "percent".to_owned(), message: None });
        })
    }
}

/// Runs the tool when it is the plugin's turn, until it is done, the attempt is cancelled or its time is up. Dropping
/// the port's future ends the tool's processes.
async fn tool<T>(
    (code, call): (&Code, &Call),
    grant: &FfmpegGrant,
    tool: impl Future<Output = Result<T, FfmpegError>>,
) -> Result<T, Error> {
    let turn = async {
        let _pass = match grant.jobs {
            Some(jobs) => Some(code.shared.gate.enter(format!("{}: ffmpeg", code.name), jobs).await),
            None => None,
        };
        tool.await
    };
    match call.steered(turn).await {
        Ok(done) => done.map_err(|failed| error(failed, &code.name, grant)),
        Err(CutShort::Cancelled) => Err(Error::Cancelled),
        Err(CutShort::TimedOut) => Err(Error::TimedOut),
    }
}

fn error(error: FfmpegError, plugin: &str, grant: &FfmpegGrant) -> Error {
    match error {
        FfmpegError::TooLarge(most) => {
            let place = if grant.max_output_bytes == Some(most) {
                format!("of `ffmpeg` under [grant] in plugins/{plugin}.toml")
            } else {
                "under [ffmpeg] in the host's configuration".to_owned()
            };
            Error::Limit(format!("{error}: `max_output` {place} raises that"))
        }
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
        let grant = self.ffmpeg_allowed(FfmpegOperation::Probe, std::slice::from_ref(&input))?;
        tool((&self.code, &self.call), &grant, self.code.shared.ports.ffmpeg.probe(&input)).await.map(info)
    }

    async fn cut(
        &mut self,
        input: String,
        range: Range,
        accuracy: ffmpeg::Accuracy,
        name: Option<String>,
    ) -> Result<String, Error> {
        let grant = self.ffmpeg_allowed(FfmpegOperation::Cut, std::slice::from_ref(&input))?;
        if range.end <= range.start {
            let message = format!("the range ends at {} ms, not after its start at {} ms", range.end, range.start);
            return Err(Error::BadInput(message));
        }
        let accuracy = match accuracy {
            ffmpeg::Accuracy::Keyframe => Accuracy::Keyframe,
            ffmpeg::Accuracy::Exact => Accuracy::Exact,
        };
        let outcome = self.outcome(&grant, name)?;
        let request = CutRequest { input, start_ms: range.start, end_ms: range.end, accuracy, outcome };
        tool((&self.code, &self.call), &grant, self.code.shared.ports.ffmpeg.cut(request, self.on_percent())).await
    }

    async fn transcode(&mut self, input: String, preset: String, name: Option<String>) -> Result<String, Error> {
        let grant = self.ffmpeg_allowed(FfmpegOperation::Transcode, std::slice::from_ref(&input))?;
        if grant.presets.as_ref().is_some_and(|granted| !granted.contains(&preset)) {
            let (plugin, preset) = (&self.code.name, clip(&preset));
            let remedy = format!("add it to `presets` of `ffmpeg` under [grant] in plugins/{plugin}.toml");
            return Err(Error::Denied(format!("plugin {plugin:?} is not granted the preset {preset:?}: {remedy}")));
        }
        let preset = clip(&preset).to_owned();
        let request = TranscodeRequest { input, preset, outcome: self.outcome(&grant, name)? };
        tool((&self.code, &self.call), &grant, self.code.shared.ports.ffmpeg.transcode(request, self.on_percent()))
            .await
    }

    async fn concat(&mut self, inputs: Vec<String>, name: Option<String>) -> Result<String, Error> {
        let grant = self.ffmpeg_allowed(FfmpegOperation::Concat, &inputs)?;
        if !(2..=MAX_JOINED).contains(&inputs.len()) {
            let message = format!("{} files are to be joined; it must be 2 to {MAX_JOINED}", inputs.len());
            return Err(Error::BadInput(message));
        }
        let request = ConcatRequest { inputs, outcome: self.outcome(&grant, name)? };
        tool((&self.code, &self.call), &grant, self.code.shared.ports.ffmpeg.concat(request, self.on_percent())).await
    }

    async fn extract_audio(
        &mut self,
        input: String,
        format: ffmpeg::AudioFormat,
        name: Option<String>,
    ) -> Result<String, Error> {
        let grant = self.ffmpeg_allowed(FfmpegOperation::ExtractAudio, std::slice::from_ref(&input))?;
        let format = match format {
            ffmpeg::AudioFormat::Original => AudioFormat::Original,
            ffmpeg::AudioFormat::Aac => AudioFormat::Aac,
            ffmpeg::AudioFormat::Mp3 => AudioFormat::Mp3,
            ffmpeg::AudioFormat::Opus => AudioFormat::Opus,
            ffmpeg::AudioFormat::Flac => AudioFormat::Flac,
            ffmpeg::AudioFormat::Wav => AudioFormat::Wav,
        };
        let request = AudioRequest { input, format, outcome: self.outcome(&grant, name)? };
        tool((&self.code, &self.call), &grant, self.code.shared.ports.ffmpeg.extract_audio(request, self.on_percent()))
            .await
    }

    async fn thumbnail(
        &mut self,
        input: String,
        at_ms: u64,
        format: ImageFormat,
        max_width: Option<u32>,
    ) -> Result<String, Error> {
        let grant = self.ffmpeg_allowed(FfmpegOperation::Thumbnail, std::slice::from_ref(&input))?;
        if max_width.is_some_and(|width| !(1..=MAX_WIDTH).contains(&width)) {
            return Err(Error::BadInput(format!("a picture is 1 to {MAX_WIDTH} pixels wide")));
        }
        let format = match format {
            ImageFormat::Jpeg => ports::ImageFormat::Jpeg,
            ImageFormat::Png => ports::ImageFormat::Png,
            ImageFormat::Webp => ports::ImageFormat::Webp,
        };
        let request = StillRequest { input, at_ms, format, max_width, outcome: self.outcome(&grant, None)? };
        tool((&self.code, &self.call), &grant, self.code.shared.ports.ffmpeg.still(request)).await
    }
}
