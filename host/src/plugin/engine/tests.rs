use super::*;
use crate::plugin::check::absent;
use crate::plugin::guest::tests::bench::settings;

/// What is compiled out cannot be switched on; that it is compiled out is for `tidy.rs` to say.
#[tokio::test]
async fn what_widens_the_surface_is_off() {
    let dir = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start(&settings(&dir), absent::ports()).unwrap();
    let enabled = sandbox.shared.engine.get_wasm_features();
    assert!(enabled.intersection(FORBIDDEN).is_empty(), "{:?}", enabled.intersection(FORBIDDEN));
    for name in [
        "THREADS",
        "SHARED_EVERYTHING_THREADS",
        "MEMORY64",
        "GC",
        "FUNCTION_REFERENCES",
        "EXCEPTIONS",
        "LEGACY_EXCEPTIONS",
        "STACK_SWITCHING",
        "CUSTOM_PAGE_SIZES",
        "CM_ASYNC",
        "CM_ASYNC_STACKFUL",
        "CM_MORE_ASYNC_BUILTINS",
        "CM_THREADING",
        "CM_GC",
        "CM_ERROR_CONTEXT",
        "WIDE_ARITHMETIC",
    ] {
        assert!(!enabled.iter_names().any(|(feature, _)| feature == name), "{name}");
    }
    // The program that compiles is bound by the same.
    let compiling = Engine::new(&base_config(false)).unwrap();
    assert_eq!(compiling.get_wasm_features(), enabled);
}
