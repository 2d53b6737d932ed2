mod made;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use super::*;
use tokio::sync::Notify;

/// Makes a file with the real tool.
fn make(path: &Path, args: &[&str]) {
    let made = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y"])
        .args(args)
        .arg(path)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
}

/// A test picture of `seconds` with a tone, a keyframe each second.
fn video(path: &Path, seconds: &str, more: &[&str]) {
    let mut args = vec!["-f", "lavfi", "-i", "testsrc=size=320x240:rate=25", "-f", "lavfi", "-i", "sine=frequency=440"];
    args.extend(["-t", seconds, "-g", "25", "-pix_fmt", "yuv420p"]);
    args.extend(more);
    make(path, &args);
}

const H264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac"];

struct Bench {
    dir: tempfile::TempDir,
    ffmpeg: Ffmpeg,
    supervisor: Supervisor,
}

impl Bench {
    async fn new(settings: Settings) -> Self {
        let supervisor = Supervisor::new().unwrap();
        let ffmpeg = Ffmpeg::detect(settings, supervisor.clone()).await;
        assert_eq!(ffmpeg.problem(), None);
        Self { dir: tempfile::tempdir().unwrap(), ffmpeg, supervisor }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    async fn probe(&self, name: &str) -> Result<Probe, Error> {
        let file = File::open(self.path(name)).unwrap();
        let size = file.metadata().unwrap().len();
        self.ffmpeg.probe(file, size).await
    }

    fn request(&self, name: &str, start_ms: u64, end_ms: u64, accuracy: Accuracy) -> Cut {
        let input = File::open(self.path(name)).unwrap();
        Cut { input, output: self.target(), start_ms, end_ms, accuracy }
    }

    fn target(&self) -> Target {
        Target { path: self.path("out.part"), max_bytes: u64::MAX }
    }

    async fn cut(&self, name: &str, start_ms: u64, end_ms: u64, accuracy: Accuracy) -> Result<Made, Error> {
        self.ffmpeg.cut(self.request(name, start_ms, end_ms, accuracy), |_| {}).await
    }
}

fn codecs(probe: &Probe) -> Vec<&str> {
    let codec = |stream| match stream {
        &Stream::Video { ref codec, .. } | &Stream::Audio { ref codec, .. } => codec.as_str(),
        Stream::Other(kind) => kind.as_str(),
    };
    probe.streams.iter().map(codec).collect()
}

#[tokio::test]
async fn both_cuts_of_an_mp4_with_its_index_at_the_end() {
    let bench = Bench::new(Settings::default()).await;
    video(&bench.path("in.mp4"), "6", &H264);
    let probe = bench.probe("in.mp4").await.unwrap();
    assert!(probe.container.contains("mp4"));
    assert!(probe.duration_ms.is_some_and(|length| (6_000..6_100).contains(&length)));
    assert_eq!(codecs(&probe), ["h264", "aac"]);
    assert!(matches!(probe.streams[0], Stream::Video { width: 320, height: 240, .. }));
    assert!(bench.ffmpeg.version().is_some());

    for accuracy in [Accuracy::Keyframe, Accuracy::Exact] {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&heard);
        let request = bench.request("in.mp4", 1_000, 3_000, accuracy);
        let made = bench.ffmpeg.cut(request, move |percent| hear.lock().unwrap().push(percent)).await.unwrap();
        assert_eq!((made.container, made.content_type), (Container::Mp4, "video/mp4"));
        assert_eq!(codecs(&made.probe), ["h264", "aac"]);
        let length = made.probe.duration_ms.unwrap();
        assert!((1_950..2_100).contains(&length), "{accuracy:?} {length}");
        let heard = heard.lock().unwrap();
        assert_eq!(heard.last(), Some(&100));
        assert!(heard.is_sorted(), "{heard:?}");
    }
    // Between keyframes: the copy starts at the one before, the re-encoded one at the very place.
    let length = |made: Made| made.probe.duration_ms.unwrap();
    let copy = length(bench.cut("in.mp4", 1_500, 3_000, Accuracy::Keyframe).await.unwrap());
    let exact = length(bench.cut("in.mp4", 1_500, 3_000, Accuracy::Exact).await.unwrap());
    assert!((1_950..2_100).contains(&copy), "{copy}");
    assert!((1_450..1_600).contains(&exact), "{exact}");
}

#[tokio::test]
async fn every_accepted_container_is_cut() {
    let bench = Bench::new(Settings::default()).await;
    let tone = ["-f", "lavfi", "-i", "sine=frequency=440", "-t", "3"];
    for name in ["a.mp3", "a.wav", "a.flac", "a.aac", "a.ogg", "a.m4a"] {
        make(&bench.path(name), &tone);
    }
    video(&bench.path("v.mkv"), "3", &H264);
    video(&bench.path("v.ts"), "3", &H264);
    video(&bench.path("v.flv"), "3", &[&H264[..], &["-ar", "44100"]].concat());
    video(&bench.path("v.avi"), "3", &["-c:v", "mpeg4", "-c:a", "mp3"]);
    video(&bench.path("v.mpg"), "3", &["-c:v", "mpeg2video", "-c:a", "mp2"]);
    video(&bench.path("v.webm"), "3", &["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"]);
    video(&bench.path("odd.mkv"), "3", &["-vf", "scale=161:121", "-c:v", "ffv1", "-c:a", "flac"]);
    for (name, copy) in [
        ("a.mp3", Container::Mp4),
        ("a.wav", Container::Matroska),
        ("a.flac", Container::Matroska),
        ("a.aac", Container::Mp4),
        ("a.ogg", Container::Matroska),
        ("a.m4a", Container::Mp4),
        ("v.mkv", Container::Mp4),
        ("v.ts", Container::Mp4),
        ("v.flv", Container::Mp4),
        ("v.avi", Container::Mp4),
        ("v.mpg", Container::Matroska),
        ("v.webm", Container::Mp4),
        ("odd.mkv", Container::Matroska),
    ] {
        for (accuracy, container) in [(Accuracy::Keyframe, copy), (Accuracy::Exact, Container::Mp4)] {
            let made = bench.cut(name, 1_000, 2_000, accuracy).await;
            let made = made.unwrap_or_else(|error| panic!("{name} {accuracy:?}: {error}"));
            assert_eq!(made.container, container, "{name} {accuracy:?}");
            let length = made.probe.duration_ms.unwrap();
            assert!((900..2_100).contains(&length), "{name} {accuracy:?} {length}");
            assert_eq!(made.content_type.starts_with("video/"), !name.starts_with('a'), "{name}");
        }
    }
}

#[tokio::test]
async fn l18_hostile_files_are_bad_input_and_nothing_is_opened() {
    let bench = Bench::new(Settings::default()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/x.ts", listener.local_addr().unwrap());
    let secret = bench.path("secret.mp4");
    video(&secret, "1", &H264);
    for text in [
        "just text".to_owned(),
        "#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n".to_owned(),
        format!("#EXTM3U\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n"),
        format!("ffconcat version 1.0\nfile {}\n", secret.display()),
        format!("<?xml version=\"1.0\"?><MPD><BaseURL>{url}</BaseURL></MPD>"),
    ] {
        // As it is, and behind the first bytes of an accepted format, which forces that one reader.
        for bytes in [text.clone().into_bytes(), [b"\0\0\0\x08free", text.as_bytes()].concat()] {
            std::fs::write(bench.path("in.mp4"), bytes).unwrap();
            let probed = bench.probe("in.mp4").await.unwrap_err();
            let cut = bench.cut("in.mp4", 0, 1_000, Accuracy::Keyframe).await.unwrap_err();
            for error in [probed, cut] {
                let Error::BadInput(message) = error else { panic!("{error:?}") };
                assert!(
                    !message.contains("/tmp") && !message.contains("/dev") && !message.contains("passwd"),
                    "{message}"
                );
            }
        }
    }
    assert!(listener.accept().is_err(), "the URL was followed");
    assert!(!bench.path("out.part").exists());
}

#[tokio::test]
async fn a_damaged_file_is_an_error_without_paths() {
    let bench = Bench::new(Settings::default()).await;
    video(&bench.path("whole.mp4"), "3", &H264);
    let bytes = std::fs::read(bench.path("whole.mp4")).unwrap();
    std::fs::write(bench.path("in.mp4"), &bytes[..bytes.len() / 2]).unwrap();
    let error = bench.cut("in.mp4", 0, 1_000, Accuracy::Exact).await.unwrap_err();
    let Error::BadInput(message) = error else { panic!("{error:?}") };
    assert!(message.contains("moov atom not found") && !message.contains('/'), "{message}");
}

#[tokio::test]
async fn ranges_that_do_not_fit_are_refused() {
    let bench = Bench::new(Settings::default()).await;
    make(&bench.path("in.wav"), &["-f", "lavfi", "-i", "sine", "-t", "10"]);
    let message = async |start, end| match bench.cut("in.wav", start, end, Accuracy::Keyframe).await {
        Err(Error::BadInput(message)) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(message(0, 12_000).await, "the cut ends at 12.000 s but the video lasts 10.000 s");
    assert_eq!(message(11_000, 12_000).await, "the cut starts at 11.000 s but the video lasts 10.000 s");
    assert_eq!(
        message(2_000, 2_000).await,
        "the cut starts at 2.000 s but ends at 2.000 s: the end must be after the start"
    );
    bench.cut("in.wav", 9_000, 10_040, Accuracy::Keyframe).await.unwrap();
}

#[tokio::test]
async fn l18_the_size_of_the_output_is_bounded() {
    let bench = Bench::new(Settings { max_output_bytes: 100_000, ..Settings::default() }).await;
    video(&bench.path("in.mp4"), "10", &H264);
    for accuracy in [Accuracy::Keyframe, Accuracy::Exact] {
        let error = bench.cut("in.mp4", 0, 10_000, accuracy).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge(100_000)), "{accuracy:?} {error:?}");
        assert!(std::fs::metadata(bench.path("out.part")).unwrap().len() < 1_000_000);
    }
}

#[tokio::test]
async fn a_full_disk_says_so() {
    let bench = Bench::new(Settings::default()).await;
    video(&bench.path("in.mp4"), "2", &H264);
    std::os::unix::fs::symlink("/dev/full", bench.path("out.part")).unwrap();
    let error = bench.cut("in.mp4", 0, 2_000, Accuracy::Keyframe).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("disk is full")), "{error:?}");
}

#[tokio::test]
async fn a_full_disk_says_so_also_when_the_tool_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let tool = dir.path().join("ffmpeg");
    let script = "#!/bin/sh\n[ \"$1\" = -version ] && exec echo 'ffmpeg version 5.1'\n\
                  echo 'Error writing trailer: No space left on device' >&2\n";
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let bench = Bench::new(Settings { ffmpeg: tool, ..Settings::default() }).await;
    video(&bench.path("in.mp4"), "2", &H264);
    let error = bench.cut("in.mp4", 0, 2_000, Accuracy::Keyframe).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(text) if text.contains("disk is full")), "{error:?}");
}

#[tokio::test]
async fn a_video_without_a_picture_is_no_cut() {
    let bench = Bench::new(Settings::default()).await;
    video(&bench.path("in.mp4"), "2", &H264);
    // After the last of 25 pictures a second, which begins at 1.960 s; the sound goes on.
    let error = bench.cut("in.mp4", 1_990, 2_000, Accuracy::Exact).await.unwrap_err();
    assert!(matches!(&error, Error::BadInput(text) if text.contains("nothing to cut")), "{error:?}");
}

#[tokio::test]
async fn dropping_a_cut_ends_the_tool() {
    let bench = Bench::new(Settings::default()).await;
    // Far more work than this test waits for.
    make(
        &bench.path("in.mkv"),
        &["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=60", "-t", "60", "-c:v", "mpeg2video"],
    );
    let begun = Arc::new(Notify::new());
    let hear = Arc::clone(&begun);
    let cut = bench.ffmpeg.cut(bench.request("in.mkv", 0, 60_000, Accuracy::Exact), move |_| hear.notify_one());
    let ours = || children_named("ffmpeg", &bench.path("in.mkv"));
    tokio::select! {
        made = cut => panic!("{made:?}"),
        () = begun.notified() => assert_eq!(ours(), 1),
    }
    bench.supervisor.idle().await;
    assert_eq!(ours(), 0);
    bench.cut("in.mkv", 0, 20, Accuracy::Keyframe).await.expect("the permit is back");
}

/// Processes of a name whose standard input is this file.
fn children_named(name: &str, input: &Path) -> usize {
    let is_ours = |process: &Path| {
        std::fs::read_to_string(process.join("comm")).is_ok_and(|comm| comm.trim() == name)
            && std::fs::read_link(process.join("fd/0")).is_ok_and(|stdin| stdin == input)
    };
    std::fs::read_dir("/proc").unwrap().filter(|entry| is_ours(&entry.as_ref().unwrap().path())).count()
}

#[tokio::test]
async fn missing_tools_are_explained() {
    let supervisor = Supervisor::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { search_path: dir.path().into(), ..Settings::default() };
    let ffmpeg = Ffmpeg::detect(settings, supervisor.clone()).await;
    let problem = ffmpeg.problem().unwrap();
    assert!(problem.starts_with("ffmpeg is not installed: install it with `apt-get install ffmpeg`"), "{problem}");
    let error = ffmpeg.probe(tempfile::tempfile().unwrap(), 0).await.unwrap_err();
    assert_eq!(error, Error::Unavailable(problem));
    // Something else under that name.
    let settings = Settings { ffmpeg: "/bin/true".into(), ..Settings::default() };
    let problem = Ffmpeg::detect(settings, supervisor).await.problem().unwrap();
    assert!(problem.starts_with("/bin/true does not work as ffmpeg: it does not tell its version"), "{problem}");
}

#[tokio::test]
async fn a_still_is_scaled_down_and_never_up() {
    let bench = Bench::new(Settings::default()).await;
    video(&bench.path("in.mp4"), "2", &H264);
    let still = async |at_ms, format, max_width| {
        let input = File::open(bench.path("in.mp4")).unwrap();
        let output = bench.target();
        bench.ffmpeg.still(Still { input, output, at_ms, format, max_width }).await
    };
    for (format, magic) in [(ImageFormat::Jpeg, &b"\xff\xd8\xff"[..]), (ImageFormat::Png, b"\x89PNG")] {
        still(1_000, format, Some(160)).await.unwrap();
        assert!(std::fs::read(bench.path("out.part")).unwrap().starts_with(magic), "{format:?}");
    }
    // A PNG says its size in its header.
    let width = || std::fs::read(bench.path("out.part")).unwrap()[16..20].to_vec();
    assert_eq!(width(), 160_u32.to_be_bytes());
    still(1_960, ImageFormat::Png, Some(4_096)).await.unwrap();
    assert_eq!(width(), 320_u32.to_be_bytes());
    still(0, ImageFormat::Png, None).await.unwrap();
    assert_eq!(width(), 320_u32.to_be_bytes());
    let error = still(9_000, ImageFormat::Png, None).await.unwrap_err().to_string();
    assert!(error.contains("asked for at 9.000 s but the video lasts 2."), "{error}");
}
