//! `[ffmpeg.presets.NAME]`: how plugins may have files encoded anew.

use std::fmt;

use toml::Spanned;
use toml::de::DeValue;

use super::document::{Document, raw};
use super::key::{Raw, abridged, count, quote, text};
use super::limit::Reader;
use super::mistake::Place;
use super::source::Draft;
use crate::ffmpeg::Container;
use crate::ffmpeg::preset::{
    AUDIO_BITRATE, AUDIO_CODECS, CHANNELS, Declaration, MAX_FPS, Preset, Quality, SIDE, SPEEDS, VIDEO_BITRATE,
    VIDEO_CODECS, VideoCodec,
};

const FIELDS: [&str; 11] = [
    "container",
    "video_codec",
    "crf",
    "video_bitrate",
    "speed",
    "max_width",
    "max_height",
    "max_fps",
    "audio_codec",
    "audio_bitrate",
    "channels",
];
const MAX_PRESETS: usize = 64;
const MAX_NAME_BYTES: usize = 64;

/// Reads every preset of a file.
pub(super) fn read(value: &Spanned<DeValue<'_>>, place: Place, document: Document<'_>, draft: &mut Draft) {
    let DeValue::Table(presets) = value.get_ref() else {
        return draft.wrong(place, "presets have names: write `[ffmpeg.presets.NAME]`, once for each".to_owned());
    };
    if presets.len() > MAX_PRESETS {
        return draft.wrong(place, format!("{} presets, more than {MAX_PRESETS}", presets.len()));
    }
    for (name, value) in presets {
        let place = document.place(&name.span());
        let name = name.get_ref();
        if !is_name(name) {
            let rule = format!("1 to {MAX_NAME_BYTES} of a-z, 0-9, - and _");
            draft.wrong(place, format!("`{}` is no name of a preset: {rule}", abridged(name)));
        } else if let DeValue::Table(table) = value.get_ref() {
            let mut reader =
                Reader { table, place: place.clone(), document, draft, what: "the preset", misread: false };
            if let Some(preset) = preset(&mut reader) {
                draft.config.ffmpeg.presets.insert(name.to_string(), preset);
                draft.presets.insert(name.to_string(), place);
            }
        } else {
            draft.wrong(place, format!("a preset is a section: write `[ffmpeg.presets.{name}]`"));
        }
    }
}

fn is_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(letter)
}

fn preset(reader: &mut Reader<'_, '_>) -> Option<Preset> {
    reader.unknown("[ffmpeg.presets.NAME]", &FIELDS);
    let declaration = Declaration {
        container: reader.value("container", |value| one_of(value, &Container::NAMES)),
        video_codec: reader.value("video_codec", |value| one_of(value, &VIDEO_CODECS)),
        crf: reader.value("crf", |value| count(&raw(value), 0, 63)),
        video_bitrate: reader.value("video_bitrate", |value| bitrate(raw(value), VIDEO_BITRATE)),
        speed: reader.value("speed", |value| one_of(value, &SPEEDS)),
        max_width: reader.value("max_width", |value| count(&raw(value), SIDE.0, SIDE.1)),
        max_height: reader.value("max_height", |value| count(&raw(value), SIDE.0, SIDE.1)),
        max_fps: reader.value("max_fps", |value| count(&raw(value), MAX_FPS.0, MAX_FPS.1)),
        audio_codec: reader.value("audio_codec", |value| one_of(value, &AUDIO_CODECS)),
        audio_bitrate: reader.value("audio_bitrate", |value| bitrate(raw(value), AUDIO_BITRATE)),
        channels: reader.value("channels", |value| count(&raw(value), CHANNELS.0, CHANNELS.1)),
    };
    if reader.misread {
        return None;
    }
    match declaration.check() {
        Ok(preset) => Some(preset),
        Err(wrong) => {
            for (field, message) in wrong {
                reader.wrong(field, &message);
            }
            None
        }
    }
}

fn one_of<T: Copy>(value: &DeValue<'_>, names: &[(&str, T)]) -> Result<T, String> {
    let known = names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let found = text(raw(value)).map_err(|error| format!("{error}; one of {known} is right"))?;
    let named = names.iter().find(|(name, _)| *name == found).map(|(_, value)| *value);
    named.ok_or_else(|| format!("`{}` is not one of {known}", abridged(&found)))
}

/// Bits a second: `"2500k"`, `"2.5M"` or a number.
fn bitrate(raw: Raw, (least, most): (u64, u64)) -> Result<u64, String> {
    const RULE: &str = "expected bits a second, such as \"128k\", \"2.5M\" or a number";
    let bits = match raw {
        Raw::Integer(number) => u64::try_from(number).ok(),
        Raw::Text(text) => bits(&text),
        Raw::Flag(_) | Raw::Texts(_) | Raw::Other(_) | Raw::Untyped(_) => None,
    };
    let bits = bits.ok_or_else(|| RULE.to_owned())?;
    if (least..=most).contains(&bits) { Ok(bits) } else { Err(format!("{bits} is out of range: {least} to {most}")) }
}

fn bits(text: &str) -> Option<u64> {
    let (number, unit) = match text.strip_suffix('k') {
        Some(number) => (number, 1_000),
        None => (text.strip_suffix('M')?, 1_000_000),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let part = fraction.parse::<u64>().ok()? * unit / 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(part)
}

/// Writes a preset as a file has it.
pub(super) fn show(f: &mut fmt::Formatter<'_>, preset: &Preset) -> fmt::Result {
    fn word<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> String {
        quote(names.iter().find(|(_, named)| named == value).map_or("", |(name, _)| name))
    }
    let Preset { container, video, audio } = preset;
    writeln!(f, "container = {}", quote(container.name()))?;
    writeln!(f, "video_codec = {}", word(&VIDEO_CODECS, &video.codec))?;
    if !matches!(video.codec, VideoCodec::Copy | VideoCodec::None) {
        match video.quality {
            Quality::Crf(crf) => writeln!(f, "crf = {crf}")?,
            Quality::BitsPerSecond(bits) => writeln!(f, "video_bitrate = {bits}")?,
        }
        writeln!(f, "speed = {}", word(&SPEEDS, &video.speed))?;
    }
    let numbers = [("max_width", video.max_width), ("max_height", video.max_height), ("max_fps", video.max_fps)];
    for (name, number) in numbers {
        if let Some(number) = number {
            writeln!(f, "{name} = {number}")?;
        }
    }
    writeln!(f, "audio_codec = {}", word(&AUDIO_CODECS, &audio.codec))?;
    if let Some(bits) = audio.bits_per_second {
        writeln!(f, "audio_bitrate = {bits}")?;
    }
    if let Some(channels) = audio.channels {
        writeln!(f, "channels = {channels}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{bits, is_name};

    #[test]
    fn rates_have_a_unit() {
        assert_eq!((bits("128k"), bits("2.5M"), bits("0.5k")), (Some(128_000), Some(2_500_000), Some(500)));
        for wrong in ["", "k", "128", "128K", "1.M", ".5M", "-1k", "1e3k", "9999999999M", "1 k"] {
            assert_eq!(bits(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn names_of_presets_are_plain() {
        assert!(
            is_name("web-720p_1") && !is_name("") && !is_name("Web") && !is_name("a b") && !is_name(&"a".repeat(65))
        );
    }
}
