//! Files of the same format, one after the other.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;

use rustix::fs::{MemfdFlags, memfd_create};

use super::container::Container;
use super::job::{Input, Run, Source, words};
use super::{Error, Ffmpeg, Made, Stream, Target};

/// Files that one output is made of, at most.
pub const MAX_INPUTS: usize = 64;

/// Files to be joined.
#[derive(Debug)]
pub struct Concat {
    /// The files, in order: 2 to [`MAX_INPUTS`].
    pub inputs: Vec<File>,
    /// Where they go.
    pub output: Target,
}

impl Ffmpeg {
    /// Joins files without encoding them anew; progress and dropping as in [`Self::cut`].
    pub async fn concat(&self, concat: Concat, on_percent: impl Fn(u8) + Send + Sync + 'static) -> Result<Made, Error> {
        if !(2..=MAX_INPUTS).contains(&concat.inputs.len()) {
            let count = concat.inputs.len();
            return Err(Error::BadInput(format!("{count} files are to be joined; it must be 2 to {MAX_INPUTS}")));
        }
        let _place = self.place().await?;
        let mut sources = Vec::with_capacity(concat.inputs.len());
        for (index, file) in concat.inputs.into_iter().enumerate() {
            let source = self.source(file).await.map_err(|error| of_input(index, error))?;
            if let Some(first) = sources.first() {
                same(first, &source).map_err(|why| Error::BadInput(format!("file {}: {why}", index + 1)))?;
            }
            sources.push(source);
        }
        let Some(first) = sources.first() else { return Err(Error::BadInput("there is no file".to_owned())) };
        let run = Run {
            args: words(&["-map", "0:V?", "-map", "0:a?", "-c", "copy"]),
            input: list(&sources)?,
            container: Container::of_copy(&first.probe),
            target: &concat.output,
            length_ms: sources.iter().filter_map(|source| source.probe.duration_ms).sum(),
            nothing: "the files have no length",
        };
        self.make(run, on_percent).await
    }
}

/// Which of the files it is about.
fn of_input(index: usize, error: Error) -> Error {
    match error {
        Error::BadInput(why) => Error::BadInput(format!("file {}: {why}", index + 1)),
        Error::Unsupported(_) | Error::Limit(_) | Error::TooLarge(_) | Error::Tool { .. } | Error::Unavailable(_) => {
            error
        }
    }
}

/// What keeps a file from following the first one.
fn same(first: &Source, other: &Source) -> Result<(), String> {
    if first.format != other.format {
        let (ours, theirs) = (other.format.demuxer(), first.format.demuxer());
        return Err(format!("its format is {ours}, but the first one's is {theirs}"));
    }
    let (ours, theirs) = (&other.probe.streams, &first.probe.streams);
    if ours.len() != theirs.len() {
        return Err(format!("it has {} streams, but the first one has {}", ours.len(), theirs.len()));
    }
    let differs = ours.iter().zip(theirs).position(|(ours, theirs)| shape(ours) != shape(theirs));
    differs.map_or(Ok(()), |at| {
        let (ours, theirs) = (shape(&ours[at]), shape(&theirs[at]));
        Err(format!("its stream {} is {ours}, but the first one's is {theirs}: encode them alike first", at + 1))
    })
}

/// What has to be equal in streams that follow each other.
fn shape(stream: &Stream) -> String {
    match stream {
        Stream::Video { codec, width, height, .. } => format!("{codec} {width}x{height}"),
        Stream::Audio { codec, sample_rate, channels } => format!("{codec} {sample_rate} Hz, {channels} channels"),
        Stream::Other(kind) => kind.clone(),
    }
}

/// A list that only this host writes, of files that it has opened: no name of a file is in it. The reader of lists may
/// open nothing but files, and read nothing in them but the one format that was recognised in all.
fn list(sources: &[Source]) -> Result<Input, Error> {
    let mut text = "ffconcat version 1.0\n".to_owned();
    let mut names = Vec::with_capacity(sources.len());
    for (index, source) in sources.iter().enumerate() {
        // They stay open, under this number, until the tool has ended.
        let path = format!("/proc/{}/fd/{}", std::process::id(), source.file.as_raw_fd());
        let _written = writeln!(text, "file '{path}'");
        names.push((path, format!("file {}", index + 1)));
    }
    // What begins like another path is replaced first.
    names.sort_by_key(|(path, _)| std::cmp::Reverse(path.len()));
    let in_memory = || {
        let mut file = File::from(memfd_create("list", MemfdFlags::CLOEXEC)?);
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok::<_, std::io::Error>(file)
    };
    let stdin = in_memory().map_err(|error| Error::Unavailable(format!("cannot write the list of files: {error}")))?;
    let format = sources.first().map_or("", |source| source.format.demuxer());
    let formats = format!("concat,{format}");
    let mut args = words(&["-protocol_whitelist", "file", "-format_whitelist", &formats, "-safe", "0"]);
    args.extend(words(&["-f", "concat"]));
    if sources.iter().any(|source| source.format.lacks_timestamps()) {
        args.extend(words(&["-fflags", "+genpts"]));
    }
    Ok(Input { args, stdin, names })
}
