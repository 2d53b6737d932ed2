//! Plugin state.

use super::{Harness, MANY, at};
use crate::store::request::{Expected, Keep, Retention, StateWrite, Swapped};
use crate::store::{Store, StoreError};

fn put(plugin: &str, key: &str, value: &str) -> StateWrite {
    StateWrite {
        plugin: plugin.to_owned(),
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
        expires_at: None,
        expected: Expected::Any,
        quota_bytes: 100,
    }
}

async fn stored(store: &dyn Store, write: StateWrite, now: u64) -> u64 {
    match store.state_put(write, at(now)).await.unwrap() {
        Swapped::Stored(version) => version,
        Swapped::Stale(found) => panic!("stale: {found:?}"),
    }
}

async fn value(store: &dyn Store, key: &str, now: u64) -> Option<String> {
    let entry = store.state_get("p", key, at(now)).await.unwrap();
    entry.map(|entry| String::from_utf8(entry.value).unwrap())
}

pub(crate) async fn writes_are_conditional_and_versions_never_return(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let absent = StateWrite { expected: Expected::Absent, ..put("p", "k", "1") };
    let first = stored(&*store, absent.clone(), 0).await;
    let entry = store.state_get("p", "k", at(0)).await.unwrap();
    assert_eq!(entry.as_ref().map(|entry| entry.version), Some(first));
    assert_eq!(store.state_put(absent.clone(), at(0)).await.unwrap(), Swapped::Stale(entry));
    let swap = |version, value| StateWrite { expected: Expected::Version(version), ..put("p", "k", value) };
    let second = stored(&*store, swap(first, "2"), 0).await;
    assert!(matches!(store.state_put(swap(first, "3"), at(0)).await.unwrap(), Swapped::Stale(Some(_))));
    assert_eq!(value(&*store, "k", 0).await.as_deref(), Some("2"));
    assert!(store.state_delete("p", "k", at(0)).await.unwrap());
    assert!(!store.state_delete("p", "k", at(0)).await.unwrap());
    assert_eq!(store.state_put(swap(second, "3"), at(0)).await.unwrap(), Swapped::Stale(None));
    drop(store);
    let store = harness.open(2, MANY, at(1));
    let third = stored(&*store, absent, 1).await;
    assert!(first < second && second < third, "a version is never used twice, whatever was deleted");
    assert_eq!(stored(&*store, put("other", "k", "1"), 1).await, first, "namespaces do not share versions");
}

pub(crate) async fn the_quota_counts_what_is_there_and_expired_entries_give_way(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let sized = |key: &str, len: usize| put("p", key, &"x".repeat(len));
    stored(&*store, sized("a", 49), 0).await;
    stored(&*store, sized("b", 49), 0).await;
    assert!(matches!(store.state_put(sized("c", 1), at(0)).await, Err(StoreError::Full(_))));
    stored(&*store, sized("a", 40), 0).await;
    stored(&*store, sized("c", 8), 0).await;
    assert!(matches!(store.state_put(sized("a", 41), at(0)).await, Err(StoreError::Full(_))), "100 bytes are there");
    stored(&*store, put("other", "a", &"x".repeat(99)), 0).await;
    assert!(store.state_delete("p", "c", at(0)).await.unwrap());
    stored(&*store, StateWrite { expires_at: Some(at(10)), ..sized("d", 8) }, 0).await;
    assert!(value(&*store, "d", 9).await.is_some());
    assert_eq!(value(&*store, "d", 10).await, None);
    assert!(matches!(store.state_put(sized("e", 8), at(9)).await, Err(StoreError::Full(_))));
    stored(&*store, sized("e", 8), 10).await;

    let absent = StateWrite { expected: Expected::Absent, expires_at: Some(at(20)), ..sized("e", 1) };
    assert!(matches!(store.state_put(absent.clone(), at(11)).await.unwrap(), Swapped::Stale(Some(_))));
    stored(&*store, StateWrite { expected: Expected::Any, ..absent.clone() }, 11).await;
    stored(&*store, StateWrite { expires_at: Some(at(30)), ..absent }, 20).await;
    assert!(!store.state_delete("p", "e", at(30)).await.unwrap(), "expired is as good as absent");
    stored(&*store, StateWrite { expires_at: Some(at(40)), ..sized("f", 8) }, 30).await;
    let keep = Retention::uniform(Keep { max_age_ms: 1_000, max_tasks: 10, max_bytes: u64::MAX }, 10);
    store.prune(keep, at(40)).await.unwrap();
    stored(&*store, sized("g", 8), 30).await;
}

pub(crate) async fn a_scan_stays_within_its_plugin_and_prefix(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    for key in ["a/1", "a/2", "a/3", "b/1", ""] {
        stored(&*store, put("p", key, key), 0).await;
    }
    stored(&*store, put("p2", "a/4", "x"), 0).await;
    stored(&*store, StateWrite { expires_at: Some(at(5)), ..put("p", "a/25", "x") }, 0).await;
    let scan = |prefix: &'static str, after: Option<&'static str>, limit, now| {
        let store = &store;
        async move {
            let found = store.state_scan("p", prefix, after, limit, at(now)).await.unwrap();
            found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        }
    };
    assert_eq!(scan("a/", None, 10, 4).await, ["a/1", "a/2", "a/25", "a/3"]);
    assert_eq!(scan("a/", None, 2, 5).await, ["a/1", "a/2"]);
    assert_eq!(scan("a/", Some("a/2"), 10, 5).await, ["a/3"]);
    assert_eq!(scan("b", Some("a/2"), 10, 5).await, ["b/1"], "what is before the prefix does not matter");
    assert_eq!(scan("", None, 10, 5).await, ["", "a/1", "a/2", "a/3", "b/1"]);
    assert_eq!(scan("c", None, 10, 5).await, [""; 0]);
}

pub(crate) async fn a_scan_of_large_values_comes_in_parts(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    // A few such answers at the same time would be more than the host has.
    let large = "x".repeat(256 << 10);
    for number in 0..9 {
        let write = StateWrite { quota_bytes: u64::MAX, ..put("p", &number.to_string(), &large) };
        stored(&*store, write, 0).await;
    }
    let (mut after, mut parts) = (None::<String>, Vec::new());
    loop {
        let part = store.state_scan("p", "", after.as_deref(), 1_000, at(0)).await.unwrap();
        let Some((last, _)) = part.last() else { break };
        after = Some(last.clone());
        parts.push(part.len());
    }
    assert_eq!(parts.iter().sum::<usize>(), 9);
    assert!(parts.iter().all(|entries| *entries <= 4), "{parts:?}");
}
