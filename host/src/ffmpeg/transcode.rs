//! A file encoded anew, by a preset of the operator.

use std::fs::File;

use super::job::{Input, Run, first_sound, has_video, odd_size, words};
use super::preset::{AudioCodec, Preset, Quality, Speed, VideoCodec};
use super::{Container, Error, Ffmpeg, Made, Probe, Stream, Target};

/// A file to be encoded anew.
#[derive(Debug)]
pub struct Transcode {
    /// The file.
    pub input: File,
    /// Where it goes.
    pub output: Target,
    /// The name of a preset.
    pub preset: String,
}

impl Ffmpeg {
    /// Encodes a file by a preset; progress and dropping as in [`Self::cut`].
    pub async fn transcode(
        &self,
        transcode: Transcode,
        on_percent: impl Fn(u8) + Send + Sync + 'static,
    ) -> Result<Made, Error> {
        let name = &transcode.preset;
        let Some(preset) = self.settings.presets.get(name) else {
            let known: Vec<_> = self.settings.presets.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let remedy = format!("describe it under [ffmpeg.presets.{name:?}] in the host's configuration");
            return Err(Error::Unsupported(format!("there is no preset {name:?}, only {known}: {remedy}")));
        };
        let _place = self.place().await?;
        let source = self.source(transcode.input).await?;
        fits(preset, &source.probe).map_err(|why| Error::BadInput(format!("the preset {name:?} {why}")))?;
        let run = Run {
            args: args(preset, &source.probe),
            input: Input::of(&source, None)?,
            container: preset.container,
            target: &transcode.output,
            length_ms: source.probe.duration_ms.unwrap_or(0),
            nothing: "there is nothing to encode in the file",
        };
        self.make(run, on_percent).await
    }
}

/// What keeps a file from being encoded by a preset.
fn fits(preset: &Preset, probe: &Probe) -> Result<(), String> {
    let container = preset.container;
    if preset.video.codec != VideoCodec::None && !has_video(probe) {
        return Err("makes moving pictures, but there are none in the file".to_owned());
    }
    if preset.video.codec == VideoCodec::None && first_sound(probe).is_none() {
        return Err("keeps the sound alone, but there is none in the file".to_owned());
    }
    for stream in &probe.streams {
        let (codec, carried) = match stream {
            Stream::Video { codec, .. } if preset.video.codec == VideoCodec::Copy => {
                (codec, container.carries_video(codec))
            }
            Stream::Audio { codec, .. } if preset.audio.codec == AudioCodec::Copy => {
                (codec, container.carries_audio(codec))
            }
            Stream::Video { .. } | Stream::Audio { .. } | Stream::Other(_) => continue,
        };
        if !carried {
            return Err(format!("copies {codec}, which {} cannot hold", container.name()));
        }
    }
    Ok(())
}

fn args(preset: &Preset, probe: &Probe) -> Vec<String> {
    let mut args = video(preset, probe);
    args.extend(audio(preset));
    args
}

fn video(preset: &Preset, probe: &Probe) -> Vec<String> {
    let video = &preset.video;
    let mut args = match video.codec {
        VideoCodec::None => return Vec::new(),
        // A capital V leaves cover pictures out.
        VideoCodec::Copy => return words(&["-map", "0:V:0", "-c:v", "copy"]),
        VideoCodec::H264 | VideoCodec::H265 | VideoCodec::Vp9 | VideoCodec::Av1 => words(&["-map", "0:V:0"]),
    };
    let speed = |fast, medium, slow| match video.speed {
        Speed::Fast => fast,
        Speed::Medium => medium,
        Speed::Slow => slow,
    };
    args.extend(match video.codec {
        VideoCodec::H264 => words(&["-c:v", "libx264", "-preset", speed("veryfast", "medium", "slow")]),
        VideoCodec::H265 => {
            // The library speaks for itself unless it is told not to.
            let quiet = ["-x265-params", "log-level=error"];
            // The tag by which some players know it in MP4.
            let tag: &[&str] = if preset.container == Container::Mp4 { &["-tag:v", "hvc1"] } else { &[] };
            let encoder = ["-c:v", "libx265", "-preset", speed("veryfast", "medium", "slow")];
            words(&[&encoder[..], &quiet, tag].concat())
        }
        VideoCodec::Vp9 => {
            words(&["-c:v", "libvpx-vp9", "-deadline", "good", "-row-mt", "1", "-cpu-used", speed("5", "3", "1")])
        }
        VideoCodec::Av1 => words(&["-c:v", "libsvtav1", "-preset", speed("10", "8", "5")]),
        VideoCodec::Copy | VideoCodec::None => Vec::new(),
    });
    match video.quality {
        Quality::Crf(crf) => {
            args.extend(words(&["-crf", &crf.to_string()]));
            if video.codec == VideoCodec::Vp9 {
                // Without it the quality is bounded by a default bit rate.
                args.extend(words(&["-b:v", "0"]));
            }
        }
        Quality::BitsPerSecond(bits) => args.extend(words(&["-b:v", &bits.to_string()])),
    }
    args.extend(words(&["-pix_fmt", "yuv420p"]));
    if let Some(rate) = video.max_fps {
        args.extend(words(&["-fpsmax", &rate.to_string()]));
    }
    if let Some(scale) = scale(video.max_width, video.max_height, odd_size(probe)) {
        args.extend(["-vf".to_owned(), scale]);
    }
    args
}

/// The filter that makes pictures fit, never larger; their sides are even, as shared colour samples need.
fn scale(max_width: Option<u32>, max_height: Option<u32>, odd: bool) -> Option<String> {
    let side =
        |side: &str, most: Option<u32>| most.map_or_else(|| side.to_owned(), |most| format!("'min({most},{side})'"));
    (max_width.is_some() || max_height.is_some() || odd).then(|| {
        let (width, height) = (side("iw", max_width), side("ih", max_height));
        format!("scale=w={width}:h={height}:force_original_aspect_ratio=decrease:force_divisible_by=2")
    })
}

fn audio(preset: &Preset) -> Vec<String> {
    let audio = &preset.audio;
    let encoder = match audio.codec {
        AudioCodec::None => return Vec::new(),
        AudioCodec::Copy => "copy",
        AudioCodec::Aac => "aac",
        AudioCodec::Mp3 => "libmp3lame",
        AudioCodec::Opus => "libopus",
        AudioCodec::Vorbis => "libvorbis",
        AudioCodec::Flac => "flac",
        AudioCodec::Pcm => "pcm_s16le",
    };
    // Formats of sound hold one stream.
    let streams = if preset.container.is_video() { "0:a?" } else { "0:a:0" };
    let mut args = words(&["-map", streams, "-c:a", encoder]);
    if let Some(bits) = audio.bits_per_second {
        args.extend(words(&["-b:a", &bits.to_string()]));
    }
    if let Some(channels) = audio.channels {
        args.extend(words(&["-ac", &channels.to_string()]));
    }
    args
}

#[cfg(test)]
mod tests {
    use super::scale;

    #[test]
    fn pictures_are_scaled_when_they_have_to_be() {
        assert_eq!(scale(None, None, false), None);
        let rest = "force_original_aspect_ratio=decrease:force_divisible_by=2";
        assert_eq!(scale(None, None, true).unwrap(), format!("scale=w=iw:h=ih:{rest}"));
        assert_eq!(scale(Some(640), None, false).unwrap(), format!("scale=w='min(640,iw)':h=ih:{rest}"));
        assert_eq!(scale(Some(6), Some(8), false).unwrap(), format!("scale=w='min(6,iw)':h='min(8,ih)':{rest}"));
    }
}
