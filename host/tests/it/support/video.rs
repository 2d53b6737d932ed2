//! Real short videos, made once a process by the ffmpeg that the host uses too.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// Length of [`clip`], in seconds.
pub(crate) const CLIP_SECONDS: u32 = 6;

fn shelf() -> &'static Path {
    static SHELF: OnceLock<TempDir> = OnceLock::new();
    SHELF.get_or_init(|| TempDir::new().unwrap()).path()
}

fn make(name: &str, arguments: &[&str]) -> PathBuf {
    let path = shelf().join(name);
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"])
        .args(arguments)
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .expect("ffmpeg is installed (apt-get install ffmpeg)");
    assert!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
    path
}

/// Six seconds of a small test pattern with sound and a keyframe a second.
pub(crate) fn clip() -> &'static [u8] {
    static CLIP: OnceLock<Vec<u8>> = OnceLock::new();
    CLIP.get_or_init(|| {
        let seconds = CLIP_SECONDS.to_string();
        let pattern = format!("testsrc2=size=320x240:rate=25:duration={seconds}");
        let tone = format!("sine=frequency=440:duration={seconds}");
        let path = make(
            "clip.mp4",
            &[
                "-f",
                "lavfi",
                "-i",
                &pattern,
                "-f",
                "lavfi",
                "-i",
                &tone,
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-g",
                "25",
                "-pix_fmt",
                "yuv420p",
                "-c:a",
                "aac",
                "-movflags",
                "+faststart",
            ],
        );
        std::fs::read(path).unwrap()
    })
}

/// A video whose exact cut keeps ffmpeg busy for many seconds, so that a test can stop it.
pub(crate) fn heavy() -> &'static [u8] {
    static HEAVY: OnceLock<Vec<u8>> = OnceLock::new();
    HEAVY.get_or_init(|| {
        let path = make(
            "heavy.mp4",
            &[
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=1280x720:rate=30:duration=2",
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-g",
                "30",
                "-pix_fmt",
                "yuv420p",
            ],
        );
        let list = shelf().join("heavy.txt");
        std::fs::write(&list, format!("file '{}'\n", path.display()).repeat(30)).unwrap();
        let list = list.to_string_lossy().into_owned();
        let path = make("minute.mp4", &["-f", "concat", "-safe", "0", "-i", &list, "-c", "copy"]);
        std::fs::read(path).unwrap()
    })
}

/// What ffprobe says of some bytes.
pub(crate) fn probe(bytes: &[u8]) -> Value {
    let file = tempfile::NamedTempFile::new_in(shelf()).unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_format", "-show_streams", "-of", "json"])
        .arg(file.path())
        .output()
        .expect("ffprobe is installed (apt-get install ffmpeg)");
    assert!(output.status.success(), "ffprobe: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Seconds that a probed file lasts.
pub(crate) fn seconds(probed: &Value) -> f64 {
    probed["format"]["duration"].as_str().unwrap().parse().unwrap()
}

/// Frames of the first video stream.
pub(crate) fn frames(probed: &Value) -> u64 {
    let streams = probed["streams"].as_array().unwrap();
    let video = streams.iter().find(|stream| stream["codec_type"] == "video").unwrap();
    video["nb_read_frames"].as_str().unwrap().parse().unwrap()
}
