//! `taskhost plugin …`: what the binary says about a component and its manifest, and keys and signatures from end to end.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Home;
use crate::support::admin::Admin;
use crate::support::bomb::many_instances;
use crate::support::folder::fixture;

/// Runs `taskhost plugin …` in a folder.
fn plugin(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskhost"));
    command.arg("plugin").args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

/// Its exit code and everything it said.
fn told(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// The answer of a command that went well.
fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{:?}", told(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

#[test]
fn the_schema_is_published() {
    let folder = folder(&[]);
    let schema = json_of(&plugin(folder.path(), &["schema"]));
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["properties"]["limits"]["properties"]["instances"]["maximum"], 64);
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    assert!(validator.is_valid(&json!({"limits": {"memory": "64MiB"}, "grant": {"state": true}})));
    assert!(!validator.is_valid(&json!({"limits": {"memry": "64MiB"}})));
}

#[test]
fn a_check_tells_what_holds_or_everything_that_is_wrong() {
    let component = fixture("needs-ffmpeg");
    let folder =
        folder(&[("a.wasm", &component), ("a.toml", b"[grant]\nffmpeg = true\nstate = true\n[limits]\ncpu = 7\n")]);
    let found = json_of(&plugin(folder.path(), &["check", "a.wasm", "--json"]));
    assert_eq!((&found["ok"], &found["name"], &found["unused_grants"]), (&json!(true), &json!("a"), &json!(["state"])));
    assert_eq!(
        found["effective"]["limits"]["cpu"],
        json!({"value": 7, "text": "7ms", "origin": "manifest", "file": "a.toml", "line": 5})
    );
    assert_eq!(found["signature"], Value::Null);
    let (code, text) = told(&plugin(folder.path(), &["check", "a.wasm"]));
    assert_eq!(code, Some(0), "{text}");
    for line in ["signed   nobody", "(granted: ffmpeg)", "limits.cpu", "a.toml:5"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    std::fs::write(folder.path().join("a.toml"), "signature = \"a.sig\"\n[limits]\nmemry = 1\ncpu = \"2d\"\n").unwrap();
    let checked = plugin(folder.path(), &["check", "a.wasm", "--json"]);
    assert_eq!(checked.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let mistakes = found["mistakes"].to_string();
    assert_eq!(found["mistakes"].as_array().unwrap().len(), 3, "{mistakes}");
    for mistake in [
        "a.toml:3:1: unknown key `memry`; did you mean `memory`?",
        "a.toml:4:7: `cpu` must be between 1ms and 1d",
        "a.sig",
    ] {
        assert!(mistakes.contains(mistake), "{mistake}: {mistakes}");
    }
}

#[tokio::test]
async fn an_expression_that_cannot_be_is_told_with_its_error_and_its_line() {
    let manifest = "[[grant.http]]\nhost = \"a.test\"\npath = \"^/v1/(\"\n\
        [grant.command.copy]\nprogram = \"/bin/cp\"\narguments = [{ pattern = \"[z-a]\" }]\n\
        [reload]\ncanary = { kind = \"ok\", input = \"{\" }\n";
    let told = [
        "ok.toml:3:8: `path` is not usable: unclosed group; ",
        "ok.toml:6:26: `pattern` is not usable: invalid character class range, the start must be <= the end; ",
        "ok.toml:8:33: `input` is not usable: EOF while parsing an object at line 1 column 1; ",
    ];
    let folder = folder(&[("ok.wasm", &fixture("ok")), ("ok.toml", manifest.as_bytes())]);
    let checked = plugin(folder.path(), &["check", "ok.wasm", "--json"]);
    assert_eq!(checked.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let home = Home::new();
    home.plugins().put("ok", &fixture("ok"), Some(manifest));
    let host = home.start().await;
    let shown = host.get("/v1/plugins/ok").await;
    let (status, problem) = Admin::of(&host).put_manifest("ok", manifest).await;
    assert_eq!(status, 422);
    for (at, told) in told.iter().enumerate() {
        assert!(found["mistakes"][at].as_str().unwrap().starts_with(told), "{told}: {found:#}");
        for (whose, text) in [("the host's", &shown["error"]["message"]), ("an upload's", &problem["detail"])] {
            assert!(text.as_str().unwrap().lines().nth(at).unwrap().starts_with(told), "{whose}: {told}: {text:#}");
        }
    }
    host.stop().await;
}

#[test]
fn a_component_of_more_instances_than_its_limit_is_refused() {
    let folder = folder(&[("many.wasm", &many_instances(2))]);
    for (limit, told) in [(3, None), (2, Some("more than 2 core instances"))] {
        std::fs::write(folder.path().join("many.toml"), format!("[limits]\ninstances = {limit}\n")).unwrap();
        let checked = plugin(folder.path(), &["check", "many.wasm", "--json"]);
        let found: Value = serde_json::from_slice(&checked.stdout).unwrap();
        assert_eq!(found["ok"], told.is_none(), "{found:#}");
        assert!(told.is_none_or(|told| found["mistakes"][0].as_str().unwrap().contains(told)), "{found:#}");
    }
}

#[test]
fn an_inspection_runs_nothing() {
    let folder = folder(&[("spin.wasm", &fixture("spin")), ("no.wasm", b"text")]);
    let found = json_of(&plugin(folder.path(), &["inspect", "spin.wasm", "--json"]));
    assert_eq!((&found["roles"], &found["valid"]), (&json!(["executor"]), &json!(true)));
    // Written by hand, it exports its types beside the interfaces, which WIT cannot say.
    assert!(found["wit"].is_null() && found["wit_error"].is_string(), "{found:#}");
    assert!(found["memories"][0]["minimum_bytes"].as_u64().is_some());
    let (code, text) = told(&plugin(folder.path(), &["inspect", "spin.wasm"]));
    assert!(code == Some(0) && text.contains("exports   taskhost:plugin/executor@0.1.0"), "{text}");
    let (code, text) = told(&plugin(folder.path(), &["inspect", "no.wasm"]));
    assert!(code == Some(1) && text.contains("no.wasm: not WebAssembly"), "{text}");
}

#[tokio::test]
async fn a_component_is_signed_where_the_host_looks() {
    let folder = folder(&[("ok.wasm", &fixture("ok")), ("ok.toml", b"signature = \"release.sig\"\n")]);
    let told_of = |arguments: &[&str]| told(&plugin(folder.path(), arguments));
    assert_eq!(told_of(&["keygen", "--unencrypted", "--key", "release.key"]).0, Some(0));
    let (code, text) = told_of(&["sign", "ok.wasm", "--key", "release.key"]);
    assert!(code == Some(0) && text.starts_with("release.sig  plugin:ok"), "{text}");
    assert!(!folder.path().join("ok.wasm.minisig").exists());
    let public = std::fs::read_to_string(folder.path().join("release.pub")).unwrap();
    let home = Home::new().configure(|config| {
        config.plugins.trusted_keys = vec![public.lines().nth(1).unwrap().to_owned()];
        config.plugins.require_signature = true;
    });
    for file in ["release.sig", "ok.toml", "ok.wasm"] {
        std::fs::copy(folder.path().join(file), home.plugins().component("ok").with_file_name(file)).unwrap();
    }
    let host = home.start().await;
    assert_eq!(host.run("ok", &json!({})).await["state"], "succeeded");
    host.stop().await;

    // Signing once more changes nothing, and never costs a component or a manifest.
    assert_eq!(told_of(&["sign", "ok.wasm", "--key", "release.key"]).0, Some(0));
    for file in ["ok.wasm", "ok.toml", "other.wasm.minisig"] {
        let manifest = format!("signature = {file:?}\n");
        std::fs::write(folder.path().join("ok.toml"), &manifest).unwrap();
        let (code, text) = told_of(&["sign", "ok.wasm", "--key", "release.key"]);
        assert!(code == Some(1) && text.contains("which belongs to the plugin"), "{file}: {text}");
        assert_eq!(std::fs::read_to_string(folder.path().join("ok.toml")).unwrap(), manifest);
        assert_eq!(std::fs::read(folder.path().join("ok.wasm")).unwrap(), fixture("ok"));
    }
}

#[tokio::test]
async fn a_host_that_requires_signatures_runs_what_was_signed_and_says_by_whom() {
    let tools = folder(&[("ok.wasm", &fixture("ok"))]);
    let (code, text) = told(&plugin(tools.path(), &["keygen", "--unencrypted", "--key", "release.key"]));
    assert!(code == Some(0) && text.contains("require_signature = true"), "{text}");
    let (code, text) = told(&plugin(tools.path(), &["keygen", "--unencrypted", "--key", "release.key"]));
    assert!(code == Some(1) && text.contains("release.key is there already"), "{text}");
    let (code, text) = told(&plugin(tools.path(), &["keygen"]));
    assert!(code == Some(2) && text.contains("<--password-file <FILE>|--unencrypted>"), "{text}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(tools.path().join("release.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);

    let public = std::fs::read_to_string(tools.path().join("release.pub")).unwrap();
    let home = Home::new().configure(|config| {
        config.plugins.trusted_keys = vec![public.lines().nth(1).unwrap().to_owned()];
        config.plugins.require_signature = true;
    });
    let home = home.fixture("ok");
    let folder = home.plugins();
    let host = home.start().await;
    let shown = host.get("/v1/plugins/ok").await;
    assert!(shown["error"]["message"].as_str().unwrap().starts_with("ok.wasm is not signed"), "{shown}");

    let (code, text) = told(&plugin(tools.path(), &["sign", "ok.wasm", "--key", "release.key"]));
    assert!(code == Some(0) && text.contains("plugin:ok  version:"), "{text}");
    let signature = std::fs::read(tools.path().join("ok.wasm.minisig")).unwrap();
    std::fs::write(folder.component("ok").with_extension("wasm.minisig"), signature).unwrap();
    host.plugin_until("ok", |plugin| !plugin["live"].is_null()).await;
    let shown = host.get("/v1/plugins/ok").await;
    let id = public.split_whitespace().nth(5).unwrap();
    assert_eq!(shown["live"]["signature"]["key_id"], id, "{shown}");
    assert!(shown["live"]["signature"]["trusted_comment"].as_str().unwrap().starts_with("plugin:ok\tversion:"));
    assert_eq!(shown["live"]["effective"]["limits"]["memory"]["origin"], "default");
    host.stop().await;
}
