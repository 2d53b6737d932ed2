//! One picture out of a file.

use std::fs::File;

use super::job::{decimal, folder_and_name, has_video, unreadable};
use super::probe::input_args;
use super::{Error, Ffmpeg, INPUT, Target, failure, is_disk_full};

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

impl ImageFormat {
    /// The extension of its files' names.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }

    /// Its MIME type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }

    fn encoder(self) -> &'static [&'static str] {
        match self {
            Self::Jpeg => &["-c:v", "mjpeg", "-q:v", "3", "-pix_fmt", "yuvj420p", "-f", "image2pipe"],
            Self::Png => &["-c:v", "png", "-f", "image2pipe"],
            Self::Webp => &["-c:v", "libwebp", "-f", "webp"],
        }
    }
}

/// A picture to be taken.
#[derive(Debug)]
pub struct Still {
    /// The file to take it from.
    pub input: File,
    /// Where it goes.
    pub output: Target,
    /// When, in milliseconds from the beginning.
    pub at_ms: u64,
    /// How it is stored.
    pub format: ImageFormat,
    /// Scaled down to this width, in pixels, when it is wider.
    pub max_width: Option<u32>,
}

impl Ffmpeg {
    /// Stores the picture that shows at an instant. Dropping the future ends the tool; what it has written of the output
    /// stays for the caller to remove.
    pub async fn still(&self, still: Still) -> Result<(), Error> {
        let tools = self.tools()?;
        let _place = self.place().await?;
        let source = self.source(still.input).await?;
        let (probe, format) = (&source.probe, source.format);
        if !has_video(probe) {
            return Err(Error::BadInput("there are no moving pictures in the file".to_owned()));
        }
        let at = decimal(still.at_ms);
        if let Some(length) = probe.duration_ms.filter(|length| still.at_ms >= *length && still.at_ms > 0) {
            let length = decimal(length);
            return Err(Error::BadInput(format!("the picture is asked for at {at} s but the video lasts {length} s")));
        }
        let (folder, name) = folder_and_name(&still.output.path)?;
        let mut args = vec!["-nostdin", "-hide_banner", "-loglevel", "error", "-nostats", "-y"];
        args.extend(input_args(format));
        let scale = still.max_width.map(|width| format!("scale=w='min({width},iw)':h=-2"));
        // A capital V leaves cover pictures out.
        args.extend(["-ss", &at, "-i", INPUT, "-map", "0:V:0", "-frames:v", "1"]);
        args.extend(scale.iter().flat_map(|scale| ["-vf", scale]));
        let max_bytes = self.max_bytes(&still.output);
        let (bound, output) = (max_bytes.to_string(), format!("file:{name}"));
        args.extend(["-fs", &bound]);
        args.extend(still.format.encoder());
        args.push(&output);
        let mut command = self.command(&tools.ffmpeg, max_bytes).args(args);
        command.stdin = Some(source.file);
        command.cwd = folder.to_owned();
        let exit = self.run(command, &still.output.path, &[]).await?;
        if !exit.success() || is_disk_full(&exit.stderr_tail) {
            return Err(failure(exit, max_bytes));
        }
        let written = tokio::fs::metadata(&still.output.path).await.map_err(unreadable)?.len();
        if written == 0 {
            return Err(Error::BadInput(format!("no picture begins at {at} s or after")));
        }
        // A picture is one packet, which the tool writes whole before it looks at its size.
        if written > max_bytes {
            return Err(Error::TooLarge(max_bytes));
        }
        Ok(())
    }
}
