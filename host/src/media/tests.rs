use std::io::Read as _;
use std::path::Path;

use super::*;
use crate::store::sled::{self, SledStore};
use crate::task::BootId;

const HOUR_MS: u64 = 3_600_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

struct Bench {
    // Declared first: the folder goes last.
    home: Library,
    store: Arc<SledStore>,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        Self::in_dir(tempfile::tempdir().unwrap()).await
    }

    async fn in_dir(dir: tempfile::TempDir) -> Self {
        let store = SledStore::open(sled::Settings::new(dir.path().join("store"), BootId(1)), at(0)).unwrap();
        let settings =
            Settings { max_upload_bytes: 1000, trash_grace_ms: HOUR_MS, ..Settings::new(dir.path().join("media")) };
        let library = Library::open(settings, Arc::clone(&store) as Arc<dyn Store>).await.unwrap();
        Self { home: library, store, dir }
    }

    async fn add(&self, text: &'static str) -> MediaRecord {
        let mut upload = self.home.begin_upload(None).await.unwrap();
        upload.write(Bytes::from_static(text.as_bytes())).await.unwrap();
        assert_eq!(upload.bytes_taken(), text.len() as u64);
        upload.finish("a/b.mp4", None, None, at(0)).await.unwrap()
    }

    async fn restart(self) -> Self {
        let Self { home, store, dir } = self;
        drop(home);
        store.close().await;
        drop(store);
        Self::in_dir(dir).await
    }

    /// Files of the library, temporary ones included.
    fn files(&self) -> usize {
        let count = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
        std::fs::read_dir(self.dir.path().join("media")).unwrap().map(|shard| count(&shard.unwrap().path())).sum()
    }

    async fn text(&self, id: &str) -> Result<String, MediaError> {
        let mut text = String::new();
        self.home.content(id).await?.file.read_to_string(&mut text)?;
        Ok(text)
    }
}

#[tokio::test]
async fn an_upload_becomes_a_record_with_content_and_survives_a_restart() {
    let bench = Bench::new().await;
    let record = bench.add("hello").await;
    assert_eq!((record.name.as_str(), record.content_type.as_str(), record.size), ("a_b.mp4", "video/mp4", 5));
    assert_eq!((record.status, record.created_at), (MediaStatus::Live, at(0)));
    assert_eq!(bench.text(&record.id).await.unwrap(), "hello");
    let bench = bench.restart().await;
    assert_eq!(bench.text(&record.id).await.unwrap(), "hello");
    let page = bench.home.list(MediaQuery { limit: 10, ..MediaQuery::default() }).await.unwrap();
    assert_eq!(page.items, [record]);
}

#[tokio::test]
async fn an_abandoned_upload_leaves_nothing() {
    let bench = Bench::new().await;
    let mut upload = bench.home.begin_upload(Some(10)).await.unwrap();
    upload.write(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(bench.files(), 1);
    drop(upload);
    assert_eq!(bench.files(), 0);
    assert!(matches!(bench.home.begin_upload(Some(1001)).await, Err(MediaError::TooLarge { limit: 1000 })));
}

#[tokio::test]
async fn a_file_that_a_tool_wrote_is_adopted() {
    let bench = Bench::new().await;
    let temp = bench.home.new_temp("mp4").await.unwrap();
    std::fs::write(temp.path(), "made").unwrap();
    let task = TaskId::generate();
    let record = bench.home.adopt(temp, "", Some("video/mp4"), Some(task), at(1)).await.unwrap();
    assert_eq!((record.name == record.id, record.task, record.size), (true, Some(task), 4));
    assert_eq!(bench.text(&record.id).await.unwrap(), "made");
    assert_eq!(bench.files(), 1);
}

#[tokio::test]
async fn trash_hides_restore_brings_back_and_purge_deletes() {
    let bench = Bench::new().await;
    let id = bench.add("hello").await.id;
    let library = &bench.home;
    assert!(matches!(library.purge(&id, at(0)).await, Err(MediaError::Conflict(_))), "it is live");

    let trashed = library.trash(&id, None, at(0)).await.unwrap();
    assert_eq!(trashed.status, MediaStatus::Trashed { at: at(0), purge_after: at(HOUR_MS) });
    assert!(matches!(bench.text(&id).await, Err(MediaError::NotFound)));
    assert_eq!(library.record(&id).await.unwrap(), trashed);
    assert!(matches!(library.purge(&id, at(HOUR_MS - 1)).await, Err(MediaError::Conflict(_))), "within its grace");
    library.restore(&id, at(1)).await.unwrap();
    assert_eq!(bench.text(&id).await.unwrap(), "hello");

    let mut reader = library.content(&id).await.unwrap().file;
    library.trash(&id, Some(10), at(5)).await.unwrap();
    assert!(library.purge(&id, at(15)).await.unwrap());
    assert!(!library.purge(&id, at(15)).await.unwrap(), "gone is success");
    assert_eq!(bench.files(), 0);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello", "an open reader keeps reading");
    assert!(matches!(library.restore(&id, at(16)).await, Err(MediaError::NotFound)));
}

#[tokio::test]
async fn v12_a_purge_that_cannot_delete_the_file_is_none() {
    let bench = Bench::new().await;
    let library = &bench.home;
    let id = bench.add("hello").await.id;
    let path = library.files.path(MediaId::parse(&id).unwrap());
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    std::fs::create_dir(&path).unwrap();
    library.trash(&id, Some(0), at(0)).await.unwrap();
    let Err(MediaError::Undeletable(_)) = library.purge(&id, at(1)).await else { panic!("it cannot be deleted") };
    assert!(library.record(&id).await.is_ok(), "and is not forgotten");
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&aside, &path).unwrap();
    library.restore(&id, at(2)).await.unwrap();
    assert_eq!(bench.text(&id).await.unwrap(), "hello");

    // A crash between the file and its record: it cannot come back without its bytes, and the next purge goes on.
    library.trash(&id, Some(0), at(3)).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(library.restore(&id, at(4)).await, Err(MediaError::Conflict(_))));
    assert!(library.purge(&id, at(4)).await.unwrap());
    assert!(matches!(library.record(&id).await, Err(MediaError::NotFound)));
}

#[tokio::test]
async fn one_of_those_who_purge_and_restore_at_once_has_it() {
    let bench = Bench::new().await;
    for round in 0..20 {
        let id = bench.add("hello").await.id;
        bench.home.trash(&id, Some(0), at(0)).await.unwrap();
        let (purged, restored) = tokio::join!(bench.home.purge(&id, at(1)), bench.home.restore(&id, at(1)));
        match (purged, restored) {
            (Ok(true), Err(MediaError::Conflict(_) | MediaError::NotFound)) => {
                assert!(matches!(bench.home.record(&id).await, Err(MediaError::NotFound)), "{round}");
            }
            (Err(MediaError::Conflict(_)), Ok(_)) => assert_eq!(bench.text(&id).await.unwrap(), "hello", "{round}"),
            both => panic!("{round}: {both:?}"),
        }
    }
}

#[tokio::test]
async fn names_that_are_no_ids_name_nothing() {
    let bench = Bench::new().await;
    let id = bench.add("hello").await.id;
    let long = "a".repeat(10_000);
    for other in ["", "..", "../media", "%2e%2e", "a\0b", &long, &id.to_uppercase(), &MediaId::generate().to_string()] {
        assert!(matches!(bench.home.record(other).await, Err(MediaError::NotFound)), "{other}");
        assert!(matches!(bench.home.content(other).await, Err(MediaError::NotFound)), "{other}");
        assert!(matches!(bench.home.trash(other, None, at(0)).await, Err(MediaError::NotFound)), "{other}");
        assert!(matches!(bench.home.restore(other, at(0)).await, Err(MediaError::NotFound)), "{other}");
    }
}

#[tokio::test]
async fn a_restart_sweeps_files_without_a_record() {
    let bench = Bench::new().await;
    let kept = bench.add("kept").await.id;
    // As a crash between the name and the record leaves it, many times; and an upload cut short.
    let files = Arc::clone(&bench.home.files);
    for _ in 0..2 * SWEEP_STEP {
        let (temp, _) = files.create_temp("part").unwrap();
        files.publish(temp, MediaId::generate()).unwrap();
    }
    std::mem::forget(files.create_temp("part").unwrap());
    let bench = bench.restart().await;
    assert_eq!(bench.files(), 1);
    assert_eq!(bench.text(&kept).await.unwrap(), "kept");
}

#[tokio::test]
async fn a_file_whose_record_is_refused_does_not_stay() {
    let bench = Bench::new().await;
    let upload = bench.home.begin_upload(None).await.unwrap();
    bench.store.close().await;
    assert!(matches!(upload.finish("a", None, None, at(0)).await, Err(MediaError::Closed)));
    // A closed store may have kept the record: the next start looks.
    let bench = bench.restart().await;
    assert_eq!(bench.files(), 0);
}

#[tokio::test]
async fn a_file_that_somebody_removed_is_a_fault_of_the_disk() {
    let bench = Bench::new().await;
    let id = bench.add("hello").await.id;
    bench.home.files.remove(MediaId::parse(&id).unwrap()).unwrap();
    assert!(matches!(bench.text(&id).await, Err(MediaError::Io(_))));
}

#[tokio::test]
async fn a_full_disk_takes_no_files_of_tools_either() {
    let bench = Bench::new().await;
    let settings = Settings { min_free_bytes: u64::MAX, ..(*bench.home.settings).clone() };
    let library = Library { settings: Arc::new(settings), ..bench.home.clone() };
    assert!(matches!(library.new_temp("cut").await, Err(MediaError::NoSpace)));
    assert_eq!(bench.files(), 0);
}

async fn make(bench: &Bench, step: Step, text: &str) -> Result<MediaRecord, MediaError> {
    let temp = bench.home.new_temp("cut").await?;
    std::fs::write(temp.path(), text).unwrap();
    bench.home.adopt_step(temp, "a.mp4", None, step, at(0)).await
}

#[tokio::test]
async fn l9_a_step_of_a_task_leaves_one_file_however_often_it_is_attempted() {
    let bench = Bench::new().await;
    let task = TaskId::generate();
    let step = Step::new(Some(task), "cut a 0 1");
    assert_eq!(bench.home.made(step).await.unwrap(), None);
    let first = make(&bench, step, "one").await.unwrap();
    assert_eq!(first.task, Some(task));
    // The host goes down before the guest keeps what it was given.
    let bench = bench.restart().await;
    assert_eq!(bench.home.made(step).await.unwrap().as_ref(), Some(&first));
    // An attempt that was at it already: the first file stays.
    assert_eq!(make(&bench, step, "two").await.unwrap(), first);
    assert_eq!((bench.files(), bench.text(&first.id).await.unwrap()), (1, "one".to_owned()));
    let others = [Step::new(Some(task), "cut a 0 2"), Step::new(Some(TaskId::generate()), "cut a 0 1")];
    for other in others {
        assert_eq!(bench.home.made(other).await.unwrap(), None);
        assert_ne!(make(&bench, other, "other").await.unwrap().id, first.id);
    }
    // What somebody has trashed meanwhile is not brought back: it is made anew, beside it.
    bench.home.trash(&first.id, None, at(1)).await.unwrap();
    assert_eq!(bench.home.made(step).await.unwrap(), None);
    let anew = make(&bench, step, "three").await.unwrap();
    assert_ne!(anew.id, first.id);
    assert_eq!(bench.text(&anew.id).await.unwrap(), "three");
    assert_eq!(bench.home.restore(&first.id, at(2)).await.unwrap().id, first.id);
    assert_eq!(bench.text(&first.id).await.unwrap(), "one");

    let step = Step::new(Some(task), "raced for");
    let (one, other) = tokio::join!(make(&bench, step, "x"), make(&bench, step, "x"));
    let made = bench.home.made(step).await.unwrap().unwrap();
    for raced in [one, other] {
        match raced {
            Ok(record) => assert_eq!(record, made),
            Err(error) => assert!(matches!(error, MediaError::Conflict(_)), "{error}"),
        }
    }
    assert_eq!(bench.text(&made.id).await.unwrap(), "x");
}
