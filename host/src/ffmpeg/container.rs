//! What an output file is, and what it can hold.

use super::{Probe, Stream};

/// Codecs that an MP4 file carries as they are; copies of others go to Matroska.
const MP4_VIDEO: [&str; 5] = ["h264", "hevc", "av1", "mpeg4", "vp9"];
const MP4_AUDIO: [&str; 6] = ["aac", "mp3", "ac3", "eac3", "opus", "alac"];
const WEBM_VIDEO: [&str; 3] = ["vp8", "vp9", "av1"];
const WEBM_AUDIO: [&str; 2] = ["opus", "vorbis"];

/// What an output file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// MPEG-4 part 14.
    Mp4,
    /// Matroska.
    Matroska,
    /// `WebM`: Matroska for browsers.
    Webm,
    /// MPEG audio, layer 3; sound only.
    Mp3,
    /// Ogg; sound only here.
    Ogg,
    /// FLAC; sound only.
    Flac,
    /// RIFF WAVE; sound only.
    Wav,
}

impl Container {
    /// Every container and its name in a configuration.
    pub const NAMES: [(&'static str, Self); 7] = [
        ("mp4", Self::Mp4),
        ("matroska", Self::Matroska),
        ("webm", Self::Webm),
        ("mp3", Self::Mp3),
        ("ogg", Self::Ogg),
        ("flac", Self::Flac),
        ("wav", Self::Wav),
    ];

    /// Its name in a configuration, which is ffmpeg's name of the muxer, too.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, container)| *container == self).map_or("", |(name, _)| name)
    }

    /// The extension of its files' names, for a file with pictures or with sound only.
    pub fn extension(self, video: bool) -> &'static str {
        match (self, video) {
            (Self::Mp4, true) => "mp4",
            (Self::Mp4, false) => "m4a",
            (Self::Matroska, true) => "mkv",
            (Self::Matroska, false) => "mka",
            (Self::Webm, _) => "webm",
            (Self::Mp3, _) => "mp3",
            (Self::Ogg, _) => "ogg",
            (Self::Flac, _) => "flac",
            (Self::Wav, _) => "wav",
        }
    }

    /// Its MIME type, for a file with pictures or with sound only.
    pub fn content_type(self, video: bool) -> &'static str {
        match (self, video) {
            (Self::Mp4, true) => "video/mp4",
            (Self::Mp4, false) => "audio/mp4",
            (Self::Matroska, true) => "video/x-matroska",
            (Self::Matroska, false) => "audio/x-matroska",
            (Self::Webm, true) => "video/webm",
            (Self::Webm, false) => "audio/webm",
            (Self::Mp3, _) => "audio/mpeg",
            (Self::Ogg, _) => "audio/ogg",
            (Self::Flac, _) => "audio/flac",
            (Self::Wav, _) => "audio/wav",
        }
    }

    /// Whether it holds moving pictures, and several streams.
    pub fn is_video(self) -> bool {
        matches!(self, Self::Mp4 | Self::Matroska | Self::Webm)
    }

    /// Whether it can hold a copy of a stream of this codec, as ffprobe names it.
    pub(super) fn carries_video(self, codec: &str) -> bool {
        match self {
            Self::Mp4 => MP4_VIDEO.contains(&codec),
            Self::Matroska => true,
            Self::Webm => WEBM_VIDEO.contains(&codec),
            Self::Mp3 | Self::Ogg | Self::Flac | Self::Wav => false,
        }
    }

    /// Whether it can hold a copy of a stream of this codec, as ffprobe names it.
    pub(super) fn carries_audio(self, codec: &str) -> bool {
        match self {
            Self::Mp4 => MP4_AUDIO.contains(&codec),
            Self::Matroska => true,
            Self::Webm => WEBM_AUDIO.contains(&codec),
            Self::Mp3 => codec == "mp3",
            Self::Ogg => ["opus", "vorbis", "flac"].contains(&codec),
            Self::Flac => codec == "flac",
            Self::Wav => codec.starts_with("pcm_"),
        }
    }

    /// What can hold a copy of these streams.
    pub(super) fn of_copy(probe: &Probe) -> Self {
        let fits = probe.streams.iter().all(|stream| match stream {
            Stream::Video { codec, .. } => Self::Mp4.carries_video(codec),
            Stream::Audio { codec, .. } => Self::Mp4.carries_audio(codec),
            Stream::Other(_) => true,
        });
        if fits { Self::Mp4 } else { Self::Matroska }
    }

    /// What suits a copy of a stream of sound.
    pub(super) fn of_sound(codec: &str) -> Self {
        let suited = [Self::Mp3, Self::Flac, Self::Ogg, Self::Wav, Self::Mp4];
        suited.into_iter().find(|container| container.carries_audio(codec)).unwrap_or(Self::Matroska)
    }
}

#[cfg(test)]
mod tests {
    use super::Container;

    #[test]
    fn sound_goes_where_it_is_looked_for() {
        let of = |codec| Container::of_sound(codec).extension(false);
        assert_eq!(["aac", "mp3", "opus", "vorbis"].map(of), ["m4a", "mp3", "ogg", "ogg"]);
        assert_eq!(["flac", "pcm_s16le", "ac3", "dts"].map(of), ["flac", "wav", "m4a", "mka"]);
    }
}
