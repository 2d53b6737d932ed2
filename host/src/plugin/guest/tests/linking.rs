//! What is refused before anything runs, and what the refusal says.

use super::bench::{Bench, text};
use crate::plugin::limits::Limits;
use crate::plugin::link::{FfmpegGrant, Grants, LoadError};

fn refusal(bytes: &[u8]) -> LoadError {
    Bench::new().link(bytes, Limits::default(), Grants::default()).unwrap_err()
}

#[tokio::test]
async fn an_ungranted_import_is_refused_with_the_line_that_grants_it() {
    assert_eq!(
        refusal(&text("needs-ffmpeg")).to_string(),
        "imports taskhost:media/ffmpeg@0.1.0 but plugin \"x\" is not granted the capability \"ffmpeg\": \
         add `ffmpeg = true` under [grant] in plugins/x.toml"
    );
    let bench = Bench::new();
    let grants = Grants { ffmpeg: Some(FfmpegGrant::default()), ..Grants::default() };
    let granted = bench.link(&text("needs-ffmpeg"), Limits::default(), grants).unwrap();
    granted.describe().await.unwrap();
}

#[test]
fn a_component_of_another_world_is_refused() {
    assert_eq!(refusal(&text("wrong-world")), LoadError::NoMetadata);
}

#[test]
fn a_core_module_is_refused() {
    assert_eq!(refusal(&wat::parse_str("(module)").unwrap()), LoadError::CoreModule);
}

#[test]
fn a_truncated_component_is_refused() {
    let whole = wat::parse_bytes(&text("ok")).unwrap().into_owned();
    for cut in [1, 4, 9, 100, whole.len() - 1] {
        let refusal = refusal(&whole[..cut]);
        assert!(matches!(refusal, LoadError::Truncated { .. }), "{cut}: {refusal}");
    }
}

#[test]
fn unknown_imports_are_refused() {
    let import = |name: &str| format!("(component (import {name:?} (instance (export \"f\" (func)))))").into_bytes();
    let refused = refusal(&import("acme:coffee/machine@1.0.0")).to_string();
    assert!(refused.starts_with("imports acme:coffee/machine@1.0.0, which this host does not provide"), "{refused}");
    assert!(matches!(refusal(&import("taskhost:exec/coffee@0.1.0")), LoadError::UnknownImport { .. }));
    let refused = refusal(&import("taskhost:exec/command@0.1.0")).to_string();
    assert!(refused.contains("[grant.command.NAME]") && refused.contains("plugins/x.toml"), "{refused}");
    let refused = refusal(&import("wasi:http/types@0.2.10")).to_string();
    assert!(refused.contains("`[[grant.http]] host = ") && refused.contains("--disable http fetch-event"), "{refused}");
    let refused = refusal(&import("taskhost:host/log@0.2.0")).to_string();
    assert!(refused.starts_with("its import taskhost:host/log@0.2.0 is of another version"), "{refused}");
    assert!(refused.contains("this host speaks 0.1.0") && refused.contains("upgrade the host"), "{refused}");
    let refused = refusal(&import("taskhost:host/log@0.0.9")).to_string();
    assert!(refused.contains("built for an older contract") && refused.contains("rebuild the plugin"), "{refused}");
}

/// What is written in place of what in a fixture, and what the refusal says.
const SHAPES: &[(&str, &str, &str, &[&str])] = &[
    (
        "flood",
        "\"warn\" \"error\"))",
        "\"warn\" \"error\" \"fatal\"))",
        &[
            "its import taskhost:host/log@0.1.0: enum `level`: the plugin has the case `fatal`, which this host lacks",
            "built for a newer contract: upgrade the host",
        ],
    ),
    (
        "flood",
        "\"warn\" \"error\"))",
        "\"warn\"))",
        &["enum `level`: the plugin lacks the case `error`, which this host has", "built for an older contract"],
    ),
    (
        "ok",
        "(case \"cancelled\")",
        "(case \"stopped\")",
        &[
            "its export taskhost:plugin/executor@0.1.0: variant `task-error`: the case that this host calls `cancelled` is \
             `stopped` in the plugin",
            "Neither contract contains the other",
        ],
    ),
    (
        "ok",
        "(field \"max-attempts\" u32)",
        "(field \"attempts\" u32)",
        &["record `task`: the field that this host calls `max-attempts` is `attempts` in the plugin"],
    ),
    (
        "ok",
        "(field \"attempt\" u32)",
        "(field \"attempt\" s32)",
        &["record `task`: the field `attempt` is `u32` in this host and `s32` in the plugin"],
    ),
];

#[test]
fn an_interface_of_another_shape_is_refused_and_the_difference_is_named() {
    for (fixture, from, to, expected) in SHAPES {
        let source = String::from_utf8(text(fixture)).unwrap();
        assert!(source.contains(from), "{fixture}: {from}");
        let refused = refusal(source.replace(from, to).as_bytes()).to_string();
        assert!(refused.starts_with("does not match the contract: "), "{refused}");
        for part in *expected {
            assert!(refused.contains(part), "{part}: {refused}");
        }
    }
}

#[test]
fn a_function_that_only_one_side_has_is_named() {
    let source = String::from_utf8(text("flood")).unwrap();
    let function = "(export \"log\" (func";
    assert!(source.contains(function));
    let more = source.replacen(function, &format!("(export \"flush\" (func)) {function}"), 1);
    let refused = refusal(more.as_bytes()).to_string();
    assert!(refused.contains("the plugin has the function `flush`, which this host lacks"), "{refused}");
    assert!(refused.contains("upgrade the host"), "{refused}");
}

#[tokio::test]
async fn a_plugin_that_cannot_say_what_it_is_in_time_is_refused() {
    let source = String::from_utf8(text("ok")).unwrap();
    let spins = source.replace("(result i32) (i32.const 64))", "(result i32) (loop (br 0)) (unreachable))");
    let bench = Bench::new();
    let linked = bench.link(spins.as_bytes(), Limits::default(), Grants::default()).unwrap();
    let refused = linked.describe().await.unwrap_err().to_string();
    assert!(refused.contains("the CPU limit is 100 ms"), "{refused}");
}

#[test]
fn what_widens_the_surface_is_refused() {
    for module in ["(module (memory 1 1 shared))", "(module (memory i64 1))", "(module (tag (param i32)))"] {
        let component = format!("(component (core {}", &module[1..]) + ")";
        let refused = refusal(component.as_bytes());
        assert!(matches!(refused, LoadError::Invalid(_)), "{module}: {refused}");
    }
}
