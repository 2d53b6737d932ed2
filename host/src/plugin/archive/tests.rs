use super::*;

/// An archive on a folder, and a clock that the tests move.
struct Scene {
    dir: tempfile::TempDir,
    archive: Archive,
    now: u64,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let archive = Archive::open(dir.path());
        Self { dir, archive, now: 0 }
    }

    fn restart(&mut self) {
        self.archive = Archive::open(self.dir.path());
    }

    fn arrive(&mut self, component: &str, manifest: Option<&str>, cause: Cause, restores: Option<u64>) {
        self.arrive_as("a", component, manifest, cause, restores);
    }

    fn arrive_as(&mut self, name: &str, component: &str, manifest: Option<&str>, cause: Cause, restores: Option<u64>) {
        self.now += 1;
        let source = Source {
            digest: digest_of(component.as_bytes()),
            manifest: manifest.map(|text| text.as_bytes().to_vec()),
            signature_file: "cut.wasm.minisig".to_owned(),
            signature: None,
        };
        let component = component.as_bytes().into();
        let arrived = Arrived { name: name.to_owned(), component, source, version: "1".to_owned(), cause, restores };
        self.archive.arrive(&arrived, Timestamp::from_millis(self.now));
    }

    fn file(&mut self, component: &str) {
        self.arrive(component, None, Cause::File, None);
    }

    /// Goes back; answers to what.
    fn roll_back(&mut self) -> Option<String> {
        let kept = self.archive.previous("a").ok()?;
        let component = String::from_utf8(kept.component.to_vec()).unwrap();
        let manifest = kept.source.manifest.map(|bytes| String::from_utf8(bytes).unwrap());
        self.arrive(&component, manifest.as_deref(), Cause::Rollback, Some(kept.number));
        Some(component)
    }

    fn files(&self) -> usize {
        fs::read_dir(self.dir.path().join("a")).unwrap().count()
    }
}

#[test]
fn each_rollback_goes_one_further_back_and_never_to_what_was_left_behind() {
    let mut scene = Scene::new();
    for component in ["one", "two", "three"] {
        scene.file(component);
    }
    assert_eq!(scene.roll_back().as_deref(), Some("two"));
    scene.restart();
    assert_eq!(scene.roll_back().as_deref(), Some("one"));
    assert_eq!(scene.roll_back(), None);
    scene.file("four");
    assert_eq!(scene.roll_back().as_deref(), Some("one"));
    let history = scene.archive.history("a").unwrap();
    let ends: Vec<_> = history.iter().map(|record| record.ended.map(|ended| ended.why)).collect();
    let (replaced, back) = (Some(End::Replaced), Some(End::RolledBack));
    assert_eq!(ends, [replaced, replaced, back, back, replaced, back, None]);
}

#[test]
fn a_restart_changes_nothing_and_a_removal_can_be_taken_back() {
    let mut scene = Scene::new();
    scene.arrive("one", Some("[limits]"), Cause::Upload, None);
    scene.restart();
    scene.arrive("one", Some("[limits]"), Cause::File, None);
    let [record] = &scene.archive.history("a").unwrap()[..] else { panic!("one record") };
    assert_eq!((record.cause, record.live_at, record.ended), (Cause::Upload, Timestamp::from_millis(1), None));
    assert_eq!(scene.archive.previous("a"), Err(NothingKept::None));

    scene.restart();
    scene.archive.reconcile(|_| false, Timestamp::from_millis(9));
    assert_eq!(scene.archive.history("a").unwrap()[0].ended.unwrap().why, End::Removed);
    let kept = scene.archive.previous("a").unwrap();
    assert_eq!((kept.component.as_ref(), kept.source.manifest.as_deref()), (&b"one"[..], Some(&b"[limits]"[..])));
}

#[test]
fn i8_what_is_kept_is_bounded() {
    let mut scene = Scene::new();
    for number in 0..200 {
        scene.file(&format!("component {number}"));
    }
    let history = scene.archive.history("a").unwrap();
    assert_eq!((history.len(), history[63].number), (64, 200));
    assert_eq!(scene.files(), MAX_KEPT + 1, "their components and the history");
    let mut back = Vec::new();
    while let Some(component) = scene.roll_back() {
        back.push(component);
    }
    assert_eq!(back, ["component 198", "component 197", "component 196", "component 195"]);
}

#[test]
fn what_is_given_up_for_another_plugin_stays_so_after_a_restart() {
    let mut scene = Scene::new();
    ["one", "two", "three"].iter().for_each(|component| scene.file(component));
    let file = scene.dir.path().join("a").join(component_file(digest_of(b"one")));
    fs::File::options().write(true).open(&file).unwrap().set_len(MAX_BYTES).unwrap();
    scene.arrive_as("b", "another", None, Cause::File, None);
    assert!(!file.exists());
    scene.restart();
    let kept: Vec<_> = scene.archive.history("a").unwrap().iter().map(|record| record.kept).collect();
    assert_eq!(kept, [false, true, true]);
}

#[test]
fn what_a_crash_has_left_is_removed_at_the_next_start() {
    let mut scene = Scene::new();
    scene.file("one");
    scene.file("two");
    let folder = scene.dir.path().join("a");
    for left in ["history.part", "0123.part", "0123.wasm", "0123.toml"] {
        fs::write(folder.join(left), "left").unwrap();
    }
    // It came, and its host died before that was recorded.
    fs::create_dir(scene.dir.path().join("b")).unwrap();
    fs::write(scene.dir.path().join("b/0123.part"), "left").unwrap();
    scene.restart();
    assert_eq!(scene.files(), 3, "two components and the history");
    assert!(!scene.dir.path().join("b").exists());
    assert_eq!(scene.roll_back().as_deref(), Some("one"));
}

#[test]
fn files_that_were_changed_are_not_gone_back_to() {
    let mut scene = Scene::new();
    scene.file("one");
    scene.file("two");
    let file = scene.dir.path().join("a").join(component_file(digest_of(b"one")));
    fs::write(&file, "eno").unwrap();
    assert!(matches!(scene.archive.previous("a"), Err(NothingKept::Damaged { number: 1, .. })));
    fs::write(scene.dir.path().join("a").join(HISTORY), "{").unwrap();
    scene.restart();
    assert_eq!(scene.archive.history("a"), None);
}

#[test]
fn a_manifest_alone_makes_a_generation() {
    let mut scene = Scene::new();
    scene.file("one");
    scene.arrive("one", Some("[limits]"), Cause::File, None);
    let kept = scene.archive.previous("a").unwrap();
    assert_eq!((kept.number, kept.source.manifest), (1, None));
    assert_eq!(scene.files(), 3, "a component, a manifest, the history");
}
