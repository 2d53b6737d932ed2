//! How an operator lets files be encoded anew: typed settings by name, never arguments.

use super::Container;

/// Bits a second of pictures and of sound.
pub const VIDEO_BITRATE: (u64, u64) = (10_000, 400_000_000);
/// Bits a second of sound.
pub const AUDIO_BITRATE: (u64, u64) = (6_000, 1_000_000);
/// Pixels of a side.
pub const SIDE: (u32, u32) = (16, 16_384);
/// Pictures a second.
pub const MAX_FPS: (u32, u32) = (1, 240);
/// Channels of sound.
pub const CHANNELS: (u32, u32) = (1, 8);

/// What a file becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// What the output is.
    pub container: Container,
    /// Its moving pictures.
    pub video: Video,
    /// Its sound.
    pub audio: Audio,
}

/// What becomes of the first stream of moving pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// How it is encoded.
    pub codec: VideoCodec,
    /// How well.
    pub quality: Quality,
    /// How much time that may take.
    pub speed: Speed,
    /// Pixels; wider pictures are scaled down.
    pub max_width: Option<u32>,
    /// Pixels; higher pictures are scaled down.
    pub max_height: Option<u32>,
    /// Pictures a second; of more, some are left out.
    pub max_fps: Option<u32>,
}

/// What becomes of the sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// How it is encoded.
    pub codec: AudioCodec,
    /// Bits a second; the encoder's own choice when absent.
    pub bits_per_second: Option<u64>,
    /// Channels; as many as there are when absent.
    pub channels: Option<u32>,
}

/// How pictures are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoCodec {
    /// H.264.
    H264,
    /// H.265.
    H265,
    /// VP9.
    Vp9,
    /// AV1.
    Av1,
    /// As they are.
    Copy,
    /// They are left out.
    None,
}

/// How sound is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AudioCodec {
    /// AAC.
    Aac,
    /// MP3.
    Mp3,
    /// Opus.
    Opus,
    /// Vorbis.
    Vorbis,
    /// FLAC.
    Flac,
    /// Samples of 16 bits.
    Pcm,
    /// As it is.
    Copy,
    /// It is left out.
    None,
}

/// What decides how large pictures get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// A constant quality; less is better.
    Crf(u32),
    /// A rate.
    BitsPerSecond(u64),
}

/// How much time an encoder takes to make a file smaller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speed {
    /// Little.
    Fast,
    /// Some.
    #[default]
    Medium,
    /// Much.
    Slow,
}

/// Names in a configuration.
pub const VIDEO_CODECS: [(&str, VideoCodec); 6] = [
    ("h264", VideoCodec::H264),
    ("h265", VideoCodec::H265),
    ("vp9", VideoCodec::Vp9),
    ("av1", VideoCodec::Av1),
    ("copy", VideoCodec::Copy),
    ("none", VideoCodec::None),
];
/// Names in a configuration.
pub const AUDIO_CODECS: [(&str, AudioCodec); 8] = [
    ("aac", AudioCodec::Aac),
    ("mp3", AudioCodec::Mp3),
    ("opus", AudioCodec::Opus),
    ("vorbis", AudioCodec::Vorbis),
    ("flac", AudioCodec::Flac),
    ("pcm", AudioCodec::Pcm),
    ("copy", AudioCodec::Copy),
    ("none", AudioCodec::None),
];
/// Names in a configuration.
pub const SPEEDS: [(&str, Speed); 3] = [("fast", Speed::Fast), ("medium", Speed::Medium), ("slow", Speed::Slow)];

/// A preset as it was written; every field is right by itself.
#[derive(Clone, Debug, Default)]
pub struct Declaration {
    /// `container`
    pub container: Option<Container>,
    /// `video_codec`
    pub video_codec: Option<VideoCodec>,
    /// `crf`
    pub crf: Option<u32>,
    /// `video_bitrate`
    pub video_bitrate: Option<u64>,
    /// `speed`
    pub speed: Option<Speed>,
    /// `max_width`
    pub max_width: Option<u32>,
    /// `max_height`
    pub max_height: Option<u32>,
    /// `max_fps`
    pub max_fps: Option<u32>,
    /// `audio_codec`
    pub audio_codec: Option<AudioCodec>,
    /// `audio_bitrate`
    pub audio_bitrate: Option<u64>,
    /// `channels`
    pub channels: Option<u32>,
}

/// A field of a declaration and what is wrong with it.
pub type Wrong = (&'static str, String);

impl Declaration {
    /// The preset, or everything that does not go together.
    pub fn check(self) -> Result<Preset, Vec<Wrong>> {
        let Some(container) = self.container else {
            let names: Vec<_> = Container::NAMES.iter().map(|(name, _)| *name).collect();
            return Err(vec![("container", format!("is missing: one of {}", names.join(", ")))]);
        };
        let (video_default, audio_default) = defaults(container);
        let video = self.video_codec.unwrap_or(video_default);
        let audio = self.audio_codec.unwrap_or(audio_default);
        let mut wrong: Vec<Wrong> = Vec::new();
        if let Some(codec) = video.codec_name()
            && !container.carries_video(codec)
        {
            wrong.push(("video_codec", format!("{} does not hold {codec}", container.name())));
        }
        if video == VideoCodec::Copy && !container.is_video() {
            wrong.push(("video_codec", format!("{} holds sound only", container.name())));
        }
        if let Some(codec) = audio.codec_name()
            && !container.carries_audio(codec)
        {
            wrong.push(("audio_codec", format!("{} does not hold {codec}", container.name())));
        }
        if video == VideoCodec::None && audio == AudioCodec::None {
            wrong.push(("audio_codec", "neither pictures nor sound would be left".to_owned()));
        }
        self.idle_keys(video, audio, &mut wrong);
        let quality = self.quality(video, &mut wrong);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let (max_width, max_height) = (self.max_width, self.max_height);
        let speed = self.speed.unwrap_or_default();
        Ok(Preset {
            container,
            video: Video { codec: video, quality, speed, max_width, max_height, max_fps: self.max_fps },
            audio: Audio { codec: audio, bits_per_second: self.audio_bitrate, channels: self.channels },
        })
    }

    fn quality(&self, codec: VideoCodec, wrong: &mut Vec<Wrong>) -> Quality {
        let (most, default) = codec.crf();
        match (self.crf, self.video_bitrate) {
            (Some(_), Some(_)) => wrong.push(("crf", "goes not with `video_bitrate`: give one of them".to_owned())),
            (Some(crf), None) if crf > most => wrong.push(("crf", format!("{crf} is out of range: 0 to {most}"))),
            (None, Some(bits)) => return Quality::BitsPerSecond(bits),
            (Some(_) | None, None) => {}
        }
        Quality::Crf(self.crf.unwrap_or(default))
    }

    /// Keys that would do nothing.
    fn idle_keys(&self, video: VideoCodec, audio: AudioCodec, wrong: &mut Vec<Wrong>) {
        let of_video = [
            ("crf", self.crf.is_some()),
            ("video_bitrate", self.video_bitrate.is_some()),
            ("speed", self.speed.is_some()),
            ("max_width", self.max_width.is_some()),
            ("max_height", self.max_height.is_some()),
            ("max_fps", self.max_fps.is_some()),
        ];
        if video.codec_name().is_none() {
            let idle = of_video.into_iter().filter(|(_, given)| *given);
            wrong.extend(idle.map(|(key, _)| (key, "does nothing: no pictures are encoded".to_owned())));
        }
        let rate = matches!(audio, AudioCodec::Aac | AudioCodec::Mp3 | AudioCodec::Opus | AudioCodec::Vorbis);
        if self.audio_bitrate.is_some() && !rate {
            wrong.push(("audio_bitrate", "does nothing: the sound is not compressed with loss".to_owned()));
        }
        if self.channels.is_some() && audio.codec_name().is_none() {
            wrong.push(("channels", "does nothing: no sound is encoded".to_owned()));
        }
    }
}

fn defaults(container: Container) -> (VideoCodec, AudioCodec) {
    match container {
        Container::Mp4 | Container::Matroska => (VideoCodec::H264, AudioCodec::Aac),
        Container::Webm => (VideoCodec::Vp9, AudioCodec::Opus),
        Container::Mp3 => (VideoCodec::None, AudioCodec::Mp3),
        Container::Ogg => (VideoCodec::None, AudioCodec::Opus),
        Container::Flac => (VideoCodec::None, AudioCodec::Flac),
        Container::Wav => (VideoCodec::None, AudioCodec::Pcm),
    }
}

impl VideoCodec {
    /// What ffprobe calls what it makes, if it makes something.
    fn codec_name(self) -> Option<&'static str> {
        match self {
            Self::H264 => Some("h264"),
            Self::H265 => Some("hevc"),
            Self::Vp9 => Some("vp9"),
            Self::Av1 => Some("av1"),
            Self::Copy | Self::None => None,
        }
    }

    /// The worst quality and the usual one.
    fn crf(self) -> (u32, u32) {
        match self {
            Self::H264 => (51, 23),
            Self::H265 => (51, 28),
            Self::Vp9 => (63, 32),
            Self::Av1 => (63, 35),
            Self::Copy | Self::None => (63, 0),
        }
    }
}

impl AudioCodec {
    /// What ffprobe calls what it makes, if it makes something.
    fn codec_name(self) -> Option<&'static str> {
        match self {
            Self::Aac => Some("aac"),
            Self::Mp3 => Some("mp3"),
            Self::Opus => Some("opus"),
            Self::Vorbis => Some("vorbis"),
            Self::Flac => Some("flac"),
            Self::Pcm => Some("pcm_s16le"),
            Self::Copy | Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(declaration: Declaration) -> Vec<&'static str> {
        declaration.check().unwrap_err().into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn a_container_brings_its_codecs() {
        for (name, container) in Container::NAMES {
            let preset = Declaration { container: Some(container), ..Declaration::default() }.check().unwrap();
            assert_eq!(preset.video.codec == VideoCodec::None, !container.is_video(), "{name}");
            assert_ne!(preset.audio.codec, AudioCodec::None, "{name}");
        }
    }

    #[test]
    fn what_does_not_go_together_is_told_all_at_once() {
        let webm = Declaration {
            container: Some(Container::Webm),
            video_codec: Some(VideoCodec::H264),
            audio_codec: Some(AudioCodec::Aac),
            crf: Some(52),
            ..Declaration::default()
        };
        assert_eq!(fields(webm), ["video_codec", "audio_codec", "crf"]);
        let copies = Declaration {
            container: Some(Container::Mp4),
            video_codec: Some(VideoCodec::Copy),
            audio_codec: Some(AudioCodec::None),
            max_width: Some(640),
            audio_bitrate: Some(96_000),
            channels: Some(2),
            ..Declaration::default()
        };
        assert_eq!(fields(copies), ["max_width", "audio_bitrate", "channels"]);
        let both = Declaration {
            container: Some(Container::Mp4),
            crf: Some(20),
            video_bitrate: Some(1_000_000),
            ..Declaration::default()
        };
        assert_eq!(fields(both), ["crf"]);
        let nothing = Declaration {
            container: Some(Container::Mp3),
            video_codec: Some(VideoCodec::Copy),
            audio_codec: Some(AudioCodec::None),
            ..Declaration::default()
        };
        assert_eq!(fields(nothing), ["video_codec"]);
        assert_eq!(fields(Declaration::default()), ["container"]);
    }
}
