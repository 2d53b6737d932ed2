mod signed;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::plugin::control::{Control, Directive};
use crate::plugin::testbed::{Fixture, Testbed, run, settings, success};
use crate::task::{Digest, Outcome};

fn executor(version: &'static str) -> Vec<u8> {
    Fixture::executor(version, "a").build()
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

/// What drains, and how much runs on it.
fn draining(bed: &Testbed) -> Vec<(Digest, u32)> {
    bed.info("a").unwrap().draining.iter().map(|old| (old.digest, old.running)).collect()
}

/// Waits until exactly these bytes are refused.
async fn until_bytes_refused(bed: &mut Testbed, bytes: &[u8]) {
    let digest = digest(bytes);
    bed.until("a", |info| info.and_then(|info| info.error.as_ref()).is_some_and(|e| e.digest == Some(digest))).await;
}

#[tokio::test]
async fn i11_a_bad_file_never_replaces_a_good_one() {
    let (good, next) = (executor("1"), executor("2"));
    let mut stateful = Fixture::executor("2", "a");
    stateful.wants_state = true;
    let mut bed = Testbed::start(&[("a.wasm", &good)]).await;

    let mut bad: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "is empty"),
        (b"\x7fELF and so on".to_vec(), "not WebAssembly"),
        (b"\0asm\x01\0\0\0".to_vec(), "core module"),
        (b"(component".to_vec(), "not a valid component"),
        (wat::parse_str("(component)").unwrap(), "metadata"),
        (stateful.build(), "[grant] in plugins/a.toml"),
        (vec![0; (1 << 20) + 1], "the limit is 1048576"),
    ];
    bad.extend([9, next.len() / 2, next.len() - 1].map(|length| (next[..length].to_vec(), "")));
    for (bytes, reason) in bad {
        bed.rename_into("a.wasm", &bytes);
        bed.until("a", |info| {
            let error = info.and_then(|info| info.error.as_ref());
            error.is_some_and(|e| e.message.contains(reason) && e.digest.is_none_or(|d| d == digest(&bytes)))
        })
        .await;
        assert_eq!(bed.info("a").unwrap().live.unwrap().digest, digest(&good));
        assert_eq!(bed.run("a").await, success("\"1\""), "{reason}");
    }
    // The file that never stopped running comes back: nothing is wrong any more.
    bed.rename_into("a.wasm", &good);
    bed.until("a", |info| info.is_some_and(|info| info.error.is_none())).await;
    bed.rename_into("a.toml", b"[limits]\nmemry = 1\n");
    bed.until_refused("a", "a.toml:2:1: unknown key `memry`; did you mean `memory`?").await;
    assert_eq!(bed.run("a").await, success("\"1\""));
    bed.rename_into("a.toml", b"");
    bed.rename_into("a.wasm", &next);
    bed.until_live("a", "2").await;
    assert_eq!(bed.run("a").await, success("\"2\""));
    bed.plugins.stop().await;
}

#[tokio::test]
async fn a_new_file_goes_live_and_a_deleted_one_leaves() {
    let mut bed = Testbed::start(&[]).await;
    assert!(bed.plugins.list().is_empty());
    fs::write(bed.path("a.wasm"), executor("1")).unwrap();
    bed.until_live("a", "1").await;
    fs::remove_file(bed.path("a.wasm")).unwrap();
    bed.until("a", |info| info.is_none()).await;
    assert!(bed.plugins.executor("a").is_none() && bed.plugins.kinds().is_empty());
    // What was refused before it was deleted is looked at again when it is back.
    fs::write(bed.path("a.wasm"), executor("1")).unwrap();
    bed.until_live("a", "1").await;
}

#[tokio::test]
async fn a_half_written_file_is_never_live() {
    let next = executor("2");
    let mut bed = Testbed::start(&[("a.wasm", &executor("1"))]).await;
    let mut written = 0;
    // Each part rests long enough to be tried, which is the worst case.
    for end in [next.len() / 3, next.len() / 2, next.len() - 1] {
        let mut file =
            OpenOptions::new().write(true).truncate(written == 0).append(written > 0).open(bed.path("a.wasm"));
        file.as_mut().unwrap().write_all(&next[written..end]).unwrap();
        written = end;
        until_bytes_refused(&mut bed, &next[..end]).await;
        assert_eq!(bed.run("a").await, success("\"1\""));
    }
    let mut file = OpenOptions::new().append(true).open(bed.path("a.wasm")).unwrap();
    file.write_all(&next[written..]).unwrap();
    bed.until_live("a", "2").await;
}

#[tokio::test]
async fn i7_an_attempt_ends_on_the_generation_that_it_began_on() {
    let mut waiting = Fixture::executor("1", "a");
    waiting.waits = true;
    let first = waiting.build();
    let mut bed = Testbed::start(&[("a.wasm", &first)]).await;
    let (generation, control) = (bed.plugins.executor("a").unwrap(), Arc::new(Control::default()));
    let mut attempts: JoinSet<Outcome> = JoinSet::new();
    let (pinned, steered) = (Arc::clone(&generation), Arc::clone(&control));
    attempts.spawn(async move { run(&pinned, "a", steered).await });
    while generation.running() == 0 {
        tokio::task::yield_now().await;
    }
    bed.rename_into("a.wasm", &executor("2"));
    bed.until_live("a", "2").await;
    assert_eq!(draining(&bed), [(digest(&first), 1)]);
    assert_eq!(bed.run("a").await, success("\"2\""));

    fs::remove_file(bed.path("a.wasm")).unwrap();
    bed.until("a", |info| info.is_some_and(|info| info.live.is_none())).await;
    assert_eq!(draining(&bed), [(digest(&first), 1)]);

    control.direct(Directive::Yield);
    assert_eq!(attempts.join_next().await.unwrap().unwrap(), success("\"1\""));
    assert!(bed.info("a").is_none());
}

#[tokio::test]
async fn a_manifest_alone_reloads() {
    let mut stateful = Fixture::executor("1", "a");
    stateful.wants_state = true;
    let component = stateful.build();
    let mut bed = Testbed::start(&[("a.wasm", &component)]).await;
    assert!(bed.info("a").unwrap().error.unwrap().message.contains("state = true"));
    fs::write(bed.path("a.toml"), "[grant]\nstate = true\n[limits]\nconcurrency = 3\n").unwrap();
    bed.until_live("a", "1").await;
    assert_eq!(bed.info("a").unwrap().live.unwrap().grants, ["state"]);
    assert_eq!(bed.plugins.executor("a").unwrap().concurrency(), 3);
    // Touched, but the same: nothing to do, and nothing is forgotten either.
    let before = bed.plugins.executor("a").unwrap();
    bed.rename_into("a.toml", b"[grant]\nstate = true\n[limits]\nconcurrency = 3\n");
    bed.rename_into("b.wasm", &Fixture::executor("1", "b").build());
    bed.until_live("b", "1").await;
    assert!(Arc::ptr_eq(&before, &bed.plugins.executor("a").unwrap()));
}

#[tokio::test]
async fn links_and_a_folder_that_is_exchanged_are_followed() {
    let mut bed = Testbed::start(&[]).await;
    fs::write(bed.root.path().join("elsewhere"), executor("1")).unwrap();
    std::os::unix::fs::symlink(bed.root.path().join("elsewhere"), bed.path("a.wasm")).unwrap();
    bed.until_live("a", "1").await;

    let dir = settings(&bed.root).dir;
    let other = bed.root.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("a.wasm"), executor("2")).unwrap();
    // The folder is away for a moment: that removes nothing.
    fs::rename(&dir, bed.root.path().join("old")).unwrap();
    fs::rename(&other, &dir).unwrap();
    bed.until_live("a", "2").await;
    fs::write(bed.path("a.wasm"), executor("3")).unwrap();
    bed.until_live("a", "3").await;
}

#[tokio::test]
async fn a_busy_host_loads_a_sound_file_later() {
    let mut waiting = Fixture::executor("1", "a");
    waiting.waits = true;
    let mut bed = Testbed::start(&[("a.wasm", &waiting.build())]).await;
    let (generation, control) = (bed.plugins.executor("a").unwrap(), Arc::new(Control::default()));
    let mut attempts: JoinSet<Outcome> = JoinSet::new();
    for _ in 0..settings(&bed.root).max_instances {
        let (pinned, steered) = (Arc::clone(&generation), Arc::clone(&control));
        attempts.spawn(async move { run(&pinned, "a", steered).await });
    }
    bed.rename_into("a.wasm", &executor("2"));
    bed.until_refused("a", "too busy").await;
    assert_eq!(bed.info("a").unwrap().live.unwrap().version, "1");
    control.direct(Directive::Yield);
    assert_eq!(attempts.join_all().await, vec![success("\"1\""); 4]);
    bed.until_live("a", "2").await;
}

#[tokio::test]
async fn reloads_under_load_lose_no_attempt() {
    const VERSIONS: [&str; 8] = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let mut bed = Testbed::start(&[("a.wasm", &executor(VERSIONS[0]))]).await;
    let done = CancellationToken::new();
    let mut workers: JoinSet<usize> = JoinSet::new();
    for _ in 0..2 {
        let (plugins, done) = (Arc::clone(&bed.plugins), done.clone());
        workers.spawn(async move {
            let mut attempts = 0;
            while !done.is_cancelled() {
                let generation = plugins.executor("a").unwrap();
                let version = generation.info().version;
                assert_eq!(run(&generation, "a", Arc::default()).await, success(&format!("{version:?}")));
                attempts += 1;
            }
            attempts
        });
    }
    for version in &VERSIONS[1..] {
        bed.rename_into("a.wasm", &executor(version));
        bed.until_live("a", version).await;
    }
    done.cancel();
    assert!(workers.join_all().await.into_iter().all(|attempts| attempts > 0));
    assert!(bed.info("a").unwrap().draining.is_empty());
}
