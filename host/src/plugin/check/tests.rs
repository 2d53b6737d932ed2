use std::fs;

use super::{CheckReport, check_file};
use crate::plugin::testbed::{Fixture, settings};

async fn check(files: &[(&str, &[u8])], name: &str) -> Result<CheckReport, Vec<String>> {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(root.path().join(name), bytes).unwrap();
    }
    check_file(&settings(&root), &root.path().join(name)).await
}

#[tokio::test]
async fn a_report_tells_what_the_plugin_would_be() {
    let mut fixture = Fixture::executor("1", "a");
    fixture.wants_state = true;
    let component = fixture.build();
    let manifest = b"[grant]\nstate = true\nqueue = true\n[limits]\nwall = \"5s\"\n";
    let report = check(&[("a.wasm", &component), ("a.toml", manifest)], "a.wasm").await.unwrap();
    assert_eq!((report.name.as_str(), report.size_bytes), ("a", component.len() as u64));
    assert_eq!((report.info.version.as_str(), report.info.roles.as_slice()), ("1", ["executor"].as_slice()));
    assert_eq!(report.imports, [("taskhost:host/state@0.1.0".to_owned(), Some("state"))]);
    assert_eq!((report.info.grants.len(), report.unused_grants), (2, vec!["queue".to_owned()]));
    assert_eq!(report.info.effective.to_json()["limits"]["wall"]["line"], 5);
}

#[tokio::test]
async fn every_mistake_is_told() {
    let errors = check(&[("A_b.wasm", b"no"), ("A_b.toml", b"[limit]\n")], "A_b.wasm").await.unwrap_err();
    let expected = ["rename it to a-b.wasm", "did you mean `limits`?", "not WebAssembly"];
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.contains(expected), "{error}");
    }
    let mut fixture = Fixture::executor("1", "a");
    fixture.wants_state = true;
    let errors = check(&[("a.wasm", &fixture.build())], "a.wasm").await.unwrap_err();
    assert!(errors[0].contains("state = true"), "{errors:?}");
    assert!(check(&[], "a.wasm").await.unwrap_err()[0].contains("a.wasm"));
    assert!(check(&[("a.txt", b"")], "a.txt").await.unwrap_err()[0].contains("<name>.wasm"));
}
