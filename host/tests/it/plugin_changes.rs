//! Plugins are uploaded, deleted and rolled back over HTTP, and what was live is remembered.

use std::convert::Infallible;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::reload::sha256;
use crate::support::admin::Admin;
use crate::support::binary::{Place, Served};
use crate::support::folder::{fixture, variant};
use crate::support::{Home, TestHost, attempts};

/// What the fixture answers, as it stands in its text.
const OUTPUT: &str = "v00";

fn version(output: &str) -> Vec<u8> {
    variant("version", OUTPUT, output)
}

async fn read(request: RequestBuilder) -> (StatusCode, Value) {
    crate::support::answer(request).await
}

async fn send(request: RequestBuilder) -> Response {
    request.send().await.unwrap()
}

async fn output(host: &TestHost) -> Value {
    host.run("version", &json!({})).await["output"].clone()
}

#[tokio::test]
async fn an_upload_is_live_when_it_is_answered_and_stays_so() {
    let host = Home::new().start().await;
    let admin = Admin::of(&host);
    let first = version("v01");
    let answer = send(admin.request(Method::PUT, "/v1/plugins/version").body(first.clone())).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.headers()["etag"], format!("\"{}\"", sha256(&first)));
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body, json!({ "name": "version", "digest": sha256(&first), "before": null }));
    assert_eq!(output(&host).await, "v01");
    assert_eq!(std::fs::read(host.plugins().component("version")).unwrap(), first);

    let (status, body) = admin.put("version", version("v02")).await;
    assert_eq!((status, &body["before"]), (StatusCode::OK, &json!(sha256(&first))), "{body:#}");
    assert_eq!(output(&host).await, "v02");
    let host = host.restart().await;
    assert_eq!(output(&host).await, "v02");
    // The file in the folder is still the operator's.
    host.plugins().put("version", &version("v03"), None);
    host.plugin_until("version", |plugin| plugin["live"]["digest"] == sha256(&version("v03"))).await;
    host.stop().await;
}

#[tokio::test]
async fn i11_an_upload_that_is_not_sound_changes_nothing() {
    let host = TestHost::with(&["version"]).await;
    let admin = Admin::of(&host);
    let old = fixture("version");
    let usurper = variant("ok", "\"ok\"", "\"ok\"");
    let (status, _) = admin.put("other", usurper).await;
    assert_eq!(status, StatusCode::CREATED);
    for (what, name, bytes) in [
        ("not a component", "version", b"not a component at all".to_vec()),
        ("truncated", "version", old[..old.len() / 2].to_vec()),
        ("a core module", "version", wat::parse_str("(module)").unwrap()),
        ("another plugin's kind", "usurper", version("v01")),
    ] {
        let (status, problem) = admin.put(name, bytes).await;
        assert_eq!((status, &problem["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("plugin-refused")), "{what}");
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{what}: {problem:#}");
        assert_eq!(std::fs::read(host.plugins().component("version")).unwrap(), old, "{what}");
        let plugin = host.plugin("version").await.unwrap();
        assert_eq!((&plugin["live"]["digest"], &plugin["error"]), (&json!(sha256(&old)), &Value::Null), "{what}");
    }
    assert!(!host.plugins().component("usurper").exists());
    let (status, problem) = admin.put_manifest("version", "[limits]\nmemry = 1\n").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(problem["detail"].as_str().unwrap().contains("version.toml:2:1: unknown key `memry`"), "{problem:#}");
    let left = std::fs::read_dir(host.plugins().component("version").parent().unwrap()).unwrap();
    let hidden = left.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count();
    assert_eq!(hidden, 0, "nothing was left in the folder");
    assert_eq!(output(&host).await, OUTPUT);
    host.stop().await;
}

#[tokio::test]
async fn only_the_administrator_changes_plugins() {
    let host = TestHost::with(&["version"]).await;
    for (method, path) in [
        (Method::PUT, "/v1/plugins/version"),
        (Method::PUT, "/v1/plugins/version/manifest"),
        (Method::DELETE, "/v1/plugins/version"),
        (Method::POST, "/v1/plugins/version/rollback"),
    ] {
        for token in [None, Some("wrong"), Some("")] {
            let request = host.request(method.clone(), path).body(version("v01"));
            let request = token.iter().fold(request, RequestBuilder::bearer_auth);
            let answer = send(request).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        }
    }
    assert_eq!(output(&host).await, OUTPUT);
    host.stop().await;
}

#[tokio::test]
async fn uploads_are_bounded_named_and_conditional() {
    let host = Home::new().configure(|config| config.plugins.max_component_bytes = 20_000).start().await;
    let admin = Admin::of(&host);
    let (status, problem) = admin.put("version", vec![0; 20_001]).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("component-too-large")));
    let (status, problem) = admin.put_manifest("version", &"#".repeat(70_000)).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("manifest-too-large")));
    for name in ["Version", "a_b", "..%2Fx", "a%2Fb", "-a", &"a".repeat(65)] {
        let (status, problem) = admin.put(name, version("v01")).await;
        assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("invalid-name")), "{name}");
    }
    let (status, _) = admin.put_manifest("version", "").await;
    assert_eq!(status, StatusCode::NOT_FOUND, "a manifest alone is no plugin");
    let (status, problem) = admin.put("version", Vec::new()).await;
    assert_eq!((status, &problem["code"]), (StatusCode::BAD_REQUEST, &json!("empty-body")));

    let put = |header: &str, value: String, output: &str| {
        read(admin.request(Method::PUT, "/v1/plugins/version").header(header, value).body(version(output)))
    };
    let missing = format!("\"{}\"", sha256(b""));
    assert_eq!(put("if-match", missing.clone(), "v01").await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(put("if-none-match", "*".to_owned(), "v01").await.0, StatusCode::CREATED);
    assert_eq!(put("if-none-match", "*".to_owned(), "v02").await.0, StatusCode::PRECONDITION_FAILED);
    let live = format!("{missing}, \"{}\"", sha256(&version("v01")));
    assert_eq!(put("if-match", live.clone(), "v02").await.0, StatusCode::OK);
    assert_eq!(put("if-match", live, "v03").await.0, StatusCode::PRECONDITION_FAILED);
    assert_eq!(output(&host).await, "v02");
    host.stop().await;
}

#[tokio::test]
async fn a_form_brings_component_and_manifest_together() {
    let host = Home::new().start().await;
    let admin = Admin::of(&host);
    let parts: [(&str, &[u8]); 2] = [("component", &version("v01")), ("manifest", b"[limits]\nconcurrency = 3\n")];
    assert_eq!(admin.put_form("version", &parts).await.0, StatusCode::CREATED);
    let plugin = host.plugin("version").await.unwrap();
    assert_eq!(plugin["live"]["kinds"][0]["concurrency"], 3, "{plugin:#}");

    // The manifest stays when only the component comes, and the other way round; then nothing is compiled.
    admin.put("version", version("v02")).await;
    let (status, body) = admin.put_manifest("version", "[limits]\nconcurrency = 5\n").await;
    assert_eq!((status, &body["digest"]), (StatusCode::OK, &json!(sha256(&version("v02")))));
    let plugin = host.plugin("version").await.unwrap();
    assert_eq!(plugin["live"]["kinds"][0]["concurrency"], 5, "{plugin:#}");
    assert_eq!(plugin["live"]["compiled"]["cached"], true, "{plugin:#}");
    assert_eq!(admin.put_form("version", &[("file", b"x")]).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(output(&host).await, "v02");
    host.stop().await;
}

#[tokio::test]
async fn a_rollback_brings_the_generation_before_back_and_survives_a_restart() {
    let host = Home::new().start().await;
    host.plugins().put("version", &version("v01"), Some("[limits]\nconcurrency = 3\n"));
    host.plugin_until("version", |plugin| plugin["live"]["digest"] == sha256(&version("v01"))).await;
    let admin = Admin::of(&host);
    let (status, problem) = admin.roll_back("version").await;
    assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("nothing-kept")), "{problem:#}");
    assert_eq!(admin.roll_back("nobody").await.0, StatusCode::NOT_FOUND);

    host.plugins().put("version", &version("v02"), Some(""));
    host.plugin_until("version", |plugin| plugin["live"]["digest"] == sha256(&version("v02"))).await;
    let (status, body) = admin.roll_back("version").await;
    assert_eq!((status, &body["digest"]), (StatusCode::OK, &json!(sha256(&version("v01")))), "{body:#}");
    assert_eq!(output(&host).await, "v01");
    let plugin = host.plugin("version").await.unwrap();
    assert_eq!(plugin["live"]["kinds"][0]["concurrency"], 3, "with its manifest: {plugin:#}");

    let host = host.restart().await;
    assert_eq!(output(&host).await, "v01");
    assert_eq!(Admin::of(&host).roll_back("version").await.0, StatusCode::CONFLICT, "there is nothing before it");
    // Until the file changes again.
    host.plugins().put("version", &version("v03"), None);
    host.plugin_until("version", |plugin| plugin["live"]["digest"] == sha256(&version("v03"))).await;

    let history = host.get("/v1/plugins/version/history").await;
    let told: Vec<_> = history["generations"].as_array().unwrap().iter().collect();
    let what: Vec<_> = told.iter().map(|it| (&it["digest"], &it["cause"], &it["end"])).collect();
    let digest = |output: &str| json!(sha256(&version(output)));
    let (first, second, third) = (digest("v01"), digest("v02"), digest("v03"));
    let (file, rollback, replaced, back) = (json!("file"), json!("rollback"), json!("replaced"), json!("rolled-back"));
    assert_eq!(
        what,
        [
            (&third, &file, &Value::Null),
            (&first, &rollback, &replaced),
            (&second, &file, &back),
            (&first, &file, &replaced),
        ],
        "{history:#}"
    );
    assert_eq!((&told[1]["restores"], &history["rollback_to"]), (&json!(1), &first), "{history:#}");
    host.stop().await;
}

#[tokio::test]
async fn a_deleted_plugin_is_gone_at_once_and_can_be_brought_back() {
    let host = TestHost::with(&["version"]).await;
    let admin = Admin::of(&host);
    let stale = admin.request(Method::DELETE, "/v1/plugins/version").header("if-match", "\"00\"");
    assert_eq!(send(stale).await.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(admin.delete("version").await.0, StatusCode::NO_CONTENT);
    assert!(host.plugin("version").await.is_none());
    assert!(!host.plugins().component("version").exists());
    assert_eq!(admin.delete("version").await.0, StatusCode::NOT_FOUND);
    let (status, _) = host.post("/v1/tasks", &json!({ "kind": "version", "input": {} })).await;
    assert!(status.is_client_error(), "{status}");

    assert_eq!(admin.roll_back("version").await.0, StatusCode::OK);
    assert_eq!(output(&host).await, OUTPUT);
    let history = host.get("/v1/plugins/version/history").await;
    assert_eq!(history["generations"][1]["end"], "removed", "{history:#}");
    assert_eq!(send(host.request(Method::GET, "/v1/plugins/nobody/history")).await.status(), StatusCode::NOT_FOUND);
    host.stop().await;
}

#[tokio::test]
async fn the_history_says_who_drains() {
    let host = TestHost::with(&["wait"]).await;
    let mut events = host.events().await;
    let task = host.enqueue("wait", &json!({})).await;
    events.task(&task, "task.started").await;
    let (status, _) = Admin::of(&host).put_manifest("wait", "[limits]\nconcurrency = 2\n").await;
    assert_eq!(status, StatusCode::OK);
    let history = host.get("/v1/plugins/wait/history").await;
    let [live, old] = &history["generations"].as_array().unwrap()[..] else { panic!("{history:#}") };
    assert_eq!((&live["draining"], &old["draining"]["running"]), (&Value::Null, &json!(1)), "{history:#}");
    assert_eq!((&old["draining"]["since"], &live["live_at"]), (&old["ended_at"], &old["ended_at"]), "{history:#}");
    host.cancel(&task).await;
    host.wait_task(&task).await;
    host.plugin_until("wait", |plugin| plugin["draining"] == json!([])).await;
    let history = host.get("/v1/plugins/wait/history").await;
    assert!(history["generations"][1]["draining"].is_null(), "{history:#}");
    host.stop().await;
}

#[tokio::test]
async fn a_canary_on_request_does_the_latest_task_once_more() {
    let host = TestHost::with(&["version"]).await;
    let admin = Admin::of(&host);
    let put = |query: &str, bytes: Vec<u8>| {
        read(admin.request(Method::PUT, &format!("/v1/plugins/version?canary={query}")).body(bytes))
    };
    let trapping = variant("version", "(i32.store (i32.const 524) (i32.const 5))", "unreachable");
    let (status, problem) = put("1", version("v01")).await;
    assert_eq!(status, StatusCode::CONFLICT, "no task has succeeded yet: {problem:#}");
    assert_eq!(put("soon", version("v01")).await.0, StatusCode::BAD_REQUEST);
    let done = host.run("version", &json!({ "n": 1 })).await;
    for query in ["1", done["id"].as_str().unwrap()] {
        let (status, problem) = put(query, trapping.clone()).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem:#}");
        assert!(problem["detail"].as_str().unwrap().contains("the canary failed: trap"), "{problem:#}");
    }
    assert_eq!(put("1", version("v01")).await.0, StatusCode::OK);
    assert_eq!(put("0", trapping).await.0, StatusCode::OK, "who asks for none gets none");
    host.stop().await;
}

#[tokio::test]
async fn uploads_at_the_same_time_go_live_one_after_the_other() {
    let host = Home::new().start().await;
    let admin = Admin::of(&host);
    let outputs: Vec<_> = (1..=6).map(|number| format!("v{number:02}")).collect();
    let puts = outputs.iter().map(|output| admin.put("version", version(output)));
    for (status, body) in futures_util::future::join_all(puts).await {
        assert!(status.is_success(), "{status}: {body:#}");
    }
    let history = host.get("/v1/plugins/version/history").await;
    let told = history["generations"].as_array().unwrap();
    assert_eq!(told.len(), 6, "{history:#}");
    let live = host.plugin("version").await.unwrap();
    assert_eq!(live["live"]["digest"], told[0]["digest"]);
    assert!(outputs.iter().any(|name| told[0]["digest"] == sha256(&version(name))));
    let done = host.run("version", &json!({})).await;
    assert_eq!(attempts(&done)[0]["digest"], told[0]["digest"]);
    host.stop().await;
}

/// The most memory that a process has had, in KiB.
fn peak_kib(host: &Served) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

/// So many mebibytes of a component, made while they are sent.
fn endless(mib: u64) -> reqwest::Body {
    let chunk = bytes::Bytes::from(vec![0; 1 << 20]);
    reqwest::Body::wrap_stream(futures_util::stream::iter((0..mib).map(move |_| Ok::<_, Infallible>(chunk.clone()))))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_an_upload_of_300_mib_is_refused_without_being_held() {
    const SENT_MIB: u64 = 300;
    /// `plugins.max_component`, when nobody says otherwise, and as much again while a buffer grows.
    const HELD_KIB: u64 = 128 << 10;
    /// What a debug build needs for other things.
    const OTHER_KIB: u64 = 32 << 10;
    let place = Place::with(&["version"]);
    let host = place.start().await;
    let admin = Admin::at(&host, &place);
    let bytes = SENT_MIB << 20;
    let raw = || admin.request(Method::PUT, "/v1/plugins/version");
    let part = |part: &'static str| {
        let body = reqwest::multipart::Part::stream_with_length(endless(SENT_MIB), bytes);
        raw().multipart(reqwest::multipart::Form::new().part(part, body))
    };
    for (what, request, code, held_kib) in [
        ("announced", raw().header("content-length", bytes).body(endless(SENT_MIB)), "component-too-large", 0),
        ("a manifest in a form", part("manifest"), "manifest-too-large", 0),
        ("in chunks", raw().body(endless(SENT_MIB)), "component-too-large", HELD_KIB),
        ("a component in a form", part("component"), "component-too-large", HELD_KIB),
    ] {
        let before = peak_kib(&host);
        // Who still writes when the host has waited long enough may see the connection close instead of the answer.
        if let Ok(answer) = request.send().await {
            assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{what}");
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], code, "{what}");
        }
        let grown = peak_kib(&host) - before;
        assert!(grown < held_kib + OTHER_KIB, "{what}: {grown} KiB");
        let left = crate::support::files(place.plugins().component("version").parent().unwrap());
        assert_eq!(left, [place.plugins().component("version")], "{what}");
    }
    assert_eq!(std::fs::read(place.plugins().component("version")).unwrap(), fixture("version"));
    assert!(host.terminate().await.success());
}

/// Whatever goes wrong, what is live goes on.
#[tokio::test]
async fn i11_there_is_no_way_back_to_files_that_are_gone_or_changed() {
    let host = Home::new().start().await;
    let admin = Admin::of(&host);
    for output in ["v01", "v02"] {
        assert!(admin.put("version", version(output)).await.0.is_success());
    }
    let kept = host.data().join("generations/version").join(format!("{}.wasm", sha256(&version("v01"))));
    std::fs::write(&kept, version("v03")).unwrap();
    for _ in ["changed", "gone"] {
        let (status, problem) = admin.roll_back("version").await;
        assert_eq!((status, &problem["code"]), (StatusCode::CONFLICT, &json!("nothing-kept")), "{problem:#}");
        assert_eq!(output(&host).await, "v02");
        let _gone = std::fs::remove_file(&kept);
    }
    // A manifest that becomes invalid in the folder, and a component without a byte: the same.
    let component = host.plugins().component("version");
    std::fs::write(component.with_extension("toml"), "[limits]\nmemry = 1\n").unwrap();
    host.plugin_until("version", |plugin| plugin["error"].is_object() && plugin["live"].is_object()).await;
    assert_eq!(output(&host).await, "v02");
    std::fs::write(&component, b"").unwrap();
    host.plugin_until("version", |plugin| plugin["error"]["digest"] == sha256(b"") && plugin["live"].is_object()).await;
    assert_eq!(output(&host).await, "v02");
    // An upload of both puts it right.
    let (status, _) = admin.put_form("version", &[("component", &version("v04")), ("manifest", b"")]).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(output(&host).await, "v04");
    host.stop().await;
}
