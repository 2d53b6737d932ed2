//! What a file holds, as ffprobe sees it.

use std::fs::File;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;

use super::sniff::{self, Format};
use super::{Error, Ffmpeg, INPUT, failure};
use crate::process::Stdout;

const PROBE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of ffprobe's answer; some hundred streams.
const ANSWER_BYTES: usize = 1 << 20;
const ENTRIES: &str = "format=format_name,duration:stream=codec_type,codec_name,width,height,avg_frame_rate,\
                       sample_rate,channels,duration:stream_disposition=attached_pic";

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Container format, as ffprobe names it.
    pub container: String,
    /// Length in milliseconds, when the container tells.
    pub duration_ms: Option<u64>,
    /// Bytes.
    pub size: u64,
    /// Its streams.
    pub streams: Vec<Stream>,
}

/// One stream of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Stream {
    /// Pictures.
    Video {
        /// Codec name as ffprobe has it.
        codec: String,
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Average rate; 0 when unknown.
        frames_per_second: f64,
    },
    /// Sound.
    Audio {
        /// Codec name as ffprobe has it.
        codec: String,
        /// Hertz.
        sample_rate: u32,
        /// How many.
        channels: u32,
    },
    /// Anything else, by its type: `subtitle`, `data`, `attachment`, `cover`.
    Other(String),
}

impl Ffmpeg {
    /// What an open file holds; `size` is its length in bytes.
    pub async fn probe(&self, file: File, size: u64) -> Result<Probe, Error> {
        self.tools()?;
        let (file, format) = sniffed(file).await?;
        self.probe_as(file, format, size).await
    }

    /// Probes a file of a known format.
    pub(super) async fn probe_as(&self, file: File, format: Format, size: u64) -> Result<Probe, Error> {
        let tools = self.tools()?;
        let closed = |_| Error::Unavailable("the host is stopping".to_owned());
        let _permit = self.probes.acquire().await.map_err(closed)?;
        let mut command =
            self.command(&tools.ffprobe, 0).args(["-v", "error", "-of", "json", "-show_entries", ENTRIES]);
        command = command.args(input_args(format)).args(["-i", INPUT]);
        command.stdin = Some(file);
        command.stdout = Stdout::Collect { max_bytes: ANSWER_BYTES };
        command.limits.cpu_seconds = command.limits.cpu_seconds.min(PROBE_TIMEOUT.as_secs());
        let exit = timeout(PROBE_TIMEOUT, self.supervisor.run(command))
            .await
            .map_err(|_| Error::Limit(format!("the file was not probed within {} s", PROBE_TIMEOUT.as_secs())))??;
        if !exit.success() {
            let error = failure(exit, 0);
            return Err(if let Error::Tool { exit_code: Some(_), stderr_tail } = error {
                let (reader, why) = (format.demuxer(), stderr_tail.replace(INPUT, "input"));
                Error::BadInput(format!("the file looks like {reader} but cannot be read: {why}"))
            } else {
                error
            });
        }
        if exit.stdout_truncated {
            return Err(Error::BadInput("the file has too many streams".to_owned()));
        }
        parse(&exit.stdout, size)
    }
}

/// Decides the format off the runtime's threads.
pub(super) async fn sniffed(file: File) -> Result<(File, Format), Error> {
    tokio::task::spawn_blocking(move || sniff::sniff(&file).map(|format| (file, format)))
        .await
        .unwrap_or_else(|_| Err(Error::Unavailable("the host is stopping".to_owned())))
}

/// What binds the reader of an input to one format and to the file that was opened for it.
pub(super) fn input_args(format: Format) -> Vec<&'static str> {
    let demuxer = format.demuxer();
    let mut args = vec!["-protocol_whitelist", "file", "-format_whitelist", demuxer, "-f", demuxer];
    if demuxer == "mov" {
        // References to other files are not followed.
        args.extend(["-enable_drefs", "0"]);
    }
    if format.lacks_timestamps() {
        args.extend(["-fflags", "+genpts"]);
    }
    args
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    format: AnswerFormat,
    #[serde(default)]
    streams: Vec<AnswerStream>,
}

#[derive(Default, Deserialize)]
struct AnswerFormat {
    #[serde(default)]
    format_name: String,
    duration: Option<String>,
}

#[derive(Deserialize)]
struct AnswerStream {
    codec_type: Option<String>,
    codec_name: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    avg_frame_rate: Option<String>,
    sample_rate: Option<String>,
    channels: Option<u32>,
    duration: Option<String>,
    #[serde(default)]
    disposition: Disposition,
}

#[derive(Default, Deserialize)]
struct Disposition {
    #[serde(default)]
    attached_pic: u8,
}

fn parse(json: &[u8], size: u64) -> Result<Probe, Error> {
    let answer: Answer = serde_json::from_slice(json)
        .map_err(|error| Error::Unsupported(format!("this host's ffprobe answers in an unknown way: {error}")))?;
    let of_streams = || answer.streams.iter().filter_map(|s| s.duration.as_deref().and_then(parse_seconds)).max();
    let duration_ms = answer.format.duration.as_deref().and_then(parse_seconds).or_else(of_streams);
    let streams: Vec<Stream> = answer.streams.into_iter().map(stream).collect();
    if !streams.iter().any(|stream| !matches!(stream, Stream::Other(_))) {
        return Err(Error::BadInput("the file holds neither audio nor video".to_owned()));
    }
    Ok(Probe { container: answer.format.format_name, duration_ms, size, streams })
}

fn stream(answer: AnswerStream) -> Stream {
    let codec = answer.codec_name.unwrap_or_else(|| "unknown".to_owned());
    match answer.codec_type.as_deref() {
        Some("video") if answer.disposition.attached_pic != 0 => Stream::Other("cover".to_owned()),
        Some("video") => Stream::Video {
            codec,
            width: answer.width.unwrap_or(0),
            height: answer.height.unwrap_or(0),
            frames_per_second: answer.avg_frame_rate.as_deref().and_then(parse_rate).unwrap_or(0.0),
        },
        Some("audio") => Stream::Audio {
            codec,
            sample_rate: answer.sample_rate.and_then(|rate| rate.parse().ok()).unwrap_or(0),
            channels: answer.channels.unwrap_or(0),
        },
        other => Stream::Other(other.unwrap_or("unknown").to_owned()),
    }
}

/// Milliseconds of decimal seconds, `10.023000`; nothing for negative, absurd or other text.
fn parse_seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(millis.parse().ok()?)
}

/// `30000/1001`.
fn parse_rate(text: &str) -> Option<f64> {
    let (number, divisor) = text.split_once('/')?;
    let (number, divisor): (u32, u32) = (number.parse().ok()?, divisor.parse().ok()?);
    (divisor != 0).then(|| f64::from(number) / f64::from(divisor))
}

#[cfg(test)]
mod tests {
    use super::{Error, Stream, parse, parse_rate, parse_seconds};

    #[test]
    fn answers_are_parsed() {
        let json = br#"{"programs":[],"streams":[
            {"codec_name":"h264","codec_type":"video","width":320,"height":240,"avg_frame_rate":"30000/1001",
             "duration":"9.000000","disposition":{"attached_pic":0}},
            {"codec_name":"mjpeg","codec_type":"video","avg_frame_rate":"0/0","disposition":{"attached_pic":1}},
            {"codec_name":"aac","codec_type":"audio","sample_rate":"44100","channels":2,"duration":"10.023500"},
            {"codec_type":"data"}],
            "format":{"format_name":"mov,mp4"}}"#;
        let probe = parse(json, 7).unwrap();
        assert_eq!((probe.container.as_str(), probe.duration_ms, probe.size), ("mov,mp4", Some(10_023), 7));
        assert!(matches!(&probe.streams[0], Stream::Video { codec, width: 320, .. } if codec == "h264"));
        assert_eq!(probe.streams[1], Stream::Other("cover".to_owned()));
        assert_eq!(probe.streams[2], Stream::Audio { codec: "aac".to_owned(), sample_rate: 44_100, channels: 2 });
        assert_eq!(probe.streams[3], Stream::Other("data".to_owned()));
        assert!(matches!(parse(b"{}", 0), Err(Error::BadInput(_))));
        assert!(matches!(parse(b"nonsense", 0), Err(Error::Unsupported(_))));
    }

    #[test]
    fn numbers_are_parsed() {
        assert_eq!(parse_seconds("10.0235"), Some(10_023));
        assert_eq!(parse_seconds("0.5"), Some(500));
        assert_eq!(parse_seconds("3"), Some(3000));
        for text in ["", "N/A", "-1.0", "1e9", ".5", "99999999999999999999"] {
            assert_eq!(parse_seconds(text), None, "{text}");
        }
        assert_eq!(parse_rate("25/1"), Some(25.0));
        assert_eq!(parse_rate("0/0"), None);
    }
}
