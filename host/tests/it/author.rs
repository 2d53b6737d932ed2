//! What a plugin's author runs: `plugin test` and `serve --dev`, by the real binary.

use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::binary::Place;
use crate::support::folder::{built, fixture, tester, variant};
use crate::support::video::clip;
use crate::support::{expect_json, wait_task};

/// A folder with one plugin.
struct Bench {
    dir: TempDir,
    name: String,
}

/// How a run of the binary ended, and what it said.
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Bench {
    fn new(name: &str, manifest: &str) -> Self {
        Self::with(name, &fixture(name), Some(manifest))
    }

    fn with(name: &str, component: &[u8], manifest: Option<&str>) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join(format!("{name}.wasm")), component).unwrap();
        if let Some(manifest) = manifest {
            std::fs::write(dir.path().join(format!("{name}.toml")), manifest).unwrap();
        }
        Self { dir, name: name.to_owned() }
    }

    fn test(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskhost"));
        command.args(["plugin", "test", &format!("{}.wasm", self.name)]).args(arguments).current_dir(self.dir.path());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Run { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let run = self.test(&[arguments, &["--json"]].concat());
        (run.code, serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {}{}", run.out, run.err)))
    }
}

#[test]
fn a_task_is_tried_without_a_server_and_everything_about_it_is_told() {
    let bench = Bench::new("ok", "");
    let run = bench.test(&["--kind", "ok", "--input", "{\"a\": 1}"]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    for line in ["plugin    ok", "attempt   1", "ended     succeeded after", "MiB at most)", "output    {\"a\":1}"] {
        assert!(run.out.contains(line), "{line}\n{}", run.out);
    }
    let (code, sheet) = bench.json(&["--input", "[1, 2]"]);
    assert_eq!((code, &sheet["output"], &sheet["state"]), (0, &json!([1, 2]), &json!("succeeded")), "{sheet:#}");
    let attempt = &sheet["attempts"][0];
    assert!(attempt["memory_bytes"].as_u64().unwrap() >= 65_536, "{sheet:#}");
    assert!(attempt["cpu_us"].as_u64().is_some() && attempt["wall_ms"].as_f64().unwrap() > 0.0, "{sheet:#}");
    assert!(std::fs::read_dir(bench.dir.path()).unwrap().count() == 2, "nothing is left behind");
}

#[test]
fn what_takes_long_to_compile_is_said_before() {
    let large = |component: Vec<u8>| {
        // A custom section of 5 MiB, with the name `x`.
        [component, vec![0, 0x82, 0x80, 0xc0, 0x02, 1, b'x'], vec![0; 5 << 20]].concat()
    };
    let bench = Bench::with("ok", &large(fixture("ok")), None);
    let run = bench.test(&["--input", "1"]);
    assert!(run.code == 0 && run.err.contains("compiling ok.wasm (5 MiB)"), "{} {}", run.out, run.err);
    let run = bench.test(&["--input", "1", "--json"]);
    assert_eq!((run.code, &*run.err), (0, ""), "{}", run.out);
}

#[test]
fn retries_checkpoints_progress_and_the_log_are_seen() {
    // The first attempt saves a checkpoint, reports and sleeps until its time is up; the second goes on from there.
    let bench = Bench::new("resume", "[limits]\nwall = \"300ms\"\n");
    let (code, sheet) = bench.json(&["--attempts", "2", "--input", "7"]);
    assert_eq!((code, &sheet["state"], &sheet["output"]), (0, &json!("succeeded"), &json!(7)), "{sheet:#}");
    let [first, second] = sheet["attempts"].as_array().unwrap().as_slice() else { panic!("{sheet:#}") };
    assert_eq!((&first["outcome"], &first["error"]["code"]), (&json!("retry"), &json!("timed-out")), "{sheet:#}");
    assert_eq!((&first["progress"][0]["done"], &first["progress"][0]["total"]), (&json!(7), &json!(10)), "{sheet:#}");
    assert!(!first["log"].as_array().unwrap().is_empty(), "{sheet:#}");
    assert_eq!(second["outcome"], "succeeded", "{sheet:#}");
    let run = bench.test(&["--attempts", "2"]);
    assert!(
        run.out.contains("before the next attempt (skipped)") && run.out.contains("progress  7 of 10"),
        "{}",
        run.out
    );
    // One attempt only: it would be tried again.
    assert_eq!(bench.test(&[]).code, 5);
}

#[test]
fn the_exit_code_says_how_the_task_ended() {
    let trap = Bench::new("trap", "").test(&[]);
    assert_eq!(trap.code, 4, "{}", trap.out);
    assert!(trap.out.contains("crashed after") && trap.out.contains(" at "), "{}", trap.out);
    let snooze = Bench::new("snooze", "");
    assert_eq!(snooze.test(&[]).code, 5);
    assert_eq!(snooze.test(&["--attempts", "3"]).code, 0);
    let spin = Bench::new("spin", "[limits]\ncpu = \"50ms\"\n").json(&[]);
    assert_eq!((spin.0, &spin.1["attempts"][0]["error"]["code"]), (5, &json!("cpu-limit")), "{:#}", spin.1);
    assert!(spin.1["attempts"][0]["cpu_us"].as_u64().unwrap() >= 40_000, "{:#}", spin.1);
}

#[test]
fn what_cannot_be_tried_is_said() {
    let ok = Bench::new("ok", "");
    for (arguments, said) in [
        (&["--kind", "other"][..], "the plugin executes ok, not \"other\""),
        (&["--input", "{"], "--input is not JSON"),
        (&["--input", "@nowhere.json"], "cannot read nowhere.json"),
        (&["--media", "nowhere"], "cannot read nowhere"),
        (&["--dispatch"], "the plugin is no dispatcher"),
    ] {
        let run = ok.test(arguments);
        assert!(run.code == 1 && run.err.contains(said), "{arguments:?}: {} {}", run.code, run.err);
    }
    let ungranted = Bench::new("needs-ffmpeg", "").test(&[]);
    assert!(ungranted.code == 1 && ungranted.err.contains("ffmpeg = true"), "{}", ungranted.err);
    let typo = Bench::new("ok", "[limit]\n").test(&[]);
    assert!(typo.code == 1 && typo.err.contains("ok.toml:1:2"), "{}", typo.err);
}

#[test]
fn a_dispatcher_is_asked_as_often_as_wanted() {
    let bench = Bench::new("dispatch-cursor", "[grant]\nqueue = true\n");
    let (code, sheet) = bench.json(&["--dispatch", "--attempts", "5", "--limit", "10"]);
    let batches = sheet["batches"].as_array().unwrap();
    assert_eq!((code, batches.len()), (0, 3), "{sheet:#}");
    assert!(batches.iter().all(|batch| batch["tasks"].as_array().unwrap().len() == 1), "{sheet:#}");
    assert_eq!((&batches[0]["more"], &batches[2]["more"]), (&json!(true), &json!(false)), "{sheet:#}");
    let run = bench.test(&["--dispatch"]);
    assert!(run.out.contains("enqueues") && run.out.contains("there is more"), "{}", run.out);
}

#[test]
fn files_of_a_folder_are_the_library_and_what_is_made_is_kept() {
    let (component, manifest) = built("video-cut");
    let bench = Bench::with("video-cut", &component, manifest.as_deref());
    let media = bench.dir.path().join("media");
    std::fs::create_dir(&media).unwrap();
    std::fs::write(media.join("talk.mp4"), clip()).unwrap();
    let input = r#"{"media": "talk.mp4", "start": "0:01", "end": "0:02", "accuracy": "exact"}"#;
    let run = bench.test(&["--media", "media", "--out", "made", "--input", input]);
    assert_eq!(run.code, 0, "{}{}", run.out, run.err);
    assert!(run.out.contains("media     talk.mp4 is ") && run.out.contains("progress  "), "{}", run.out);
    let made: Vec<_> =
        std::fs::read_dir(bench.dir.path().join("made")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(made.len(), 1, "{made:?}");
    assert!(std::fs::metadata(&made[0]).unwrap().len() > 1_000, "{made:?}");
    assert_eq!(std::fs::read_dir(&media).unwrap().count(), 1, "the author's folder is left alone");
}

#[tokio::test]
async fn serve_dev_tells_what_became_of_each_change() {
    let place = Place::with(&["version"]);
    // Without a format: an author reads text, also where the standard error is no terminal.
    std::fs::write(place.path("taskhost.toml"), "[[schedule]]\nname = \"video-clear\"\nenabled = false\n").unwrap();
    let mut host = place.start_with(&["--dev"]).await;
    let line = host.says("version: live: ").await;
    assert!(line.contains("taskhost::dev") && line.contains("; roles executor; kinds version"), "{line}");
    assert!(!line.starts_with('{'), "{line}");

    place.plugins().put("version", &variant("version", "v00", "v01"), None);
    let line = host.says("version: replaced: ").await;
    assert!(line.contains(" to ") && line.contains("compiled in "), "{line}");
    place.plugins().put("version", &variant("version", "v00", "v01"), Some("[limits]\ncpu = \"1s\"\n"));
    let line = host.says("with another manifest").await;
    assert!(line.contains("version: replaced: the same component"), "{line}");

    // What is refused is told with the reason, and with what would be right.
    for (component, manifest, reason) in [
        (fixture("needs-ffmpeg"), "", "imports taskhost:media/ffmpeg@0.1.0"),
        (b"no component".to_vec(), "", "not WebAssembly"),
        (fixture("version"), "[limit]\n", "version.toml:1:2: unknown key `limit`"),
    ] {
        place.plugins().put("version", &component, Some(manifest));
        let line = host.says(&format!("version: refused: {reason}")).await;
        assert!(line.ends_with("; what was live stays"), "{line}");
    }
    place.plugins().delete("version");
    host.says("version: gone").await;
    assert!(host.terminate().await.success());
}

#[tokio::test]
async fn a_panic_of_a_guest_in_rust_is_told_with_its_words_and_its_functions() {
    let place = Place::with(&[]);
    place.plugins().put("borrower", &tester("borrower"), Some("[grant]\nffmpeg = true\nqueue = true\n"));
    let mut host = place.start_with(&["--dev"]).await;
    host.says("borrower: live: ").await;
    let task = json!({ "kind": "borrow.trouble", "input": { "a": 1 }, "max_attempts": 1 });
    let created = host.client.post(format!("{}/v1/tasks", host.base)).json(&task).send().await.unwrap();
    let id = expect_json(created).await["id"].as_str().unwrap().to_owned();
    let task = wait_task(&host.client, &host.base, &id).await;
    let error = &task["attempts"][0]["error"];
    let message = error["message"].as_str().unwrap();
    assert_eq!(error["code"], "trap", "{task:#}");
    assert!(message.contains(" executed at borrower::ask_for_trouble < "), "{message}");
    assert!(message.contains("no such luck with {\"a\":1}") && message.contains("src/lib.rs:"), "{message}");
    let log = host.client.get(format!("{}/v1/tasks/{id}/logs", host.base)).send().await.unwrap();
    let log = expect_json(log).await.to_string();
    assert!(log.contains("no such luck") && log.contains("stderr"), "{log}");
    assert!(host.terminate().await.success());
}
