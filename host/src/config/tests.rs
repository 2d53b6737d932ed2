//! The layers, and mistakes in them.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Config, Flags, Format, Level, Loaded, Sources};
use crate::schedule::{Action, Trigger};

/// A directory with a configuration file, and the sources that read it.
struct Case {
    dir: tempfile::TempDir,
    sources: Sources,
}

impl Case {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("taskhost.toml");
        std::fs::write(&file, text).unwrap();
        Self { dir, sources: Sources { file: Some(file), ..Sources::default() } }
    }

    fn variables(mut self, variables: &[(&str, &str)]) -> Self {
        self.sources.variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        self
    }

    fn load(&self) -> Loaded {
        Config::load(&self.sources).unwrap_or_else(|mistakes| panic!("{mistakes}"))
    }

    /// The mistakes, one a line, without the directory.
    fn mistakes(&self) -> String {
        let prefix = format!("{}/", self.dir.path().display());
        Config::load(&self.sources).unwrap_err().to_string().replace(&prefix, "")
    }
}

#[test]
fn nothing_said_gives_the_documented_defaults() {
    let loaded = Config::load(&Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.file, None);
    let shown = loaded.to_string();
    for line in [
        "data = \"./taskhost-data\"",
        "listen = \"127.0.0.1:7420\"",
        "max_input = \"256KiB\"",
        "succeeded_max_age = \"30d\"",
        "lease = \"30s\"",
        "cancel_grace = \"25ms\"",
        "compile_time = \"2m\"",
        "compile_memory = \"4GiB\"",
        "max_upload = \"16GiB\"",
        "format = \"auto\"",
        "every = \"10s\"",
        "dispatch = \"video-clear\"",
    ] {
        assert!(shown.lines().any(|shown| shown.split(" #").next().unwrap().trim_end() == line), "{line}\n{shown}");
    }
}

#[test]
fn every_layer_wins_over_the_one_below() {
    let file = "data = 'file'\n[server]\nlisten = '127.0.0.1:1'\nmax_body = 2048000\n[runner]\nlease = '5s'\n";
    let mut case = Case::new(file).variables(&[
        ("TASKHOST_DATA", "env"),
        ("TASKHOST_SERVER__LISTEN", "127.0.0.1:2"),
        ("TASKHOST_PLUGINS__DIR", "env"),
        ("TASKHOST_SERVER__MAX_CONNECTIONS", "7"),
        ("TASKHOST_RUNNER__SHUTDOWN_GRACE", "1500"),
        ("TASKHOST_STORE__ACCEPT_DATA_LOSS", "true"),
        ("TASKHOST_LOG__LEVEL", "debug"),
        ("TASKHOST_PORT_7420_TCP", "tcp://10.0.0.1:7420"),
        ("HOME", "/"),
    ]);
    let listen = Some("127.0.0.1:3".parse().unwrap());
    let plugins = Some("flag".into());
    case.sources.flags = Flags { plugins, listen, ..Flags::default() };
    let loaded = case.load();
    let config = &loaded.config;
    assert_eq!(config.server.listen, "127.0.0.1:3".parse().unwrap(), "flags win over all");
    assert_eq!(config.plugins.dir, PathBuf::from("flag"));
    assert_eq!(config.data, PathBuf::from("env"), "the environment wins over the file");
    assert_eq!(
        (config.runner.lease_ms, config.server.max_body_bytes),
        (5_000, 2_048_000),
        "the file wins over defaults"
    );
    assert_eq!((config.server.max_connections, config.runner.shutdown_grace_ms), (7, 1_500));
    assert_eq!((config.store.accept_data_loss, config.log.level), (true, Level::Debug));
    assert_eq!((config.server.max_uploads, config.log.format), (16, Format::Auto), "defaults fill the rest");
    let shown = loaded.to_string();
    let origin = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap().split_once("# ").unwrap().1;
    assert_eq!((origin("listen"), origin("data"), origin("max_uploads")), ("--listen", "TASKHOST_DATA", "default"));
    assert!(origin("lease").ends_with("taskhost.toml:6:9"), "{shown}");
}

#[test]
fn what_is_shown_reads_back_as_the_same_configuration() {
    let input = "{ text = 'a \"b\"', n = 1.5, deep = { list = [1, true] } }";
    let file = format!("[[schedule]]\nname = 'echo'\nevery = '1h'\nenqueue = 'echo'\ninput = {input}\n");
    let first =
        Case::new(&format!("data = 'a\\b'\n{file}[[schedule]]\nname = 'video-clear'\nenabled = false\n")).load();
    let second = Case::new(&first.to_string()).load();
    assert_eq!(first.config, second.config);
    assert_eq!(second.config.schedules.len(), 1);
}

#[test]
fn schedules_of_every_sort_are_read_and_shown() {
    let file = "[[schedule]]\nname = 'video-clear'\nenabled = false\n\
                [[schedule]]\nname = 'a'\ncron = '30 2 * * 1-5'\nzone = 'europe/berlin'\n\
                dst = { gap = 'skip', overlap = 'both' }\noverlap = 'queue-all'\noverlap_cap = 7\ncatch_up = 'window'\n\
                catch_up_window = '1h'\njitter = '90s'\nstart = 2030-01-01T00:00:00Z\nend = '2031-01-01T00:00:00Z'\n\
                max_fires = 9\npause_on_failure = 3\nenqueue = 'k'\n\
                [[schedule]]\nname = 'b'\nat = [2030-01-01T00:00:00+01:00, '2030-01-02T00:00:00Z']\nenqueue = 'k'\n\
                [[schedule]]\nname = 'c'\nevery = '1h'\nphase = '5m'\ncatch_up = 'all'\ncatch_up_cap = 4\nenqueue = 'k'\n";
    let first = Case::new(file).load();
    let names: Vec<_> = first.config.schedules.iter().map(|spec| spec.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(Case::new(&first.to_string()).load().config, first.config);
    let wrong = "[[schedule]]\nname = 'a'\ncron = '0 0 30 2 *'\nenqueue = 'k'\n\
                 [[schedule]]\nname = 'b'\ncron = '0 25 * * *'\nzone = 'Berlin'\nenqueue = 'k'\n\
                 [[schedule]]\nname = 'c'\nevery = '1s'\ndst = { gab = 'skip' }\nenqueue = 'k'\n\
                 [[schedule]]\nname = 'd'\nevery = '1s'\ncron = '@daily'\nenqueue = 'k'\n";
    let expected = "\
taskhost.toml:3:8: `cron` of a schedule: \"0 0 30 2 *\" never fires in UTC
taskhost.toml:7:8: `cron` of a schedule: the hour field \"25\" is wrong: number out of bounds; it holds 0-23
taskhost.toml:8:8: `zone` of a schedule: there is no time zone \"Berlin\": a zone is called like \"Europe/Berlin\" or \"UTC\"; did you mean \"Europe/Berlin\"?
taskhost.toml:13:7: `dst` of a schedule: unknown key `gab`: expected a table such as `{ gap = \"shift\", overlap = \"first\" }`
taskhost.toml:18:8: `cron` of a schedule: cannot be joined with `every`: give one of `every`, `cron` and `at`";
    assert_eq!(Case::new(wrong).mistakes(), expected);
}

#[test]
fn limits_and_shares_are_read_and_shown_and_every_mistake_is_told() {
    let file = "[[limit]]\nname = 'tenant'\nqueues = ['b', 'a']\nkinds = ['video.cut']\nkey = 'attributes.tenant'\n\
                concurrency = 2\nrate = { tasks = 100, per = '1m', burst = 7 }\n\
                [[limit]]\nname = 'all'\nconcurrency = 64\n\
                [fairness]\nkey = '/customer/id'\nweights = { acme = 5, 'b c' = 2 }\n";
    let first = Case::new(file).load();
    let names: Vec<_> = first.config.limits.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!((names, first.config.fairness.as_ref().unwrap().weights["acme"]), (vec!["tenant", "all"], 5));
    assert_eq!(Case::new(&first.to_string()).load().config, first.config);
    let wrong = "[[limit]]\nname = 'a'\nkind = ['k']\n\
                 [[limit]]\nname = 'b'\nkey = 'tenant'\nconcurrency = 0\n\
                 [[limit]]\nname = 'c'\nrate = { tasks = 1 }\n\
                 [[limit]]\nname = 'd'\nrate = { tasks = 1, per = '1 y' }\n\
                 [[limit]]\nconcurrency = 1\n\
                 [[limit]]\nname = 'e'\nconcurrency = 1\n[[limit]]\nname = 'e'\nconcurrency = 1\n\
                 [fairness]\nweights = { a = 0 }\n";
    let expected = "\
taskhost.toml:1:1: a limit says nothing: how many at the same time (`concurrency`), or how many within a time (`rate`)
taskhost.toml:3:1: unknown key `kind` in `[[limit]]`; did you mean `kinds`?
taskhost.toml:6:7: `key` of a limit: a key is `attributes.NAME` or a JSON Pointer into the input, such as `/customer/id`
taskhost.toml:7:15: `concurrency` of a limit: 0 is not a whole number from 1 to 1000000
taskhost.toml:10:8: `rate.per` of a limit: is missing
taskhost.toml:13:8: `rate` of a limit: `per`: `1 y`: a duration is a whole number with ms, s, m, h or d, such as `30s`, or an integer of milliseconds
taskhost.toml:14:1: `name` is missing
taskhost.toml:19:1: a limit called `e` is declared before
taskhost.toml:22:2: `key` is missing: `attributes.NAME`, or a JSON Pointer into the input";
    assert_eq!(Case::new(wrong).mistakes(), expected);
    for text in ["limit = 1", "[limit]", "limit = [1]", "fairness = 1", "[[fairness]]"] {
        assert!(Case::new(text).mistakes().starts_with("taskhost.toml:1:"), "{text}");
    }
}

#[test]
fn a_file_that_was_named_must_exist_and_a_default_one_need_not() {
    let mut case = Case::new("[log]\nlevel = 'warn'");
    let present = case.sources.file.take().unwrap();
    let absent = case.dir.path().join("absent.toml");
    case.sources.search = vec![absent.clone(), present.clone()];
    assert_eq!((case.load().config.log.level, case.load().file), (Level::Warn, Some(present)));
    case.sources.file = Some(absent);
    assert!(case.mistakes().starts_with("absent.toml: cannot be read: "), "{}", case.mistakes());
}

#[test]
fn all_mistakes_are_reported_at_once_with_place_and_suggestion() {
    let file = "dta = 'x'\n\
                [server]\n\
                lisen = '127.0.0.1:1'\n\
                max_body = '2MB'\n\
                lease = '5s'\n\
                [runer]\n\
                [runner]\n\
                lease = '10ms'\n\
                concurrency = 5000\n\
                [log]\n\
                format = \"xml\"\n\
                level = 3\n\
                [store]\n\
                cache = 1.5\n";
    let case = Case::new(file).variables(&[
        ("TASKHOST_RUNNER__LEASE", "soon"),
        ("TASKHOST_SERVER_LISTEN", "127.0.0.1:1"),
        ("TASKHOST_SCHEDULE__NAME", "x"),
        ("TASKHOST_STORE__ACCEPT_DATA_LOSS", "yes"),
    ]);
    let expected = "\
taskhost.toml:1:1: unknown key `dta`; did you mean `data`?
taskhost.toml:3:1: unknown key `lisen` in `[server]`; did you mean `listen`?
taskhost.toml:4:12: `server.max_body`: `2MB`: a size is a whole number with B, KiB, MiB, GiB or TiB, such as `64MiB`, or an integer of bytes; did you mean `2MiB`?
taskhost.toml:5:1: unknown key `lease` in `[server]`; `lease` belongs under `[runner]`
taskhost.toml:6:2: unknown key `runer`; did you mean `runner`?
taskhost.toml:8:9: `runner.lease`: 10ms is out of range: 1s to 1h
taskhost.toml:9:15: `runner.concurrency`: 5000 is out of range: 1 to 4096
taskhost.toml:11:10: `log.format`: `xml` is not one of auto, text, json
taskhost.toml:12:9: `log.level`: expected a string, found 3; one of off, error, warn, info, debug, trace is right
taskhost.toml:14:9: `store.cache`: found a number with a fraction: a size is a whole number with B, KiB, MiB, GiB or TiB, such as `64MiB`, or an integer of bytes
TASKHOST_RUNNER__LEASE: `runner.lease`: `soon`: a duration is a whole number with ms, s, m, h or d, such as `30s`, or an integer of milliseconds
TASKHOST_SCHEDULE__NAME: schedules can be declared in a file only
TASKHOST_SERVER_LISTEN: there is no such setting; variables are called TASKHOST_SECTION__KEY; did you mean `TASKHOST_SERVER__LISTEN`?
TASKHOST_STORE__ACCEPT_DATA_LOSS: `store.accept_data_loss`: expected true or false, found `yes`";
    assert_eq!(case.mistakes(), expected);
}

#[test]
fn l14_limits_and_intervals_of_nothing_are_refused() {
    let file = "[runner]\nconcurrency = 0\nlease = 0\n[server]\nmax_streams = 0\nmax_requests = -1\n\
                [[schedule]]\nname = 'a'\nevery = '0s'\nenqueue = 'k'\n";
    let mistakes = Case::new(file).mistakes();
    let lines: Vec<_> = mistakes.lines().map(|line| line.split(": ").nth(1).unwrap_or_default()).collect();
    let keys = ["runner.concurrency", "runner.lease", "server.max_streams", "server.max_requests", "every"];
    assert_eq!(lines.len(), keys.len(), "{mistakes}");
    assert!(lines.iter().zip(keys).all(|(line, key)| line.contains(key)), "{mistakes}");
    assert!(mistakes.contains("0 is out of range: 1 to 4096"), "{mistakes}");
}

#[test]
fn what_is_not_toml_does_not_hide_the_other_mistakes() {
    let mistakes = Case::new("data = ?\n[server]\nlisten = 7420\nlisten = '::1'\n[runner\nlease = '1s'\n").mistakes();
    assert!(mistakes.contains("taskhost.toml:1:"), "{mistakes}");
    assert!(mistakes.contains("taskhost.toml:3:10: `server.listen`: expected a string, found 7420"), "{mistakes}");
    assert!(mistakes.contains("taskhost.toml:4:1: duplicate key"), "{mistakes}");
    assert!(mistakes.contains("taskhost.toml:5:"), "{mistakes}");
    for text in [
        "server = 1",
        "[[server]]",
        "schedule = 1",
        "[schedule]",
        "schedule = [1]",
        "\"server.listen\" = 1",
        "data = ''",
    ] {
        assert!(Case::new(text).mistakes().starts_with("taskhost.toml:1:"), "{text}");
    }
    assert!(Case::new("[server]\nlisten = 'localhost:80'").mistakes().contains("not an IP address and a port"));
    assert!(Case::new(&"#".repeat(1 << 20)).load().file.is_some());
    assert!(Case::new(&"#".repeat((1 << 20) + 1)).mistakes().contains("longer than 1 MiB"));
}

#[test]
fn bounds_that_two_values_share_are_checked() {
    let case = Case::new("[server]\nmax_body = '128KiB'\n").variables(&[("TASKHOST_RUNNER__CONCURRENCY", "300")]);
    let expected = "\
taskhost.toml:2:12: `server.max_input` is 256KiB, more than `server.max_body` (128KiB)
TASKHOST_RUNNER__CONCURRENCY: `runner.concurrency` is 300, more than `plugins.max_instances` (256)";
    assert_eq!(case.mistakes(), expected);
    let long = "x".repeat(1_024);
    let schedule = format!("[[schedule]]\nname = 's'\nevery = '1s'\nenqueue = 'k'\ninput = {{ t = '{long}' }}\n");
    let mistakes = Case::new(&format!("server.max_input = '1KiB'\n{schedule}")).mistakes();
    assert_eq!(mistakes, "taskhost.toml:2:1: the input is longer than `server.max_input` (1KiB)");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_a_mistake_only_when_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || OsString::from_vec(vec![0xff]);
    let mut case = Case::new("");
    case.sources.variables = vec![("OTHER".into(), bytes()), (bytes(), bytes())];
    case.load();
    case.sources.variables.push(("TASKHOST_DATA".into(), bytes()));
    assert_eq!(case.mistakes(), "TASKHOST_DATA: `data`: the value is not UTF-8");
}

#[test]
fn schedules_dispatch_or_enqueue_and_replace_the_built_in_one() {
    let file = "[[schedule]]\nname = 'video-clear'\nevery = '1m'\ndispatch = 'video-clear'\nbatch = 5\n\
                [[schedule]]\nname = 'nightly'\nevery = '1d'\nenqueue = 'report.make'\ninput = { day = 2024-05-01 }\n\
                [[schedule]]\nname = 'off'\nenabled = false\nevery = '1d'\nenqueue = 'x'\n";
    let loaded = Case::new(file).load();
    let [nightly, clear] = loaded.config.schedules.as_slice() else { panic!("{:?}", loaded.config.schedules) };
    let input = r#"{"day":"2024-05-01"}"#.to_owned();
    assert_eq!(
        (&nightly.trigger, &nightly.action),
        (&Trigger::every(86_400_000), &Action::Enqueue { kind: "report.make".into(), input })
    );
    let action = Action::Dispatch { plugin: "video-clear".into(), batch: 5, capacity: 1_000 };
    assert_eq!((&clear.trigger, &clear.action), (&Trigger::every(60_000), &action));
    assert!(Case::new("[[schedule]]\nname = 'video-clear'\nenabled = false\n").load().config.schedules.is_empty());
}

#[test]
fn mistakes_in_schedules_name_the_key_and_what_is_right() {
    let file = "[[schedule]]\nnam = 'a'\n\
                [[schedule]]\nname = 'B'\nevery = '10ms'\ndispatch = 'p'\nenqueue = 'k'\n\
                [[schedule]]\nname = 'c'\nevery = '1s'\ndispatch = 'p'\ninput = { a = inf }\n\
                [[schedule]]\nname = 'c'\nevery = 1000\nenqueue = 'K'\nbatch = 0\n";
    let mistakes = Case::new(file).mistakes();
    let expected = "\
taskhost.toml:1:1: `name` is missing
taskhost.toml:1:1: what happens is missing: `dispatch = \"PLUGIN\"` or `enqueue = \"KIND\"`
taskhost.toml:1:1: when it fires is missing: `every`, `cron` or `at`
taskhost.toml:2:1: unknown key `nam` in `[[schedule]]`; did you mean `name`?
taskhost.toml:3:1: `dispatch` and `enqueue` exclude each other
taskhost.toml:4:8: `name` of a schedule: `B`: a schedule's name is 1 to 64 of a-z, 0-9, `-`, `_` and `.`
taskhost.toml:5:9: `every` of a schedule: 10ms is out of range: 100ms to 3650d
taskhost.toml:8:1: `input` is for `enqueue`; a dispatcher gets none
taskhost.toml:12:9: `input` of a schedule: JSON has no number `inf`
taskhost.toml:13:1: `batch` and `capacity` are for `dispatch`; `enqueue` creates one task
taskhost.toml:13:1: a schedule called `c` is declared before, at taskhost.toml:8:1
taskhost.toml:16:11: `enqueue` of a schedule: `K`: a kind is lower-case words joined by dots, such as `video.cut`, at most 128 bytes
taskhost.toml:17:9: `batch` of a schedule: 0 is out of range: 1 to 10000";
    assert_eq!(mistakes, expected);
}

#[test]
fn a_secret_is_fetched_and_never_shown() {
    let case = Case::new("[secrets]\nAPI_KEY = { env = 'TASKHOST_PRIVATE' }\n");
    let file = case.dir.path().join("token");
    std::fs::write(&file, "t0p-s3cret-file\n").unwrap();
    let text =
        format!("[secrets]\nAPI_KEY = {{ env = 'TASKHOST_PRIVATE' }}\nTOKEN = {{ file = '{}' }}\n", file.display());
    std::fs::write(case.dir.path().join("taskhost.toml"), text).unwrap();
    let loaded = case.variables(&[("TASKHOST_PRIVATE", "t0p-s3cret-variable")]).load();
    let secrets: Vec<_> = loaded.config.secrets.iter().map(|(name, secret)| (&**name, secret.expose())).collect();
    assert_eq!(secrets, [("API_KEY", "t0p-s3cret-variable"), ("TOKEN", "t0p-s3cret-file")]);
    let shown = format!("{loaded} {loaded:?} {:#?}", loaded.config);
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("API_KEY = { env = \"TASKHOST_PRIVATE\" }"), "{shown}");
}

#[test]
fn a_secret_that_is_not_there_is_told_with_its_place_and_without_its_value() {
    let case = Case::new(
        "[secrets]\nA = { env = 'NOT_SET' }\nB = { file = '/not/there' }\nC = 'hunter2'\nD = { evn = 'X' }\nlow = { env = 'X' }\n",
    );
    let mistakes = case.mistakes();
    let lines: Vec<_> = mistakes.lines().collect();
    assert_eq!(lines.len(), 5, "{mistakes}");
    for (line, words) in lines.iter().zip([
        "taskhost.toml:2:5: `A`: the environment has no variable `NOT_SET`",
        "taskhost.toml:3:5: `B`: /not/there: ",
        "taskhost.toml:4:5: `C`: expected `{ env",
        "taskhost.toml:5:5: `D`: unknown key `evn`",
        "taskhost.toml:6:1: `low` is not a name of a secret",
    ]) {
        assert!(line.starts_with(words), "{line}");
    }
    assert!(!mistakes.contains("hunter2"));
}

#[test]
fn trusted_keys_are_lists_of_keys_or_files() {
    let key = format!("RW{}", "Q".repeat(54));
    let file = format!("[plugins]\nrequire_signature = true\ntrusted_keys = ['{key}', './release.pub']\n");
    let first = Case::new(&file).load();
    assert_eq!(first.config.plugins.trusted_keys, [key.as_str(), "./release.pub"]);
    assert_eq!(Case::new(&first.to_string()).load().config, first.config);
    let words = format!("{key}, /etc/release.pub");
    let second = Case::new("").variables(&[("TASKHOST_PLUGINS__TRUSTED_KEYS", &words)]).load();
    assert_eq!(second.config.plugins.trusted_keys, [key.as_str(), "/etc/release.pub"]);
    for (text, told) in [
        ("require_signature = true\n", "taskhost.toml:2:21: `plugins.require_signature` is on, and"),
        ("trusted_keys = 'RW'\n", "taskhost.toml:2:16: `plugins.trusted_keys`: expected an array of strings"),
        ("trusted_keys = [1]\n", "found an array of other things than strings"),
        ("trusted_keys = ['RWshort']\n", "`RWshort` is neither: expected a public key"),
    ] {
        let mistakes = Case::new(&format!("[plugins]\n{text}")).mistakes();
        assert!(mistakes.contains(told), "{told}: {mistakes}");
    }
}
