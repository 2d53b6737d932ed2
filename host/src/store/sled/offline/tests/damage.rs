//! Files of the database that are cut or changed: told, or without consequence, never silent.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::super::tests::{Directory, copy};
use super::{MANY, add, at, check, export, exported, fill, new_task};
use crate::store::conformance::Harness;
use crate::task::NewTask;

/// Files below a folder that hold something.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else if entry.metadata().unwrap().len() > 0 {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// What may have happened to a file.
fn damaged(whole: &[u8]) -> Vec<(String, Vec<u8>)> {
    let len = whole.len();
    let mut found: Vec<_> =
        [0, len / 2, len - 1].map(|end| (format!("cut to {end} of {len}"), whole[..end].to_vec())).into();
    for at in [0, len / 3, 2 * len / 3, len - 1] {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 0x10;
        found.push((format!("changed at {at} of {len}"), flipped));
    }
    let zeroed = [&whole[..len / 2], &vec![0; len - len / 2]].concat();
    found.push((format!("zeroed from {} of {len}", len / 2), zeroed));
    found
}

#[tokio::test]
async fn i15_damage_is_told_or_has_no_consequence() {
    let dir = Directory::new();
    let store = dir.open(1, MANY, at(0));
    fill(&*store).await;
    for number in 0..200 {
        // Random, so that records differ in what they compress to.
        let input = format!("{:?}", fastrand::u128(..).to_string().repeat(number % 7));
        add(&*store, NewTask { input, ..new_task() }, 20).await;
    }
    store.close().await;
    drop(store);
    let whole = exported(dir.path());
    let (mut told, mut harmless, mut silent) = (0, 0, Vec::new());
    for file in files(&dir.path().join("sled")) {
        let name = file.strip_prefix(dir.path()).unwrap();
        for (what, content) in damaged(&fs::read(&file).unwrap()) {
            let victim = Directory::new();
            copy(dir.path(), victim.path());
            fs::write(victim.path().join(name), content).unwrap();
            let mut bytes = Vec::new();
            match check(victim.path()) {
                Ok(report) if report.problems.is_empty() => match export(victim.path(), &mut bytes) {
                    Ok(_) if bytes == whole => harmless += 1,
                    Ok(_) => silent.push(format!("{} {what}", name.display())),
                    Err(_) => told += 1,
                },
                Ok(_) | Err(_) => told += 1,
            }
        }
    }
    assert!(silent.is_empty(), "{told} told, {harmless} harmless, but not told: {silent:#?}");
    // Most bytes of a small database are of older versions of its leaves.
    assert!(told > 40, "{told} told, {harmless} harmless");
}
