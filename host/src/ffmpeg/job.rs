//! What every run that makes a file has in common: the look at its input, the run itself, the look at its output.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::container::Container;
use super::probe::{input_args, sniffed};
use super::progress::Progress;
use super::sniff::Format;
use super::{Error, Ffmpeg, INPUT, Probe, Stream, failure, is_disk_full};
use crate::process::{Command, Exit, Stdout};

/// Where a file is written, and how large it may be.
#[derive(Clone, Debug)]
pub struct Target {
    /// The file to write, replaced when it is there; an absolute path.
    pub path: PathBuf,
    /// Its size at most, in bytes; the host's own bound holds, too.
    pub max_bytes: u64,
}

/// A finished file.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// What it is.
    pub container: Container,
    /// The extension of its name.
    pub extension: &'static str,
    /// Its MIME type.
    pub content_type: &'static str,
    /// What it holds.
    pub probe: Probe,
}

/// An input that was looked at.
pub(super) struct Source {
    pub(super) file: File,
    pub(super) format: Format,
    pub(super) probe: Probe,
}

/// A run of the tool.
pub(super) struct Run<'a> {
    /// What becomes of the input, without the input and the output themselves.
    pub(super) args: Vec<String>,
    /// How the input is read.
    pub(super) input: Input,
    pub(super) container: Container,
    pub(super) target: &'a Target,
    /// What the output lasts, for the progress; 0 when nobody knows.
    pub(super) length_ms: u64,
    /// What to say when nothing came out.
    pub(super) nothing: &'static str,
}

/// What the tool reads.
pub(super) struct Input {
    /// What stands before `-i`.
    pub(super) args: Vec<String>,
    pub(super) stdin: File,
    /// Paths of this host that the tool knows, and what messages call them.
    pub(super) names: Vec<(String, String)>,
}

impl Input {
    /// One file, from `start` on.
    pub(super) fn of(source: &Source, start_ms: Option<u64>) -> Result<Self, Error> {
        let mut args: Vec<String> = input_args(source.format).into_iter().map(str::to_owned).collect();
        if let Some(start_ms) = start_ms {
            args.extend(["-ss".to_owned(), decimal(start_ms)]);
        }
        let stdin = source.file.try_clone().map_err(unreadable)?;
        Ok(Self { args, stdin, names: Vec::new() })
    }
}

impl Ffmpeg {
    /// Waits for a place among those who make files.
    pub(super) async fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Error> {
        self.tools()?;
        self.cuts.acquire().await.map_err(|_closed| Error::Unavailable("the host is stopping".to_owned()))
    }

    /// Looks at an input.
    pub(super) async fn source(&self, file: File) -> Result<Source, Error> {
        let (file, format) = sniffed(file).await?;
        let again = file.try_clone().map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let probe = self.probe_as(again, format, size).await?;
        Ok(Source { file, format, probe })
    }

    /// Makes a file; `on_percent` hears 0 to 100, growing. Dropping the future ends the tool; what it
    /// has written of the output stays for the caller to remove.
    pub(super) async fn make(
        &self,
        run: Run<'_>,
        on_percent: impl Fn(u8) + Send + Sync + 'static,
    ) -> Result<Made, Error> {
        let tools = self.tools()?;
        let max_bytes = self.max_bytes(run.target);
        let (folder, name) = folder_and_name(&run.target.path)?;
        let mut args: Vec<String> = Vec::new();
        let mut add = |more: &[&str]| args.extend(more.iter().map(|arg| (*arg).to_owned()));
        add(&["-nostdin", "-hide_banner", "-loglevel", "error", "-progress", "pipe:1", "-nostats", "-y"]);
        let threads = self.settings.threads.to_string();
        let threads: &[&str] = if threads == "0" { &[] } else { &["-threads", &threads] };
        add(threads);
        args.extend(run.input.args);
        args.extend(["-i".to_owned(), INPUT.to_owned()]);
        args.extend(run.args);
        args.extend(threads.iter().map(|arg| (*arg).to_owned()));
        if run.container == Container::Mp4 {
            args.extend(["-movflags".to_owned(), "+faststart".to_owned()]);
        }
        let output = ["-fs".to_owned(), max_bytes.to_string(), "-f".to_owned(), run.container.name().to_owned()];
        args.extend(output.into_iter().chain([format!("file:{name}")]));

        let on_percent = Arc::new(on_percent);
        let heard = Arc::clone(&on_percent);
        let mut progress = Progress::new(if run.length_ms == 0 { u64::MAX } else { run.length_ms });
        let mut command = self.command(&tools.ffmpeg, max_bytes).args(args);
        command.stdin = Some(run.input.stdin);
        command.cwd = folder.to_owned();
        command.stdout = Stdout::Lines(Box::new(move |line| {
            if let Some(percent) = progress.line(line) {
                heard(percent);
            }
        }));
        let exit = self.run(command, &run.target.path, &run.input.names).await?;
        // Some tools end well although the end of the file did not fit.
        if !exit.success() || is_disk_full(&exit.stderr_tail) {
            return Err(failure(exit, max_bytes));
        }
        let made = self.verify(run.target, run.container, run.nothing).await?;
        on_percent(100);
        Ok(made)
    }

    /// Bytes that an output may have.
    pub(super) fn max_bytes(&self, target: &Target) -> u64 {
        target.max_bytes.min(self.settings.max_output_bytes)
    }

    /// Runs the tool and takes the host's paths out of what it says.
    pub(super) async fn run(&self, command: Command, output: &Path, names: &[(String, String)]) -> Result<Exit, Error> {
        let mut exit = self.supervisor.run(command).await?;
        for (path, name) in names {
            exit.stderr_tail = exit.stderr_tail.replace(path, name);
        }
        exit.stderr_tail = redact(&exit.stderr_tail, output);
        Ok(exit)
    }

    /// Looks at what was written: the tool also succeeds when it has written nothing or was cut short.
    async fn verify(&self, target: &Target, container: Container, nothing: &str) -> Result<Made, Error> {
        let file = tokio::fs::File::open(&target.path).await.map_err(unreadable)?.into_std().await;
        let size = file.metadata().map_err(unreadable)?.len();
        let max_bytes = self.max_bytes(target);
        if size >= max_bytes {
            return Err(Error::TooLarge(max_bytes));
        }
        let nothing = || Error::BadInput(format!("{nothing}: the output is empty"));
        let probe = self.probe(file, size).await.map_err(|error| match &error {
            Error::BadInput(_) => nothing(),
            Error::Unsupported(_)
            | Error::Limit(_)
            | Error::TooLarge(_)
            | Error::Tool { .. }
            | Error::Unavailable(_) => error,
        })?;
        if probe.duration_ms.is_none_or(|duration| duration == 0) {
            return Err(nothing());
        }
        let video = has_video(&probe);
        let (extension, content_type) = (container.extension(video), container.content_type(video));
        Ok(Made { container, extension, content_type, probe })
    }
}

#[expect(clippy::needless_pass_by_value, reason = "passed to map_err")]
pub(super) fn unreadable(error: std::io::Error) -> Error {
    Error::Unavailable(format!("the file cannot be read: {}", error.kind()))
}

pub(super) fn has_video(probe: &Probe) -> bool {
    probe.streams.iter().any(|stream| matches!(stream, Stream::Video { .. }))
}

pub(super) fn odd_size(probe: &Probe) -> bool {
    probe.streams.iter().any(|stream| match stream {
        Stream::Video { width, height, .. } => width % 2 == 1 || height % 2 == 1,
        Stream::Audio { .. } | Stream::Other(_) => false,
    })
}

/// The codec of the first stream of sound.
pub(super) fn first_sound(probe: &Probe) -> Option<&str> {
    probe.streams.iter().find_map(|stream| match stream {
        Stream::Audio { codec, .. } => Some(codec.as_str()),
        Stream::Video { .. } | Stream::Other(_) => None,
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

/// Arguments as the tool takes them.
pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
