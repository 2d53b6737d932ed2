//! ffmpeg over files of the library.

use std::sync::Arc;

use async_trait::async_trait;

use crate::ffmpeg::{self, Ffmpeg, Made, Target};
use crate::media::{Content, Library, MediaError, Step, TempFile};
use crate::plugin::ports::{
    Accuracy, AudioFormat, AudioRequest, ConcatRequest, CutRequest, FfmpegError, FfmpegPort, ImageFormat, OnPercent,
    Outcome, ProbeInfo, StillRequest, StreamInfo, TranscodeRequest,
};
use crate::time::now;

/// Makes files of the library out of files of the library.
pub(super) struct Cutter {
    pub(super) media: Library,
    pub(super) ffmpeg: Arc<Ffmpeg>,
}

fn uncut(error: &MediaError) -> FfmpegError {
    match error {
        MediaError::NotFound => FfmpegError::NotFound,
        MediaError::TooLarge { .. } => FfmpegError::Limit(error.to_string()),
        MediaError::Conflict(_)
        | MediaError::NoSpace
        | MediaError::Undeletable(_)
        | MediaError::Full(_)
        | MediaError::Closed
        | MediaError::Io(_) => FfmpegError::Unavailable(error.to_string()),
    }
}

fn failed(error: ffmpeg::Error) -> FfmpegError {
    match error {
        ffmpeg::Error::BadInput(why) => FfmpegError::BadInput(why),
        ffmpeg::Error::Unsupported(why) => FfmpegError::Unsupported(why),
        ffmpeg::Error::Limit(why) => FfmpegError::Limit(why),
        ffmpeg::Error::TooLarge(most) => FfmpegError::TooLarge(most),
        ffmpeg::Error::Tool { exit_code, stderr_tail } => FfmpegError::Tool { exit_code, stderr_tail },
        ffmpeg::Error::Unavailable(why) => FfmpegError::Unavailable(why),
    }
}

fn stream(stream: ffmpeg::Stream) -> StreamInfo {
    match stream {
        ffmpeg::Stream::Video { codec, width, height, frames_per_second } => {
            StreamInfo::Video { codec, width, height, frames_per_second }
        }
        ffmpeg::Stream::Audio { codec, sample_rate, channels } => StreamInfo::Audio { codec, sample_rate, channels },
        ffmpeg::Stream::Other(kind) => StreamInfo::Other(kind),
    }
}

fn stem(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1_000, millis % 1_000)
}

/// A temporary file for the tool, and how it is told of it. The file is removed when this is dropped: whatever happens
/// before the adoption leaves nothing behind.
struct Draft {
    file: TempFile,
    target: Target,
}

/// What a tool has made, and what the library is to call it.
struct Finished {
    draft: Draft,
    content_type: &'static str,
    name: String,
}

impl Cutter {
    async fn content(&self, id: &str) -> Result<Content, FfmpegError> {
        self.media.content(id).await.map_err(|error| uncut(&error))
    }

    async fn draft(&self, purpose: &'static str, outcome: &Outcome) -> Result<Draft, FfmpegError> {
        let file = self.media.new_temp(purpose).await.map_err(|error| uncut(&error))?;
        let path = file.path().to_owned();
        Ok(Draft { file, target: Target { path, max_bytes: outcome.max_bytes.unwrap_or(u64::MAX) } })
    }

    /// Makes a file and takes it into the library, unless an earlier attempt of the same step has done so; answers its
    /// id.
    async fn once(
        &self,
        step: Step,
        make: impl Future<Output = Result<Finished, FfmpegError>>,
    ) -> Result<String, FfmpegError> {
        if let Some(record) = self.media.made(step).await.map_err(|error| uncut(&error))? {
            return Ok(record.id);
        }
        let Finished { draft, content_type, name } = make.await?;
        let adopted = self.media.adopt_step(draft.file, &name, Some(content_type), step, now()).await;
        Ok(adopted.map_err(|error| uncut(&error))?.id)
    }
}

/// The name of what was made of a file: `talk_small.webm` of `talk.mp4`.
fn derived(input: &Content, suffix: &str, made: &Made) -> String {
    format!("{}_{suffix}.{}", stem(&input.record.name), made.extension)
}

#[async_trait]
impl FfmpegPort for Cutter {
    async fn probe(&self, input: &str) -> Result<ProbeInfo, FfmpegError> {
        let content = self.content(input).await?;
        let probe = self.ffmpeg.probe(content.file, content.record.size).await.map_err(failed)?;
        Ok(ProbeInfo {
            container: probe.container,
            duration_ms: probe.duration_ms,
            size: probe.size,
            streams: probe.streams.into_iter().map(stream).collect(),
        })
    }

    async fn cut(&self, request: CutRequest, on_percent: OnPercent) -> Result<String, FfmpegError> {
        let CutRequest { input, start_ms, end_ms, accuracy, outcome } = request;
        let step = Step::new(outcome.task, &format!("cut {input} {start_ms} {end_ms} {accuracy:?} {:?}", outcome.name));
        self.once(step, async {
            let (content, draft) = (self.content(&input).await?, self.draft("cut", &outcome).await?);
            let accuracy = match accuracy {
                Accuracy::Keyframe => ffmpeg::Accuracy::Keyframe,
                Accuracy::Exact => ffmpeg::Accuracy::Exact,
            };
            let input = content.file.try_clone().map_err(|error| uncut(&error.into()))?;
            let cut = ffmpeg::Cut { input, output: draft.target.clone(), start_ms, end_ms, accuracy };
            let made = self.ffmpeg.cut(cut, move |percent| on_percent(percent)).await.map_err(failed)?;
            // `talk.mp4` cut from 1.5 s to 4 s becomes `talk_1.500-4.000.mp4`.
            let name = derived(&content, &format!("{}-{}", seconds(start_ms), seconds(end_ms)), &made);
            Ok(Finished { draft, content_type: made.content_type, name: outcome.name.unwrap_or(name) })
        })
        .await
    }

    async fn still(&self, request: StillRequest) -> Result<String, FfmpegError> {
        let StillRequest { input, at_ms, format, max_width, outcome } = request;
        let step = Step::new(outcome.task, &format!("still {input} {at_ms} {format:?} {max_width:?}"));
        self.once(step, async {
            let (content, draft) = (self.content(&input).await?, self.draft("still", &outcome).await?);
            let format = match format {
                ImageFormat::Jpeg => ffmpeg::ImageFormat::Jpeg,
                ImageFormat::Png => ffmpeg::ImageFormat::Png,
                ImageFormat::Webp => ffmpeg::ImageFormat::Webp,
            };
            let still = ffmpeg::Still { input: content.file, output: draft.target.clone(), at_ms, format, max_width };
            self.ffmpeg.still(still).await.map_err(failed)?;
            let name = format!("{}_{}.{}", stem(&content.record.name), seconds(at_ms), format.extension());
            Ok(Finished { draft, content_type: format.content_type(), name: outcome.name.unwrap_or(name) })
        })
        .await
    }

    async fn transcode(&self, request: TranscodeRequest, on_percent: OnPercent) -> Result<String, FfmpegError> {
        let TranscodeRequest { input, preset, outcome } = request;
        let step = Step::new(outcome.task, &format!("transcode {input} {preset:?} {:?}", outcome.name));
        self.once(step, async {
            let (content, draft) = (self.content(&input).await?, self.draft("transcode", &outcome).await?);
            let input = content.file.try_clone().map_err(|error| uncut(&error.into()))?;
            let transcode = ffmpeg::Transcode { input, output: draft.target.clone(), preset: preset.clone() };
            let made = self.ffmpeg.transcode(transcode, move |percent| on_percent(percent)).await.map_err(failed)?;
            let name = derived(&content, &preset, &made);
            Ok(Finished { draft, content_type: made.content_type, name: outcome.name.unwrap_or(name) })
        })
        .await
    }

    async fn concat(&self, request: ConcatRequest, on_percent: OnPercent) -> Result<String, FfmpegError> {
        let ConcatRequest { inputs, outcome } = request;
        let step = Step::new(outcome.task, &format!("concat {inputs:?} {:?}", outcome.name));
        self.once(step, async {
            let mut contents = Vec::with_capacity(inputs.len());
            for input in &inputs {
                contents.push(self.content(input).await?);
            }
            let draft = self.draft("concat", &outcome).await?;
            let files = contents.iter().map(|content| content.file.try_clone()).collect::<Result<_, _>>();
            let inputs = files.map_err(|error| uncut(&error.into()))?;
            let concat = ffmpeg::Concat { inputs, output: draft.target.clone() };
            let made = self.ffmpeg.concat(concat, move |percent| on_percent(percent)).await.map_err(failed)?;
            let name = contents.first().map_or_else(String::new, |first| derived(first, "joined", &made));
            Ok(Finished { draft, content_type: made.content_type, name: outcome.name.unwrap_or(name) })
        })
        .await
    }

    async fn extract_audio(&self, request: AudioRequest, on_percent: OnPercent) -> Result<String, FfmpegError> {
        let AudioRequest { input, format, outcome } = request;
        let step = Step::new(outcome.task, &format!("audio {input} {format:?} {:?}", outcome.name));
        self.once(step, async {
            let (content, draft) = (self.content(&input).await?, self.draft("audio", &outcome).await?);
            let format = match format {
                AudioFormat::Original => ffmpeg::AudioFormat::Original,
                AudioFormat::Aac => ffmpeg::AudioFormat::Aac,
                AudioFormat::Mp3 => ffmpeg::AudioFormat::Mp3,
                AudioFormat::Opus => ffmpeg::AudioFormat::Opus,
                AudioFormat::Flac => ffmpeg::AudioFormat::Flac,
                AudioFormat::Wav => ffmpeg::AudioFormat::Wav,
            };
            let input = content.file.try_clone().map_err(|error| uncut(&error.into()))?;
            let extract = ffmpeg::Extract { input, output: draft.target.clone(), format };
            let made = self.ffmpeg.extract_audio(extract, move |percent| on_percent(percent)).await.map_err(failed)?;
            let name = derived(&content, "audio", &made);
            Ok(Finished { draft, content_type: made.content_type, name: outcome.name.unwrap_or(name) })
        })
        .await
    }
}
