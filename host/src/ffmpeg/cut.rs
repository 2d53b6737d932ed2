//! One piece out of a file.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::probe::{input_args, sniffed};
use super::progress::Progress;
use super::sniff::Format;
use super::{Error, Ffmpeg, INPUT, Probe, Stream, failure, is_disk_full};
use crate::process::{Command, Exit, Stdout};

/// How far beyond the end a cut may ask, in milliseconds: players round lengths.
const END_TOLERANCE_MS: u64 = 50;
/// Codecs that an MP4 file carries as they are; copies of others go to Matroska.
const MP4_VIDEO: [&str; 5] = ["h264", "hevc", "av1", "mpeg4", "vp9"];
const MP4_AUDIO: [&str; 6] = ["aac", "mp3", "ac3", "eac3", "opus", "alac"];

/// How exact a cut is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accuracy {
    /// Stream copy from the keyframe at or before the start.
    Keyframe,
    /// Re-encode, exact to the frame.
    Exact,
}

/// A cut to be made.
#[derive(Debug)]
pub struct Cut {
    /// The file to cut from.
    pub input: File,
    /// The file to write, replaced when it is there.
    pub output: PathBuf,
    /// Start, in milliseconds.
    pub start_ms: u64,
    /// End, in milliseconds, after the start.
    pub end_ms: u64,
    /// How exact.
    pub accuracy: Accuracy,
}

/// What an output file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// MPEG-4 part 14.
    Mp4,
    /// Matroska.
    Matroska,
}

impl Container {
    /// The extension of its files' names.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Matroska => "mkv",
        }
    }

    /// Its MIME type, for a file with pictures or with sound only.
    pub fn content_type(self, video: bool) -> &'static str {
        match (self, video) {
            (Self::Mp4, true) => "video/mp4",
            (Self::Mp4, false) => "audio/mp4",
            (Self::Matroska, true) => "video/x-matroska",
            (Self::Matroska, false) => "audio/x-matroska",
        }
    }

    fn muxer(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Matroska => "matroska",
        }
    }

    /// What can hold a copy of these streams.
    fn of_copy(probe: &Probe) -> Self {
        let fits = probe.streams.iter().all(|stream| match stream {
            Stream::Video { codec, .. } => MP4_VIDEO.contains(&codec.as_str()),
            Stream::Audio { codec, .. } => MP4_AUDIO.contains(&codec.as_str()),
            Stream::Other(_) => true,
        });
        if fits { Self::Mp4 } else { Self::Matroska }
    }
}

/// A finished cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// What the output file is.
    pub container: Container,
    /// Its MIME type.
    pub content_type: &'static str,
    /// What it holds.
    pub probe: Probe,
}

impl Ffmpeg {
    /// Makes a cut; `on_percent` hears 0 to 100, growing. Dropping the future ends the tool; what it
    /// has written of the output stays for the caller to remove.
    pub async fn cut(&self, cut: Cut, on_percent: impl Fn(u8) + Send + Sync + 'static) -> Result<Made, Error> {
        let tools = self.tools()?;
        if cut.start_ms >= cut.end_ms {
            return Err(Error::BadInput(format!(
                "the cut starts at {} but ends at {}: the end must be after the start",
                Seconds(cut.start_ms),
                Seconds(cut.end_ms)
            )));
        }
        let closed = |_| Error::Unavailable("the host is stopping".to_owned());
        let _permit = self.cuts.acquire().await.map_err(closed)?;
        let (input, format) = sniffed(cut.input).await?;
        let again = input.try_clone().map_err(unreadable)?;
        let size = input.metadata().map_err(unreadable)?.len();
        let probe = self.probe_as(again, format, size).await?;
        let range = checked(cut.start_ms, cut.end_ms, probe.duration_ms)?;
        let job = Job { format, range, accuracy: cut.accuracy, output: &cut.output };
        let (args, container) = job.args(&probe, self.settings.threads, self.settings.max_output_bytes)?;

        let on_percent = std::sync::Arc::new(on_percent);
        let heard = std::sync::Arc::clone(&on_percent);
        let mut progress = Progress::new(range.1 - range.0);
        let mut command = self.command(&tools.ffmpeg).args(args);
        command.stdin = Some(input);
        command.cwd = folder_and_name(job.output)?.0.to_owned();
        command.stdout = Stdout::Lines(Box::new(move |line| {
            if let Some(percent) = progress.line(line) {
                heard(percent);
            }
        }));
        let exit = self.run(command, &cut.output).await?;
        // Some tools end well although the end of the file did not fit.
        if !exit.success() || is_disk_full(&exit.stderr_tail) {
            return Err(failure(exit));
        }
        let made = self.verify(&cut.output, container).await?;
        if has_video(&probe) && !has_video(&made.probe) {
            return Err(Error::BadInput("there is nothing to cut in this range: no picture begins in it".to_owned()));
        }
        on_percent(100);
        Ok(made)
    }

    /// Runs the tool and takes the host's paths out of what it says.
    pub(super) async fn run(&self, command: Command, output: &Path) -> Result<Exit, Error> {
        let mut exit = self.supervisor.run(command).await?;
        exit.stderr_tail = redact(&exit.stderr_tail, output);
        Ok(exit)
    }

    /// Looks at what was written: the tool also succeeds when it has written nothing or was cut short.
    async fn verify(&self, output: &Path, container: Container) -> Result<Made, Error> {
        let file = tokio::fs::File::open(output).await.map_err(unreadable)?.into_std().await;
        let size = file.metadata().map_err(unreadable)?.len();
        if size >= self.settings.max_output_bytes {
            return Err(Error::Limit(format!(
                "the output is larger than the {} bytes that are allowed",
                self.settings.max_output_bytes
            )));
        }
        let nothing = || Error::BadInput("there is nothing to cut in this range: the output is empty".to_owned());
        let probe = self.probe(file, size).await.map_err(|error| match &error {
            Error::BadInput(_) => nothing(),
            Error::Unsupported(_) | Error::Limit(_) | Error::Tool { .. } | Error::Unavailable(_) => error,
        })?;
        if probe.duration_ms.is_none_or(|duration| duration == 0) {
            return Err(nothing());
        }
        Ok(Made { container, content_type: container.content_type(has_video(&probe)), probe })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "passed to map_err")]
pub(super) fn unreadable(error: std::io::Error) -> Error {
    Error::Unavailable(format!("the file cannot be read: {}", error.kind()))
}

/// The range in milliseconds, clamped to the length; a range that does not fit is the caller's mistake.
fn checked(start_ms: u64, end_ms: u64, duration_ms: Option<u64>) -> Result<(u64, u64), Error> {
    let Some(duration_ms) = duration_ms else { return Ok((start_ms, end_ms)) };
    let refuse = |verb: &str, at: u64| {
        let (at, length) = (Seconds(at), Seconds(duration_ms));
        Err(Error::BadInput(format!("the cut {verb} at {at} but the video lasts {length}")))
    };
    if start_ms >= duration_ms {
        return refuse("starts", start_ms);
    }
    if end_ms > duration_ms.saturating_add(END_TOLERANCE_MS) {
        return refuse("ends", end_ms);
    }
    Ok((start_ms, end_ms.min(duration_ms)))
}

/// Milliseconds as people read them.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1000, self.0 % 1000)
    }
}

struct Job<'a> {
    format: Format,
    range: (u64, u64),
    accuracy: Accuracy,
    output: &'a Path,
}

impl Job<'_> {
    /// The arguments, and what they make.
    fn args(&self, probe: &Probe, threads: u32, max_bytes: u64) -> Result<(Vec<String>, Container), Error> {
        let (start, end) = self.range;
        let mut args: Vec<String> = Vec::new();
        let mut add = |more: &[&str]| args.extend(more.iter().map(|arg| (*arg).to_owned()));
        add(&["-nostdin", "-hide_banner", "-loglevel", "error", "-progress", "pipe:1", "-nostats", "-y"]);
        let threads = threads.to_string();
        let threads: &[&str] = if threads == "0" { &[] } else { &["-threads", &threads] };
        add(threads);
        add(&input_args(self.format));
        add(&["-ss", &decimal(start), "-i", INPUT]);
        // A capital V leaves cover pictures out.
        add(&["-map", "0:V?", "-map", "0:a?", "-t", &decimal(end - start)]);
        let container = match self.accuracy {
            Accuracy::Keyframe => {
                add(&["-c", "copy", "-avoid_negative_ts", "make_zero"]);
                Container::of_copy(probe)
            }
            Accuracy::Exact => {
                add(&["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p"]);
                add(&["-c:a", "aac", "-b:a", "192k"]);
                if odd_size(probe) {
                    // Pictures with shared colour samples have even sides.
                    add(&["-vf", "scale=trunc(iw/2)*2:trunc(ih/2)*2"]);
                }
                Container::Mp4
            }
        };
        add(threads);
        if container == Container::Mp4 {
            add(&["-movflags", "+faststart"]);
        }
        let (_, name) = folder_and_name(self.output)?;
        add(&["-fs", &max_bytes.to_string(), "-f", container.muxer(), &format!("file:{name}")]);
        Ok((args, container))
    }
}

fn has_video(probe: &Probe) -> bool {
    probe.streams.iter().any(|stream| matches!(stream, Stream::Video { .. }))
}

fn odd_size(probe: &Probe) -> bool {
    probe.streams.iter().any(|stream| match stream {
        Stream::Video { width, height, .. } => width % 2 == 1 || height % 2 == 1,
        Stream::Audio { .. } | Stream::Other(_) => false,
    })
}

/// Decimal seconds of milliseconds.
pub(super) fn decimal(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// Where the tool runs, and what it calls its output there.
pub(super) fn folder_and_name(output: &Path) -> Result<(&Path, &str), Error> {
    let folder = output.parent().filter(|folder| folder.is_absolute());
    let folder = folder.ok_or_else(|| Error::Unavailable("the output needs an absolute path".to_owned()))?;
    let name = output.file_name().and_then(|name| name.to_str());
    Ok((folder, name.ok_or_else(|| Error::Unavailable("the output needs a name".to_owned()))?))
}

/// What the tool said, without where this host keeps its files.
fn redact(text: &str, output: &Path) -> String {
    let mut text = text.replace(INPUT, "input");
    for (part, name) in [(output.parent(), "."), (output.file_name().map(Path::new), "output")] {
        if let Some(part) = part.and_then(Path::to_str).filter(|part| part.len() > 1) {
            text = text.replace(part, name);
        }
    }
    text.replace("file:output", "output")
}

#[cfg(test)]
mod tests {
    use super::{Error, checked};

    #[test]
    fn ranges_are_checked_and_clamped() {
        assert_eq!(checked(0, 10_050, Some(10_000)).unwrap(), (0, 10_000));
        assert_eq!(checked(9_999, 10_000, Some(10_000)).unwrap(), (9_999, 10_000));
        assert_eq!(checked(50_000, 60_000, None).unwrap(), (50_000, 60_000));
        let message = |start, end| match checked(start, end, Some(10_000)) {
            Err(Error::BadInput(message)) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(message(0, 12_000), "the cut ends at 12.000 s but the video lasts 10.000 s");
        assert_eq!(message(0, 10_051), "the cut ends at 10.051 s but the video lasts 10.000 s");
        assert_eq!(message(10_000, 10_050), "the cut starts at 10.000 s but the video lasts 10.000 s");
        assert_eq!(
            message(u64::MAX - 1, u64::MAX),
            "the cut starts at 18446744073709551.614 s but the video lasts 10.000 s"
        );
    }
}
