mod agreement;
mod hostile;

use super::*;
use crate::plugin::link::{FfmpegGrant, FfmpegOperation, LibraryGrant, QueueGrant, StateGrant};

fn parse(text: &str) -> Result<Manifest, Mistakes> {
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
        instances = 8
        attempts_per_instance = 100
        [grant]
        state = { quota = "1GiB" }
        queue = { kinds = ["video.*", "echo", "*"], per_second = 0.5, burst = 10 }
        library = { write = true }
        ffmpeg = { operations = ["probe", "extract-audio"], presets = ["web"], max_output = "4GiB", jobs = 2 }
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
        instances: 8,
        attempts_per_instance: 100,
    };
    assert_eq!(manifest.limits, limits);
    let kinds = ["video.*", "echo", "*"].map(str::to_owned).to_vec();
    assert_eq!(manifest.grants.state, Some(StateGrant { quota_bytes: 1 << 30 }));
    assert_eq!(manifest.grants.queue, Some(QueueGrant { kinds, per_second: Some(500), burst: Some(10) }));
    assert_eq!(manifest.grants.library, Some(LibraryGrant { add: false, write: true }));
    let ffmpeg = FfmpegGrant {
        operations: Some(vec![FfmpegOperation::Probe, FfmpegOperation::ExtractAudio]),
        presets: Some(vec!["web".to_owned()]),
        max_output_bytes: Some(4 << 30),
        jobs: Some(2),
    };
    assert_eq!(manifest.grants.ffmpeg, Some(ffmpeg));
    let config = [("dry", "true"), ("preset", "fast"), ("ratio", "1.5"), ("tries", "3")];
    assert_eq!(manifest.config, config.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let pin = manifest.sha256.unwrap().to_string();
    assert_eq!(pin, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
}

#[test]
fn true_grants_the_usual() {
    let grants = parse("[grant]\nstate = true\nqueue = true\nlibrary = true\nffmpeg = true\n").unwrap().grants;
    assert_eq!(grants.state, Some(StateGrant { quota_bytes: 16 << 20 }));
    assert_eq!(grants.queue, Some(QueueGrant { kinds: vec!["*".to_owned()], per_second: None, burst: None }));
    assert_eq!(grants.ffmpeg, Some(FfmpegGrant::default()));
    assert_eq!(grants.library, Some(LibraryGrant { add: false, write: false }));
    assert_eq!(granted(&grants), ["state", "queue", "library", "ffmpeg"]);
    assert!(granted(&Grants::default()).is_empty());
}

#[test]
fn an_unknown_key_is_told_with_its_place_and_what_was_meant() {
    for (text, told) in [
        ("[limits]\n  memry = 1\n", "2:3: unknown key `memry`; did you mean `memory`?"),
        ("[limits]\nMemory = 1\n", "2:1: unknown key `Memory`; did you mean `memory`?"),
        ("[limits]\nlog-bytes = 1\n", "2:1: unknown key `log-bytes`; did you mean `log_bytes`?"),
        ("[limit]\nmemory = 1\n", "1:2: unknown key `limit`; did you mean `limits`?"),
        ("memory = 1\n", "1:1: unknown key `memory`; it belongs under `[limits]`"),
        ("[limits]\nsha256 = \"\"\n", "2:1: unknown key `sha256`; it belongs above all tables"),
        ("[limits]\nstate = true\n", "2:1: unknown key `state`; it belongs under `[grant]`"),
        ("[grant]\nffmpeg = true\nlibary = true\n", "3:1: unknown key `libary`; did you mean `library`?"),
        ("[grant]\nstate = { quote = \"1MiB\" }\n", "2:11: unknown key `quote`; did you mean `quota`?"),
        ("[grant.queue]\r\nkind = []\r\n", "2:1: unknown key `kind`; did you mean `kinds`?"),
        ("[grant]\nlibrary.wirte = true\n", "2:9: unknown key `wirte`; did you mean `write`?"),
    ] {
        assert_eq!(refused(text), format!("cut.toml:{told}"), "{text}");
    }
    let far = refused("[grant]\nnetwork = true\n");
    assert!(far.starts_with("cut.toml:2:1: unknown key `network`; known here: state, queue, "), "{far}");
}

#[test]
fn a_value_out_of_range_is_told_with_the_range() {
    for (text, told) in [
        ("[limits]\nmemory = \"64KiB\"\n", "2:10: `memory` must be between 1MiB and 4GiB, not \"64KiB\""),
        ("[limits]\nwall = 0\n", "2:8: `wall` must be between 1ms and 7d, not 0"),
        ("[limits]\nconcurrency = 0\n", "2:15: `concurrency` must be between 1 and 1024, not 0"),
        ("[limits]\ninstances = 65\n", "2:13: `instances` must be between 1 and 64, not 65"),
        ("[grant.state]\nquota = \"2GiB\"\n", "2:9: `quota` must be between 1KiB and 1GiB, not \"2GiB\""),
        ("[limits]\nhandles = \"many\"\n", "2:11: `handles` must be an integer, between 1 and 65536, not \"many\""),
    ] {
        assert_eq!(refused(text), format!("cut.toml:{told}"), "{text}");
    }
}

#[test]
fn a_value_of_the_wrong_sort_is_told_with_an_example() {
    for (text, place, hint) in [
        ("[limits]\nmemory = \"64 megs\"\n", "2:10", "\"64MiB\" (B, KiB, MiB, GiB, TiB)"),
        ("[limits]\nmemory = -1\n", "2:10", "64MiB"),
        ("[limits]\nmemory = \"99999999999999GiB\"\n", "2:10", "between 1MiB and 4GiB"),
        ("[limits]\nmemory = 99999999999999999999999\n", "2:10", "between 1MiB and 4GiB"),
        ("[limits]\ncpu = \"soon\"\n", "2:7", "30s"),
        ("[limits]\ncpu = true\n", "2:7", "30s"),
        ("limits = 3\n", "1:10", "write `[limits]`"),
        ("config = []\n", "1:10", "write `[config]`"),
        ("[grant]\nstate = \"yes\"\n", "2:9", "true, false or a table"),
        ("[grant]\nlibrary = { write = 1 }\n", "2:21", "`write` must be true or false"),
        ("[grant]\nqueue = { kinds = \"echo\" }\n", "2:19", "a list of strings"),
        ("[config]\nlist = [1]\n", "2:8", "a string, a number"),
        ("sha256 = \"abc\"\n", "1:10", "64 hexadecimal digits"),
        ("sha256 = 1\n", "1:10", "64 hexadecimal digits"),
        ("[grant]\nqueue = { kinds = [\"Video/cut\"] }\n", "2:20", "video.*"),
        ("[grant]\nqueue = { per_second = 0 }\n", "2:24", "between 0.001 and 10000"),
        ("[grant]\nqueue = { burst = 1 }\n", "2:11", "`per_second`"),
        ("[grant]\nffmpeg = { operations = [\"probe\", \"shell\"] }\n", "2:35", "extract-audio"),
        ("[grant]\nffmpeg = { jobs = 0 }\n", "2:19", "between 1 and 1024"),
        ("[grant]\nqueue = { kinds = [\"echo\", 7] }\n", "2:28", "video.*"),
        ("[limits\n", "1:8", "]"),
    ] {
        let message = refused(text);
        assert!(message.starts_with(&format!("cut.toml:{place}: ")), "{text}: {message}");
        assert!(message.contains(hint), "{text}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    let told = refused("sha256 = 3\n[config]\na = []\n[limits]\nwal = 1\ncpu = 0\n");
    let places: Vec<_> = told.lines().map(|line| &line[..12]).collect();
    assert_eq!(places, ["cut.toml:1:1", "cut.toml:3:5", "cut.toml:5:1", "cut.toml:6:7"], "{told}");
}

#[test]
fn mistakes_of_syntax_are_told_together_too() {
    let told = refused("[limits]\ncpu = 1\ncpu = 2\nwall = \n[grant\nstate = true\n");
    let places: Vec<_> = told.lines().map(|line| &line[..11]).collect();
    assert_eq!(places, ["cut.toml:3:", "cut.toml:4:", "cut.toml:5:"], "{told}");
    assert!(told.starts_with("cut.toml:3:1: duplicate key: `cpu` is there above; merge the two"), "{told}");
}

#[test]
fn each_value_says_where_it_comes_from() {
    let mut manifest = parse(
        "[limits]\nmemory = \"1GiB\"\ncpu = 7\n[grant]\nstate = true\nqueue.kinds = [\"a\"]\n[config]\nkey = 1\n",
    )
    .unwrap();
    manifest.cap(&[
        Cap { key: "limits.memory", at_most: 512 << 20, by: "plugins.memory_total" },
        Cap { key: "limits.concurrency", at_most: 8, by: "runner.concurrency" },
        Cap { key: "limits.log_bytes", at_most: 1 << 30, by: "log.task_log" },
        Cap { key: "grant.state.quota", at_most: 1024, by: "a.b" },
    ]);
    assert_eq!((manifest.limits.memory_bytes, manifest.limits.concurrency), (512 << 20, 8));
    let effective = manifest.effective("cut.toml");
    let limits = effective.to_json()["limits"].clone();
    let expected = serde_json::json!({
        "value": 536_870_912, "text": "512MiB", "origin": "config", "by": "plugins.memory_total", "file": "cut.toml", "line": 2,
    });
    assert_eq!(limits["memory"], expected);
    assert_eq!(
        limits["cpu"],
        serde_json::json!({"value": 7, "text": "7ms", "origin": "manifest", "file": "cut.toml", "line": 3})
    );
    assert_eq!(limits["concurrency"], serde_json::json!({"value": 8, "origin": "config", "by": "runner.concurrency"}));
    assert_eq!(limits["wall"], serde_json::json!({"value": 600_000, "text": "10m", "origin": "default"}));
    let grants = effective.to_json()["grant"].clone();
    assert_eq!(grants["state"]["granted"]["line"], 5);
    assert_eq!(
        grants["state"]["quota"],
        serde_json::json!({"value": 1024, "text": "1KiB", "origin": "config", "by": "a.b"})
    );
    assert_eq!(grants["queue"]["kinds"]["value"], serde_json::json!(["a"]));
    assert_eq!(grants["queue"]["kinds"]["origin"], "manifest");
    assert_eq!(grants["ffmpeg"], serde_json::json!({"granted": {"value": false, "origin": "default"}}));
    // A setting may be a secret.
    assert_eq!(effective.to_json()["config"]["key"]["value"], serde_json::Value::Null);
    let flat = effective.flat();
    let origin =
        |path: &str| flat.iter().find(|(name, _)| name == path).map(|(_, held)| effective.origin(held)).unwrap();
    assert_eq!(origin("limits.memory"), "config: plugins.memory_total");
    assert_eq!(
        (origin("grant.queue.kinds"), origin("limits.handles")),
        ("cut.toml:6".to_owned(), "default".to_owned())
    );
}

#[test]
fn a_reload_policy_is_read_with_its_canary() {
    let reload = parse(
        "[reload]\ndrain = \"1m\"\nyield_grace = 0\ncanary = { kind = \"video.cut\", input = '{\"a\": 1}', timeout = \"2s\" }\n",
    )
    .unwrap()
    .reload;
    assert_eq!(reload.drain, Drain { drain_ms: 60_000, yield_grace_ms: 0 });
    let canary = reload.canary().unwrap();
    assert_eq!((canary.kind.as_str(), canary.input.as_str(), canary.timeout_ms), ("video.cut", "{\"a\": 1}", 2_000));
    let unsaid = parse("").unwrap().reload;
    assert_eq!((unsaid.drain, unsaid.canary()), (Drain { drain_ms: 30_000, yield_grace_ms: 10_000 }, None));
}

#[test]
fn a_reload_policy_that_cannot_be_is_told() {
    for (text, reason) in [
        ("[reload]\ndrian = 1\n", "2:1: unknown key `drian`"),
        ("[reload]\ndrain = \"8d\"\n", "2:9: `drain` must be between 0ms and 7d"),
        ("[reload]\nyield_grace = \"2h\"\n", "2:15: `yield_grace` must be between 0ms and 1h"),
        ("[reload]\ncanary = { kind = \"a\" }\n", "2:12: a canary needs `kind` and `input`: say `input`, too"),
        ("[reload]\ncanary = { kind = \"A b\", input = \"1\" }\n", "`kind` must be a kind of the plugin"),
        (
            "[reload]\ncanary = { kind = \"a\", input = \"{\" }\n",
            "`input` is not usable: EOF while parsing an object at line 1 column 1; JSON text",
        ),
        ("[reload.canary]\nkind = \"a\"\ninput = \"1\"\ntimeout = 0\n", "`timeout` must be between 1ms and 1h"),
    ] {
        let message = refused(text);
        assert!(message.contains(reason), "{text}: {message}");
    }
}
