//! Files encoded anew, joined, and their sound, by the real tool.

use super::super::preset::{Declaration, VideoCodec};
use super::*;

fn presets() -> Settings {
    let small = Declaration { container: Some(Container::Webm), max_width: Some(160), ..Declaration::default() };
    let large = Declaration { container: Some(Container::Mp4), crf: Some(0), ..Declaration::default() };
    let copy =
        Declaration { container: Some(Container::Webm), video_codec: Some(VideoCodec::Copy), ..Declaration::default() };
    let named = [("small", small), ("large", large), ("copy", copy)];
    let presets = named.map(|(name, preset)| (name.to_owned(), preset.check().unwrap())).into();
    Settings { presets, ..Settings::default() }
}

impl Bench {
    async fn transcode(&self, name: &str, preset: &str, max_bytes: u64) -> Result<Made, Error> {
        let input = File::open(self.path(name)).unwrap();
        let output = Target { max_bytes, ..self.target() };
        self.ffmpeg.transcode(Transcode { input, output, preset: preset.to_owned() }, |_| {}).await
    }

    async fn concat(&self, names: &[&str]) -> Result<Made, Error> {
        let inputs = names.iter().map(|name| File::open(self.path(name)).unwrap()).collect();
        self.ffmpeg.concat(Concat { inputs, output: self.target() }, |_| {}).await
    }

    async fn sound(&self, name: &str, format: AudioFormat) -> Result<Made, Error> {
        let input = File::open(self.path(name)).unwrap();
        self.ffmpeg.extract_audio(Extract { input, output: self.target(), format }, |_| {}).await
    }
}

#[tokio::test]
async fn a_file_is_encoded_by_a_preset_of_the_operator() {
    let bench = Bench::new(presets()).await;
    video(&bench.path("in.mp4"), "2", &H264);
    let made = bench.transcode("in.mp4", "small", u64::MAX).await.unwrap();
    assert_eq!((made.extension, made.content_type), ("webm", "video/webm"));
    let probe = bench.probe("out.part").await.unwrap();
    assert_eq!(codecs(&probe), ["vp9", "opus"]);
    assert!(matches!(probe.streams[0], Stream::Video { width: 160, height: 120, .. }), "{probe:?}");

    let unknown = bench.transcode("in.mp4", "huge", u64::MAX).await.unwrap_err();
    assert!(matches!(&unknown, Error::Unsupported(text) if text.contains("ffmpeg.presets") && text.contains("small")));
    let misfit = bench.transcode("in.mp4", "copy", u64::MAX).await.unwrap_err();
    assert!(matches!(&misfit, Error::BadInput(text) if text.contains("h264")), "{misfit:?}");
}

#[tokio::test]
async fn l18_a_transcode_that_gets_larger_than_it_may_is_stopped() {
    let bench = Bench::new(presets()).await;
    video(&bench.path("in.mp4"), "20", &H264);
    let error = bench.transcode("in.mp4", "large", 100_000).await.unwrap_err();
    assert!(matches!(&error, Error::TooLarge(100_000)), "{error:?}");
    assert!(std::fs::metadata(bench.path("out.part")).unwrap().len() < 1_000_000);
}

#[tokio::test]
async fn files_of_the_same_format_are_joined_and_others_are_told_apart() {
    let bench = Bench::new(Settings::default()).await;
    video(&bench.path("a.mp4"), "2", &H264);
    video(&bench.path("b.mp4"), "3", &H264);
    let made = bench.concat(&["a.mp4", "b.mp4", "a.mp4"]).await.unwrap();
    assert_eq!(made.extension, "mp4");
    let length = bench.probe("out.part").await.unwrap().duration_ms.unwrap();
    assert!((6_900..7_200).contains(&length), "{length}");

    video(&bench.path("c.mp4"), "1", &["-c:v", "mpeg4", "-c:a", "aac"]);
    make(&bench.path("d.mp4"), &["-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-t", "1", "-c:v", "libx264"]);
    make(&bench.path("e.wav"), &["-f", "lavfi", "-i", "sine=frequency=440", "-t", "1"]);
    for (other, why) in [("c.mp4", "mpeg4"), ("d.mp4", "streams"), ("e.wav", "format")] {
        let error = bench.concat(&["a.mp4", other]).await.unwrap_err();
        assert!(
            matches!(&error, Error::BadInput(text) if text.starts_with("file 2: ") && text.contains(why)),
            "{error:?}"
        );
    }
    assert!(matches!(bench.concat(&["a.mp4"]).await.unwrap_err(), Error::BadInput(_)));
}

#[tokio::test]
async fn sound_is_taken_out_as_it_is_or_in_another_form() {
    let bench = Bench::new(Settings::default()).await;
    video(&bench.path("in.mp4"), "2", &H264);
    for (format, codec, extension) in [
        (AudioFormat::Original, "aac", "m4a"),
        (AudioFormat::Mp3, "mp3", "mp3"),
        (AudioFormat::Opus, "opus", "ogg"),
        (AudioFormat::Flac, "flac", "flac"),
        (AudioFormat::Wav, "pcm_s16le", "wav"),
    ] {
        let made = bench.sound("in.mp4", format).await.unwrap();
        let probe = bench.probe("out.part").await.unwrap();
        assert_eq!((codecs(&probe), made.extension), (vec![codec], extension));
    }
    make(&bench.path("mute.mp4"), &["-f", "lavfi", "-i", "testsrc", "-t", "1", "-pix_fmt", "yuv420p"]);
    let error = bench.sound("mute.mp4", AudioFormat::Wav).await.unwrap_err();
    assert!(matches!(&error, Error::BadInput(text) if text.contains("no sound")), "{error:?}");
}
