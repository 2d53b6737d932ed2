//! Plugins in Python, JavaScript, C and Rust, from the examples and from `taskhost plugin new`.
//!
//! Left out unless asked for, because the tools of four languages must be there: `cargo xtask languages --templates`
//! installs and builds what is needed, and `cargo xtask test` runs these tests after it.

mod web;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sha2::Digest as _;
use tempfile::TempDir;

use crate::support::{Home, TestHost, attempts, list};

/// Where `cargo xtask languages` puts what it installs and builds.
fn languages() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_taskhost"));
    let target = binary.ancestors().find(|folder| folder.join("languages").is_dir());
    target.expect("run `cargo xtask languages --templates` first").join("languages")
}

/// A component that was built there.
fn component(name: &str) -> Vec<u8> {
    let file = languages().join(format!("plugins/{name}.wasm"));
    std::fs::read(file).expect("run `cargo xtask languages --templates` first")
}

/// A component that was built there, and its manifest.
fn built(name: &str) -> (Vec<u8>, String) {
    let manifest = languages().join(format!("plugins/{name}.toml"));
    let manifest = std::fs::read_to_string(manifest).expect("run `cargo xtask languages --templates` first");
    (component(name), manifest)
}

async fn host(names: &[&str]) -> TestHost {
    let home = Home::new();
    for name in names {
        let (component, manifest) = built(name);
        home.plugins().put(name, &component, Some(&manifest));
    }
    ready(home).await
}

/// A host that has compiled its large components.
async fn ready(home: Home) -> TestHost {
    let host = Box::pin(home.start()).await;
    host.until_ready().await;
    host
}

/// The error of a task's only attempt.
fn error(task: &Value) -> &Value {
    assert_eq!(task["state"], "failed", "{task:#}");
    assert_eq!(attempts(task).len(), 1, "{task:#}");
    &attempts(task)[0]["error"]
}

/// The task's log as lines of `message key=value`.
async fn logs(host: &TestHost, task: &Value) -> String {
    let page = host.get(&format!("/v1/tasks/{}/logs", task["id"].as_str().unwrap())).await;
    list(&page).iter().map(|line| format!("{} {}\n", line["message"].as_str().unwrap(), line["fields"])).collect()
}

/// Runs a task once, and says how it ended.
async fn once(host: &TestHost, kind: &str, input: Value) -> Value {
    let id = host.create(&json!({ "kind": kind, "input": input, "max_attempts": 1 })).await;
    host.wait_task(&id).await
}

/// Runs a task on a file and counts the progress that was told meanwhile.
async fn progress(host: &TestHost, kind: &str, input: Value) -> (Value, usize) {
    let mut events = host.events().await;
    let task = once(host, kind, input).await;
    let id = task["id"].as_str().unwrap();
    let seen = events.until(|event| event.task() == id && event.name == "task.succeeded").await;
    (task.clone(), seen.iter().filter(|event| event.task() == id && event.name == "task.progress").count())
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn python_counts_texts_and_files() {
    let host = host(&["text-stats"]).await;
    let task = once(&host, "text.stats", json!({ "text": "to be or not to be", "top": 2 })).await;
    let top = json!([{ "word": "to", "count": 2 }, { "word": "be", "count": 2 }]);
    let wanted = json!({ "characters": 18, "lines": 0, "words": 6, "distinct": 4, "top": top });
    assert_eq!(task["output"], wanted, "{task:#}");
    assert!(logs(&host, &task).await.contains("counted"), "{task:#}");

    // Larger than a piece, with words and characters across the pieces' ends.
    let text = "déjà-vu über alles\n".repeat(100_000);
    let file = host.upload("text.txt", text.clone()).await;
    let (task, told) = progress(&host, "text.stats", json!({ "media": file["id"] })).await;
    assert_eq!(task["output"]["words"], 300_000, "{task:#}");
    assert_eq!(task["output"]["characters"], text.chars().count(), "{task:#}");
    assert_eq!(task["output"]["distinct"], 3, "{task:#}");
    assert!(told > 0, "no progress was told");

    let task = once(&host, "text.stats", json!({ "media": "nobody" })).await;
    assert_eq!(error(&task)["code"], "no-such-media", "{task:#}");
    host.stop().await;
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn c_computes_checksums_of_texts_and_files() {
    let host = host(&["checksum"]).await;
    let task = once(&host, "media.checksum", json!({ "text": "abc" })).await;
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(task["output"], json!({ "bytes": 3, "sha256": abc }), "{task:#}");
    assert!(logs(&host, &task).await.contains(abc), "{task:#}");

    let file = host.upload("zeros.bin", vec![0_u8; 3_000_001]).await;
    let (task, told) = progress(&host, "media.checksum", json!({ "media": file["id"] })).await;
    let bytes = sha2::Sha256::digest(vec![0_u8; 3_000_001]);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(task["output"], json!({ "bytes": 3_000_001, "sha256": hex }), "{task:#}");
    assert!(told > 0, "no progress was told");

    let task = once(&host, "media.checksum", json!({ "media": "nobody" })).await;
    assert_eq!(error(&task)["code"], "no-such-media", "{task:#}");
    host.stop().await;
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn javascript_summarises_videos() {
    let host = host(&["video-poster"]).await;
    let video = host.upload("talk.mp4", crate::support::video::clip()).await;
    let task = once(&host, "video.poster", json!({ "media": video["id"], "picture": false })).await;
    let output = &task["output"];
    assert!(output["video"].as_str().is_some_and(|video| video.starts_with("h264, ")), "{task:#}");
    assert!(logs(&host, &task).await.contains("probed"), "{task:#}");

    let task = once(&host, "video.poster", json!({ "media": video["id"], "width": 160 })).await;
    let picture = &task["output"]["picture"];
    // A tenth of the length, which has the sound's last packet in it.
    assert!(picture["at_ms"].as_u64().is_some_and(|at| (600..610).contains(&at)), "{task:#}");
    assert!(host.content(picture["media"].as_str().unwrap()).await.starts_with(b"\xff\xd8\xff"), "{task:#}");
    let task = once(&host, "video.poster", json!({ "media": video["id"], "at_ms": 60_000 })).await;
    assert_eq!(error(&task)["code"], "bad-input", "{task:#}");

    let text = host.upload("text.txt", "no video").await;
    let task = once(&host, "video.poster", json!({ "media": text["id"] })).await;
    assert_eq!(error(&task)["code"], "bad-input", "{task:#}");
    host.stop().await;
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn what_is_not_granted_keeps_each_language_from_loading() {
    let home = Home::new();
    for name in ["text-stats", "checksum", "video-poster"] {
        home.plugins().put(name, &component(name), None);
    }
    let host = ready(home).await;
    for (name, line) in
        [("text-stats", "`library = true`"), ("checksum", "`library = true`"), ("video-poster", "`ffmpeg = true`")]
    {
        let plugin = host.plugin(name).await.unwrap();
        let told = plugin["error"]["message"].as_str().unwrap_or_default();
        assert!(told.contains(line) && told.contains(&format!("plugins/{name}.toml")), "{plugin:#}");
    }
    host.stop().await;
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn a_new_plugin_adds_in_every_language() {
    let names = ["add-rust", "add-python", "add-js", "add-c"];
    let host = host(&names).await;
    for name in names {
        let task = once(&host, name, json!({ "a": 1.5, "b": 2 })).await;
        assert_eq!(task["output"], json!({ "sum": 3.5 }), "{task:#}");
        assert!(logs(&host, &task).await.contains("adding"), "{task:#}");
        // The manifest's setting bounds the sum.
        let task = once(&host, name, json!({ "a": 1_000_000, "b": 1 })).await;
        assert_eq!(error(&task)["code"], "too-large", "{task:#}");
        let (status, problem) = host.post("/v1/tasks", &json!({ "kind": name, "input": { "a": "one" } })).await;
        assert!(status.is_client_error(), "{problem:#}");
    }
    host.stop().await;
}

/// A plugin that `taskhost plugin new` has just written.
struct Project {
    dir: TempDir,
    commands: Vec<String>,
}

impl Project {
    fn new(language: &str) -> Self {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut new = Command::new(env!("CARGO_BIN_EXE_taskhost"));
        let output =
            new.args(["plugin", "new", "sum-up", "--lang", language, "--dir"]).arg(dir.path()).output().unwrap();
        let printed = succeeded(&output);
        let commands = printed.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect();
        Self { dir, commands }
    }

    /// Runs those of the printed commands that `wanted` accepts, as they were printed.
    fn build(&self, wanted: impl Fn(&str) -> bool) {
        let commands: Vec<_> = self.commands.iter().map(String::as_str).filter(|line| wanted(line)).collect();
        assert!(!commands.is_empty(), "{:?}", self.commands);
        let taskhost = Path::new(env!("CARGO_BIN_EXE_taskhost")).parent().unwrap();
        let node = languages().join("tools/javascript/node_modules/.bin");
        #[expect(clippy::disallowed_methods, reason = "the shell of the commands needs it")]
        let path = std::env::var("PATH").unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-ec").arg(commands.join("\n")).current_dir(self.dir.path());
        shell.env("PATH", format!("{}:{}:{path}", taskhost.display(), node.display()));
        succeeded(&shell.env_remove("CARGO_TARGET_DIR").output().unwrap());
    }

    /// Changes a line of a source file; it must be there.
    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.dir.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    async fn start(&self) -> TestHost {
        let read = |end: &str| std::fs::read(self.dir.path().join(format!("sum-up.{end}"))).unwrap();
        let home = Home::new();
        home.plugins().put("sum-up", &read("wasm"), Some(&String::from_utf8(read("toml")).unwrap()));
        ready(home).await
    }
}

fn succeeded(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Neither changes directory, nor starts a server: that is the tests' own part.
fn builds(line: &str) -> bool {
    !line.starts_with("cd ") && !line.starts_with("taskhost serve")
}

/// Builds a new plugin and runs it; then one with a mistake in it, whose text must reach the operator.
async fn written_built_broken(language: &str, wanted: fn(&str) -> bool, mistake: (&str, &str, &str)) {
    let project = Project::new(language);
    if language == "c" {
        // What `wit-bindgen c` writes; xtask has it as a library.
        let made = languages().join("add-c/generated");
        let to = project.dir.path().join("generated");
        std::fs::create_dir(&to).unwrap();
        for file in ["plugin.c", "plugin.h", "plugin_component_type.o"] {
            std::fs::copy(made.join(file), to.join(file)).unwrap();
        }
    }
    project.build(wanted);
    let host = project.start().await;
    let task = once(&host, "sum-up", json!({ "a": 1, "b": 2 })).await;
    assert_eq!(task["output"]["sum"], 3.0, "{task:#}");
    host.stop().await;

    let (file, from, to) = mistake;
    project.change(file, from, to);
    project.build(|line| wanted(line) && !["install", "-m venv", "plugin test"].iter().any(|step| line.contains(step)));
    let host = project.start().await;
    let task = once(&host, "sum-up", json!({ "a": 1, "b": 2 })).await;
    assert_eq!(attempts(&task)[0]["outcome"], "crashed", "{task:#}");
    let told = error(&task)["message"].as_str().unwrap().to_owned();
    let logs = logs(&host, &task).await;
    if language == "c" {
        // It has no words; its functions have names.
        assert!(told.contains("executor_execute"), "{told}\n{logs}");
    } else {
        assert!(told.contains("no such luck") && logs.contains("no such luck"), "{told}\n{logs}");
    }
    host.stop().await;
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn a_new_plugin_in_python_is_built_by_the_printed_commands() {
    let mistake = ("app.py", "total = ", "raise ValueError('no such luck')\n        total = ");
    Box::pin(written_built_broken("python", builds, mistake)).await;
}

/// Everything that Python's standard library can ask of the system, and what it is told.
const PROBE: &str = r#"tried = {}
        def attempt(name, what):
            try:
                tried[name] = str(what())
            except Exception as error:
                tried[name] = type(error).__name__
        attempt("file", lambda: open("/etc/passwd").read())
        attempt("folder", lambda: os.listdir("/"))
        attempt("write", lambda: open("x", "w"))
        attempt("connect", lambda: socket.create_connection(("127.0.0.1", 80), 1))
        attempt("name", lambda: socket.getaddrinfo("localhost", 80))
        attempt("process", lambda: os.system("true"))
        attempt("environment", lambda: dict(os.environ).get("PATH"))
        attempt("stdin", lambda: sys.stdin.read())
        attempt("year", lambda: time.gmtime().tm_year > 2024)
        attempt("random", lambda: len({random.SystemRandom().random() for _ in range(8)}))
        print("printed"); print("told", file=sys.stderr)
        return json.dumps(tried)
        total = "#;

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn wasi_is_complete_and_empty_for_python() {
    let project = Project::new("python");
    project.change("app.py", "import json\n", "import json, os, random, socket, sys, time\n");
    project.change("app.py", "total = ", PROBE);
    let tools = languages().join("tools/python");
    std::os::unix::fs::symlink(tools, project.dir.path().join(".venv")).unwrap();
    let wanted = |line: &str| !["install", "-m venv", "plugin test"].iter().any(|step| line.contains(step));
    project.build(|line| builds(line) && wanted(line));
    let host = project.start().await;
    let task = once(&host, "sum-up", json!({ "a": 1, "b": 2 })).await;
    let tried = &task["output"];
    for denied in ["file", "folder", "write", "connect", "name", "process"] {
        let told = tried[denied].as_str().unwrap_or_default();
        assert!(told.ends_with("Error") || told == "gaierror", "{denied}: {task:#}");
    }
    assert_eq!((&tried["environment"], &tried["stdin"]), (&json!("None"), &json!("")), "{task:#}");
    assert_eq!((&tried["year"], &tried["random"]), (&json!("True"), &json!("8")), "{task:#}");
    let logs = logs(&host, &task).await;
    assert!(logs.contains("printed") && logs.contains("told"), "{logs}");
    host.stop().await;
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn a_new_plugin_in_rust_is_built_by_the_printed_commands() {
    let mistake =
        ("src/lib.rs", "let sum = ", "assert!(context.task().attempt > 9, \"no such luck\");\n        let sum = ");
    Box::pin(written_built_broken("rust", builds, mistake)).await;
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn a_new_plugin_in_javascript_is_built_by_the_printed_commands() {
    // What is installed is used.
    let wanted = |line: &str| builds(line) && line != "npm install";
    let mistake = ("app.js", "const sum = ", "if (a) throw new Error('no such luck');\n    const sum = ");
    Box::pin(written_built_broken("js", wanted, mistake)).await;
}

#[tokio::test]
#[ignore = "needs `cargo xtask languages --templates`"]
async fn a_new_plugin_in_c_is_built_by_the_printed_commands() {
    let wanted = |line: &str| builds(line) && !line.starts_with("wit-bindgen ");
    let mistake = ("plugin.c", "    const char *at = ", "    __builtin_trap();\n    const char *at = ");
    Box::pin(written_built_broken("c", wanted, mistake)).await;
}
