//! Media records.

use super::{Harness, MANY, at};
use crate::store::request::{MediaQuery, MediaStatus, NewMedia};
use crate::store::{Store, StoreError};

fn file(id: &str) -> NewMedia {
    let (name, content_type) = (format!("{id}.mp4"), "video/mp4".to_owned());
    NewMedia { id: id.to_owned(), name, content_type, size: 9, task: None }
}

async fn ids(store: &dyn Store, query: MediaQuery) -> (Vec<String>, Option<String>) {
    let page = store.list_media(query).await.unwrap();
    (page.items.into_iter().map(|record| record.id).collect(), page.next)
}

pub(crate) async fn media_is_trashed_restored_and_purged(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    let added = store.add_media(file("a"), at(1)).await.unwrap();
    assert_eq!((added.created_at, added.status), (at(1), MediaStatus::Live));
    assert!(matches!(store.add_media(file("a"), at(1)).await, Err(StoreError::Conflict(_))));
    assert!(matches!(store.purge_media("a", at(1)).await, Err(StoreError::Conflict(_))), "live");

    let trashed = store.trash_media("a", at(50), at(2)).await.unwrap();
    assert_eq!(trashed.status, MediaStatus::Trashed { at: at(2), purge_after: at(50) });
    assert_eq!(store.trash_media("a", at(90), at(3)).await.unwrap(), trashed, "the first date counts");
    assert!(matches!(store.purge_media("a", at(49)).await, Err(StoreError::Conflict(_))), "within its grace");
    assert_eq!(store.restore_media("a", at(4)).await.unwrap(), added);
    assert_eq!(store.restore_media("a", at(5)).await.unwrap(), added);
    store.trash_media("a", at(50), at(6)).await.unwrap();
    assert!(store.purge_media("a", at(50)).await.unwrap());
    assert!(!store.purge_media("a", at(51)).await.unwrap(), "gone already");
    assert_eq!(store.media("a").await.unwrap(), None);
    assert!(matches!(store.trash_media("a", at(9), at(9)).await, Err(StoreError::NotFound)));
    assert!(matches!(store.restore_media("a", at(9)).await, Err(StoreError::NotFound)));

    let events = store.events(0, 100).await.unwrap().events;
    let names: Vec<_> = events.iter().map(|event| event.change.name()).collect();
    assert_eq!(names, ["media.added", "media.trashed", "media.restored", "media.trashed", "media.purged"]);
}

pub(crate) async fn i15_media_survives_a_restart(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    store.add_media(file("a"), at(1)).await.unwrap();
    store.add_media(file("b"), at(1)).await.unwrap();
    let trashed = store.trash_media("b", at(10), at(2)).await.unwrap();
    drop(store);
    let store = harness.open(2, MANY, at(3));
    assert_eq!(store.media("b").await.unwrap(), Some(trashed));
    let query = MediaQuery { purgeable_at: Some(at(10)), limit: 9, ..MediaQuery::default() };
    assert_eq!(ids(&*store, query).await.0, ["b"]);
}

pub(crate) async fn purgeable_media_is_found_among_live_ones(harness: &impl Harness) {
    let store = harness.open(1, MANY, at(0));
    for id in ["a", "b", "c", "d", "e"] {
        store.add_media(file(id), at(0)).await.unwrap();
    }
    for (id, purge_after) in [("b", 10), ("d", 20), ("e", 30)] {
        store.trash_media(id, at(purge_after), at(1)).await.unwrap();
    }
    let all = MediaQuery { limit: 9, ..MediaQuery::default() };
    assert_eq!(ids(&*store, all.clone()).await, (["a", "b", "c", "d", "e"].map(str::to_owned).to_vec(), None));
    let live = MediaQuery { trashed: Some(false), limit: 1, ..all.clone() };
    assert_eq!(ids(&*store, live.clone()).await, (vec!["a".to_owned()], Some("a".to_owned())));
    let rest = MediaQuery { after: Some("a".to_owned()), limit: 9, ..live };
    assert_eq!(ids(&*store, rest).await, (vec!["c".to_owned()], None));
    let trash = MediaQuery { trashed: Some(true), limit: 2, ..all.clone() };
    assert_eq!(ids(&*store, trash.clone()).await, (vec!["b".to_owned(), "d".to_owned()], Some("d".to_owned())));
    let rest = MediaQuery { after: Some("d".to_owned()), ..trash };
    assert_eq!(ids(&*store, rest).await, (vec!["e".to_owned()], None));
    let due = MediaQuery { purgeable_at: Some(at(20)), ..all };
    assert_eq!(ids(&*store, due.clone()).await, (vec!["b".to_owned(), "d".to_owned()], None));
    assert_eq!(ids(&*store, MediaQuery { trashed: Some(false), ..due }).await, (vec![], None));
}
