use std::fs;

use super::*;
use crate::plugin::signature::{Trust, TrustedKey, comment, generate, sign};
use crate::plugin::testbed::Fixture;

fn inspect(files: &[(&str, &[u8])], rules: &Rules) -> Result<Inspection, String> {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(root.path().join(name), bytes).unwrap();
    }
    inspect_file(rules, &root.path().join(files[0].0), 1 << 20)
}

fn stateful() -> Vec<u8> {
    let mut fixture = Fixture::executor("1", "a");
    fixture.wants_state = true;
    fixture.build()
}

#[test]
fn what_is_in_a_component_is_told_without_running_it() {
    let component = stateful();
    let found = inspect(&[("a.wasm", &component)], &Rules::default()).unwrap();
    assert_eq!((found.name.as_str(), found.size_bytes), ("a", component.len() as u64));
    let state = Import { name: "taskhost:host/state@0.1.0".to_owned(), capability: Some("state"), granted: false };
    assert!(found.imports.contains(&state), "{:?}", found.imports);
    assert!(found.exports.iter().any(|export| export == "taskhost:plugin/metadata@0.1.0"), "{:?}", found.exports);
    assert_eq!(found.roles, ["executor"]);
    let Contents { sections, modules, memories, functions, invalid, .. } = &found.contents;
    assert_eq!(invalid, &None);
    assert!(*modules > 0 && *functions > 0 && !memories.is_empty());
    assert!(memories.iter().all(|memory| memory.minimum_bytes % 65_536 == 0));
    assert!(sections.iter().map(|section| section.bytes).sum::<u64>() <= found.size_bytes);
    let wit = found.wit.unwrap();
    assert!(wit.contains("world root") && wit.contains("import taskhost:host/state@0.1.0;"), "{wit}");
    assert_eq!(found.signature, Ok(None));
    assert_eq!(found.effective.unwrap().to_json()["limits"]["cpu"]["origin"], "default");
}

#[test]
fn what_the_manifest_grants_is_told_or_what_is_wrong_with_it() {
    let component = stateful();
    let look = |manifest: &[u8]| inspect(&[("a.wasm", &component), ("a.toml", manifest)], &Rules::default()).unwrap();
    let found = look(b"[grant]\nstate = true\n");
    assert!(found.imports.iter().all(|import| import.granted), "{:?}", found.imports);
    assert_eq!(found.effective.unwrap().to_json()["grant"]["state"]["granted"]["line"], 2);
    let wrong = look(b"[grant]\nstat = true\n").effective.unwrap_err();
    assert_eq!(wrong, "a.toml:2:1: unknown key `stat`; did you mean `state`?");
}

#[test]
fn text_is_looked_into_as_well() {
    let found = inspect(
        &[("a.wasm", b"(component (core module (memory 2 3) (@producers (language \"Rust\" \"2024\"))))")],
        &Rules::default(),
    );
    let contents = found.unwrap().contents;
    assert_eq!(contents.memories, [Memory { minimum_bytes: 131_072, maximum_bytes: Some(196_608) }]);
    let rust = Producer { field: "language".to_owned(), name: "Rust".to_owned(), version: "2024".to_owned() };
    assert_eq!(contents.producers, [rust]);
}

#[test]
fn a_signature_is_told_or_what_is_wrong_with_it() {
    let (component, keys) = (stateful(), generate(None).unwrap());
    let digest = Digest(<sha2::Sha256 as sha2::Digest>::digest(&component).into());
    let signature = sign(&keys.secret, None, &component, &comment("a", "1", digest)).unwrap();
    let trusted = TrustedKey::parse(&keys.line).unwrap();
    let rules = Rules { trust: Trust { keys: vec![trusted], required: true }, ..Rules::default() };
    let found = inspect(&[("a.wasm", &component), ("a.wasm.minisig", signature.as_bytes())], &rules).unwrap();
    assert_eq!(found.signature.unwrap().unwrap().key, keys.id);
    let named = inspect(
        &[("a.wasm", &component), ("a.toml", b"signature = \"mine\"\nmemry = 1\n"), ("mine", signature.as_bytes())],
        &rules,
    );
    assert_eq!(named.unwrap().signature.unwrap().unwrap().key, keys.id);
    assert!(inspect(&[("a.wasm", &component)], &rules).unwrap().signature.unwrap_err().contains("is not signed"));
}

#[test]
fn what_is_not_a_component_is_told() {
    let component = stateful();
    for (bytes, told) in [
        (b"".as_slice(), "is empty"),
        (b"\0asm", "truncated"),
        (b"\x7fELF and so on", "not WebAssembly"),
        (b"\0asm\x01\0\0\0", "core module"),
        (b"(component", "not a valid component"),
        (&component[..component.len() / 2], ""),
    ] {
        let refused = inspect(&[("a.wasm", bytes)], &Rules::default()).unwrap_err();
        assert!(refused.contains(told), "{told}: {refused}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn damaged_components_are_looked_into_or_refused(at in 8..4_096_usize, byte in proptest::prelude::any::<u8>()) {
        let mut component = stateful();
        let at = at % component.len();
        component[at] = byte;
        drop(inspect(&[("a.wasm", &component)], &Rules::default()));
    }
}
