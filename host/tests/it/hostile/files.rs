//! Files that mean harm before they are a plugin: each is refused with a reason, in bounded time and memory, while the
//! good plugin goes on.

use std::time::Duration;

use super::scene::{MANIFEST, Scene};
use crate::support::bomb;
use crate::support::component::{encode, text};
use crate::support::folder::{fixture, hostile, variant};

/// A wall limit for compiling, and room for a busy machine.
const LONGEST: Duration = Duration::from_secs(20);
const MIB: usize = 1 << 20;

/// A file and a part of the reason for which it is refused.
type Case = (u8, &'static str, Vec<u8>, &'static str);

/// Guests that are asked what they are when they are loaded.
fn guests() -> Vec<Case> {
    let refused = [
        (2, "start-spins", "the CPU limit is 100 ms"),
        (7, "memories-many", "memory does not fit"),
        (9, "born-with-huge-memory", "memory"),
        (9, "born-with-huge-table", "table"),
        (2, "describe-spins", "the CPU limit is 100 ms"),
        (6, "describe-allocates", "out of memory"),
        (14, "describe-many-kinds", "1000 kinds, the limit is 64"),
        (14, "describe-huge-list", "cannot describe itself"),
        (14, "describe-odd-kind", "is not a kind"),
        (14, "describe-deep-schema", "schema"),
    ];
    refused.map(|(number, name, reason)| (number, name, hostile(name), reason)).into()
}

/// Files that are large to compile, or to look at.
fn bombs() -> Vec<Case> {
    vec![
        (17, "long-function", bomb::long_function(3_000_000), "plugins.compile_time"),
        (17, "many-segments", bomb::many_segments(100_001), "not a valid component"),
        (17, "many-instances", bomb::many_instances(900), "instances"),
        (17, "more-instances", bomb::many_instances(10_000), "not a valid component"),
        (17, "deep-nesting", bomb::nested(5_000), ""),
        (17, "deep-types", bomb::doubled_types(64), "not a valid component"),
        (17, "huge-section", bomb::with_custom_section(&fixture("ok"), 65 * MIB), "the limit is 67108864"),
    ]
}

/// What is no plugin of this host.
fn strangers() -> Vec<Case> {
    let ok = fixture("ok");
    let mut random = fastrand::Rng::with_seed(18);
    let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(4096).collect();
    let preview1 =
        "(module (import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32))))";
    let wasi_http = "(component\n(import \"wasi:http/outgoing-handler@0.2.0\" (instance (export \"handle\" (func))))";
    let exec = "(component (import \"taskhost:exec/command@0.1.0\" (instance (export \"run\" (func)))))";
    let twice = text("ok").replace(
        "(export \"taskhost:plugin/executor@0.1.0\" (instance $executor))",
        "(export \"taskhost:plugin/executor@0.1.0\" (instance $executor))\n  (export \"taskhost:plugin/executor@0.1.0\" (instance $executor))",
    );
    vec![
        (18, "noise", noise.clone(), "not WebAssembly"),
        (18, "noise-inside", [b"\0asm\x0d\0\x01\0", &noise[..]].concat(), ""),
        (18, "truncated", ok[..ok.len() / 2].to_vec(), "truncated"),
        (18, "core-module", encode("(module)"), "a core module"),
        (18, "preview1", encode(preview1), "a core module"),
        (18, "unknown-import", encode("(component (import \"acme:a/b\" (func)))"), "acme:a/b"),
        (
            18,
            "one-case-more",
            variant("flood", "\"warn\" \"error\"", "\"warn\" \"error\" \"fatal\""),
            "taskhost:host/log",
        ),
        (18, "exported-twice", twice.into_bytes(), "not a valid component"),
        (24, "wasi-http", encode(&text("ok").replacen("(component", wasi_http, 1)), "wasi:http/outgoing-handler"),
        (25, "exec", encode(exec), "taskhost:exec/command"),
    ]
}

async fn refuse(cases: Vec<Case>) {
    let scene = Scene::start(|place| {
        let config = place.path("taskhost.toml");
        let text = std::fs::read_to_string(&config).unwrap() + "[plugins]\ncompile_time = \"2s\"\n";
        std::fs::write(config, text).unwrap();
    });
    let scene = scene.await;
    let mut wrong = Vec::new();
    for (number, name, bytes, reason) in cases {
        scene.place.plugins().put(name, &bytes, Some(MANIFEST));
        let (plugin, cost) = scene.beside_others(scene.judged(name)).await;
        let message = plugin["error"]["message"].as_str().unwrap_or_default();
        if !plugin["live"].is_null() || message.is_empty() || !message.contains(reason) {
            wrong.push(format!("{number} {name}: {message}"));
        }
        cost.check(name, LONGEST);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    scene.stop().await;
}

#[tokio::test]
async fn i11_a_guest_that_does_harm_when_it_is_asked_what_it_is_is_not_loaded() {
    refuse(guests()).await;
}

#[tokio::test]
async fn i11_a_file_that_is_large_to_compile_is_not_loaded() {
    refuse(bombs()).await;
}

#[tokio::test]
async fn i11_a_file_that_is_no_plugin_is_not_loaded() {
    refuse(strangers()).await;
}
