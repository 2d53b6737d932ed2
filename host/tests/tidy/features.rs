//! What the WebAssembly runtime is built with: what most of its advisories sit in stays compiled out.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Everything that the runtime may be built with. What is not here was left out on purpose: garbage collection,
/// threads, asynchronous components, the other compiler, profiling and debugging.
const RUNTIME: [&str; 14] = [
    "addr2line",
    "async",
    "backtrace",
    "cache",
    "component-model",
    "cranelift",
    "demangle",
    "once_cell",
    "parallel-compilation",
    "pooling-allocator",
    "runtime",
    "std",
    "wasmtime-jit-icache-coherence",
    "wat",
];
/// Of WASI only the second preview, without an adapter for the first.
const WASI: [&str; 1] = ["p2"];

/// The features of every package of the runtime as the whole workspace resolves them, by the package's name.
fn resolved() -> BTreeMap<String, Vec<String>> {
    let arguments = ["metadata", "--format-version", "1", "--offline", "--locked"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(super::root()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo answers JSON");
    let nodes =
        metadata["resolve"]["nodes"].as_array().expect("cargo resolves dependencies").iter().filter_map(|node| {
            let id = node["id"].as_str()?;
            let name = id.rsplit_once('#')?.1.split('@').next()?.to_owned();
            let features =
                node["features"].as_array()?.iter().filter_map(|feature| feature.as_str().map(str::to_owned));
            (name.starts_with("wasmtime") || name.starts_with("winch")).then(|| (name, features.collect()))
        });
    nodes.collect()
}

#[test]
fn the_runtime_is_built_without_what_most_advisories_sit_in() {
    let resolved = resolved();
    for (package, allowed) in [("wasmtime", &RUNTIME[..]), ("wasmtime-wasi", &WASI), ("wasmtime-wasi-http", &WASI)] {
        let features = resolved.get(package).unwrap_or_else(|| panic!("{package} is not among the dependencies"));
        let more: Vec<_> = features.iter().filter(|feature| !allowed.contains(&feature.as_str())).collect();
        assert!(more.is_empty(), "Cargo.toml:1: error: {package} is built with {more:?}, which are not allowed");
    }
    for unwanted in ["winch-codegen", "wasmtime-internal-winch", "wasmtime-wasi-threads", "wasmtime-wasi-nn"] {
        assert!(!resolved.contains_key(unwanted), "Cargo.toml:1: error: {unwanted} must not be built");
    }
}
