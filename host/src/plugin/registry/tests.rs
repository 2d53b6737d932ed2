use crate::plugin::InputError;
use crate::plugin::testbed::{Fixture, Offer, Testbed, settings, success};

const SCHEMA: &str = r#"{"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}"#;

fn offer(kind: &'static str) -> Offer {
    Offer { kind, schema: Some(SCHEMA) }
}

fn dispatcher(batch: &[(&'static str, &'static str)]) -> Vec<u8> {
    let mut fixture = Fixture::executor("1", "own");
    fixture.offers = vec![offer("own")];
    fixture.batch = Some(batch.to_vec());
    fixture.build()
}

#[tokio::test]
async fn a_snapshot_tells_who_executes_what() {
    let mut both = Fixture::executor("1", "b.two");
    both.offers.push(offer("a.one"));
    let other = Fixture::executor("2", "c").build();
    let bed = Testbed::start(&[("both.wasm", &both.build()), ("other.wasm", &other)]).await;

    let executors = bed.plugins.executors();
    let found: Vec<_> = executors.iter().map(|e| (e.kind.as_str(), e.generation.plugin())).collect();
    assert_eq!(found, [("a.one", "both"), ("b.two", "both"), ("c", "other")]);
    for (kind, output) in [("a.one", "\"1\""), ("b.two", "\"1\""), ("c", "\"2\"")] {
        assert_eq!(bed.run(kind).await, success(output));
    }
    assert!(bed.plugins.executor("d").is_none());
    assert!(bed.plugins.dispatcher("both").is_none());
    let names: Vec<_> = bed.plugins.kinds().into_iter().map(|kind| kind.name).collect();
    assert_eq!(names, ["a.one", "b.two", "c"]);
    let live = bed.info("both").unwrap().live.unwrap();
    assert_eq!((live.roles.as_slice(), live.running, live.grants.len()), (["executor"].as_slice(), 0, 0));
    bed.plugins.stop().await;
}

#[tokio::test]
async fn input_is_checked_against_the_live_schema() {
    let mut fixture = Fixture::executor("1", "any");
    fixture.offers.push(offer("strict"));
    let bed = Testbed::start(&[("a.wasm", &fixture.build())]).await;

    bed.plugins.check_input("any", "[]").unwrap();
    bed.plugins.check_input("strict", r#"{"n": 1}"#).unwrap();
    let InputError::Mismatch { violations, .. } = bed.plugins.check_input("strict", r#"{"n": "1"}"#).unwrap_err()
    else {
        panic!("not a mismatch")
    };
    assert_eq!(violations[0].0, "/n");
    assert!(matches!(bed.plugins.check_input("any", "{"), Err(InputError::NotJson(_))));
    let InputError::UnknownKind { known, .. } = bed.plugins.check_input("none", "{}").unwrap_err() else {
        panic!("not an unknown kind")
    };
    assert_eq!(known, ["any", "strict"]);
}

#[tokio::test]
async fn a_kind_stays_with_who_was_live_first() {
    let first = Fixture::executor("1", "same").build();
    let second = Fixture::executor("2", "same").build();
    let mut bed = Testbed::start(&[("first.wasm", &first), ("second.wasm", &second)]).await;

    let error = bed.info("second").unwrap().error.unwrap().message;
    assert!(error.contains("\"same\"") && error.contains("\"first\"") && error.contains("\"second\""), "{error}");
    assert_eq!(bed.run("same").await, success("\"1\""));

    // The kind is free once the owner has gone, without touching the other file.
    std::fs::remove_file(bed.path("first.wasm")).unwrap();
    bed.until_live("second", "2").await;
    assert!(bed.info("first").is_none() && bed.info("second").unwrap().error.is_none());
    assert_eq!(bed.run("same").await, success("\"2\""));
}

#[tokio::test]
async fn a_pin_admits_one_component_only() {
    let component = Fixture::executor("1", "a").build();
    let zeros = format!("sha256 = \"{}\"\n", "0".repeat(64));
    let mut bed = Testbed::start(&[("a.wasm", &component), ("a.toml", zeros.as_bytes())]).await;
    let error = bed.info("a").unwrap().error.unwrap();
    let digest = error.digest.unwrap().to_string();
    assert!(error.message.contains(&digest) && error.message.contains(&"0".repeat(64)), "{}", error.message);

    bed.rename_into("a.toml", format!("sha256 = \"{digest}\"\n").as_bytes());
    bed.until_live("a", "1").await;
    bed.rename_into("a.wasm", &Fixture::executor("2", "a").build());
    bed.until_refused("a", "pins").await;
    assert_eq!(bed.run("a").await, success("\"1\""));
}

#[tokio::test]
async fn a_dispatcher_creates_what_its_plugin_executes() {
    let component = dispatcher(&[("own", r#"{"n": 1}"#), ("own", r#"{"n": 2}"#)]);
    let bed = Testbed::start(&[("a.wasm", &component)]).await;
    let batch = bed.plugins.dispatcher("a").unwrap().dispatch(10, None).await.unwrap();
    let inputs: Vec<_> = batch.tasks.iter().map(|task| task.input.as_str()).collect();
    assert_eq!((inputs.as_slice(), batch.more), ([r#"{"n": 1}"#, r#"{"n": 2}"#].as_slice(), false));
}

#[tokio::test]
async fn a_batch_with_one_bad_task_is_refused_as_a_whole() {
    let other = Fixture::executor("1", "other").build();
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("own", r#"{"n": 1}"#), ("other", "{}")], r#"[grant] queue = { kinds = ["other"] }"#),
        (&[("own", r#"{"n": 1}"#), ("own", r#"{"n": 1.5}"#)], "task 1 of the batch"),
        (&[("own", "{")], "not JSON"),
        (&[("gone", "{}")], "\"gone\""),
    ];
    for (batch, reason) in cases {
        let bed = Testbed::start(&[("a.wasm", &dispatcher(batch)), ("other.wasm", &other)]).await;
        let failure = bed.plugins.dispatcher("a").unwrap().dispatch(10, None).await.unwrap_err();
        assert_eq!(failure.code, "invalid-batch");
        assert!(failure.message.contains(reason), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_queue_grant_lets_a_dispatcher_create_foreign_kinds() {
    let other = Fixture::executor("1", "far.other").build();
    let component = dispatcher(&[("far.other", "{}"), ("own", r#"{"n": 1}"#)]);
    let grant = b"[grant]\nqueue = { kinds = [\"far.*\"] }\n";
    let bed = Testbed::start(&[("a.wasm", &component), ("a.toml", grant), ("other.wasm", &other)]).await;
    let batch = bed.plugins.dispatcher("a").unwrap().dispatch(10, None).await.unwrap();
    assert_eq!(batch.tasks.len(), 2);
    assert_eq!(bed.info("a").unwrap().live.unwrap().grants, ["queue"]);
}

#[tokio::test]
async fn what_a_plugin_says_of_itself_is_checked() {
    let mut nothing = Fixture::executor("1", "a");
    nothing.batch = Some(Vec::new());
    nothing.offers.clear();
    let mut twice = Fixture::executor("1", "a");
    twice.offers.push(offer("a"));
    let mut schema = Fixture::executor("1", "a");
    schema.offers[0].schema = Some(r#"{"type": "sometimes"}"#);
    let named = Fixture::executor("1", "Bad Kind");
    let good = Fixture::executor("1", "good").build();
    let files: [(&str, &[u8]); 7] = [
        ("lone-dispatcher.wasm", &nothing.build()),
        ("twice.wasm", &twice.build()),
        ("schema.wasm", &schema.build()),
        ("named.wasm", &named.build()),
        ("Good_One.wasm", &good),
        ("folder.txt", b"not looked at"),
        (".hidden.wasm", b"not looked at"),
    ];
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(settings(&root).dir.join("sub.wasm")).unwrap();
    for (name, bytes) in files {
        std::fs::write(settings(&root).dir.join(name), bytes).unwrap();
    }
    let bed = Testbed::over(root).await;
    let found: Vec<_> = bed.plugins.list().into_iter().map(|info| (info.name, info.error.map(|e| e.message))).collect();
    for (name, reason) in [
        ("Good_One", Some("rename it to good-one.wasm")),
        ("lone-dispatcher", None),
        ("named", Some("\"Bad Kind\"")),
        ("schema", Some("input schema of kind \"a\"")),
        ("twice", Some("twice")),
    ] {
        let error = &found.iter().find(|(found, _)| found == name).unwrap().1;
        assert_eq!(error.is_some(), reason.is_some(), "{name}: {error:?}");
        assert!(error.as_ref().is_none_or(|error| error.contains(reason.unwrap())), "{name}: {error:?}");
    }
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(bed.plugins.dispatcher("lone-dispatcher").is_some());
}
