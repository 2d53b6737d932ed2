//! Executes `video.cut`: cuts a part out of a video of the library into a new one.

mod time;

use serde::{Deserialize, Serialize};
use taskhost_sdk::{Context, Descriptor, Executor, Kind, Plugin, TaskError, ffmpeg};
use time::Time;

/// The component has no state: this type only carries the roles.
#[derive(Debug)]
pub struct VideoCut;

impl Plugin for VideoCut {
    fn describe() -> Descriptor {
        let kind = Kind::new("video.cut", "Cuts a part out of a video into a new file")
            .input(include_str!("input.schema.json"))
            .output(include_str!("output.schema.json"));
        Descriptor::new("video-cut", env!("CARGO_PKG_VERSION"), "Cuts videos").with(kind)
    }
}

/// What to cut. The schema beside this file says the same to those who create tasks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    media: String,
    start: Time,
    end: Time,
    #[serde(default)]
    accuracy: Accuracy,
    name: Option<String>,
}

/// How exact the cut is.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Accuracy {
    #[default]
    Keyframe,
    Exact,
}

/// The new file.
#[derive(Debug, Serialize)]
pub struct Output {
    media: String,
    duration_ms: Option<u64>,
    size: u64,
}

impl Executor for VideoCut {
    type Input = Input;
    type Output = Output;

    fn execute(input: Input, context: &Context) -> Result<Output, TaskError> {
        check_order(&input)?;
        // An earlier attempt made the file, but its end was not recorded: the host went down in between.
        if let Some(media) = context.load_checkpoint() {
            match look_at(media) {
                // Deleted meanwhile: it is made again.
                Err(ffmpeg::Error::NotFound) => {}
                found => return Ok(found?),
            }
        }
        check_source(&input, &ffmpeg::probe(&input.media)?)?;
        let range = ffmpeg::Range { start: input.start.as_millis(), end: input.end.as_millis() };
        let accuracy = match input.accuracy {
            Accuracy::Keyframe => ffmpeg::Accuracy::Keyframe,
            Accuracy::Exact => ffmpeg::Accuracy::Exact,
        };
        let media = ffmpeg::cut(&input.media, range, accuracy, input.name.as_deref())?;
        context.save_checkpoint(&media)?;
        Ok(look_at(media)?)
    }
}

/// The output for a file that was made: measured, not guessed, because a cut by keyframe may begin early.
fn look_at(media: String) -> Result<Output, ffmpeg::Error> {
    let info = ffmpeg::probe(&media)?;
    Ok(Output { media, duration_ms: info.duration, size: info.size })
}

fn check_order(input: &Input) -> Result<(), TaskError> {
    let (start, end) = (input.start, input.end);
    if start < end {
        return Ok(());
    }
    Err(TaskError::invalid_input("empty-range", format!("the start ({start}) must be before the end ({end})")))
}

/// Refuses what cannot be cut before any work is done.
fn check_source(input: &Input, source: &ffmpeg::Info) -> Result<(), TaskError> {
    if !source.streams.iter().any(|stream| matches!(stream, ffmpeg::Stream::Video(_))) {
        let message = format!("the media is not a video: its container is {} without a video stream", source.container);
        return Err(TaskError::invalid_input("not-video", message));
    }
    // A container that does not tell its length: ffmpeg finds out.
    let Some(length) = source.duration.map(Time::from_millis) else { return Ok(()) };
    if input.end <= length {
        return Ok(());
    }
    let message = format!("the end ({}) is beyond the end of the video ({length})", input.end);
    Err(TaskError::invalid_input("range-beyond-end", message))
}

taskhost_sdk::export!(VideoCut, executor);

#[cfg(test)]
mod tests {
    use super::{Accuracy, Input, TaskError, check_order, check_source, ffmpeg};

    fn input(start: &str, end: &str) -> Input {
        serde_json::from_str(&format!(r#"{{"media": "m", "start": {start}, "end": {end}}}"#)).unwrap()
    }

    fn video(duration: Option<u64>) -> ffmpeg::Info {
        let video = ffmpeg::VideoStream { codec: "h264".to_owned(), width: 320, height: 180, frames_per_second: 25.0 };
        let streams = vec![ffmpeg::Stream::Video(video)];
        ffmpeg::Info { container: "mov".to_owned(), duration, size: 1, streams }
    }

    fn refusal(result: Result<(), TaskError>) -> (String, String) {
        match result {
            Err(TaskError::InvalidInput(failure)) => (failure.code, failure.message),
            other => panic!("not refused as invalid input: {other:?}"),
        }
    }

    #[test]
    fn accuracy_is_keyframe_unless_asked_for_and_unknown_keys_are_refused() {
        assert!(matches!(input("0", "1").accuracy, Accuracy::Keyframe));
        let error = serde_json::from_str::<Input>(r#"{"media": "m", "start": 0, "end": 1, "speed": 2}"#).unwrap_err();
        assert!(error.to_string().starts_with("unknown field `speed`"), "{error}");
    }

    #[test]
    fn a_range_must_have_a_length() {
        assert!(check_order(&input("1", r#""00:02""#)).is_ok());
        for (start, end) in [("2", "2"), (r#""00:02.001""#, "2"), ("0.0004", "0")] {
            let (code, message) = refusal(check_order(&input(start, end)));
            assert_eq!(code, "empty-range");
            assert!(message.contains("must be before the end"), "{message}");
        }
        let (_, message) = refusal(check_order(&input("5", "2.5")));
        assert_eq!(message, "the start (00:05.000) must be before the end (00:02.500)");
    }

    #[test]
    fn a_range_must_lie_within_the_video() {
        assert!(check_source(&input("1", "8"), &video(Some(8_000))).is_ok());
        assert!(check_source(&input("1", "8"), &video(None)).is_ok(), "unknown length");
        let (code, message) = refusal(check_source(&input("1", "9.5"), &video(Some(8_000))));
        assert_eq!(code, "range-beyond-end");
        assert_eq!(message, "the end (00:09.500) is beyond the end of the video (00:08.000)");
    }

    #[test]
    fn only_videos_are_cut() {
        let mut sound = video(Some(8_000));
        sound.streams = vec![ffmpeg::Stream::Other("data".to_owned())];
        let (code, message) = refusal(check_source(&input("0", "1"), &sound));
        assert_eq!(code, "not-video");
        assert!(message.contains("mov"), "{message}");
    }
}
