//! Manifests that nobody wrote by hand.

use proptest::prelude::*;

use super::super::read::MAX_MISTAKES;
use super::super::{MAX_MANIFEST_BYTES, Manifest};

/// Reads bytes; whatever is wrong has a place within the file and fits on a line.
fn read(bytes: &[u8]) -> Result<Manifest, String> {
    Manifest::parse_bytes("a.toml", bytes).map_err(|mistakes| {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + usize::from(bytes.last() != Some(&b'\n'));
        assert!((1..=MAX_MISTAKES).contains(&mistakes.0.len()));
        for mistake in &mistakes.0 {
            assert!((1..=lines.max(1)).contains(&mistake.line), "{mistake} in a file of {lines} lines");
            assert!(mistake.column >= 1);
            assert!(mistake.message.len() < 600 && !mistake.message.contains(char::is_control), "{mistake}");
        }
        mistakes.to_string()
    })
}

#[test]
fn windows_files_are_read() {
    let manifest = read("\u{feff}[limits]\r\nmemory = \"1MiB\"\r\n".as_bytes()).unwrap();
    assert_eq!(manifest.limits.memory_bytes, 1 << 20);
    assert_eq!(read("\u{feff}memry = 1\r\n".as_bytes()).unwrap_err().split(' ').next(), Some("a.toml:1:1:"));
    assert!(read(b"[limits]\r\n\r\nmemry = 1\r\n").unwrap_err().starts_with("a.toml:3:1: "));
}

#[test]
fn what_no_editor_writes_is_refused_with_its_line() {
    let deep = format!("config = {}1{}\n", "[".repeat(30_000), "]".repeat(30_000));
    let tables = format!("a{} = 1\n", ".a".repeat(30_000));
    let duplicates = "[limits]\nmemory = \"1MiB\"\ncpu = 1\nmemory = \"2MiB\"\n";
    let many: String = (0..4_000).map(|n| format!("key{n} = 1\n")).collect();
    let long = format!("{} = 1\n", "k".repeat(60_000));
    for (bytes, place) in [
        (duplicates.as_bytes(), "a.toml:4:1: "),
        (b"[limits]\n[limits]\n".as_slice(), "a.toml:2:"),
        (b"[limits]\nmemory = \"1\0MiB\"\n", "a.toml:2:"),
        (b"[limits]\n\0", "a.toml:2:"),
        (b"[limits]\n# \xff\n", "a.toml:2:3: this is not UTF-8"),
        (b"\xff\xfe[\0l\0", "a.toml:1:1: this is not UTF-8"),
        (b"[limits]\r\rmemory = 1", "a.toml:1:"),
        (b"\"a\\nb\\u0000\" = 1\n", "a.toml:1:1: unknown key `a\\nb\\0`"),
        (deep.as_bytes(), "a.toml:1:"),
        (tables.as_bytes(), "a.toml:1:"),
        (many.as_bytes(), "a.toml:1:1: "),
        (long.as_bytes(), "a.toml:1:1: unknown key `kkk"),
        (b"[[limits]]\nmemory = 1\n", "a.toml:1:"),
        (b"[grant.state.quota]\na = 1\n", "a.toml:1:"),
    ] {
        assert!(bytes.len() as u64 <= MAX_MANIFEST_BYTES);
        let told = read(bytes).unwrap_err();
        assert!(told.starts_with(place), "{place} expected, told {}", &told[..told.len().min(300)]);
    }
}

#[test]
fn settings_are_bounded() {
    let settings = |count: usize| {
        let lines: String = (0..count).map(|n| format!("key{n} = {n}\n")).collect();
        read(format!("[config]\n{lines}").as_bytes())
    };
    assert_eq!(settings(256).unwrap().config.len(), 256);
    assert!(settings(257).unwrap_err().contains("more than 256 settings"));
    let kinds = vec!["\"a\""; 65].join(", ");
    assert!(
        read(format!("[grant.queue]\nkinds = [{kinds}]\n").as_bytes()).unwrap_err().contains("more than 64 entries")
    );
}

/// Lines that are nearly right, put together at random.
fn nearly() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("limits"),
        Just("grant"),
        Just("config"),
        Just("memory"),
        Just("cpu"),
        Just("state"),
        Just("quota"),
        Just("queue"),
        Just("kinds"),
        Just("sha256"),
        Just("library"),
        Just("write"),
        Just("memry"),
        Just("\"a b\""),
        Just("'\u{1F600}'"),
    ];
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("."));
    let value = prop_oneof![
        Just("true".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("\"64MiB\"".to_owned()),
        Just("-1".to_owned()),
        Just("1e400".to_owned()),
        Just("nan".to_owned()),
        Just("2020-01-01".to_owned()),
        Just("[{ quota = 1 }]".to_owned()),
        Just("{ kinds = [\"a\", 1] }".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<String>().prop_map(|text| format!("{text:?}")),
    ];
    let line = prop_oneof![
        4 => (path.clone(), value).prop_map(|(path, value)| format!("{path} = {value}")),
        2 => path.clone().prop_map(|path| format!("[{path}]")),
        1 => path.prop_map(|path| format!("[[{path}]]")),
        1 => Just("\u{feff}".to_owned()),
        1 => Just("\0".to_owned()),
    ];
    let end = prop_oneof![Just("\n"), Just("\r\n"), Just("")];
    prop::collection::vec((line, end), 0..8)
        .prop_map(|lines| lines.iter().map(|(line, end)| format!("{line}{end}")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_read_or_refused_with_a_place(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        drop(read(&bytes));
    }

    #[test]
    fn what_is_nearly_a_manifest_is_read_or_refused_with_a_place(text in nearly()) {
        drop(read(text.as_bytes()));
    }
}
