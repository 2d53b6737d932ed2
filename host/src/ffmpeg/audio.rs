//! The sound of a file by itself.

use std::fs::File;

use super::container::Container;
use super::job::{Input, Run, first_sound, words};
use super::{Error, Ffmpeg, Made, Target};

/// How sound is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioFormat {
    /// As it is, in the container that suits it.
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
#[derive(Debug)]
pub struct Extract {
    /// The file to take it from.
    pub input: File,
    /// Where it goes.
    pub output: Target,
    /// How it is stored.
    pub format: AudioFormat,
}

impl Ffmpeg {
    /// Takes the first stream of sound out of a file; progress and dropping as in [`Self::cut`].
    pub async fn extract_audio(
        &self,
        extract: Extract,
        on_percent: impl Fn(u8) + Send + Sync + 'static,
    ) -> Result<Made, Error> {
        let _place = self.place().await?;
        let source = self.source(extract.input).await?;
        let sound = first_sound(&source.probe);
        let codec = sound.ok_or_else(|| Error::BadInput("there is no sound in the file".to_owned()))?;
        let (container, encoder): (_, &[&str]) = match extract.format {
            AudioFormat::Original => (Container::of_sound(codec), &["-c:a", "copy"]),
            AudioFormat::Aac => (Container::Mp4, &["-c:a", "aac", "-b:a", "192k"]),
            AudioFormat::Mp3 => (Container::Mp3, &["-c:a", "libmp3lame", "-q:a", "2"]),
            AudioFormat::Opus => (Container::Ogg, &["-c:a", "libopus", "-b:a", "128k"]),
            AudioFormat::Flac => (Container::Flac, &["-c:a", "flac"]),
            AudioFormat::Wav => (Container::Wav, &["-c:a", "pcm_s16le"]),
        };
        let mut args = words(&["-map", "0:a:0"]);
        args.extend(words(encoder));
        let run = Run {
            args,
            input: Input::of(&source, None)?,
            container,
            target: &extract.output,
            length_ms: source.probe.duration_ms.unwrap_or(0),
            nothing: "the sound of the file has no length",
        };
        self.make(run, on_percent).await
    }
}
