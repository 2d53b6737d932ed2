use super::*;
use crate::plugin::link::{FfmpegGrant, LibraryGrant, QueueGrant, StateGrant};

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse("cut.toml", text)
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn without_words_there_are_default_limits_and_no_grant() {
    assert_eq!(parse("").unwrap(), Manifest::default());
    assert_eq!(Manifest::default().grants, Grants::default());
    let denied = parse("[grant]\nstate = false\nqueue = false\nlibrary = false\nffmpeg = false\n").unwrap();
    assert_eq!(denied.grants, Grants::default());
}

#[test]
fn everything_can_be_said() {
    let manifest = parse(
        r#"
        sha256 = "9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08"
        [limits]
        memory = "128MiB"
        cpu = "500ms"
        wall = "10m"
        concurrency = 4
        log_bytes = 4096
        output_bytes = "64 KiB"
        handles = 12
        hostcall_bytes = "1MiB"
        attempts_per_instance = 100
        [grant]
        state = { quota = "1GiB" }
        queue = { kinds = ["video.*", "echo", "*"] }
        library = { write = true }
        ffmpeg = {}
        [config]
        preset = "fast"
        ratio = 1.5
        tries = 3
        dry = true
        "#,
    )
    .unwrap();
    let limits = Limits {
        memory_bytes: 128 << 20,
        cpu_ms: 500,
        wall_ms: 600_000,
        concurrency: 4,
        log_bytes: 4096,
        output_bytes: 64 << 10,
        handles: 12,
        hostcall_bytes: 1 << 20,
        attempts_per_instance: 100,
        ..Limits::default()
    };
    assert_eq!(manifest.limits, limits);
    let kinds = ["video.*", "echo", "*"].map(str::to_owned).to_vec();
    let grants = Grants {
        state: Some(StateGrant { quota_bytes: 1 << 30 }),
        queue: Some(QueueGrant { kinds }),
        library: Some(LibraryGrant { add: false, write: true }),
        ffmpeg: Some(FfmpegGrant {}),
    };
    assert_eq!(manifest.grants, grants);
    let config = [("dry", "true"), ("preset", "fast"), ("ratio", "1.5"), ("tries", "3")];
    assert_eq!(manifest.config, config.map(|(key, value)| (key.to_owned(), value.to_owned())));
    let pin = manifest.sha256.unwrap().to_string();
    assert_eq!(pin, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
}

#[test]
fn true_grants_the_usual() {
    let grants = parse("[grant]\nstate = true\nqueue = true\nlibrary = true\nffmpeg = true\n").unwrap().grants;
    assert_eq!(grants.state, Some(StateGrant { quota_bytes: 16 << 20 }));
    assert_eq!(grants.queue, Some(QueueGrant { kinds: vec!["*".to_owned()] }));
    assert_eq!(grants.library, Some(LibraryGrant { add: false, write: false }));
}

#[test]
fn an_unknown_key_is_told_with_its_place_and_what_was_meant() {
    assert_eq!(refused("[limits]\n  memry = 1\n"), "cut.toml:2:3: unknown key `memry`; did you mean `memory`?");
    assert_eq!(refused("[limit]\nmemory = 1\n"), "cut.toml:1:2: unknown key `limit`; did you mean `limits`?");
    assert_eq!(
        refused("[grant]\nffmpeg = true\nlibary = true\n"),
        "cut.toml:3:1: unknown key `libary`; did you mean `library`?"
    );
    assert_eq!(
        refused("[grant]\nstate = { quote = \"1MiB\" }\n"),
        "cut.toml:2:11: unknown key `quote`; did you mean `quota`?"
    );
    assert_eq!(
        refused("[grant]\nhttp = true\n"),
        "cut.toml:2:1: unknown key `http`; known here: state, queue, library, ffmpeg"
    );
    assert_eq!(
        refused("[grant]\nffmpeg = { fast = true }\n"),
        "cut.toml:2:12: unknown key `fast`; no key is known here"
    );
}

#[test]
fn a_value_out_of_range_is_told_with_the_range() {
    assert_eq!(refused("[limits]\nmemory = \"64KiB\"\n"), "cut.toml:2:10: `memory` must be between 1MiB and 4GiB");
    assert_eq!(refused("[limits]\nwall = 0\n"), "cut.toml:2:8: `wall` must be between 1ms and 7d");
    assert_eq!(refused("[limits]\nconcurrency = 0\n"), "cut.toml:2:15: `concurrency` must be between 1 and 1024");
    assert_eq!(refused("[grant.state]\nquota = \"2GiB\"\n"), "cut.toml:2:9: `quota` must be between 1KiB and 1GiB");
}

#[test]
fn a_value_of_the_wrong_sort_is_told_with_an_example() {
    for (text, place, hint) in [
        ("[limits]\nmemory = \"64 megs\"\n", "2:10", "64MiB"),
        ("[limits]\nmemory = -1\n", "2:10", "64MiB"),
        ("[limits]\nmemory = \"99999999999999GiB\"\n", "2:10", "64MiB"),
        ("[limits]\ncpu = \"soon\"\n", "2:7", "30s"),
        ("[limits]\ncpu = true\n", "2:7", "30s"),
        ("[grant]\nstate = \"yes\"\n", "2:9", "true, false or a table"),
        ("[config]\nlist = [1]\n", "2:8", "a string, a number or true/false"),
        ("sha256 = \"abc\"\n", "1:10", "64 hexadecimal digits"),
        ("[grant]\nqueue = { kinds = [\"Video/cut\"] }\n", "2:20", "video.*"),
        ("[limits\n", "1:8", "]"),
    ] {
        let message = refused(text);
        assert!(message.starts_with(&format!("cut.toml:{place}: ")), "{text}: {message}");
        assert!(message.contains(hint), "{text}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}
